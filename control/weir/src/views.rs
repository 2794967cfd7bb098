//! The JSON that people and machines see: one object per noun, stable and versioned.
//!
//! The API serves these, the command line prints them as they are with `--json`, or as tables.
//! Fields are YAML keys plus metric names without prefix and suffix (INTERFACES §2).

use serde::{Deserialize, Serialize};

/// Version of all objects here. It changes when a field changes its meaning or goes away.
pub(crate) const VERSION: u32 = 1;

/// Counts by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InOut {
    #[serde(rename = "in")]
    pub(crate) incoming: u64,
    #[serde(rename = "out")]
    pub(crate) outgoing: u64,
}

/// Counts by direction of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RxTx {
    pub(crate) rx: u64,
    pub(crate) tx: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Services {
    pub(crate) version: u32,
    pub(crate) services: Vec<Service>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) address: String,
    /// One port, `80,443`, `8000-8100`, or `0`.
    pub(crate) port: String,
    pub(crate) protocol: String,
    pub(crate) mode: String,
    pub(crate) scheduler: String,
    pub(crate) packets: InOut,
    pub(crate) bytes: InOut,
    pub(crate) connections: u64,
    /// Sum of the weights of usable servers, the sorry server left out.
    pub(crate) quorum_weight: u32,
    pub(crate) quorum: u32,
    pub(crate) quorum_met: bool,
    /// The sorry server, if there is one, is the last.
    pub(crate) servers: Vec<Server>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Server {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) address: String,
    /// The server's L4 port; 0: the port that the client used.
    pub(crate) port: u16,
    pub(crate) mode: String,
    pub(crate) state: String,
    pub(crate) weight: u32,
    pub(crate) up: bool,
    /// Gets new flows.
    pub(crate) usable: bool,
    pub(crate) neighbour: String,
    pub(crate) packets: InOut,
    pub(crate) bytes: InOut,
    pub(crate) connections: u64,
    pub(crate) active_connections: u64,
    pub(crate) inactive_connections: u64,
    /// Flows that timed out without an answer.
    pub(crate) unanswered: u64,
    /// Flows that the server refused; NAT only.
    pub(crate) resets: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Servers {
    pub(crate) version: u32,
    pub(crate) servers: Vec<Server>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Flows {
    pub(crate) version: u32,
    pub(crate) flows: Vec<Flow>,
    /// More match than are listed.
    pub(crate) truncated: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) protocol: String,
    pub(crate) client: String,
    pub(crate) vip: String,
    pub(crate) server_address: String,
    pub(crate) service: String,
    pub(crate) server: String,
    pub(crate) mode: String,
    pub(crate) state: String,
    pub(crate) expires_seconds: u64,
    pub(crate) worker: u16,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) version: u32,
    pub(crate) ports: Vec<Port>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) device: String,
    pub(crate) driver: String,
    pub(crate) mac: String,
    pub(crate) mtu: u16,
    pub(crate) addresses: Vec<String>,
    pub(crate) up: bool,
    pub(crate) rx_queues: u64,
    pub(crate) tx_queues: u64,
    pub(crate) rx_packets: u64,
    pub(crate) tx_packets: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) rx_errors: u64,
    pub(crate) tx_errors: u64,
    pub(crate) rx_missed: u64,
    /// What the device cannot do, and what it costs.
    pub(crate) notes: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Workers {
    pub(crate) version: u32,
    pub(crate) workers: Vec<Worker>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Worker {
    pub(crate) worker: u16,
    pub(crate) cpu: usize,
    pub(crate) packets: RxTx,
    pub(crate) bytes: RxTx,
    pub(crate) handed_in: u64,
    pub(crate) handed_out: u64,
    pub(crate) originated: u64,
    pub(crate) punted: u64,
    pub(crate) dropped: u64,
    pub(crate) held: u64,
    pub(crate) flows: u64,
    pub(crate) flows_capacity: u64,
    pub(crate) flow_insert_failures: u64,
    pub(crate) busy_ratio: f64,
    pub(crate) heartbeat_seconds: f64,
    pub(crate) generation: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Neighbours {
    pub(crate) version: u32,
    pub(crate) neighbours: Vec<Neighbour>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Neighbour {
    pub(crate) port: String,
    pub(crate) address: String,
    pub(crate) mac: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Routes {
    pub(crate) version: u32,
    pub(crate) routes: Vec<Route>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) destination: String,
    pub(crate) port: String,
    pub(crate) gateway: Option<String>,
    pub(crate) source: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Drops {
    pub(crate) version: u32,
    pub(crate) drops: Vec<Drop>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Drop {
    pub(crate) reason: String,
    pub(crate) count: u64,
    pub(crate) text: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HealthList {
    pub(crate) version: u32,
    pub(crate) health: Vec<Health>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Health {
    pub(crate) service: String,
    pub(crate) server: String,
    pub(crate) check: String,
    /// Who is asked.
    pub(crate) target: String,
    /// By way of which VIP, if the probe goes the clients' way.
    pub(crate) path: Option<String>,
    pub(crate) up: bool,
    pub(crate) since_seconds: f64,
    /// Why `up` is not simply what the results say: `dampened`, `braked`, `slow-start`.
    pub(crate) standing: Option<String>,
    /// Until when at most, from now.
    pub(crate) standing_seconds: Option<f64>,
    /// Percent of its weight that it has.
    pub(crate) share: u8,
    /// When its certificate expires (RFC 3339).
    pub(crate) certificate_expiry: Option<String>,
    pub(crate) pass: u64,
    pub(crate) fail: u64,
    /// The newest first; at most 20.
    pub(crate) results: Vec<HealthResult>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HealthResult {
    pub(crate) ago_seconds: f64,
    pub(crate) passed: bool,
    pub(crate) duration_seconds: f64,
    pub(crate) phases: HealthPhases,
    pub(crate) detail: String,
}

/// How long the parts of a probe took, as far as it got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HealthPhases {
    pub(crate) connect_seconds: Option<f64>,
    pub(crate) tls_seconds: Option<f64>,
    pub(crate) send_seconds: Option<f64>,
    pub(crate) first_byte_seconds: Option<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ArpList {
    pub(crate) version: u32,
    pub(crate) arp: Vec<ArpVip>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ArpVip {
    pub(crate) vip: String,
    /// `active`: answered for here; `backup`: silent.
    pub(crate) role: String,
    pub(crate) ports: Vec<String>,
    pub(crate) conflicts: u64,
    /// Who claims it without right, of late.
    pub(crate) leaks: Vec<ArpLeak>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ArpLeak {
    pub(crate) mac: String,
    pub(crate) port: String,
    /// `SERVICE/SERVER`, if it is one.
    pub(crate) server: Option<String>,
    pub(crate) how: String,
    pub(crate) count: u64,
    pub(crate) first_seconds: f64,
    pub(crate) last_seconds: f64,
    pub(crate) fix: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VrrpList {
    pub(crate) version: u32,
    pub(crate) vrrp: Vec<VrrpInstance>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct VrrpInstance {
    pub(crate) name: String,
    pub(crate) port: String,
    pub(crate) id: u8,
    pub(crate) version: u8,
    /// `init`, `backup`, `active`, `fault`.
    pub(crate) state: String,
    pub(crate) since_seconds: f64,
    pub(crate) why: String,
    /// As advertised: tracking changes it.
    pub(crate) priority: u8,
    pub(crate) priority_configured: u8,
    pub(crate) interval_seconds: f64,
    pub(crate) addresses: Vec<String>,
    pub(crate) adverts_sent: u64,
    pub(crate) adverts_received: u64,
    pub(crate) transitions: u64,
    /// Whose advert was accepted last.
    pub(crate) peer: Option<VrrpPeer>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct VrrpPeer {
    pub(crate) address: String,
    pub(crate) ago_seconds: f64,
    pub(crate) priority: u8,
    pub(crate) interval_seconds: f64,
    /// Addresses that we advertise and it does not.
    pub(crate) missing: Vec<String>,
    /// Addresses that it advertises and we do not.
    pub(crate) unknown: Vec<String>,
    /// `rfc5798` or `rfc9568`, in version 3 over IPv4.
    pub(crate) checksum: Option<String>,
}

/// `weir explain`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Explanation {
    pub(crate) version: u32,
    /// `forward`, `drop`, `punt`, `hold`.
    pub(crate) verdict: String,
    pub(crate) reason: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) server: Option<String>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) stage: String,
    pub(crate) result: String,
    pub(crate) detail: String,
}

/// `weir status`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: u32,
    /// Forwarding.
    pub(crate) ready: bool,
    pub(crate) since_seconds: f64,
    pub(crate) config_revision: u64,
    pub(crate) config_file: String,
    pub(crate) last_change: String,
    pub(crate) services: usize,
    pub(crate) servers: usize,
    pub(crate) servers_up: usize,
    pub(crate) flows: u64,
    pub(crate) flows_capacity: u64,
    /// The longest turn of the control thread since start, by the clock and by its CPU time.
    #[serde(default)]
    pub(crate) control_turn_worst_seconds: f64,
    #[serde(default)]
    pub(crate) control_turn_worst_cpu_seconds: f64,
    /// Worst first.
    pub(crate) problems: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// `critical`, `warning` or `note`.
    pub(crate) severity: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) fix: String,
}

impl Problem {
    pub(crate) fn new(severity: &str, subject: String, text: String, fix: &str) -> Self {
        Self {
            severity: severity.into(),
            subject,
            text,
            fix: fix.into(),
        }
    }
}

/// An RFC 9457 problem document.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) title: String,
    pub(crate) status: u16,
    pub(crate) detail: String,
}
