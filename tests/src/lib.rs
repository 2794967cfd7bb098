//! Builders and helpers for the tests of the whole system.
//!
//! Frames are built here octet by octet and their checksums summed up plainly, so that the tests
//! do not ask the code under test what is right.
#![forbid(unsafe_code)]

pub mod frames;
pub mod fuzz;
pub mod pcap;
pub mod sim;
