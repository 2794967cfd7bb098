//! Which server of a service a new flow is given: the schedulers, asked with what this worker
//! knows, and the consistent hash where no state can be kept.

use crate::decide::View;
use crate::family::Ip;
use crate::flow::FlowKey;
use crate::id::ServerId;
use crate::maglev::{ClientHash, ClusterKey};
use crate::scheduler::{Load, Pool, Request, SchedulerKind, SchedulerState};
use crate::tables::{Server, Service};

/// A scheduler's state after a choice, to be kept if the choice is carried out.
pub(crate) type Cursor = Option<crate::scheduler::Choice>;

/// Directors agree on Maglev tables and on client hashes by sharing a key; a director that stands
/// alone agrees with itself.
const CLUSTER_KEY: ClusterKey = ClusterKey([0; 16]);

/// The server that the service's scheduler chooses; `None`: none is usable.
pub(crate) fn pick<'a, A: Ip>(
    view: View<'a>,
    service: &Service,
    key: &FlowKey<A>,
) -> Option<(&'a Server, Cursor)> {
    let pool = Pool {
        candidates: &service.walk,
        maglev: &service.maglev,
        maglev_servers: &service.maglev_servers,
        generation: view.tables.generation,
    };
    let request = Request {
        key,
        cluster: &CLUSTER_KEY,
    };
    let fresh = SchedulerState::default();
    let state = view
        .state
        .schedulers
        .get(service.id.index())
        .unwrap_or(&fresh);
    let load = |server: ServerId| load(view, server);
    let choice = service.scheduler.choose(state, &pool, &request, &load)?;
    Some((view.tables.server(choice.server)?, Some(choice)))
}

/// The server that the consistent hash gives, which every director and every moment gives alike.
/// `None`: there is none, or its replies could not be told apart without a flow.
pub(crate) fn pick_stateless<'a, A: Ip>(
    view: View<'a>,
    service: &Service,
    key: &FlowKey<A>,
) -> Option<(&'a Server, Cursor)> {
    let position = service.maglev.pick(ClientHash::of(key, &CLUSTER_KEY))?;
    let server = view.tables.server(*service.maglev_servers.get(position)?)?;
    server.stateless.then_some((server, None))
}

/// Whether other directors would choose the same server for a client.
pub(crate) fn is_consistent(service: &Service) -> bool {
    service.scheduler == SchedulerKind::Maglev
}

/// Connections of a server on all workers, as far as this one knows.
fn load(view: View<'_>, server: ServerId) -> Load {
    match view.state.counters.servers.get(server.index as usize) {
        Some(counters) => Load {
            active: counters
                .active
                .value()
                .saturating_add(counters.active_elsewhere.value()),
            inactive: counters
                .inactive
                .value()
                .saturating_add(counters.inactive_elsewhere.value()),
        },
        None => Load::default(),
    }
}
