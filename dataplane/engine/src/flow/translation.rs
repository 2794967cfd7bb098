//! What NAT makes of a flow's packets, computed once for all of them.

use weir_wire::addr::{Address, L4Port};
use weir_wire::checksum::{Delta, ShortDelta};

use super::Direction;

/// A far end: address and L4 port.
pub(crate) type End<A> = (A, L4Port);

/// What the rewriting of one far end to another changes in checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deltas {
    /// The address alone: in the IPv4 header.
    pub(crate) address: ShortDelta,
    /// Address and port: in TCP and UDP.
    pub(crate) end: ShortDelta,
}

impl Deltas {
    /// No change.
    pub(super) const NONE: Self = Self {
        address: Delta::new().short(),
        end: Delta::new().short(),
    };

    /// From `from` to `to`: out of the way of flows that are not translated.
    #[inline(never)]
    pub(crate) fn new<A: Address>(from: End<A>, to: End<A>) -> Self {
        let address = Delta::new().replace_addr(from.0, to.0);
        let end = address.replace_u16(from.1.0, to.1.0);
        Self {
            address: address.short(),
            end: end.short(),
        }
    }

    /// The way back.
    #[inline(always)]
    const fn reversed(self) -> Self {
        Self {
            address: self.address.reversed(),
            end: self.end.reversed(),
        }
    }

    /// In this direction, of those that go forward.
    #[inline(always)]
    pub(super) const fn towards(self, direction: Direction) -> Self {
        match direction {
            Direction::Forward => self,
            Direction::Reverse => self.reversed(),
        }
    }
}

/// What becomes of a packet's far end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Translation<A> {
    /// The new one.
    pub(crate) to: End<A>,
    /// What that changes.
    pub(crate) deltas: Deltas,
}

impl<A: Address> Translation<A> {
    /// Of a packet without a flow.
    #[inline(always)]
    pub(crate) fn new(from: End<A>, to: End<A>) -> Self {
        let deltas = Deltas::new(from, to);
        Self { to, deltas }
    }

    /// Where nothing is translated, or the rewriting computes its own.
    #[inline(always)]
    pub(crate) const fn without_deltas(to: End<A>) -> Self {
        let deltas = Deltas::NONE;
        Self { to, deltas }
    }
}
