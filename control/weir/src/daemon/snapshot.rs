//! The control thread as the management thread sees it: its last status, ready to be shown.

use std::sync::Arc;

use weir_control::config::{self, Config, MetricsDetail, ServerState};
use weir_control::driver::Status;
use weir_control::overlay::State;
use weir_engine::id::PortId;
use weir_engine::time::Time;

/// A status with a configuration: the control thread has one from its first breath.
#[derive(Debug)]
pub(crate) struct ControlView {
    pub(crate) config: Arc<Config>,
    pub(crate) status: Arc<Status>,
}

impl ControlView {
    /// The newest view; `None` before the first tables.
    pub(crate) fn of(status: Arc<Status>) -> Option<Self> {
        let config = status.config.clone()?;
        Some(Self { config, status })
    }

    /// Whether metrics stop at services.
    pub(crate) fn hides_servers(&self) -> bool {
        self.config.management.metrics_detail == MetricsDetail::Service
    }

    /// Whether a server is up by health; one that is not checked is.
    pub(crate) fn is_up(&self, service: &str, server: &str) -> bool {
        let found = self
            .config
            .services
            .iter()
            .find(|entry| entry.name == service);
        let checked = found.is_some_and(|entry| entry.is_checked(server));
        !checked || self.status.verdicts.is_up(service, server)
    }

    /// What the operator wants of a server: the file's word, or the overlay's.
    pub(crate) fn state_of(
        &self,
        service: &config::Service,
        server: &config::Server,
    ) -> &'static str {
        match self.status.overlay.effective(service, server).0 {
            ServerState::Ready => "ready",
            ServerState::Drain => "drain",
            ServerState::Maintenance => "maintenance",
        }
    }

    /// A port's name; empty if it is none.
    pub(crate) fn port_name(&self, port: PortId) -> String {
        let port = self.config.ports.get(port.index());
        port.map(|port| port.name.clone()).unwrap_or_default()
    }

    /// Whether a port's link is up.
    pub(crate) fn link_is_up(&self, port: PortId) -> bool {
        self.status.links.get(&port).copied().unwrap_or(false)
    }
}

/// From `then` to `now`, in seconds.
pub(crate) fn seconds(now: Time, then: Time) -> f64 {
    now.since(then).as_secs_f64()
}

/// A server's state as the API spells it.
pub(crate) fn state(text: &str) -> Option<State> {
    match text {
        "ready" => Some(State::Ready),
        "drain" => Some(State::Drain),
        "maintenance" => Some(State::Maintenance),
        _ => None,
    }
}
