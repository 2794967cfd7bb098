//! Health of servers: is each one fit for new flows?
//!
//! [`machine`] decides about one server, [`brake`] about many that fall at once, [`board`] keeps
//! all of them and says which probe is due; none of them knows a socket or a clock. [`probe`] asks
//! one server, [`runner`] has that done on a thread of its own.

pub mod board;
pub mod brake;
pub mod histogram;
pub mod machine;
pub mod probe;
pub mod runner;

use std::sync::Arc;

use weir_engine::tables::Map;

/// What health says of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is fit for new flows.
    pub up: bool,
    /// Percent of its weight that it has: 100 but during a slow start.
    pub share: u8,
}

impl Verdict {
    /// Not fit; also what is said of a checked server that nothing is known of.
    pub const DOWN: Self = Self {
        up: false,
        share: 100,
    };
    /// Fit, with its whole weight.
    pub const UP: Self = Self {
        up: true,
        share: 100,
    };
}

/// What health says of the servers of one service, by name.
type Servers = Map<Arc<str>, Verdict>;

/// What health says of every checked server, by service and server name; servers of services
/// without a check do not appear.
///
/// Clones share everything; who then changes something copies what is between it and the root.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    services: Arc<Map<Arc<str>, Arc<Servers>>>,
}

impl Verdicts {
    /// What is said of a checked server, if anything.
    pub fn said(&self, service: &str, server: &str) -> Option<Verdict> {
        self.services.get(service)?.get(server).copied()
    }

    /// What is said of a checked server; down if nothing is.
    pub fn of(&self, service: &str, server: &str) -> Verdict {
        self.said(service, server).unwrap_or(Verdict::DOWN)
    }

    /// Whether a checked server is up.
    pub fn is_up(&self, service: &str, server: &str) -> bool {
        self.of(service, server).up
    }

    /// Sets one server's verdict.
    pub fn set(&mut self, service: &Arc<str>, server: &Arc<str>, verdict: Verdict) {
        let services = Arc::make_mut(&mut self.services);
        let servers = services.entry(service.clone()).or_default();
        Arc::make_mut(servers).insert(server.clone(), verdict);
    }

    /// Forgets one server.
    pub fn remove(&mut self, service: &str, server: &str) {
        let services = Arc::make_mut(&mut self.services);
        let Some(servers) = services.get_mut(service) else {
            return;
        };
        Arc::make_mut(servers).remove(server);
        if servers.is_empty() {
            services.remove(service);
        }
    }
}
