//! The control thread as the management thread sees it: its last status, ready to be shown.

use std::sync::Arc;

use weir_control::config::{self, Config, MetricsDetail, ServerState};
use weir_control::driver::Status;
use weir_control::health::board::ServerHealth;
use weir_control::health::machine::{Entry, Finding, State as HealthState};
use weir_control::overlay::State;
use weir_engine::id::PortId;
use weir_engine::time::Time;

use crate::views::{Health, HealthResult};

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
        let checked = found.is_some_and(|entry| entry.health.is_some());
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

    /// Whether a port's link is up.
    pub(crate) fn link_is_up(&self, port: PortId) -> bool {
        self.status.links.get(&port).copied().unwrap_or(false)
    }

    /// All checked servers.
    pub(crate) fn health(&self) -> Vec<Health> {
        self.status
            .health
            .iter()
            .map(|health| self.one_health(health))
            .collect()
    }

    /// One checked server, with all the results that `health` has.
    pub(crate) fn one_health(&self, health: &ServerHealth) -> Health {
        let now = self.status.now;
        Health {
            service: health.service.to_string(),
            server: health.server.to_string(),
            check: health.check.clone(),
            up: health.state == HealthState::Up,
            since_seconds: seconds(now, health.since),
            pass: health.tally.passes,
            fail: health.tally.failures,
            results: health
                .history
                .iter()
                .rev()
                .map(|entry| result(now, entry))
                .collect(),
        }
    }
}

/// From `then` to `now`, in seconds.
pub(crate) fn seconds(now: Time, then: Time) -> f64 {
    now.since(then).as_secs_f64()
}

fn result(now: Time, entry: &Entry) -> HealthResult {
    HealthResult {
        ago_seconds: seconds(now, entry.at),
        passed: entry.outcome.finding == Finding::Pass,
        duration_seconds: entry.outcome.duration.as_secs_f64(),
        detail: entry.outcome.reason.clone(),
    }
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
