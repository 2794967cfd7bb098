//! The poll loop: where the engine meets DPDK.
//!
//! A [`Worker`] owns NIC queues, one engine and one end of each ring, and runs on one pinned core.
//! It decides nothing about packets (that is `weir-engine`) and knows no configuration: it polls,
//! asks the engine, moves frames where the verdicts say, and counts what it moved.
//!
//! Who counts what, so that every frame is counted once: the engine counts the drops it decides;
//! the worker counts received, handed in and out, originated, sent, punted and held, and drops of
//! its own making (full rings and queues).
#![forbid(unsafe_code)]

mod command;
mod dispatch;
mod egress;
mod hold;
mod idle;
mod io;
mod mesh;
mod poll;
mod punt;
mod stats;

pub use command::{Command, Inspect, Outgoing, Resolve};
pub use idle::Idle;
pub use io::DpdkIo;
pub use mesh::{ControlEnd, ControlLink, DeviceQueues, WorkerParts, build, control_link};
pub use poll::{Worker, WorkerConfig};
pub use punt::Punt;
pub use stats::{BURST_BUCKETS, TURN_BUCKETS, WorkerStats, turn_bound};
