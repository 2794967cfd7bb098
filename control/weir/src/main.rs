//! The `weir` binary: daemon and command line in one.
#![forbid(unsafe_code)]

mod cli;
mod client;
mod daemon;
mod generate;
mod show;
mod table;
mod verbs;
mod views;

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    verbs::run(cli::Cli::parse())
}
