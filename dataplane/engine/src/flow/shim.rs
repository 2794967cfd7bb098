//! Portable stand-ins.
#[inline]
pub(super) fn prefetch_index<T>(_slice: &[T], _index: usize) {}
#[inline]
pub(super) fn match_tags(tags: &[u16; 8], tag: u16) -> u8 {
    tags.iter()
        .enumerate()
        .fold(0, |mask, (i, t)| mask | u8::from(*t == tag) << i)
}
