//! The rig: a generator on CPU 0 and the director's real worker on CPU 1, joined by `net_ring`
//! devices; for what replaying a file cannot show: connections that come and go, floods, reloads,
//! pauses, latency.
//!
//! ```text
//! rig ROW [--pairs N] [--window SECONDS] [--flows N]
//! ```
//!
//! Prints one JSON object; `bench/churn.py` makes rows of it. Rows whose frames must have been lost
//! or gone astray say so in their figures, they do not fail here.
#![forbid(unsafe_code)]

mod bench;
mod churn;
mod client;
mod connection;
mod director;
mod fluid;
mod generator;
mod histogram;
mod lane;
mod load;
mod machine;
mod pulse;
mod rings;
mod rows;
mod scale;
mod script;
mod soak;

use std::process::ExitCode;

use rows::Pace;
pub(crate) use weir_bench::contender::Failure;
use weir_bench::contender::exit;

fn run() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let row = words
        .next()
        .ok_or("rig ROW [--pairs N] [--window SECONDS] [--flows N]")?;
    let mut pace = Pace {
        pairs: 5,
        window: 2.0,
        flows: 1 << 20,
    };
    while let Some(flag) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--pairs" => pace.pairs = value.parse()?,
            "--window" => pace.window = value.parse()?,
            "--flows" => pace.flows = value.parse()?,
            _ => return Err(format!("unknown option {flag}").into()),
        }
    }
    let result = match row.as_str() {
        "forward" => rows::forward(pace),
        "setup" => rows::setup(pace),
        "flood" => rows::flood(pace),
        "latency" => rows::latency(pace),
        "reload" => rows::reload(pace),
        "pauses" => churn::pauses(pace),
        "expiry" => churn::expiry(pace),
        "changes" => churn::changes(pace),
        "soak" => soak::soak(pace),
        "machine" => machine::machine(pace),
        "connection" => connection::connection(pace),
        "scale" => scale::scale(pace),
        _ => Err(format!("no row is called {row}").into()),
    };
    println!("{}", result?);
    Ok(())
}

fn main() -> ExitCode {
    exit("rig", run())
}
