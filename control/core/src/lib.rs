//! The control side: configuration, reconcile, ARP/ND, health, TAP and netlink.
//!
//! State machines here are functions of their arguments: no socket, clock or task inside. Thin
//! drivers around them own those. Nothing here knows DPDK or a worker: the binary plugs them in
//! at [`driver`].
#![forbid(unsafe_code)]

mod arp;
pub mod config;
pub mod driver;
mod frame;
pub mod guard;
pub mod health;
pub mod mirror;
mod nd;
pub mod overlay;
pub mod paths;
pub mod ports;
pub mod reconcile;
pub mod responder;
pub mod script;
pub mod suppression;
pub mod taps;
#[cfg(test)]
mod testing;
pub mod uplink;
pub mod vrrp;
