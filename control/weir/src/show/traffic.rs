//! What happens to packets: flows, drops, and one packet explained.

use crate::table::Align::{Left, Right};
use crate::table::Table;
use crate::views::{Drops, Explanation, Flows};

pub(crate) fn flows(view: &Flows) -> String {
    let mut table = Table::new(&[
        ("PROTO", Left),
        ("CLIENT", Left),
        ("VIP", Left),
        ("SERVER", Left),
        ("SERVICE/SERVER", Left),
        ("STATE", Left),
        ("EXPIRES", Right),
        ("WORKER", Right),
    ]);
    for flow in &view.flows {
        table.row([
            flow.protocol.clone(),
            flow.client.clone(),
            flow.vip.clone(),
            flow.server_address.clone(),
            format!("{}/{}", flow.service, flow.server),
            flow.state.clone(),
            format!("{}s", flow.expires_seconds),
            flow.worker.to_string(),
        ]);
    }
    let mut text = table.to_string();
    if view.truncated {
        text.push_str(
            "… more match: narrow with --service, --server, --client, or raise --limit\n",
        );
    }
    text
}

pub(crate) fn drops(view: &Drops) -> String {
    if view.drops.is_empty() {
        return "nothing was dropped\n".into();
    }
    let mut table = Table::new(&[("COUNT", Right), ("REASON", Left), ("WHAT IT MEANS", Left)]);
    for drop in &view.drops {
        table.row([
            drop.count.to_string(),
            drop.reason.clone(),
            drop.text.clone(),
        ]);
    }
    table.to_string()
}

pub(crate) fn explanation(view: &Explanation) -> String {
    let mut table = Table::new(&[("STAGE", Left), ("RESULT", Left), ("DETAIL", Left)]);
    for step in &view.steps {
        // A header within a header gets a line of its own, for terminals are not that wide.
        let mut parts = step.result.split(", ");
        let first = parts.next().unwrap_or_default();
        table.row([step.stage.clone(), first.to_owned(), step.detail.clone()]);
        for part in parts {
            table.row([String::new(), part.to_owned(), String::new()]);
        }
    }
    let reason = view
        .reason
        .as_deref()
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    let server = match (&view.service, &view.server) {
        (Some(service), Some(server)) => format!(" to {service}/{server}"),
        _ => String::new(),
    };
    format!("{table}\nverdict: {}{server}{reason}\n", view.verdict)
}
