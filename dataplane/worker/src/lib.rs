//! The poll loop: where the engine meets DPDK.
#![forbid(unsafe_code)]
