//! `rr` and `wrr`: each in turn.
//!
//! IPVS keeps a pointer into its list. Here the list is replaced under the state now and then, so
//! the state names the server whose turn was last, and where it stood. `rr` goes on after that
//! server, or where it stood if it is gone. `wrr` begins anew at the head when the list has
//! changed, and keeps its level, both as IPVS does.
//!
//! `wrr` walks levels from the highest weight down, in steps of the greatest common divisor; on
//! each level those take a turn whose weight reaches it: weights 3 and 1 give A, A, A B, not A A A
//! B. The first level is the lowest, because IPVS's is: it is set when the first server is added,
//! alone.

use core::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::{Candidate, Choice, Pool, SchedulerState};
use crate::id::ServerId;

/// Whose turn was last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    /// The server that was chosen last, and its place; `None`: begin at the head.
    last: Option<(ServerId, u32)>,
    /// `wrr`: the level; 0: none yet.
    level: u32,
    /// `wrr`: what is known of the candidates of this generation.
    weights: Weights,
    generation: u64,
}

/// What `wrr` has to know of all candidates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weights {
    /// The greatest common divisor; 0: there is no eligible candidate.
    step: u32,
    /// The highest level at which there is a turn to take, and in step with all others.
    top: u32,
    /// Tells lists apart.
    digest: u64,
}

/// `rr`: the next eligible candidate.
pub(super) fn choose(state: &SchedulerState, pool: &Pool<'_>) -> Option<Choice> {
    let turn = state.turn;
    let start = after(turn.last, pool.candidates);
    let (from_start, to_start) = (&pool.candidates[start..], &pool.candidates[..start]);
    let (place, candidate) = (start..)
        .zip(from_start)
        .chain((0..).zip(to_start))
        .find(|(_, candidate)| candidate.is_eligible())?;
    Some(took(
        Turn {
            generation: pool.generation,
            ..turn
        },
        place,
        candidate,
    ))
}

/// `wrr`: the next eligible candidate whose weight reaches the level.
pub(super) fn choose_weighted(state: &SchedulerState, pool: &Pool<'_>) -> Option<Choice> {
    let mut turn = up_to_date(state.turn, pool);
    if turn.weights.step == 0 {
        return None;
    }
    let start = after(turn.last, pool.candidates);
    if let Some((place, candidate)) = find(pool.candidates, start, turn.level) {
        return Some(took(turn, place, candidate));
    }
    // The level is done. Somebody's weight reaches the top, and thus any level.
    turn.level = match turn.level.checked_sub(turn.weights.step) {
        Some(level) if level > 0 => level,
        Some(_) | None => turn.weights.top,
    };
    let (place, candidate) = find(pool.candidates, 0, turn.level)?;
    Some(took(turn, place, candidate))
}

/// The first candidate from `start` on whose weight reaches `level`.
fn find(candidates: &[Candidate], start: usize, level: u32) -> Option<(usize, &Candidate)> {
    (start..)
        .zip(&candidates[start..])
        .find(|(_, candidate)| candidate.is_eligible() && candidate.weight >= level)
}

fn took(mut turn: Turn, place: usize, candidate: &Candidate) -> Choice {
    turn.last = Some((candidate.server, u32::try_from(place).unwrap_or(u32::MAX)));
    Choice {
        server: candidate.server,
        next: SchedulerState { turn },
    }
}

/// The place after the last one; at most the length of the list.
fn after(last: Option<(ServerId, u32)>, candidates: &[Candidate]) -> usize {
    let Some((server, place)) = last else {
        return 0;
    };
    let place = place as usize;
    if candidates
        .get(place)
        .is_some_and(|candidate| candidate.server == server)
    {
        return place + 1;
    }
    match candidates
        .iter()
        .position(|candidate| candidate.server == server)
    {
        Some(place) => place + 1,
        // It is gone, and the one after it has moved to its place.
        None => place.min(candidates.len()),
    }
}

/// The turn, adapted to the candidates of this generation.
fn up_to_date(turn: Turn, pool: &Pool<'_>) -> Turn {
    if turn.generation == pool.generation && turn.level > 0 {
        return turn;
    }
    let weights = survey(pool.candidates);
    let Weights { step, top, .. } = weights;
    if turn.level > 0 && turn.weights.digest == weights.digest {
        return Turn {
            generation: pool.generation,
            ..turn
        };
    }
    let level = match turn.level {
        0 => LOWEST.min(top),
        level if level > top => top,
        // Back into step: all levels are 1 more than a multiple of it.
        level if step > 1 => (level / step * step + 1).min(top),
        level => level,
    };
    Turn {
        last: None,
        level,
        weights,
        generation: pool.generation,
    }
}

/// The lowest level of `wrr`, whatever the weights.
const LOWEST: u32 = 1;

fn survey(candidates: &[Candidate]) -> Weights {
    let (mut step, mut highest) = (0, 0);
    // Not against anybody, so the key is nothing: it tells a list from the one before.
    let mut digest = SipHasher13::new();
    for candidate in candidates
        .iter()
        .filter(|candidate| candidate.is_eligible())
    {
        step = gcd(candidate.weight, step);
        highest = highest.max(candidate.weight);
        digest.write_u32(candidate.server.index);
        digest.write_u32(candidate.server.generation);
        digest.write_u32(candidate.weight);
    }
    let top = if step == 0 { 0 } else { highest - (step - 1) };
    Weights {
        step,
        top,
        digest: digest.finish(),
    }
}

const fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
