//! HTTP: metrics, readiness and the `/v1` objects. Writes are taken on the unix socket only.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, patch, post};
use axum::{Router, extract::DefaultBodyLimit};
use serde::{Deserialize, Serialize};
use weir_control::driver::ControlHandle;
use weir_control::overlay::Edit;

use super::shared::Shared;
use super::snapshot::ControlView;
use super::{arp, events, flows, metrics, nouns, status, vrrp};
use crate::views::{self, HealthList, Refusal, Server, VERSION};

/// Octets of a request's body: a PATCH or the name of a file.
const BODY_LEN_MAX: usize = 64 << 10;

/// What every handler reads.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) shared: Arc<Shared>,
    pub(crate) control: ControlHandle,
    pub(crate) events: Arc<events::Log>,
}

impl Api {
    /// The control thread's last word.
    ///
    /// # Errors
    /// 503 before its first.
    pub(crate) fn view(&self) -> Result<ControlView, Problem> {
        ControlView::of(self.control.status())
            .ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "weir is starting"))
    }
}

/// A refused request, as an RFC 9457 problem document.
#[derive(Debug)]
pub(crate) struct Problem(StatusCode, String);

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self(status, detail.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Refusal {
            title: self.0.canonical_reason().unwrap_or("error").into(),
            status: self.0.as_u16(),
            detail: self.1,
        };
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.0, kind, Json(body)).into_response()
    }
}

/// A write that was done, in one sentence.
#[derive(Debug, Serialize)]
struct Done {
    version: u32,
    detail: String,
}

fn done(detail: String) -> Json<Done> {
    Json(Done {
        version: VERSION,
        detail,
    })
}

/// Everything that reads: also served over TCP where `management.listen` says so.
pub(crate) fn reader(api: Arc<Api>) -> Router {
    Router::new()
        .route("/metrics", get(get_metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route(
            "/v1/status",
            get(|State(api): Shareable| async move { Json(status::view(&api)) }),
        )
        .route("/v1/services", get(services))
        .route("/v1/servers", get(servers))
        .route("/v1/services/{service}/servers/{server}", get(server))
        .route("/v1/ports", get(ports))
        .route(
            "/v1/workers",
            get(|State(api): Shareable| async move { Json(nouns::workers(&api.shared)) }),
        )
        .route(
            "/v1/neighbours",
            get(|State(api): Shareable| async move { Json(nouns::neighbours(&api.shared)) }),
        )
        .route(
            "/v1/routes",
            get(|State(api): Shareable| async move { Json(nouns::routes(&api.shared)) }),
        )
        .route(
            "/v1/drops",
            get(|State(api): Shareable| async move { Json(nouns::drops(&api.shared)) }),
        )
        .route("/v1/health", get(health))
        .route("/v1/vrrp", get(vrrp_list))
        .route("/v1/arp", get(arp_list))
        .route("/v1/events", events::route())
        .route("/v1/flows", get(flows::list))
        .route("/v1/explain", get(flows::explain_packet))
        .fallback(|| async {
            Problem::new(StatusCode::NOT_FOUND, "no such object; see /v1/status")
        })
        .with_state(api)
}

/// Readers and writers: the unix socket.
pub(crate) fn writer(api: Arc<Api>) -> Router {
    let writes = Router::new()
        .route("/v1/config", post(apply))
        .route("/v1/vrrp/resign", post(resign))
        .route("/v1/services/{service}/servers/{server}", patch(edit))
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(Arc::clone(&api));
    reader(api).merge(writes)
}

pub(crate) type Shareable = State<Arc<Api>>;

async fn get_metrics(State(api): Shareable) -> Result<Response, Problem> {
    let text = metrics::text(&api.shared, &api.view()?)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok((
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response())
}

async fn readyz(State(api): Shareable) -> (StatusCode, &'static str) {
    if status::view(&api).ready {
        (StatusCode::OK, "forwarding\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not forwarding\n")
    }
}

async fn services(State(api): Shareable) -> Result<Json<views::Services>, Problem> {
    Ok(Json(nouns::services(&api.shared, &api.view()?)))
}

async fn servers(State(api): Shareable) -> Result<Json<views::Servers>, Problem> {
    Ok(Json(nouns::servers(&api.shared, &api.view()?)))
}

async fn arp_list(State(api): Shareable) -> Result<Json<views::ArpList>, Problem> {
    Ok(Json(arp::list(&api.view()?)))
}

async fn vrrp_list(State(api): Shareable) -> Result<Json<views::VrrpList>, Problem> {
    Ok(Json(vrrp::list(&api.view()?)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResignBody {
    #[serde(default)]
    instance: Option<String>,
}

async fn resign(
    State(api): Shareable,
    Json(body): Json<ResignBody>,
) -> Result<Json<Done>, Problem> {
    let said = api.control.resign(body.instance).await;
    said.map(done)
        .map_err(|refusal| Problem::new(StatusCode::NOT_FOUND, refusal))
}

async fn ports(State(api): Shareable) -> Result<Json<views::Ports>, Problem> {
    Ok(Json(nouns::ports(&api.shared, &api.view()?)))
}

async fn server(
    State(api): Shareable,
    Path((service, server)): Path<(String, String)>,
) -> Result<Json<Server>, Problem> {
    let servers = nouns::servers(&api.shared, &api.view()?).servers;
    let found = servers
        .into_iter()
        .find(|entry| entry.service == service && entry.name == server);
    found.map(Json).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            format!("no server {service}/{server}; see `weir show servers`"),
        )
    })
}

#[derive(Debug, Deserialize)]
struct HealthQuery {
    service: Option<String>,
    server: Option<String>,
}

async fn health(
    State(api): Shareable,
    Query(query): Query<HealthQuery>,
) -> Result<Json<HealthList>, Problem> {
    let view = api.view()?;
    if let (Some(service), Some(server)) = (&query.service, &query.server) {
        let found = api.control.health(service, server).await.ok_or_else(|| {
            Problem::new(
                StatusCode::NOT_FOUND,
                format!("no checked server {service}/{server}; see `weir show health`"),
            )
        })?;
        let health = vec![super::health::one(&view, &found)];
        return Ok(Json(HealthList {
            version: VERSION,
            health,
        }));
    }
    let mut health = super::health::all(&view);
    health.retain(|entry| {
        query
            .service
            .as_ref()
            .is_none_or(|name| *name == entry.service)
    });
    Ok(Json(HealthList {
        version: VERSION,
        health,
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplyBody {
    #[serde(default)]
    file: Option<std::path::PathBuf>,
    #[serde(default)]
    allow_shrink: bool,
}

async fn apply(State(api): Shareable, Json(body): Json<ApplyBody>) -> Result<Json<Done>, Problem> {
    let said = api.control.apply(body.file, body.allow_shrink).await;
    said.map(done)
        .map_err(|refusal| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, refusal))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EditBody {
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    weight: Option<u16>,
}

async fn edit(
    State(api): Shareable,
    Path((service, server)): Path<(String, String)>,
    Json(body): Json<EditBody>,
) -> Result<Json<Done>, Problem> {
    let bad = |text: &str| Problem::new(StatusCode::BAD_REQUEST, text);
    if body.state.is_none() && body.weight.is_none() {
        return Err(bad("nothing to change: give `state` or `weight`"));
    }
    let mut edits = Vec::new();
    if let Some(state) = body.state {
        let state = super::snapshot::state(&state)
            .ok_or_else(|| bad("`state` is one of ready, drain, maintenance"))?;
        edits.push(Edit::State(state));
    }
    edits.extend(body.weight.map(Edit::Weight));
    let mut said = String::new();
    for edit in edits {
        let edited = api.control.edit(&service, &server, edit, "operator").await;
        said = edited.map_err(|refusal| Problem::new(StatusCode::NOT_FOUND, refusal))?;
    }
    Ok(done(said))
}
