//! interim
use std::path::PathBuf;
use std::sync::Arc;

use weir_control::config::{self, Config, MetricsDetail, ServerState};
use weir_control::health::Verdicts;
use weir_control::health::board::ServerHealth;
use weir_control::overlay::{Overlay, State};

use super::shared::Latest;
use crate::views;

#[derive(Debug)]
pub(crate) struct ControlView {
    pub(crate) config: Arc<Config>,
    pub(crate) overlay: Overlay,
    pub(crate) verdicts: Verdicts,
    pub(crate) health: Vec<ServerHealth>,
    pub(crate) hide_servers: bool,
    pub(crate) revision: u64,
    pub(crate) reload_failures: u64,
    pub(crate) config_file: String,
    pub(crate) last_change: String,
}

impl ControlView {
    pub(crate) fn is_up(&self, service: &str, server: &str) -> bool {
        let checked = self
            .config
            .services
            .iter()
            .any(|s| s.name == service && s.health.is_some());
        !checked || self.verdicts.is_up(service, server)
    }
    pub(crate) fn state_of(
        &self,
        service: &config::Service,
        server: &config::Server,
    ) -> &'static str {
        match self.overlay.effective(service, server).0 {
            ServerState::Ready => "ready",
            ServerState::Drain => "drain",
            ServerState::Maintenance => "maintenance",
        }
    }
    pub(crate) fn link_is_up(&self, _port: &str) -> bool {
        true
    }
    pub(crate) fn health_views(&self) -> Vec<views::Health> {
        Vec::new()
    }
}

#[derive(Debug)]
pub(crate) struct ControlHandle(pub(crate) Arc<Latest<ControlView>>);
impl ControlHandle {
    pub(crate) fn view(&self) -> Arc<ControlView> {
        self.0.load()
    }
    pub(crate) async fn apply(&self, _f: Option<PathBuf>, _s: bool) -> Result<String, String> {
        Err("interim".into())
    }
    pub(crate) async fn set_state(&self, _a: &str, _b: &str, _s: State) -> Result<String, String> {
        Err("interim".into())
    }
    pub(crate) async fn set_weight(&self, _a: &str, _b: &str, _w: u16) -> Result<String, String> {
        Err("interim".into())
    }
}

pub(crate) fn state(text: &str) -> Option<State> {
    match text {
        "ready" => Some(State::Ready),
        "drain" => Some(State::Drain),
        "maintenance" => Some(State::Maintenance),
        _ => None,
    }
}

pub(crate) fn detail(config: &Config) -> bool {
    config.management.metrics_detail == MetricsDetail::Service
}
