//! What the fuzzers run, as plain functions on octets: `tests/fuzz` calls them with what libFuzzer
//! thinks of, `tests/tests/regress.rs` with the seeds and with everything that was ever found.
//!
//! Each panics when a promise is broken, and returns nothing: there is no wrong answer to compare.

mod config;
mod generate;
mod network;
mod parse;
mod pipeline;
mod source;
mod vrrp;

pub use config::config;
pub use parse::parse;
pub use pipeline::pipeline;
pub use vrrp::vrrp;
