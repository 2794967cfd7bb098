//! Configuration, reconcile, ARP/ND, health, TAP and netlink.
#![forbid(unsafe_code)]

pub mod config;
