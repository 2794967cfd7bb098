//! What to do with a frame: no clock, no I/O, no DPDK.
//!
//! [`Engine`] is one worker's packet path: [`Engine::run`] takes a burst of frames through an
//! [`Io`](io::Io) and the immutable [`Tables`](tables::Tables), and gives a verdict for each.
//! Start reading at [`pipeline`], then `classify`, `decide` and `rewrite`: a packet passes them in
//! this order.
#![forbid(unsafe_code)]

mod adoption;
mod answer;
mod classify;
mod commit;
pub mod counters;
mod decide;
mod engine;
pub mod explain;
mod family;
pub mod flow;
pub mod fragment;
pub mod id;
pub mod io;
mod lane;
pub mod lease;
pub mod limits;
pub mod maglev;
pub mod note;
mod outcome;
mod own;
pub mod path;
pub mod pipeline;
pub mod police;
mod rewrite;
pub mod routes;
pub mod scheduler;
mod service;
pub mod steering;
pub mod tables;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod verdict;
mod warm;

pub use answer::Answer;
pub use engine::{Engine, EngineConfig, EngineMemory, FlowCursor, FlowView};
pub use outcome::Outcome;
pub use pipeline::{BURST_MAX, Ingress};
