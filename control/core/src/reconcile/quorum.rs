//! Quorum: whether enough of a service is usable, and what happens if not.

use std::sync::Arc;

use weir_engine::tables::{Map, Server};

use crate::config::Service;

/// Whether a service has its quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// It has.
    pub met: bool,
    /// Sum of the weights of its usable servers, the sorry server left out.
    pub weight: u32,
}

/// Every service's quorum, by name.
pub type Quorums = Map<Arc<str>, Quorum>;

/// Judges a service by its usable servers (`own`, in configured order, the sorry server last) and
/// by what was before, and lets the sorry server take their place if there is one and the quorum
/// is missed.
pub(super) fn settle(service: &Service, own: &mut [Server], before: Option<Quorum>) -> Quorum {
    let count = service.servers.len();
    let usable = own.iter().take(count).filter(|server| server.usable);
    let weight = usable.map(|server| u32::from(server.weight)).sum();
    let quorum = judge(service, weight, before);
    let (real, sorry) = own.split_at_mut(count);
    for sorry in sorry {
        sorry.usable = !quorum.met;
        for server in real.iter_mut() {
            server.usable &= quorum.met;
        }
    }
    quorum
}

/// Lost below the quorum less the hysteresis, found at the quorum plus the hysteresis, and in
/// between as before. Without anybody it is always lost.
fn judge(service: &Service, weight: u32, before: Option<Quorum>) -> Quorum {
    let bound = match before.map(|before| before.met) {
        Some(true) => service.quorum.saturating_sub(service.hysteresis),
        Some(false) => service.quorum + service.hysteresis,
        None => service.quorum,
    };
    Quorum {
        met: weight > 0 && weight >= bound,
        weight,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;
    use crate::testing::web;

    #[test]
    fn the_quorum_is_lost_and_found_with_hysteresis() {
        let service = Service {
            quorum: 5,
            hysteresis: 2,
            ..web(Mode::Dr, 1)
        };
        let mut quorum = None;
        let mut seen = Vec::new();
        for weight in [5, 4, 3, 2, 5, 6, 7, 3, 0] {
            quorum = Some(judge(&service, weight, quorum));
            seen.push(quorum.is_some_and(|quorum| quorum.met));
        }
        let expected = [true, true, true, false, false, false, true, true, false];
        assert_eq!(seen, expected);
    }

    #[test]
    fn nobody_is_never_a_quorum() {
        let service = Service {
            quorum: 1,
            ..web(Mode::Dr, 0)
        };
        assert!(!judge(&service, 0, None).met);
    }
}
