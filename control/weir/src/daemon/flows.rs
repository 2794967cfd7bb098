//! `/v1/flows` and `/v1/explain`: questions that only a worker can answer.

use core::net::{IpAddr, SocketAddr};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use weir_engine::Engine;
use weir_engine::explain::{self, Query as Packet};
use weir_engine::flow::FlowState;
use weir_engine::id::WorkerId;
use weir_engine::tables::Tables;
use weir_engine::{FlowCursor, FlowView};
use weir_wire::addr::{L4Port, Protocol};

use super::api::{Api, Problem, Shareable};
use super::inspect::InspectError;
use super::nouns::{endpoint, table_mode};
use crate::views::{Explanation, Flow, Flows, Step, VERSION};

/// Flow slots that a worker looks at between two bursts: about 20 µs.
const SCAN_BUDGET: usize = 2048;
/// Most flows in one answer.
const LIMIT_MAX: usize = 100_000;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlowQuery {
    service: Option<String>,
    server: Option<String>,
    client: Option<String>,
    #[serde(default = "limit_default")]
    limit: usize,
}

fn limit_default() -> usize {
    100
}

/// Which flows are wanted, resolved before any worker is asked.
#[derive(Clone, Debug)]
struct Wanted {
    service: Option<String>,
    server: Option<String>,
    client: Option<(IpAddr, Option<u16>)>,
}

pub(crate) async fn list(
    State(api): Shareable,
    Query(query): Query<FlowQuery>,
) -> Result<Json<Flows>, Problem> {
    let client = query.client.as_deref().map(client).transpose()?;
    let wanted = Wanted {
        service: query.service,
        server: query.server,
        client,
    };
    let limit = query.limit.min(LIMIT_MAX);
    let listed = tokio::task::spawn_blocking(move || collect(&api, &wanted, limit)).await;
    let (flows, truncated) = listed
        .map_err(|_| broken("the listing failed"))?
        .map_err(silent)?;
    Ok(Json(Flows {
        version: VERSION,
        flows,
        truncated,
    }))
}

fn client(text: &str) -> Result<(IpAddr, Option<u16>), Problem> {
    if let Ok(endpoint) = text.parse::<SocketAddr>() {
        return Ok((endpoint.ip(), Some(endpoint.port())));
    }
    let address = text.parse().map_err(|_| {
        let detail = format!("client {text:?}: expected ADDRESS or ADDRESS:PORT");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    Ok((address, None))
}

fn broken(detail: &str) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn silent(error: InspectError) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

/// Scans worker after worker in small steps, until `limit` flows are found.
fn collect(api: &Api, wanted: &Wanted, limit: usize) -> Result<(Vec<Flow>, bool), InspectError> {
    let mut flows = Vec::new();
    for index in 0..api.shared.workers.len() {
        let worker = u16::try_from(index).unwrap_or(u16::MAX);
        let mut cursor = Some(FlowCursor::default());
        while let Some(from) = cursor {
            let wanted = wanted.clone();
            let (found, next) =
                api.shared
                    .inspector
                    .ask(WorkerId(worker), move |engine, tables, now| {
                        let mut found = Vec::new();
                        let next = engine.flows(now, from, SCAN_BUDGET, &mut |flow| {
                            if let Some(flow) = describe(&flow, tables, worker, &wanted) {
                                found.push(flow);
                            }
                        });
                        (found, next)
                    })?;
            flows.extend(found);
            if flows.len() > limit {
                flows.truncate(limit);
                return Ok((flows, true));
            }
            cursor = next;
        }
    }
    Ok((flows, false))
}

/// The flow for people, if it is one of those wanted.
fn describe(flow: &FlowView, tables: &Tables, worker: u16, wanted: &Wanted) -> Option<Flow> {
    let client_fits = wanted.client.is_none_or(|(address, port)| {
        flow.client.0 == address && port.is_none_or(|port| flow.client.1.0 == port)
    });
    if !client_fits {
        return None;
    }
    let service = tables
        .service(flow.service)
        .map_or("(removed)", |service| &*service.name);
    if wanted.service.as_ref().is_some_and(|name| *name != service) {
        return None;
    }
    let server = tables.server(flow.server);
    let name = server.map_or("(removed)", |server| &*server.name);
    let address = server.map(|server| server.address);
    if let Some(wanted) = &wanted.server
        && wanted != name
        && address.is_none_or(|address| address.to_string() != *wanted)
    {
        return None;
    }
    let server_port = server.and_then(|server| server.port).unwrap_or(flow.vip.1);
    Some(Flow {
        protocol: flow.protocol.to_string(),
        client: endpoint(flow.client.0, flow.client.1.0),
        vip: endpoint(flow.vip.0, flow.vip.1.0),
        server_address: address.map_or_else(String::new, |a| endpoint(a, server_port.0)),
        service: service.into(),
        server: name.into(),
        mode: server.map_or("", |server| table_mode(server.mode)).into(),
        state: state(flow.state),
        expires_seconds: flow.expires_in.as_secs(),
        worker,
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainQuery {
    protocol: String,
    source: SocketAddr,
    vip: SocketAddr,
}

pub(crate) async fn explain_packet(
    State(api): Shareable,
    Query(query): Query<ExplainQuery>,
) -> Result<Json<Explanation>, Problem> {
    let protocol = match query.protocol.as_str() {
        "tcp" => Protocol::TCP,
        "udp" => Protocol::UDP,
        _ => {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "protocol: expected tcp or udp",
            ));
        }
    };
    if query.source.is_ipv4() != query.vip.is_ipv4() {
        let detail = "source and VIP must be of one family: both IPv4 or both IPv6";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    let packet = Packet {
        protocol,
        source: (query.source.ip(), L4Port(query.source.port())),
        destination: (query.vip.ip(), L4Port(query.vip.port())),
        port: None,
    };
    let worker = explain::owner(&api.shared.tables.load(), &packet);
    let asked = tokio::task::spawn_blocking(move || {
        let walk =
            move |engine: &Engine, tables: &Tables, now| engine.explain(tables, now, &packet);
        api.shared.inspector.ask(worker, walk)
    });
    let told = asked
        .await
        .map_err(|_| broken("the walk failed"))?
        .map_err(silent)?;
    let step = |step: explain::Step| Step {
        stage: step.stage.into(),
        result: step.result,
        detail: step.detail,
    };
    Ok(Json(Explanation {
        version: VERSION,
        verdict: told.verdict.into(),
        reason: told.reason.map(Into::into),
        service: told.service.map(String::from),
        server: told.server.map(String::from),
        steps: told.steps.into_iter().map(step).collect(),
    }))
}

/// TCP's state as IPVS names it; UDP has one.
fn state(state: FlowState) -> String {
    match state {
        FlowState::Tcp(state) => state.to_string(),
        FlowState::Udp => "UDP".into(),
    }
}
