//! Bytes to meaning and back: addresses, checksums, header views and the one-pass frame parser.
//!
//! Everything here is a function of its arguments. There is no allocation, clock, I/O or `unsafe`,
//! and nothing that arrives on a wire can panic. Endianness ends here: callers see host values and
//! address types. This crate judges structure (lengths, versions, checksums of headers that it must
//! trust to read on); policy, such as which source address is welcome, is the caller's, who finds
//! the predicates here.
//!
//! Start at [`parse::parse`], which tells the hot path all it needs to know of one frame. ARP,
//! neighbour discovery and MLD are recognised and never decoded: control owns those protocols.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

pub mod addr;
pub mod checksum;
pub mod error;
pub mod ethernet;
pub mod fragment;
pub mod icmp;
pub mod icmpv6;
pub mod ipip;
pub mod ipv4;
pub mod ipv6;
mod octets;
pub mod parse;
pub mod quoted;
pub mod reply;
pub mod tcp;
pub mod udp;
pub mod vlan;
pub mod vrrp;

#[cfg(test)]
mod samples;

pub use error::ParseError;
