//! `weir show health`: all checked servers, or one with its last results.

use super::span;
use crate::table::Align::{Left, Right};
use crate::table::Table;
use crate::views::{Health, HealthList, HealthResult};

/// All checked servers, one line each.
pub(crate) fn list(view: &HealthList) -> String {
    let mut table = Table::new(&[
        ("SERVICE/SERVER", Left),
        ("CHECK", Left),
        ("STATE", Left),
        ("SINCE", Right),
        ("PASS", Right),
        ("FAIL", Right),
        ("LAST RESULT", Left),
    ]);
    for health in &view.health {
        let last = health.results.first().map_or_else(
            || "none yet".to_owned(),
            |result| format!("{} ({})", result.detail, ms(result.duration_seconds)),
        );
        table.row([
            format!("{}/{}", health.service, health.server),
            health.check.clone(),
            state(health),
            span(health.since_seconds),
            health.pass.to_string(),
            health.fail.to_string(),
            last,
        ]);
    }
    table.to_string()
}

/// One checked server: what is asked, what follows, and the last results with their parts.
pub(crate) fn one(health: &Health) -> String {
    let mut text = format!(
        "{}/{}  {}  since {}\n",
        health.service,
        health.server,
        state(health),
        span(health.since_seconds)
    );
    let way = match &health.path {
        Some(vip) => format!("{vip}, the clients' way to {}", health.target),
        None => health.target.clone(),
    };
    text.push_str(&format!("check {} asks {way}\n", health.check));
    if let Some(expiry) = &health.certificate_expiry {
        text.push_str(&format!("certificate expires {expiry}\n"));
    }
    text.push_str(&format!(
        "{} passed, {} failed\n\n",
        health.pass, health.fail
    ));
    let mut table = Table::new(&[
        ("AGO", Right),
        ("", Left),
        ("TOTAL", Right),
        ("CONNECT", Right),
        ("TLS", Right),
        ("SEND", Right),
        ("FIRST BYTE", Right),
        ("RESULT", Left),
    ]);
    for result in &health.results {
        table.row(row(result));
    }
    text.push_str(&table.to_string());
    text
}

fn row(result: &HealthResult) -> [String; 8] {
    let phases = &result.phases;
    let part = |seconds: Option<f64>| seconds.map_or_else(|| "-".into(), ms);
    [
        span(result.ago_seconds),
        if result.passed { "pass" } else { "FAIL" }.into(),
        ms(result.duration_seconds),
        part(phases.connect_seconds),
        part(phases.tls_seconds),
        part(phases.send_seconds),
        part(phases.first_byte_seconds),
        result.detail.clone(),
    ]
}

/// Up or down, and why that is not simply what the results say.
fn state(health: &Health) -> String {
    let word = if health.up { "up" } else { "DOWN" };
    let until = health.standing_seconds.map(span).unwrap_or_default();
    match health.standing.as_deref() {
        Some("slow-start") => format!("{word}, slow start: {} %", health.share),
        Some(why) => format!("{word}, {why} for {until}"),
        None => word.into(),
    }
}

fn ms(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}
