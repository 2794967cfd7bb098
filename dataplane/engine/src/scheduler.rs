//! Which server a new flow is given.
//!
//! One file per scheduler; [`SchedulerKind::choose`] is the one place where they are told apart,
//! and where another one plugs in. Orders are IPVS's to the connection, checked against a real one.
//! All walk the list of servers in IPVS's order: the last added first, ties to the first met.
//!
//! Choosing changes nothing, so that `weir explain` can show what would be chosen. A [`Choice`]
//! carries the state that follows from it; whoever makes a flow of it commits that. State is per
//! worker and service. It refers to servers, not places, so it outlives any change of the list.

mod connections;
mod round_robin;

use core::fmt;
use core::str::FromStr;

use weir_wire::addr::Address;

use crate::flow::FlowKey;
use crate::id::ServerId;
use crate::maglev::{ClientHash, ClusterKey, MaglevTable};

/// A scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SchedulerKind {
    /// Each in turn.
    RoundRobin,
    /// Each in turn, as often as its weight.
    WeightedRoundRobin,
    /// The fewest connections.
    LeastConnection,
    /// The fewest connections for its weight.
    WeightedLeastConnection,
    /// By the client's hash, alike on all directors.
    Maglev,
}

impl SchedulerKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::LeastConnection,
        Self::WeightedLeastConnection,
        Self::Maglev,
    ];

    /// The name in YAML and, but for `maglev`, in `ipvsadm`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "rr",
            Self::WeightedRoundRobin => "wrr",
            Self::LeastConnection => "lc",
            Self::WeightedLeastConnection => "wlc",
            Self::Maglev => "maglev",
        }
    }

    /// Chooses a server for a new flow; `None`: none is usable. Changes nothing.
    ///
    /// Costs a walk over the candidates at most; `rr` and `maglev` a constant while servers are
    /// usable.
    pub fn choose<A: Address>(
        self,
        state: &SchedulerState,
        pool: &Pool<'_>,
        request: &Request<'_, A>,
        loads: &impl Loads,
    ) -> Option<Choice> {
        match self {
            Self::RoundRobin => round_robin::choose(state, pool),
            Self::WeightedRoundRobin => round_robin::choose_weighted(state, pool),
            Self::LeastConnection => {
                connections::least(pool, loads).map(|c| Choice::keeps(state, c))
            }
            Self::WeightedLeastConnection => {
                connections::least_weighted(pool, loads).map(|c| Choice::keeps(state, c))
            }
            Self::Maglev => {
                let position = pool
                    .maglev
                    .pick(ClientHash::of(request.key, request.cluster))?;
                let server = *pool.maglev_servers.get(position)?;
                Some(Choice {
                    server,
                    next: *state,
                })
            }
        }
    }
}

impl fmt::Display for SchedulerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// There is no scheduler of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownScheduler;

impl FromStr for SchedulerKind {
    type Err = UnknownScheduler;

    fn from_str(name: &str) -> Result<Self, UnknownScheduler> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or(UnknownScheduler)
    }
}

/// A server as schedulers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The server.
    pub server: ServerId,
    /// Its share; 0: no new flows.
    pub weight: u32,
    /// Whether it may be given new flows.
    pub usable: bool,
}

impl Candidate {
    /// Whether new flows may be given to it.
    #[inline]
    const fn is_eligible(&self) -> bool {
        self.usable && self.weight > 0
    }
}

/// A service's servers, as its scheduler sees them.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    /// In the order in which they are walked: last added first.
    pub candidates: &'a [Candidate],
    /// The service's Maglev table.
    pub maglev: &'a MaglevTable,
    /// Servers by position in the Maglev table.
    pub maglev_servers: &'a [ServerId],
    /// Generation of the tables: candidates of one generation are the same.
    pub generation: u64,
}

/// Who asks for a server.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a, A: Address> {
    /// Client and VIP.
    pub key: &'a FlowKey<A>,
    /// For hashes that all directors must agree on.
    pub cluster: &'a ClusterKey,
}

/// Connections of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// ActiveConn: half open and established.
    pub active: u32,
    /// InActConn: closing, closed, and UDP.
    pub inactive: u32,
}

/// Where schedulers read connection counts.
pub trait Loads {
    /// The connections of a server.
    fn load(&self, server: ServerId) -> Load;
}

impl<F: Fn(ServerId) -> Load> Loads for F {
    #[inline]
    fn load(&self, server: ServerId) -> Load {
        self(server)
    }
}

/// What a worker keeps of a service between two choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerState {
    turn: round_robin::Turn,
}

impl SchedulerState {
    /// Notes that a flow was made of a choice.
    #[inline]
    pub const fn commit(&mut self, choice: &Choice) {
        *self = choice.next;
    }
}

/// A server, and what follows from choosing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The server.
    pub server: ServerId,
    next: SchedulerState,
}

impl Choice {
    /// A choice that leaves the state as it is.
    const fn keeps(state: &SchedulerState, candidate: &Candidate) -> Self {
        Self {
            server: candidate.server,
            next: *state,
        }
    }
}

#[cfg(test)]
mod tests;
