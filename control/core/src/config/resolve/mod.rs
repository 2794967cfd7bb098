//! Decoded fields to the typed [`Config`]: names resolved, defaults filled, rules across keys.
//!
//! A part that is wrong is left out or stands at its default, and what depends on it is not
//! judged: each mistake is reported once, at the line that must change.

mod checks;
mod ports;
mod services;
mod vrrp;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use super::diagnostic::{Sink, nearest, quoted};
use super::tables::{MANAGEMENT, RUNTIME};
use super::tree::Span;
use super::types::{Config, CpuId, Hugepages, Idle, Management, MetricsDetail, Runtime, Workers};
use super::value::{Fields, Value};

/// Resolves a whole document; the result counts only if `sink` refuses nothing.
pub(super) fn config(root: &Fields, sink: &mut Sink<'_>) -> Config {
    let ports = ports::read(root, sink);
    let health_checks = checks::read(root, sink);
    let services = services::read(root, &ports, &health_checks, sink);
    Config {
        runtime: runtime(&root.section("runtime", &RUNTIME), sink),
        vrrp: vrrp::read(root, &ports, &services, sink),
        services,
        management: management(&root.section("management", &MANAGEMENT)),
        health_checks: health_checks.into_checks(),
        ports: ports.into_ports(),
    }
}

fn runtime(fields: &Fields, sink: &mut Sink<'_>) -> Runtime {
    let control: CpuId = fields.get("control");
    let workers = match fields.read::<Vec<CpuId>>("workers") {
        None => Workers::AllButFirst,
        Some(cpus) => {
            let mut seen = HashMap::new();
            for item in fields.items("workers") {
                let Value::Int(cpu) = item.value else {
                    continue;
                };
                if seen.insert(cpu, ()).is_some() {
                    sink.error(item.span, format!("workers: CPU {cpu} is listed twice"))
                        .label("one worker for each CPU");
                } else if cpu == u64::from(control.0) {
                    let message = format!("workers: CPU {cpu} is also the control thread's");
                    sink.warning(item.span, message)
                        .help("expect delays of control under load; give it a CPU of its own");
                }
            }
            Workers::Cpus(cpus)
        }
    };
    Runtime {
        workers,
        control,
        flows_per_worker: fields.get("flows_per_worker"),
        mbufs: fields.get("mbufs"),
        mbuf_data: fields.get("mbuf_data"),
        answers_per_second: NonZeroU32::new(fields.get("answers_per_second")),
        answers_per_client: NonZeroU32::new(fields.get("answers_per_client")),
        hugepages: match fields.get("hugepages") {
            "required" => Hugepages::Required,
            "off" => Hugepages::Off,
            _ => Hugepages::Auto,
        },
        idle: match fields.get("idle") {
            "adaptive" => Idle::Adaptive,
            _ => Idle::Poll,
        },
        heartbeat: fields.get("heartbeat"),
    }
}

fn management(fields: &Fields) -> Management {
    Management {
        socket: PathBuf::from(fields.get::<String>("socket")),
        listen: fields.read("listen"),
        state: PathBuf::from(fields.get::<String>("state")),
        metrics_detail: match fields.get("metrics_detail") {
            "service" => MetricsDetail::Service,
            _ => MetricsDetail::Server,
        },
    }
}

/// Refuses a name or address that something of the same kind has already.
#[derive(Default)]
struct Taken {
    by: HashMap<String, (Span, String)>,
}

impl Taken {
    /// Claims `what` for `owner`, or reports who has it; `key` begins the message.
    fn claim(
        &mut self,
        key: &str,
        what: String,
        owner: &str,
        span: Span,
        sink: &mut Sink<'_>,
    ) -> bool {
        if let Some((first, holder)) = self.by.get(&what) {
            let whose = if holder.is_empty() {
                String::new()
            } else {
                format!(" by `{holder}`")
            };
            let message = format!("{key}: {} is given twice", quoted(&what));
            sink.error(span, message)
                .label(format!("first in line {}{whose}", first.line));
            return false;
        }
        self.by.insert(what, (span, owner.to_owned()));
        true
    }
}

/// A command's words; the first must be a program by its whole path.
fn command(fields: &Fields, key: &str, sink: &mut Sink<'_>) -> Vec<String> {
    let argv: Vec<String> = fields.read(key).unwrap_or_default();
    if let Some(program) = argv.first().filter(|program| !program.starts_with('/')) {
        let message = format!("{key}: `{program}` is no absolute path of a program");
        sink.error(fields.span_of(key), message)
            .label("there is no shell and no search path here")
            .help("write arguments as a list: [/usr/bin/true, argument]");
    }
    argv
}

/// Reports that `key` names a `what` that does not exist, with the nearest that does.
fn dangling<'a>(
    key: &str,
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    span: Span,
    sink: &mut Sink<'_>,
) {
    let near = nearest(name, known.clone());
    let names: Vec<_> = known.take(8).collect();
    let found = sink.error(span, format!("{key}: there is no {what} {}", quoted(name)));
    match near {
        Some(near) => found.label(format!("did you mean `{near}`?")),
        None if names.is_empty() => found.label("none is defined"),
        None => found.label(format!("defined: {}", names.join(", "))),
    };
}
