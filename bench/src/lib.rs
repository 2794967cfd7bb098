//! Benchmarks of Weir against its baselines.
#![forbid(unsafe_code)]
