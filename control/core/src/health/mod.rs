//! Health of servers: is each one fit for new flows?
//!
//! [`machine`] decides about one server, [`board`] keeps all of them and says which probe is due;
//! neither knows a socket or a clock. [`probe`] asks one server, [`runner`] drives it all on
//! tokio.

pub mod board;
pub mod machine;
pub mod probe;
pub mod runner;

use std::sync::Arc;

use weir_engine::tables::Map;

/// Which checked servers are up, by service and server name. A checked server that is not here is
/// down; servers of services without a check do not appear.
///
/// Cheap to clone: services share their entries until one changes.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    up: Map<Arc<str>, Arc<Map<Arc<str>, bool>>>,
}

impl Verdicts {
    /// Whether the server passed its checks.
    pub fn is_up(&self, service: &str, server: &str) -> bool {
        self.up
            .get(service)
            .and_then(|servers| servers.get(server))
            .copied()
            .unwrap_or(false)
    }

    /// Sets one server's verdict.
    pub fn set(&mut self, service: &Arc<str>, server: &Arc<str>, up: bool) {
        let servers = self.up.entry(service.clone()).or_default();
        Arc::make_mut(servers).insert(server.clone(), up);
    }

    /// Forgets one server.
    pub fn remove(&mut self, service: &str, server: &str) {
        let Some(servers) = self.up.get_mut(service) else {
            return;
        };
        Arc::make_mut(servers).remove(server);
        if servers.is_empty() {
            self.up.remove(service);
        }
    }
}
