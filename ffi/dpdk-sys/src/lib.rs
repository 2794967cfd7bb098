//! Raw bindings to DPDK, made by bindgen from the installed libdpdk. No logic.
//!
//! Works with the LTS releases from 22.11 on. What is safe, and why, is `weir-dpdk`'s business:
//! nothing else may depend on this crate. The functions `weir_*` are `shim.c`'s, and exist
//! because DPDK's packet-path calls are static inlines without symbols.

#![no_std]
#![allow(
    missing_docs,
    missing_debug_implementations,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    clippy::ptr_as_ptr,
    reason = "generated from DPDK's headers, in C's style"
)]

include!(concat!(env!("OUT_DIR"), "/dpdk.rs"));
