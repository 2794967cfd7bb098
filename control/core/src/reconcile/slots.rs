//! Which slot of the tables belongs to which service or server, over all generations.
//!
//! A flow names its server by slot and generation, so a slot never moves while its owner is
//! configured, and its generation grows when somebody else gets it. A slot that was given up
//! keeps its last owner's key until it is re-used: who comes back before that finds old flows
//! alive (D62).

use std::hash::Hash;

use weir_engine::tables::Map;

/// More services or servers than there are slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// One slot.
#[derive(Clone, Debug)]
struct Slot<K> {
    /// Its owner, or its last owner.
    key: K,
    /// Counts owners.
    generation: u32,
    /// When it was given up, in assignments; `None` while it is owned.
    free_since: Option<u64>,
}

/// Slots by owner.
#[derive(Clone, Debug)]
pub(crate) struct Slots<K> {
    slots: Vec<Slot<K>>,
    by_key: Map<K, u32>,
    assignments: u64,
    count_max: usize,
}

impl<K: Clone + Eq + Hash> Slots<K> {
    /// No slot in use, of at most `count_max`.
    pub(crate) fn new(count_max: usize) -> Self {
        Self {
            slots: Vec::new(),
            by_key: Map::default(),
            assignments: 0,
            count_max,
        }
    }

    /// Slots that were ever used: the length of the tables' array.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Owners of slots now.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (&K, u32)> {
        let owned = |(index, slot): (u32, &'_ Slot<K>)| slot.free_since.is_none().then_some(index);
        (0..)
            .zip(&self.slots)
            .filter_map(move |(i, slot)| Some((&slot.key, owned((i, slot))?)))
    }

    /// Gives the slot of `old` to `new`, which is the same thing under another key. Its
    /// generation stays.
    pub(crate) fn rename(&mut self, old: &K, new: K) {
        let Some(index) = self.by_key.remove(old) else {
            return;
        };
        self.slots[index as usize].key = new.clone();
        if let Some(stale) = self.by_key.insert(new.clone(), index) {
            // A free slot remembered `new`; its memory is worth less than a live owner.
            self.forget(stale);
        }
    }

    /// A slot and its generation for each of `keys`, which are distinct, in their order. Slots of
    /// all other keys become free.
    ///
    /// # Errors
    /// [`Full`] if there are more keys than slots; nothing is assigned then.
    pub(crate) fn assign(&mut self, keys: &[K]) -> Result<Vec<(u32, u32)>, Full> {
        if keys.len() > self.count_max {
            return Err(Full);
        }
        self.assignments += 1;
        let known: Vec<Option<u32>> = keys.iter().map(|k| self.by_key.get(k).copied()).collect();
        let mut claimed = vec![false; self.slots.len()];
        for &index in known.iter().flatten() {
            claimed[index as usize] = true;
        }
        for (slot, claimed) in self.slots.iter_mut().zip(&claimed) {
            match (claimed, slot.free_since) {
                (true, _) => slot.free_since = None,
                (false, None) => slot.free_since = Some(self.assignments),
                (false, Some(_)) => {}
            }
        }
        let mut spare = self.spare(keys.len() - known.iter().flatten().count());
        keys.iter()
            .zip(known)
            .map(|(key, index)| match index {
                Some(index) => Ok((index, self.slots[index as usize].generation)),
                None => self.take(key.clone(), spare.next()),
            })
            .collect()
    }

    /// Free slots to re-use, the longest free first, when `wanted` new ones do not fit any more.
    fn spare(&self, wanted: usize) -> std::vec::IntoIter<u32> {
        let room = self.count_max - self.slots.len();
        if wanted <= room {
            return Vec::new().into_iter();
        }
        let mut free: Vec<(u64, u32)> = (0..)
            .zip(&self.slots)
            .filter_map(|(i, s)| Some((s.free_since?, i)))
            .collect();
        free.sort_unstable();
        free.truncate(wanted - room);
        free.into_iter()
            .map(|(_, index)| index)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Gives `spare`, or a slot that nobody ever had, to `key`.
    fn take(&mut self, key: K, spare: Option<u32>) -> Result<(u32, u32), Full> {
        let index = match spare {
            Some(index) => {
                let old = self.slots[index as usize].key.clone();
                if self.by_key.get(&old) == Some(&index) {
                    self.by_key.remove(&old);
                }
                let slot = &mut self.slots[index as usize];
                slot.generation = slot.generation.wrapping_add(1);
                slot.free_since = None;
                slot.key = key.clone();
                index
            }
            None if self.slots.len() < self.count_max => {
                self.slots.push(Slot {
                    key: key.clone(),
                    generation: 0,
                    free_since: None,
                });
                u32::try_from(self.slots.len() - 1).map_err(|_| Full)?
            }
            None => return Err(Full),
        };
        self.by_key.insert(key, index);
        Ok((index, self.slots[index as usize].generation))
    }

    /// Makes a free slot the first to be re-used.
    fn forget(&mut self, index: u32) {
        self.slots[index as usize].free_since = Some(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_one_leaves_every_other_slot_untouched() {
        let mut slots = Slots::new(8);
        let before = slots.assign(&["a", "b", "c"]).unwrap();
        assert_eq!(before, [(0, 0), (1, 0), (2, 0)]);
        assert_eq!(slots.assign(&["c", "a"]).unwrap(), [(2, 0), (0, 0)]);
        assert_eq!(slots.len(), 3);
    }

    #[test]
    fn d62_who_comes_back_in_time_gets_the_old_slot_and_generation() {
        let mut slots = Slots::new(8);
        slots.assign(&["a", "b"]).unwrap();
        slots.assign(&["a"]).unwrap();
        slots.assign(&["a", "x"]).unwrap();
        assert_eq!(
            slots.assign(&["a", "b", "x"]).unwrap(),
            [(0, 0), (1, 0), (2, 0)]
        );
    }

    #[test]
    fn a_slot_that_is_used_again_has_a_new_generation() {
        let mut slots = Slots::new(3);
        slots.assign(&["a", "b", "c"]).unwrap();
        slots.assign(&["b", "c"]).unwrap();
        slots.assign(&["c"]).unwrap();
        // "a" was given up first, so its slot goes first.
        assert_eq!(slots.assign(&["c", "d"]).unwrap(), [(2, 0), (0, 1)]);
        assert_eq!(
            slots.assign(&["c", "d", "a"]).unwrap(),
            [(2, 0), (0, 1), (1, 1)]
        );
        assert_eq!(slots.assign(&["a", "b", "c", "d"]), Err(Full));
        assert_eq!(
            slots.assign(&["a", "c", "d"]).unwrap(),
            [(1, 1), (2, 0), (0, 1)]
        );
    }

    #[test]
    fn a_rename_keeps_slot_and_generation() {
        let mut slots = Slots::new(3);
        slots.assign(&["a", "b", "c"]).unwrap();
        slots.assign(&["a", "c"]).unwrap();
        slots.rename(&"a", "b");
        assert_eq!(slots.assign(&["b", "c"]).unwrap(), [(0, 0), (2, 0)]);
        assert_eq!(
            slots.assign(&["b", "c", "d"]).unwrap(),
            [(0, 0), (2, 0), (1, 1)]
        );
        assert_eq!(slots.owners().count(), 3);
    }
}
