//! `lc` and `wlc`: the server with the fewest connections, IPVS's way of counting.
//!
//! Of servers with equally many, the first one met is taken, as in IPVS. A server that just came
//! back has none and gets everything for a while; slow start is the remedy, not this file.

use super::{Candidate, Load, Loads, Pool};

/// What connections cost: an active one as much as 256 inactive ones.
const fn overhead(load: Load) -> u64 {
    load.active as u64 * 256 + load.inactive as u64
}

/// `lc`: the least overhead.
pub(super) fn least<'a>(pool: &Pool<'a>, loads: &impl Loads) -> Option<&'a Candidate> {
    pool.candidates
        .iter()
        .filter(|candidate| candidate.is_eligible())
        // Of equals, `min_by_key` gives the first.
        .min_by_key(|candidate| overhead(loads.load(candidate.server)))
}

/// `wlc`: the least overhead divided by weight, compared without dividing.
pub(super) fn least_weighted<'a>(pool: &Pool<'a>, loads: &impl Loads) -> Option<&'a Candidate> {
    let mut least: Option<(&Candidate, u64)> = None;
    for candidate in pool
        .candidates
        .iter()
        .filter(|candidate| candidate.is_eligible())
    {
        let cost = overhead(loads.load(candidate.server));
        // Overheads have 41 bits. Weights have 16 where they come from the configuration; wider
        // ones must not wrap.
        let better = least.is_none_or(|(best, best_cost)| {
            u128::from(best_cost) * u128::from(candidate.weight)
                > u128::from(cost) * u128::from(best.weight)
        });
        if better {
            least = Some((candidate, cost));
        }
    }
    least.map(|(candidate, _)| candidate)
}
