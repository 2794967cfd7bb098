//! Directors, switches, servers and clients in one process, under virtual time and one seed.
//!
//! Each director is the real thing: the control thread's own turns
//! ([`weir_control::driver::Control`]) on a configuration that was parsed from YAML, and one
//! worker's engine behind it that forwards by the published tables and leases. What is made up is
//! the world around: clocks, wires, switches with forwarding tables, hosts, and everything that
//! goes wrong. A run plays rounds of trouble, each followed by a calm in which exactly one director
//! must serve; what must hold at any time is judged after every step.
//!
//! Nothing here looks at a real clock or at any other source of chance: the same seed gives the
//! same run, event by event.

mod director;
mod forgery;
mod host;
mod judge;
mod network;
mod plan;
mod queue;
mod random;
mod trouble;
mod wire;
mod world;

use std::time::Duration;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Over every event of the run.
    pub hash: u64,
    /// How many there were.
    pub events: u64,
    /// How much virtual time passed.
    pub time: Duration,
    /// Datagrams of clients that were served in the calms.
    pub served: u64,
    /// Calms at whose end every client had to be served.
    pub checked: u64,
    /// What was played, in one line.
    pub plan: String,
    /// What went wrong, if anything did.
    pub wrong: Option<String>,
}

/// Plays what `seed` says. What is notable goes to `tell`, one line each.
///
/// # Panics
/// If the code under test does.
pub fn run(seed: u64, tell: Option<&mut dyn FnMut(&str)>) -> Outcome {
    world::World::new(seed, tell).play()
}
