//! Sends bursts of established flows through the engine and does nothing else: for instruction
//! counts (`bench/instructions.py`) and profilers.
//!
//! ```text
//! bursts MODE FLOWS ROUNDS        MODE: none | dr | nat | tunnel
//! ```

use std::hint::black_box;
use std::process::ExitCode;

use weir_bench::keys;
use weir_bench::pipeline::{Bursts, World};
use weir_engine::tables::Mode;

fn run() -> Option<()> {
    let mut words = std::env::args().skip(1);
    let mode = match words.next()?.as_str() {
        "none" => None,
        "dr" => Some(Mode::Dr),
        "nat" => Some(Mode::Nat),
        "tunnel" => Some(Mode::Tunnel),
        _ => return None,
    };
    let flows: u32 = words.next()?.parse().ok()?;
    let rounds: usize = words.next()?.parse().ok()?;
    let mut bursts = Bursts::new(&keys(flows));
    let mut world = mode.map(|mode| World::new(mode, flows as usize));
    if let Some(world) = &mut world {
        world.establish(&mut bursts);
    }
    for _ in 0..rounds * bursts.round_len() {
        match &mut world {
            Some(world) => world.forward(bursts.receive()),
            None => {
                black_box(bursts.receive());
            }
        }
    }
    println!("{}", rounds * bursts.round_len() * weir_bench::BURST);
    Some(())
}

fn main() -> ExitCode {
    if run().is_some() {
        return ExitCode::SUCCESS;
    }
    eprintln!("bursts: wants MODE (none, dr, nat, tunnel), FLOWS and ROUNDS");
    ExitCode::from(2)
}
