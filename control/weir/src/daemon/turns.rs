//! How long the control thread's turns take, for `/metrics`.

use weir_control::driver::{TURN_BUCKETS_US, Turns};

use super::families::Families;
use super::snapshot::ControlView;

/// `weir_control_turn_*`.
pub(crate) fn metrics(families: &mut Families, control: &ControlView) {
    let times = &control.status.turns;
    histogram(
        families,
        "weir_control_turn_seconds",
        "How long turns of the control thread took, pauses forced on it included.",
        &times.elapsed,
    );
    histogram(
        families,
        "weir_control_turn_cpu_seconds",
        "CPU time that turns of the control thread took.",
        &times.cpu,
    );
    let mut family = families.gauge(
        "weir_control_turn_worst_seconds",
        "The longest turn since start, by the clock and by CPU time.",
    );
    for (clock, turns) in [("elapsed", &times.elapsed), ("cpu", &times.cpu)] {
        family.add_f64(&[("clock", clock)], turns.worst.as_secs_f64());
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are floats")]
fn histogram(families: &mut Families, name: &str, help: &str, turns: &Turns) {
    let bounds = TURN_BUCKETS_US.iter().map(|micros| *micros as f64 / 1e6);
    let beyond = turns.buckets[TURN_BUCKETS_US.len()];
    families.histogram(name, help).add_histogram(
        &[],
        bounds.zip(turns.buckets),
        beyond,
        turns.total.as_secs_f64(),
    );
}
