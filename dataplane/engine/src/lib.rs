//! What to do with a frame: no clock, no I/O, no DPDK.
#![forbid(unsafe_code)]

pub mod counters;
pub mod flow;
pub mod fragment;
pub mod id;
pub mod io;
pub mod limits;
pub mod maglev;
pub mod scheduler;
pub mod tables;
pub mod time;
pub mod verdict;
