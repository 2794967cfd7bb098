//! What would happen to a packet now, and why: the walk of `weir explain`.
//!
//! The walk runs the packet path's own code, `classify` and then `decide`, which only read; so what
//! it says is what the next such packet gets. It is the first packet of its kind that is imagined:
//! a SYN without data, or an empty datagram. Nothing is changed or counted. May allocate: it is not
//! on the packet path.

use core::fmt::Write;
use core::net::IpAddr;

use weir_wire::addr::{L4Port, Protocol};
use weir_wire::parse::{Fragment, Parsed};
use weir_wire::tcp::TcpFlags;

use crate::answer::Answer;
use crate::classify::{self, Class, Subject};
use crate::decide::{self, Change, Plan, Rewrite, Serve, Then, View};
use crate::engine::{Engine, State};
use crate::family::Ip;
use crate::flow::Direction;
use crate::id::PortId;
use crate::tables::{Hop, Port, Role, Server, Tables, Vip};
use crate::time::Time;
use crate::verdict::{DropReason, Verdict};

/// The packet that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Whose packet it is.
    pub source: (IpAddr, L4Port),
    /// Where it goes.
    pub destination: (IpAddr, L4Port),
    /// The port that it comes in by; `None`: the one that leads to its source.
    pub port: Option<PortId>,
}

/// One stage of the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which stage.
    pub stage: &'static str,
    /// What it came to, in a word or two.
    pub result: String,
    /// What that rests on.
    pub detail: String,
}

/// The walk and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The stages in order.
    pub steps: Vec<Step>,
    /// `forward`, `hand_over`, `hold`, `punt` or `drop`.
    pub verdict: &'static str,
    /// Why: the label of the drop reason or the punt class.
    pub reason: Option<&'static str>,
    /// The service.
    pub service: Option<Box<str>>,
    /// The server.
    pub server: Option<Box<str>>,
}

impl Engine {
    /// Walks a packet through the tables as they are, at this worker. On a worker that does not own
    /// the flow, the walk ends in `hand_over`: ask [`owner`] first.
    pub fn explain(&self, tables: &Tables, now: Time, query: &Query) -> Explanation {
        let mut walk = Walk::new(&self.state, tables, now);
        match (query.source.0, query.destination.0) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => walk.run(query, src, dst, 40),
            (IpAddr::V6(src), IpAddr::V6(dst)) => walk.run(query, src, dst, 60),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                walk.step(
                    "addresses",
                    "refused",
                    "one is IPv4 and the other IPv6".into(),
                );
                walk.drop(DropReason::Malformed);
            }
        }
        walk.explanation
    }
}

/// The worker that would handle a packet: the one to ask for an explanation.
pub fn owner(tables: &Tables, query: &Query) -> crate::id::WorkerId {
    let (source, destination) = (query.source, query.destination);
    let is_vip = match destination.0 {
        IpAddr::V4(address) => tables.v4.vips.contains_key(&address),
        IpAddr::V6(address) => tables.v6.vips.contains_key(&address),
    };
    let (client, port) = if is_vip { source } else { destination };
    match client {
        IpAddr::V4(client) => tables.steering.owner(client, port),
        IpAddr::V6(client) => tables.steering.owner(client, port),
    }
}

struct Walk<'a> {
    view: View<'a>,
    explanation: Explanation,
}

impl<'a> Walk<'a> {
    fn new(state: &'a State, tables: &'a Tables, now: Time) -> Self {
        let explanation = Explanation {
            steps: Vec::new(),
            verdict: "drop",
            reason: None,
            service: None,
            server: None,
        };
        Self {
            view: View { tables, state, now },
            explanation,
        }
    }

    fn step(&mut self, stage: &'static str, result: &str, detail: String) {
        self.explanation.steps.push(Step {
            stage,
            result: result.into(),
            detail,
        });
    }

    fn drop(&mut self, reason: DropReason) {
        self.explanation.verdict = "drop";
        self.explanation.reason = Some(reason.label());
        self.step("verdict", "drop", reason.text().into());
    }

    fn verdict(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Drop(reason) => self.drop(reason),
            Verdict::Punt(class) => {
                self.explanation.verdict = "punt";
                self.explanation.reason = Some(class.label());
                self.step("verdict", "punt", class.text().into());
            }
            Verdict::Hold(wait) => {
                self.explanation.verdict = "hold";
                self.explanation.reason = Some(wait.reason().label());
                self.step(
                    "verdict",
                    "hold",
                    "kept until the neighbour answers, or in vain".into(),
                );
            }
            Verdict::HandOver(worker) => {
                self.explanation.verdict = "hand_over";
                self.step(
                    "verdict",
                    "hand over",
                    format!("worker {} owns the flow", worker.0),
                );
            }
            Verdict::Forward(port) => {
                self.explanation.verdict = "forward";
                let name = self.port_name(port);
                self.step("verdict", "forward", format!("leaves by {name}"));
            }
        }
    }

    fn port_name(&self, port: PortId) -> String {
        let name = |port: &Port| port.name.clone().into_string();
        self.view
            .tables
            .port(port)
            .map_or_else(|| format!("port {}", port.0), name)
    }

    /// Walks a packet of `len` octets.
    fn run<A: Ip>(&mut self, query: &Query, src: A, dst: A, len: u16) {
        let tables = self.view.tables;
        let Some(port) = self.ingress(query, src) else {
            self.step("port", "none", format!("no port leads to {src}"));
            return self.drop(DropReason::NoRoute);
        };
        self.step(
            "port",
            &port.name,
            format!("MTU {}, MAC {}", port.mtu, port.mac),
        );
        let tcp = query.protocol == Protocol::TCP;
        let packet = Parsed {
            src,
            dst,
            sport: query.source.1,
            dport: query.destination.1,
            l3: 14,
            l4: 14 + if A::LEN == 4 { 20 } else { 40 },
            end: 14 + if tcp { len } else { len - 12 },
            fragment_header: 0,
            fragment: Fragment::Whole,
            protocol: query.protocol,
            ttl: 64,
            tos: 0,
            tcp_flags: if tcp { TcpFlags::SYN } else { TcpFlags::NONE },
            dont_fragment: true,
            udp_checksum_zero: false,
        };
        let now = self.view.now;
        let vip = A::family(tables).vips.get(&dst).map(|vip| Vip {
            role: vip.role.at(&tables.leases, now),
            ..*vip
        });
        match vip {
            Some(vip) => {
                let (role, text) = match vip.role {
                    Role::Active => ("active", "is served by this director"),
                    Role::Backup | Role::Leased(_) => ("backup", "is served by another director"),
                };
                self.step("vip", &dst.to_string(), text.into());
                self.step("role", role, format!("for {dst}"));
            }
            None => self.step("vip", "none", format!("{dst} is no VIP of this director")),
        }
        match classify::ip((tables, now), &packet, port.mac, vip, port, &[]) {
            Class::Verdict(verdict) => self.verdict(verdict),
            Class::Answer(reason, answer) => self.answer(reason, answer),
            Class::Fragment(piece) => self.verdict(piece.otherwise),
            Class::Flow(subject) => self.flow(&packet, &subject),
        }
    }

    fn ingress<A: Ip>(&self, query: &Query, src: A) -> Option<&'a Port> {
        let id = query
            .port
            .or_else(|| match A::family(self.view.tables).hop(src) {
                Hop::Ready(hop) => Some(hop.port),
                Hop::Unresolved { port, .. } => Some(port),
                Hop::NoRoute => None,
            })?;
        self.view.tables.port(id)
    }

    fn flow<A: Ip>(&mut self, packet: &Parsed<A>, subject: &Subject<A>) {
        let view = self.view;
        let key = &subject.key;
        if let Some(service) =
            A::family(view.tables).service(key.remote, key.protocol, key.remote_port)
            && subject.direction == Direction::Forward
            && let Some(service) = view.tables.service(service)
        {
            self.explanation.service = Some(service.name.clone());
            let detail = format!("{} {}:{}", key.protocol, key.remote, key.remote_port);
            self.step("service", &service.name, detail);
            let usable = service
                .walk
                .iter()
                .filter(|candidate| candidate.usable)
                .count();
            let detail = format!("{usable} of {} servers take new flows", service.walk.len());
            self.step(
                "health",
                if usable > 0 { "usable" } else { "none usable" },
                detail,
            );
        } else if subject.direction == Direction::Forward {
            let detail = format!("nothing listens on {}:{}", key.remote, key.remote_port);
            self.step("service", "none", detail);
        }
        let owner = view.tables.steering.owner(key.client, key.client_port);
        self.step(
            "worker",
            &owner.0.to_string(),
            "by the client's address and port".into(),
        );
        if owner != view.state.worker {
            return self.verdict(Verdict::HandOver(owner));
        }
        let flows = A::flows(view.state);
        let found = flows.lookup(key, flows.hash(key), view.now);
        match found {
            Some(found) => {
                let entry = flows.entry(found.index);
                let left = entry.expires_in(view.now.tick()).as_duration().as_secs();
                let detail = format!("{}, {left} s until it ends", entry.state().name());
                self.step("flow", "hit", detail);
            }
            None => self.step("flow", "miss", "the packet would have to start one".into()),
        }
        let plan = decide::plan(view, subject, packet, found);
        self.plan(packet, plan);
    }

    fn plan<A: Ip>(&mut self, packet: &Parsed<A>, plan: Plan<A>) {
        match plan {
            Plan::Drop(reason, None) => self.drop(reason),
            Plan::Drop(reason, Some(answer)) => self.answer(reason, answer),
            Plan::Punt(class) => self.verdict(Verdict::Punt(class)),
            Plan::Hold(port, neighbour) => {
                let name = self.port_name(port);
                self.step("route", &name, format!("via {neighbour}"));
                self.step(
                    "neighbour",
                    "unresolved",
                    format!("{neighbour} has not answered"),
                );
                self.verdict(Verdict::Hold(crate::verdict::Wait::Neighbour));
            }
            Plan::Serve(serve) => self.serve(packet, &serve),
        }
    }

    fn serve<A: Ip>(&mut self, packet: &Parsed<A>, serve: &Serve<A>) {
        let tables = self.view.tables;
        if let Some(service) = tables.service(serve.service) {
            self.explanation.service = Some(service.name.clone());
            match serve.change {
                Change::Start { .. } => {
                    let result = service.scheduler.name();
                    let detail = "chooses a server for the new flow";
                    self.step("scheduler", result, detail.into());
                }
                Change::Defer => self.step("scheduler", "consistent hash", DEFERRED.into()),
                Change::None | Change::Error(_) | Change::Touch(..) => {}
            }
        }
        let server = serve
            .server
            .and_then(|slot| tables.servers.get(slot as usize)?.as_ref());
        if let Some(server) = server {
            self.explanation.server = Some(server.name.clone());
            self.step("server", &server.name, describe(server));
        }
        match &serve.then {
            Then::Answer(reason, answer) => self.answer(*reason, *answer),
            Then::Send(send) => {
                let name = self.port_name(send.to.port);
                self.step("route", &name, "the way there".into());
                self.step("neighbour", &send.to.mac.to_string(), "is resolved".into());
                let (result, header) = rewritten(packet, serve.direction, &send.rewrite);
                self.step("rewrite", result, "TTL less one, and the MACs".into());
                self.step("header", &header, format!("to {}", send.to.mac));
                self.verdict(Verdict::Forward(send.to.port));
            }
        }
    }

    fn answer(&mut self, reason: DropReason, answer: Answer) {
        let result = match answer {
            Answer::Echo => "echo reply",
            Answer::Reset => "RST",
            Answer::PortUnreachable => "port unreachable",
            Answer::TimeExceeded => "time exceeded",
            Answer::TooBig { .. } => "too big",
        };
        self.step(
            "answer",
            result,
            "unless the limits on answers forbid it".into(),
        );
        self.drop(reason);
    }
}

/// Why a SYN goes on without a flow.
const DEFERRED: &str = "for the flow table is full, and an eighth of it or more half open (a flood \
    of SYNs?): the flow begins when the client answers the server";

fn describe(server: &Server) -> String {
    let mut text = format!("{} weight {}", server.address, server.weight);
    if !server.usable {
        text.push_str(", takes no new flows");
    }
    text
}

/// What the rewrite is called, and the packet's header after it.
fn rewritten<A: Ip>(
    packet: &Parsed<A>,
    direction: Direction,
    rewrite: &Rewrite<A>,
) -> (&'static str, String) {
    let Parsed {
        src,
        dst,
        sport,
        dport,
        ..
    } = packet;
    let inner = format!("{src} port {sport} > {dst} port {dport}");
    match (rewrite, direction) {
        (Rewrite::Direct, _) => ("dr", inner),
        (Rewrite::Translate(to, port), Direction::Forward) => {
            ("nat", format!("{src} port {sport} > {to} port {port}"))
        }
        (Rewrite::Translate(to, port), Direction::Reverse) => (
            "nat, reverse",
            format!("{to} port {port} > {dst} port {dport}"),
        ),
        (Rewrite::Tunnel(outer), _) => {
            let mut text = outer.to_string();
            // Writing to a String cannot fail.
            let _ = write!(text, ", in it {inner}");
            ("tunnel", text)
        }
    }
}
