//! Checked reading of a frame of which the first part is at hand.

use crate::ParseError;

/// The first segment of a frame, and where the packet of interest ends.
///
/// Tells two shortages apart: past `end` the packet is truncated; past the segment but not past
/// `end`, the caller must gather the frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Octets<'a> {
    head: &'a [u8],
    end: usize,
}

impl<'a> Octets<'a> {
    /// `head` starts at offset 0 of the frame; `end` is the frame's length over all segments.
    pub(crate) const fn new(head: &'a [u8], end: usize) -> Self {
        Self { head, end }
    }

    /// The same octets with an end no later than `end`.
    pub(crate) fn until(self, end: usize) -> Self {
        Self {
            end: self.end.min(end),
            ..self
        }
    }

    /// Offset of the first octet that does not belong.
    pub(crate) const fn end(self) -> usize {
        self.end
    }

    /// `N` octets from offset `at`.
    pub(crate) fn chunk<const N: usize>(self, at: usize) -> Result<&'a [u8; N], ParseError> {
        let bytes = self.slice(at, N)?;
        bytes.first_chunk().ok_or(ParseError::Truncated)
    }

    /// `len` octets from offset `at`.
    pub(crate) fn slice(self, at: usize, len: usize) -> Result<&'a [u8], ParseError> {
        let to = at.checked_add(len).ok_or(ParseError::Truncated)?;
        if to > self.end {
            return Err(ParseError::Truncated);
        }
        self.head.get(at..to).ok_or(ParseError::Split)
    }
}
