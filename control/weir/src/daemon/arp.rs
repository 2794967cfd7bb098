//! Who answers for VIPs, and who does without right: `weir show arp` and its part of `weir status`.

use weir_control::suppression::Leak;
use weir_engine::tables::Role;

use super::families::Families;
use super::snapshot::{ControlView, seconds};
use crate::views::{ArpLeak, ArpList, ArpVip, Problem, VERSION};

/// All VIPs.
pub(crate) fn list(control: &ControlView) -> ArpList {
    let mut arp: Vec<ArpVip> = control
        .status
        .vips
        .iter()
        .map(|vip| {
            let leaks = control
                .status
                .leaks
                .iter()
                .filter(|leak| leak.vip == vip.vip);
            ArpVip {
                vip: vip.vip.to_string(),
                role: match vip.role {
                    Role::Active => "active",
                    Role::Backup | Role::Leased(_) => "backup",
                }
                .into(),
                ports: vip
                    .ports
                    .iter()
                    .map(|port| control.port_name(*port))
                    .collect(),
                conflicts: vip.conflicts,
                leaks: leaks.map(|leak| view(control, leak)).collect(),
            }
        })
        .collect();
    arp.sort_by(|a, b| a.vip.cmp(&b.vip));
    ArpList {
        version: VERSION,
        arp,
    }
}

fn view(control: &ControlView, leak: &Leak) -> ArpLeak {
    let now = control.status.now;
    ArpLeak {
        mac: leak.mac.to_string(),
        port: control.port_name(leak.port),
        server: leak.server.clone(),
        how: leak.how.label().into(),
        count: leak.count,
        first_seconds: seconds(now, leak.first),
        last_seconds: seconds(now, leak.last),
        fix: leak.fix().into(),
    }
}

/// Leaks as problems.
pub(crate) fn problems(control: &ControlView, list: &mut Vec<Problem>) {
    for leak in &control.status.leaks {
        let who = match &leak.server {
            Some(server) => format!("server {server} ({})", leak.mac),
            None => format!("a host with MAC {}", leak.mac),
        };
        let (how, count) = (leak.how.label(), leak.count);
        let text = format!("{who} answers for it: {how}, {count} times");
        let subject = format!("VIP {}", leak.vip);
        list.push(Problem::new("critical", subject, text, leak.fix()));
    }
}

/// `weir_arp_leaks`.
pub(crate) fn metrics(families: &mut Families, control: &ControlView) {
    let mut family = families.gauge("weir_arp_leaks", "Hosts that claim a VIP without right.");
    for leak in &control.status.leaks {
        let server = leak.server.as_deref().unwrap_or("unknown");
        let (vip, mac) = (leak.vip.to_string(), leak.mac.to_string());
        let labels = [
            ("vip", &*vip),
            ("server", server),
            ("mac", &*mac),
            ("how", leak.how.label()),
        ];
        family.add(&labels, 1);
    }
}
