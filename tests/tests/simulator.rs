//! Directors under virtual time: 1,000 seeds, each another mixture of what goes wrong.
//!
//! `WEIR_SIM_SEEDS` plays more or fewer seeds, from `WEIR_SIM_FIRST` on. A seed that fails is
//! played again, with all that happened, by `WEIR_SIM_SEED=… cargo test -p weir-tests --test
//! simulator replay -- --nocapture`.
//!
//! A simulator that finds nothing may be blind. Each of these mistakes, made in the code under test
//! by hand, was found, most of them by dozens of seeds in a thousand:
//!
//! | mistake | what the judge says |
//! |---|---|
//! | an Active never steps back before a higher priority, or before an equal one | two are Active |
//! | a Backup answers ARP, or neighbour solicitations | answers without a lease |
//! | a role that ended keeps answering; a turn carries roles out at its end only | likewise |
//! | an Active that is woken late answers before it advertises | likewise |
//! | no announcement on take-over or after a split; no last word of a loser | another spoke last |
//! | announced with the port's MAC | announced with the wrong MAC |
//! | a Backup renews or keeps its lease; one of 3.5 intervals | a lease unsaid, or too long |
//! | no resignation, or one that is waited out; a skew four times too long | nobody took over |
//! | no preemption, or none after a resignation; inferior adverts count | a worse one is Active |
//! | a reload stops a Backup's clock, or makes instances anew | likewise, or a role changed |
//! | members of a sync group wait for each other in fault | nobody took over |
//! | checksum, TTL, or type of adverts not looked at | the Active changed in the calm |
//! | a server that leaks is not told of | it is not named |
//! | who slept goes on, as Active or as Backup | it says it is Active, though it must listen |
//! | a stalled worker or a lost link is not noticed; a group moves apart | it says it is Active |

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, thread};

use weir_tests::sim::{self, Outcome};

/// Seeds in CI.
const SEEDS: u64 = 1000;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}: not a number")),
    )
}

/// What went wrong with a seed, a panic included.
fn play(seed: u64) -> Result<Outcome, String> {
    let played = catch_unwind(AssertUnwindSafe(|| sim::run(seed, None)));
    let outcome = played.map_err(|_| "it panicked".to_owned())?;
    match outcome.wrong {
        None => Ok(outcome),
        Some(wrong) => Err(format!("{wrong}\n    {}", outcome.plan)),
    }
}

#[test]
fn v60_a_thousand_seeds_end_with_one_active_and_no_word_out_of_turn() {
    let (first, count) = (
        number("WEIR_SIM_FIRST").unwrap_or(0),
        number("WEIR_SIM_SEEDS").unwrap_or(SEEDS),
    );
    let next = AtomicU64::new(first);
    let work = || {
        let (mut failed, mut sums) = (Vec::new(), (0, 0, 0, 0));
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return (failed, sums);
            }
            match play(seed) {
                Ok(outcome) => {
                    sums.0 += outcome.events;
                    sums.1 += outcome.served;
                    sums.2 += outcome.time.as_secs();
                    sums.3 += outcome.checked;
                }
                Err(wrong) => failed.push((seed, wrong)),
            }
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let done: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("it catches"))
            .collect()
    });
    let mut failed: Vec<_> = done.iter().flat_map(|(failed, _)| failed).collect();
    failed.sort();
    for (seed, wrong) in failed.iter().take(10) {
        println!("seed {seed}: {wrong}");
        println!(
            "    replay: WEIR_SIM_SEED={seed} cargo test -p weir-tests --test simulator replay \
             -- --nocapture"
        );
    }
    let sum =
        |of: fn(&(u64, u64, u64, u64)) -> u64| done.iter().map(|(_, sums)| of(sums)).sum::<u64>();
    let (events, served, seconds) = (sum(|s| s.0), sum(|s| s.1), sum(|s| s.2));
    let checked = sum(|s| s.3);
    println!(
        "{count} seeds: {events} events in {seconds} s of virtual time; \
         {checked} calms in which {served} datagrams were served"
    );
    assert!(
        failed.is_empty(),
        "{} of {count} seeds failed",
        failed.len()
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..8 {
        let run = || sim::run(seed, None);
        assert_eq!(run(), run(), "seed {seed}");
    }
}

/// Plays one seed and tells what happens: the way to look into a failure.
#[test]
fn replay() {
    let seed = number("WEIR_SIM_SEED").unwrap_or(0);
    let outcome = sim::run(seed, Some(&mut |line| println!("{line}")));
    println!("{outcome:#?}");
    assert_eq!(outcome.wrong, None, "seed {seed}");
}
