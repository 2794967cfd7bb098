//! Health as views, metrics and problems.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_control::health::board::{ServerHealth, Standing};
use weir_control::health::histogram::{BUCKETS_MS, Histogram};
use weir_control::health::machine::{Entry, Finding, Phases};
use weir_engine::time::Time;

use super::date;
use super::families::{Families, Family, Labels};
use super::snapshot::{ControlView, seconds};
use crate::views::{Health, HealthPhases, HealthResult, Problem};

/// A certificate that expires sooner is a problem.
const EXPIRY_WARNING: Duration = Duration::from_hours(14 * 24);

/// All checked servers.
pub(crate) fn all(control: &ControlView) -> Vec<Health> {
    let health = control.status.health.iter();
    health.map(|health| one(control, health)).collect()
}

/// One checked server, with all the results that `health` has.
pub(crate) fn one(control: &ControlView, health: &ServerHealth) -> Health {
    let now = control.status.now;
    let (standing, until) = match health.standing {
        Standing::Plain => (None, None),
        Standing::Dampened(until) => (Some("dampened"), Some(until)),
        Standing::Braked(until) => (Some("braked"), Some(until)),
        Standing::SlowStart => (Some("slow-start"), None),
    };
    Health {
        service: health.service.to_string(),
        server: health.server.to_string(),
        check: health.check.clone(),
        target: health.target.to_string(),
        path: health.vip.map(|vip| vip.to_string()),
        up: health.verdict.up,
        since_seconds: seconds(now, health.since),
        standing: standing.map(Into::into),
        standing_seconds: until.map(|until| until.since(now).as_secs_f64()),
        share: health.verdict.share,
        certificate_expiry: health
            .certificate_expiry
            .map(|expiry| date::rfc3339(time(expiry))),
        pass: health.tally.passes,
        fail: health.tally.failures,
        results: health
            .history
            .iter()
            .rev()
            .map(|entry| result(now, entry))
            .collect(),
    }
}

fn result(now: Time, entry: &Entry) -> HealthResult {
    let outcome = &entry.outcome;
    let secs = |phase: Option<Duration>| phase.map(|phase| phase.as_secs_f64());
    let Phases {
        connect,
        tls,
        send,
        first_byte,
    } = outcome.phases;
    HealthResult {
        ago_seconds: seconds(now, entry.at),
        passed: outcome.finding == Finding::Pass,
        duration_seconds: outcome.duration.as_secs_f64(),
        phases: HealthPhases {
            connect_seconds: secs(connect),
            tls_seconds: secs(tls),
            send_seconds: secs(send),
            first_byte_seconds: secs(first_byte),
        },
        detail: outcome.reason.clone(),
    }
}

/// Seconds since 1970 as a time; before that as its beginning.
fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Adds what of health is wrong.
pub(crate) fn problems(control: &ControlView, list: &mut Vec<Problem>) {
    let now = control.status.now;
    for (check, count, since, until) in &control.status.brakes {
        let text = format!(
            "{count} servers fell silent at once {:.0} s ago and are kept up for {:.0} s more",
            seconds(now, *since),
            until.since(now).as_secs_f64()
        );
        let fix = "look for the fault on the way to them: links, routes, this machine's TAPs";
        let subject = format!("health check {check}");
        list.push(Problem::new("critical", subject, text, fix));
    }
    for (service, quorum) in control.status.quorums.iter() {
        let configured = control.config.services.iter().find(|s| s.name == **service);
        if let Some(configured) = configured.filter(|_| !quorum.met) {
            let sorry = match &configured.sorry_server {
                Some(sorry) => format!("new flows go to the sorry server, {}", sorry.address),
                None => "the servers that are left go on".into(),
            };
            let (weight, wanted) = (quorum.weight, configured.quorum);
            let text = format!("quorum lost: weight {weight} of {wanted}; {sorry}");
            let subject = format!("service {service}");
            list.push(Problem::new(
                "critical",
                subject,
                text,
                "see `weir show health`",
            ));
        }
    }
    let soon = date::now() + EXPIRY_WARNING;
    for health in control.status.health.iter() {
        let expiry = health.certificate_expiry.map(time);
        if let Some(expiry) = expiry.filter(|expiry| *expiry < soon) {
            let subject = format!("server {}/{}", health.service, health.server);
            let text = format!("its certificate expires {}", date::rfc3339(expiry));
            list.push(Problem::new(
                "warning",
                subject,
                text,
                "renew the certificate",
            ));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are floats")]
fn add(family: &mut Family<'_>, labels: Labels<'_>, histogram: &Histogram) {
    let bounds = BUCKETS_MS.iter().map(|bound| *bound as f64 / 1e3);
    let beyond = histogram.buckets()[BUCKETS_MS.len()];
    let buckets = bounds.zip(*histogram.buckets());
    family.add_histogram(labels, buckets, beyond, histogram.sum().as_secs_f64());
}

/// Adds health's metrics; those of servers unless `control` hides them.
pub(crate) fn metrics(families: &mut Families, control: &ControlView) {
    let status = &control.status;
    let help = "How long after they were due probes started.";
    let mut family = families.histogram("weir_health_lateness_seconds", help);
    add(&mut family, &[], &status.lateness);
    let mut family = families.gauge("weir_service_quorum", "1: the service has its quorum.");
    for (service, quorum) in status.quorums.iter() {
        family.add(&[("service", service)], u64::from(quorum.met));
    }
    let help = "Servers that the brake keeps up.";
    let mut family = families.gauge("weir_health_braked_servers", help);
    for check in &control.config.health_checks {
        let braked = status.brakes.iter().find(|brake| brake.0 == check.name);
        let count = braked.map_or(0, |brake| brake.1 as u64);
        family.add(&[("check", &check.name)], count);
    }
    if control.hides_servers() {
        return;
    }
    let mut family = families.counter("weir_health_checks_total", "Probes by result.");
    for health in status.health.iter() {
        for (result, count) in [
            ("pass", health.tally.passes),
            ("fail", health.tally.failures),
        ] {
            let labels = [
                ("service", &*health.service),
                ("server", &*health.server),
                ("result", result),
            ];
            family.add(&labels, count);
        }
    }
    let help = "How long probes took.";
    let mut family = families.histogram("weir_health_check_duration_seconds", help);
    for health in status.health.iter() {
        let labels = [("service", &*health.service), ("server", &*health.server)];
        add(&mut family, &labels, &health.tally.durations);
    }
    let help = "When servers' certificates expire, in seconds since 1970.";
    let mut family = families.gauge("weir_health_certificate_expiry_seconds", help);
    for health in status.health.iter() {
        let expiry = health
            .certificate_expiry
            .and_then(|e| u64::try_from(e).ok());
        if let Some(expiry) = expiry {
            let labels = [("service", &*health.service), ("server", &*health.server)];
            family.add(&labels, expiry);
        }
    }
}
