//! What to do with a frame: no clock, no I/O, no DPDK.
#![forbid(unsafe_code)]
