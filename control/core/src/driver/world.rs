//! The present world: what tables follow from, the tables, and what else follows from them.
//!
//! There may be thousands of services with tens of thousands of servers, and a turn has a
//! millisecond. So a job makes of a world whatever the turns need, says what has changed, and hands
//! over pointers; and what is replaced is freed by a helper thread, never in a turn.

use std::any::Any;
use std::net::IpAddr;
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;

use weir_engine::id::PortId;
use weir_engine::steering::Steering;
use weir_engine::tables::Tables;

use super::job;
use crate::config::Config;
use crate::health::Verdicts;
use crate::health::board::Roster;
use crate::mirror::Mirror;
use crate::overlay::Overlay;
use crate::ports::PortFact;
use crate::reconcile::{Inputs, ReconcileError, Snapshot, reconcile};
use crate::responder::Homes;
use crate::suppression::Holders;

/// Neighbours that frames need, by port, in order and each once.
pub(super) type Neighbours = Vec<(PortId, IpAddr)>;

/// The present world, copied for a job; all large parts are shared.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) snapshot: Snapshot,
    /// Who holds VIPs by these tables.
    pub(super) holders: Arc<Holders>,
    /// Where VIPs live by these tables.
    pub(super) homes: Arc<Homes>,
    /// Who is next on the way to servers, gateways and peers.
    pub(super) neighbours: Arc<Neighbours>,
    /// Who is to be checked.
    pub(super) roster: Arc<Roster>,
    pub(super) config: Arc<Config>,
    pub(super) overlay: Arc<Overlay>,
    pub(super) verdicts: Verdicts,
    pub(super) mirror: Mirror,
    pub(super) facts: Arc<[PortFact]>,
    pub(super) steering: Steering,
    pub(super) state: Option<PathBuf>,
}

impl World {
    /// Before the first tables, and before the kernel has said anything.
    pub(super) fn new(
        config: Config,
        overlay: Overlay,
        facts: Vec<PortFact>,
        (steering, state): (Steering, Option<PathBuf>),
    ) -> Self {
        Self {
            snapshot: Snapshot::default(),
            holders: Arc::default(),
            homes: Arc::default(),
            neighbours: Arc::default(),
            roster: Arc::default(),
            config: Arc::new(config),
            overlay: Arc::new(overlay),
            verdicts: Verdicts::default(),
            mirror: Mirror::default(),
            facts: facts.into(),
            steering,
            state,
        }
    }

    /// What tables follow from.
    pub(super) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            config: &self.config,
            overlay: &self.overlay,
            health: &self.verdicts,
            mirror: &self.mirror,
            ports: &self.facts,
            steering: &self.steering,
        }
    }

    pub(super) fn reconcile(mut self) -> Result<Self, String> {
        self.update().map_err(|error| error.to_string())?;
        Ok(self)
    }

    /// Makes tables, and what is made of them, follow from the rest.
    pub(super) fn update(&mut self) -> Result<(), ReconcileError> {
        self.snapshot = reconcile(&self.snapshot, &self.inputs())?;
        let tables = &self.snapshot.tables;
        renew(&mut self.holders, Holders::of(tables));
        renew(&mut self.neighbours, neighbours(tables, &self.config));
        self.homes = Homes::of(tables, &self.homes);
        Ok(())
    }

    /// Makes the roster follow from configuration and overlay.
    pub(super) fn enlist(&mut self) {
        self.roster = Roster::of(&self.config, &self.overlay, &self.roster);
    }

    /// Everything that takes long to free.
    fn parts(&self) -> [Arc<dyn Any + Send + Sync>; 10] {
        let Snapshot {
            tables,
            servers_by_name,
            quorums,
            ground,
            ..
        } = &self.snapshot;
        [
            tables.clone(),
            servers_by_name.clone(),
            quorums.clone(),
            ground.clone(),
            self.holders.clone(),
            self.homes.clone(),
            self.neighbours.clone(),
            self.roster.clone(),
            self.config.clone(),
            self.overlay.clone(),
        ]
    }
}

/// Replaces what has changed.
fn renew<T: PartialEq>(present: &mut Arc<T>, new: T) {
    if **present != new {
        *present = Arc::new(new);
    }
}

/// The neighbours that every server's frames need: servers, gateways and peers.
fn neighbours(tables: &Tables, config: &Config) -> Neighbours {
    let fixed = |port: PortId, address| {
        let port = config.ports.get(port.index());
        port.is_some_and(|port| port.neighbours.iter().any(|n| n.address == address))
    };
    let next = |address: IpAddr| match address {
        IpAddr::V4(a) => (tables.v4.routes.neighbour(a)).map(|(port, a)| (port, a.into())),
        IpAddr::V6(a) => (tables.v6.routes.neighbour(a)).map(|(port, a)| (port, a.into())),
    };
    let servers = tables.servers.iter().flatten().map(|s| s.address);
    let gateways = config.ports.iter().flat_map(|p| p.gateway.iter().copied());
    let peers = config.vrrp.iter().flat_map(|v| v.peers.iter().copied());
    let all = servers.chain(gateways).chain(peers).filter_map(next);
    let mut all: Neighbours = all
        .filter(|(port, address)| !fixed(*port, *address))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Things that were replaced, until nobody else has them any more.
#[derive(Debug, Default)]
pub(super) struct Retired(Vec<Arc<dyn Any + Send + Sync>>);

impl Retired {
    /// Keeps a thing that was replaced.
    pub(super) fn add(&mut self, old: Arc<impl Any + Send + Sync>) {
        self.0.push(old);
    }

    /// Keeps what of the `old` world is not in the new one too.
    pub(super) fn add_all(&mut self, old: &World, new: &World) {
        let both = old.parts().into_iter().zip(new.parts());
        let replaced = both.filter(|(old, new)| !ptr::addr_eq(Arc::as_ptr(old), Arc::as_ptr(new)));
        self.0.extend(replaced.map(|(old, _)| old));
    }

    /// Has everything freed that nobody else has.
    pub(super) fn free(&mut self) {
        let is_last = |thing: &mut Arc<_>| Arc::strong_count(thing) == 1;
        let last: Vec<_> = self.0.extract_if(.., is_last).collect();
        if !last.is_empty() {
            job::free(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_replaced_is_freed_once_nobody_else_has_it() {
        let mut retired = Retired::default();
        let (mine, theirs) = (Arc::new(1_u8), Arc::new(2_u8));
        let weak = [Arc::downgrade(&mine), Arc::downgrade(&theirs)];
        retired.add(mine);
        retired.add(Arc::clone(&theirs));
        retired.free();
        assert_eq!(weak.each_ref().map(|thing| thing.strong_count()), [0, 2]);
        drop(theirs);
        retired.free();
        assert!(weak[1].upgrade().is_none());
    }
}
