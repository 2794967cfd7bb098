//! `weir status`: one screen, worst first.

use super::api::Api;
use crate::views::{Problem, Status, VERSION};

pub(crate) fn view(api: &Api) -> Status {
    let (shared, control) = (&api.shared, api.control.view());
    let generation = shared.tables.load().generation;
    let ready = generation > 0
        && shared
            .workers
            .iter()
            .all(|worker| worker.stats.generation.value() > 0);
    let servers = super::nouns::servers(shared, &control).servers;
    Status {
        version: VERSION,
        ready,
        since_seconds: 0.0,
        config_revision: control.revision,
        config_file: control.config_file.clone(),
        last_change: control.last_change.clone(),
        services: control.config.services.len(),
        servers_up: servers.iter().filter(|server| server.up).count(),
        servers: servers.len(),
        flows: shared.sum(|counters| &counters.flows),
        flows_capacity: shared.flows_per_worker * shared.workers.len() as u64,
        problems: Vec::<Problem>::new(),
    }
}
