//! Who serves the VIPs: ARP and VRRP.

use super::span;
use crate::table::Align::{Left, Right};
use crate::table::Table;
use crate::views::{ArpList, VrrpInstance, VrrpList};

pub(crate) fn arp(view: &ArpList) -> String {
    let mut table = Table::new(&[
        ("VIP", Left),
        ("ROLE", Left),
        ("PORTS", Left),
        ("CLAIMS BY OTHERS", Right),
    ]);
    for vip in &view.arp {
        table.row([
            vip.vip.clone(),
            vip.role.clone(),
            vip.ports.join(" "),
            vip.conflicts.to_string(),
        ]);
    }
    let mut text = table.to_string();
    for (vip, leak) in view
        .arp
        .iter()
        .flat_map(|vip| vip.leaks.iter().map(move |l| (vip, l)))
    {
        text.push_str(&format!(
            "LEAK: {} on {} answers for {}: {}, {} times, last {} ago\n    fix: {}\n",
            leak.server.as_deref().unwrap_or("a host"),
            format_args!("{} ({})", leak.port, leak.mac),
            vip.vip,
            leak.how,
            leak.count,
            span(leak.last_seconds),
            leak.fix,
        ));
    }
    text
}

pub(crate) fn vrrp(view: &VrrpList) -> String {
    if view.vrrp.is_empty() {
        return "no VRRP instance is configured: every VIP is Active here\n".into();
    }
    let mut table = Table::new(&[
        ("INSTANCE", Left),
        ("STATE", Left),
        ("SINCE", Right),
        ("PORT", Left),
        ("ID", Right),
        ("V", Right),
        ("PRIORITY", Right),
        ("INTERVAL", Right),
        ("ADVERTS sent/received", Right),
        ("LAST HEARD", Left),
    ]);
    for instance in &view.vrrp {
        let heard = instance.peer.as_ref().map_or_else(
            || "nobody".to_owned(),
            |peer| {
                let ago = span(peer.ago_seconds);
                format!("{} priority {} ({ago} ago)", peer.address, peer.priority)
            },
        );
        table.row([
            instance.name.clone(),
            instance.state.clone(),
            span(instance.since_seconds),
            instance.port.clone(),
            instance.id.to_string(),
            instance.version.to_string(),
            instance.priority.to_string(),
            format!("{}s", instance.interval_seconds),
            format!("{}/{}", instance.adverts_sent, instance.adverts_received),
            heard,
        ]);
    }
    let mut text = table.to_string();
    view.vrrp
        .iter()
        .for_each(|instance| vrrp_notes(instance, &mut text));
    text
}

/// Why an instance is what it is, and where its peer differs.
fn vrrp_notes(instance: &VrrpInstance, text: &mut String) {
    let name = &instance.name;
    text.push_str(&format!("{name}: {}: {}\n", instance.state, instance.why));
    text.push_str(&format!(
        "{name}: addresses {}\n",
        instance.addresses.join(" ")
    ));
    let Some(peer) = &instance.peer else { return };
    for (what, list) in [
        ("does not advertise", &peer.missing),
        ("also advertises", &peer.unknown),
    ] {
        if !list.is_empty() {
            text.push_str(&format!(
                "{name}: {} {what} {}\n",
                peer.address,
                list.join(" ")
            ));
        }
    }
    if (peer.interval_seconds - instance.interval_seconds).abs() > 1e-9 {
        let text_of = format!(
            "{name}: {} advertises every {}s\n",
            peer.address, peer.interval_seconds
        );
        text.push_str(&text_of);
    }
}
