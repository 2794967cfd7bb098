//! Health's side of the loop: how probes get to their servers, and what follows from results.

use weir_engine::counters::Outcomes;
use weir_engine::id::ServerId;
use weir_engine::time::Time;
use weir_wire::addr::Protocol;

use super::{Control, Dataplane, Happening};
use crate::config::Port;
use crate::health::board::{Change, Job, Name};
use crate::health::machine::{Finding, Outcome};
use crate::health::probe::Way;
use crate::health::runner::Ways;
use crate::paths::{NoPath, Paths};
use crate::reconcile::Snapshot;

/// How probes get to their servers: straight, or as clients' packets do.
struct Routes<'a, D> {
    dataplane: &'a mut D,
    paths: &'a mut Paths,
    snapshot: &'a Snapshot,
    ports: &'a [Port],
}

impl<D> Routes<'_, D> {
    fn server(&self, (service, server): &Name) -> Option<ServerId> {
        self.snapshot.server(service, server)
    }
}

impl<D: Dataplane> Ways for Routes<'_, D> {
    fn open(&mut self, now: Time, job: &Job) -> Way {
        let Some(vip) = job.vip else {
            return Way::Direct;
        };
        let protocol = match job.check.probe.is_udp() {
            true => Protocol::UDP,
            false => Protocol::TCP,
        };
        // Without a slot it is too new for the tables; the next probe will find it there.
        let Some(server) = self.server(&job.name) else {
            return Way::None("the tables do not have the server yet".into());
        };
        match self.paths.open(now, vip, protocol, server) {
            Ok(path) => Way::Path {
                source: path.source,
                device: self
                    .ports
                    .get(path.port.index())
                    .map_or_else(String::new, |port| port.name.clone()),
            },
            Err(reason @ (NoPath::VipIsDip | NoPath::NoDip)) => Way::Instead(reason.to_string()),
            Err(reason @ (NoPath::NoPort | NoPath::NoServer)) => Way::None(reason.to_string()),
        }
    }

    fn close(&mut self, now: Time, job: &Job, way: &Way, outcome: &mut Outcome) {
        match (way, job.vip) {
            (Way::Path { source, .. }, Some(vip)) => {
                self.paths.close(now, vip, source.port());
                let server = self.server(&job.name);
                let hop = server.and_then(|server| self.paths.hop_failure(server));
                if let Some(hop) = hop.filter(|_| outcome.finding == Finding::Silent) {
                    outcome.reason = hop;
                }
            }
            (Way::Instead(reason), _) => {
                outcome.reason = format!("{} (not by way of the VIP: {reason})", outcome.reason);
            }
            (Way::Path { .. } | Way::Direct | Way::None(_), _) => {}
        }
    }

    fn flows(&mut self, name: &Name) -> Option<Outcomes> {
        let server = self.server(name)?;
        Some(self.dataplane.server_outcomes(server))
    }
}

impl<D: Dataplane> Control<D> {
    /// Takes in results and starts what is due.
    pub(super) fn probe(&mut self, now: Time) {
        let mut changes = Vec::new();
        let mut routes = Routes {
            dataplane: &mut self.dataplane,
            paths: &mut self.paths,
            snapshot: &self.world.snapshot,
            ports: &self.world.config.ports,
        };
        self.health.turn(now, &mut routes, &mut changes);
        for change in changes {
            let Change {
                service,
                server,
                up,
                reason,
            } = &change;
            let word = if *up { "up" } else { "down" };
            tracing::info!(%service, %server, reason, "server {word}");
            self.status.last_change = (now, format!("{service}/{server} {word}: {reason}"));
            self.commands.events.tell(Happening::Server {
                service: service.to_string(),
                server: server.to_string(),
                up: *up,
                reason: reason.clone(),
            });
            self.stale = true;
        }
    }

    /// Tells of services that lost or found their quorum with the new tables.
    pub(super) fn quorums_changed(&mut self, now: Time) {
        for (service, quorum) in &self.world.snapshot.quorum_changes {
            let word = if quorum.met { "found" } else { "lost" };
            let weight = quorum.weight;
            tracing::warn!(%service, weight, "quorum {word}");
            self.status.last_change = (now, format!("{service}: quorum {word}, weight {weight}"));
            self.commands.events.tell(Happening::Quorum {
                service: service.to_string(),
                met: quorum.met,
                weight,
            });
            self.stale = true;
        }
    }
}
