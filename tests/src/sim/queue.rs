//! Virtual time: what happens next, by time and then by the order in which it was decided.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use weir_engine::time::Time;

/// An entry, ordered by time and number.
#[derive(Debug)]
struct Entry<E> {
    at: (Time, u64),
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// What is to happen.
#[derive(Debug)]
pub(super) struct Queue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    number: u64,
}

impl<E> Queue<E> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            number: 0,
        }
    }

    pub(super) fn push(&mut self, at: Time, event: E) {
        self.number += 1;
        let at = (at, self.number);
        self.heap.push(Reverse(Entry { at, event }));
    }

    /// The next event up to `end`.
    pub(super) fn pop(&mut self, end: Time) -> Option<(Time, E)> {
        let next = self.heap.peek()?;
        if next.0.at.0 > end {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        Some((entry.at.0, entry.event))
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}
