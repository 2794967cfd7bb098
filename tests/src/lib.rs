//! Builders and helpers for the tests of the whole system.
#![forbid(unsafe_code)]
