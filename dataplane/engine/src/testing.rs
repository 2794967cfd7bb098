//! An [`Io`] on plain vectors, for tests, fuzzing and benches; behind the feature `testing`.
//!
//! Frames may be cut into segments at will, head- and tailroom are as small as one likes, and the
//! worker's part of the counting is done, so that conservation can be checked after every burst.

pub mod fixed;
pub mod world;

use std::collections::VecDeque;

use crate::counters::WorkerCounters;
use crate::id::PortId;
use crate::io::Io;
use crate::verdict::Verdict;

/// Headroom of frames that are made without saying how much, as of DPDK's mbufs.
pub const HEADROOM: usize = 128;

/// A frame of one or more segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestFrame {
    /// Octets of the first segment.
    head: Vec<u8>,
    /// The other segments.
    tail: VecDeque<Vec<u8>>,
    /// Octets that may still be prepended.
    headroom: usize,
    /// Octets that may still be appended.
    tailroom: usize,
    note: u64,
}

impl TestFrame {
    /// A frame in one segment.
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            head: bytes.to_vec(),
            tail: VecDeque::new(),
            headroom: HEADROOM,
            tailroom: 2048,
            note: 0,
        }
    }

    /// The same frame with this much headroom.
    #[must_use]
    pub fn with_headroom(mut self, octets: usize) -> Self {
        self.headroom = octets;
        self
    }

    /// The same frame in two segments, the first with `at` octets.
    #[must_use]
    pub fn split_at(mut self, at: usize) -> Self {
        let rest = self.head.split_off(at.min(self.head.len()));
        self.tail.push_front(rest);
        self
    }

    /// All segments' octets.
    pub fn bytes(&self) -> Vec<u8> {
        let tail = self.tail.iter().flatten();
        self.head.iter().chain(tail).copied().collect()
    }
}

/// What the engine sent by itself, and how much it may.
#[derive(Debug, Default)]
pub struct TestIo {
    /// Frames that the engine made, and where it sent them.
    pub originated: Vec<(PortId, TestFrame)>,
    /// Frames that can still be allocated, if that is bounded.
    pub pool: Option<usize>,
}

impl TestIo {
    /// Does a worker's part of the counting for one frame that came from a device, ran and got
    /// `verdict`.
    pub fn count(counters: &WorkerCounters, came_len: usize, frame: &TestFrame, verdict: Verdict) {
        counters.received.count(came_len);
        match verdict {
            Verdict::Forward(_) => counters.sent.count(<Self as Io>::len(frame)),
            Verdict::HandOver(_) => counters.handed_out.add(1),
            Verdict::Hold(_) => counters.held.add(1),
            Verdict::Punt(class) => counters.punted[class.index()].add(1),
            Verdict::Drop(_) => {}
        }
    }
}

impl Io for TestIo {
    type Frame = TestFrame;

    fn head(frame: &TestFrame) -> &[u8] {
        &frame.head
    }

    fn head_mut(frame: &mut TestFrame) -> &mut [u8] {
        &mut frame.head
    }

    fn len(frame: &TestFrame) -> usize {
        frame.head.len() + frame.tail.iter().map(Vec::len).sum::<usize>()
    }

    fn prepend(frame: &mut TestFrame, octets: usize) -> bool {
        if octets > frame.headroom {
            return false;
        }
        frame.headroom -= octets;
        frame.head.splice(0..0, std::iter::repeat_n(0xa5, octets));
        true
    }

    fn append(frame: &mut TestFrame, octets: usize) -> bool {
        if octets > frame.tailroom {
            return false;
        }
        frame.tailroom -= octets;
        let last = frame.tail.back_mut().unwrap_or(&mut frame.head);
        last.extend(std::iter::repeat_n(0xa5, octets));
        true
    }

    fn trim_front(frame: &mut TestFrame, octets: usize) {
        assert!(octets <= frame.head.len(), "trimmed past the first segment");
        frame.head.drain(..octets);
        frame.headroom += octets;
    }

    fn truncate(frame: &mut TestFrame, len: usize) {
        assert!(len <= Self::len(frame), "truncate does not grow");
        let mut left = len;
        frame.head.truncate(left);
        left -= frame.head.len();
        for segment in &mut frame.tail {
            segment.truncate(left);
            left -= segment.len();
        }
        frame.tail.retain(|segment| !segment.is_empty());
    }

    fn pull(frame: &mut TestFrame, octets: usize) -> bool {
        if octets > Self::len(frame) {
            return false;
        }
        while frame.head.len() < octets {
            let Some(mut next) = frame.tail.pop_front() else {
                return false;
            };
            let wanted = (octets - frame.head.len()).min(next.len());
            frame.head.extend(next.drain(..wanted));
            if !next.is_empty() {
                frame.tail.push_front(next);
            }
        }
        true
    }

    fn copy_out(frame: &TestFrame, offset: usize, out: &mut [u8]) -> bool {
        let bytes = frame.head.iter().chain(frame.tail.iter().flatten());
        let mut copied = 0;
        for (to, from) in out.iter_mut().zip(bytes.skip(offset)) {
            *to = *from;
            copied += 1;
        }
        copied == out.len()
    }

    fn note(frame: &TestFrame) -> u64 {
        frame.note
    }

    fn set_note(frame: &mut TestFrame, note: u64) {
        frame.note = note;
    }

    fn alloc(&mut self) -> Option<TestFrame> {
        if let Some(left) = &mut self.pool {
            *left = left.checked_sub(1)?;
        }
        Some(TestFrame::new(&[]))
    }

    fn originate(&mut self, port: PortId, frame: TestFrame) {
        self.originated.push((port, frame));
    }
}
