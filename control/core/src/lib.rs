//! The control side: configuration, reconcile, ARP/ND, health, TAP and netlink.
//!
//! State machines here are functions of their arguments: no socket, clock or task inside. Thin
//! drivers around them own those. Nothing here knows DPDK or a worker: the binary plugs them in
//! at [`driver`].
#![forbid(unsafe_code)]

pub mod config;
pub mod health;
pub mod mirror;
pub mod overlay;
pub mod ports;
pub mod reconcile;
