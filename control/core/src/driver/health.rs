//! Health's side of the loop: how probes get to their servers, and what follows from results.

use weir_engine::time::Time;

use super::{Control, Dataplane, Happening};
use crate::health::board::{Change, Job};
use crate::health::machine::Outcome;
use crate::health::probe::Way;
use crate::health::runner::Ways;

/// Every probe goes straight to its server.
struct Direct;

impl Ways for Direct {
    fn open(&mut self, _: Time, _: &Job) -> Way {
        Way::Direct
    }

    fn close(&mut self, _: Time, _: &Job, _: &Way, _: &mut Outcome) {}
}

impl<D: Dataplane> Control<D> {
    /// Takes in results and starts what is due.
    pub(super) fn probe(&mut self, now: Time) {
        let mut changes = Vec::new();
        let before = self.health.board().revision();
        self.health.turn(now, &mut Direct, &mut changes);
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
        // Weights of slow starts are verdicts too.
        self.dirty |= self.health.board().revision() != before;
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
