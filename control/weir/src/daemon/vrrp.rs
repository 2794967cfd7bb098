//! VRRP for people and machines: `weir show vrrp`, its metrics, its part of `weir status`.

use std::time::Duration;

use weir_control::config::VrrpChecksum;
use weir_control::vrrp::machine::State;
use weir_control::vrrp::packet::Reject;
use weir_control::vrrp::{InstanceStatus, PeerStatus};

use super::families::Families;
use super::snapshot::{ControlView, seconds};
use crate::views::{Problem, VERSION, VrrpInstance, VrrpList, VrrpPeer};

/// A peer that was heard within so many of its intervals is still there.
const INTERVALS_ALIVE: u32 = 4;

/// All instances.
pub(crate) fn list(control: &ControlView) -> VrrpList {
    let one = |instance| view(control, instance);
    VrrpList {
        version: VERSION,
        vrrp: control.status.vrrp.iter().map(one).collect(),
    }
}

fn view(control: &ControlView, instance: &InstanceStatus) -> VrrpInstance {
    VrrpInstance {
        name: instance.name.clone(),
        port: control.port_name(instance.port),
        id: instance.id,
        version: instance.version,
        state: instance.state.name().into(),
        since_seconds: seconds(control.status.now, instance.since),
        why: instance.why.clone(),
        priority: instance.priority,
        priority_configured: instance.priority_configured,
        interval_seconds: instance.interval.as_secs_f64(),
        addresses: instance.addresses.iter().map(ToString::to_string).collect(),
        adverts_sent: instance.sent,
        adverts_received: instance.received,
        transitions: instance.transitions,
        peer: instance.peer.as_ref().map(|peer| peer_view(control, peer)),
    }
}

fn peer_view(control: &ControlView, peer: &PeerStatus) -> VrrpPeer {
    let texts = |list: &[std::net::IpAddr]| list.iter().map(ToString::to_string).collect();
    VrrpPeer {
        address: peer.address.to_string(),
        ago_seconds: seconds(control.status.now, peer.at),
        priority: peer.priority,
        interval_seconds: peer.interval.as_secs_f64(),
        missing: texts(&peer.missing),
        unknown: texts(&peer.unknown),
        checksum: peer.checksum.map(|kind| match kind {
            VrrpChecksum::Rfc5798 => "rfc5798".into(),
            VrrpChecksum::Rfc9568 => "rfc9568".into(),
        }),
    }
}

/// What is wrong with the instances.
pub(crate) fn problems(control: &ControlView, list: &mut Vec<Problem>) {
    let mut add = |severity: &str, name: &str, text: String, fix: &str| {
        list.push(Problem::new(severity, format!("vrrp {name}"), text, fix));
    };
    for instance in &control.status.vrrp {
        let name = &instance.name;
        if matches!(instance.state, State::Fault | State::Init) {
            let text = format!("{}: {}", instance.state.name(), instance.why);
            let fix = "see `weir show ports`, `weir show workers` and the instance's `track`";
            add("critical", name, text, fix);
        }
        let Some(peer) = &instance.peer else { continue };
        let age = seconds(control.status.now, peer.at);
        let alive =
            Duration::try_from_secs_f64(age).is_ok_and(|age| age < peer.interval * INTERVALS_ALIVE);
        if alive && instance.state == State::Active && peer.priority > 0 {
            let text = format!("{} is Active too: a split", peer.address);
            let fix = "do both see each other's adverts? compare `weir show vrrp` on both";
            add("critical", name, text, fix);
        }
        if alive && !(peer.missing.is_empty() && peer.unknown.is_empty()) {
            let text = format!("{} advertises other addresses", peer.address);
            let fix = "make `addresses` the same on both: `weir show vrrp` has the difference";
            add("warning", name, text, fix);
        }
        if alive && peer.interval != instance.interval {
            let text = format!("{} advertises every {:?}", peer.address, peer.interval);
            add("warning", name, text, "make `interval` the same on both");
        }
    }
}

/// Adverts that are refused: two directors that refuse each other's are both Active, and neither
/// hears of the other in any other way. Other identifiers are other people's routers.
pub(crate) fn refusals(control: &ControlView, list: &mut Vec<Problem>) {
    let strange = |reason| reason != Reject::UnknownId;
    let refusals = control.status.vrrp_refusals.iter();
    for refusal in refusals.filter(|refusal| strange(refusal.reason)) {
        let who = refusal
            .source
            .map_or_else(|| "somebody".to_owned(), |ip| ip.to_string());
        let text = format!("adverts of {who} are refused: {}", refusal.reason.text());
        let subject = format!("vrrp on {}", control.port_name(refusal.port));
        let fix = "make `version`, `interval` and `auth` the same on both; if neither hears the \
                   other, both are Active";
        list.push(Problem::new("warning", subject, text, fix));
    }
}

/// `weir_vrrp_*`.
pub(crate) fn metrics(families: &mut Families, control: &ControlView) {
    let all = &control.status.vrrp;
    let mut family = families.gauge("weir_vrrp_state", "0 init, 1 backup, 2 active, 3 fault.");
    for instance in all {
        let state = match instance.state {
            State::Init => 0,
            State::Backup => 1,
            State::Active => 2,
            State::Fault => 3,
        };
        family.add(&[("instance", &instance.name)], state);
    }
    let mut family = families.counter("weir_vrrp_transitions_total", "Changes of state.");
    for instance in all {
        family.add(&[("instance", &instance.name)], instance.transitions);
    }
    let mut family = families.counter("weir_vrrp_adverts_total", "Adverts sent and accepted.");
    for instance in all {
        let counts = [("sent", instance.sent), ("received", instance.received)];
        for (direction, count) in counts {
            let labels = [("instance", &*instance.name), ("direction", direction)];
            family.add(&labels, count);
        }
    }
    let mut family = families.counter(
        "weir_vrrp_checksums_total",
        "Accepted adverts of version 3 over IPv4, by how they were summed up.",
    );
    for instance in all {
        let [rfc5798, rfc9568] = instance.checksums;
        for (kind, count) in [("rfc5798", rfc5798), ("rfc9568", rfc9568)] {
            family.add(&[("instance", &instance.name), ("kind", kind)], count);
        }
    }
    let mut family = families.gauge("weir_vrrp_priority", "Advertised priority.");
    for instance in all {
        family.add(&[("instance", &instance.name)], instance.priority.into());
    }
    let mut family = families.counter("weir_vrrp_errors_total", "Adverts refused, by reason.");
    for reason in Reject::ALL {
        let count = control.status.vrrp_errors[*reason as usize];
        family.add(&[("reason", reason.label())], count);
    }
}
