//! The entries of one table page.

use std::ops::Index;

/// Entries in a table page.
pub const ENTRIES: usize = 512;

/// Above this number of entries they are held as the hardware holds them.
const FEW: usize = 16;

/// The 512 entries of a table page. Most tables of a device hold only a few, which cost only what they are; a new
/// table is nothing but zeroes.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// Slots and their entries, by slot; entries of 0 are left out.
    few: Vec<(u16, u64)>,
    all: Option<Box<[u64; ENTRIES]>>,
}

impl Entries {
    /// Writes one entry.
    ///
    /// # Panics
    /// If `slot` is not below [`ENTRIES`].
    #[inline]
    pub(super) fn set(&mut self, slot: usize, raw: u64) {
        assert!(slot < ENTRIES, "a table page has 512 entries");
        if let Some(all) = &mut self.all {
            all[slot] = raw;
            return;
        }
        match (self.find(slot), raw) {
            (Ok(at), 0) => {
                self.few.remove(at);
            }
            (Ok(at), raw) => self.few[at].1 = raw,
            (Err(_), 0) => {}
            (Err(_), raw) if self.few.len() == FEW => {
                let mut all = Box::new([0; ENTRIES]);
                for &(slot, raw) in &self.few {
                    all[usize::from(slot)] = raw;
                }
                all[slot] = raw;
                self.all = Some(all);
                self.few = Vec::new();
            }
            // Below 512.
            (Err(at), raw) => self.few.insert(at, (u16::try_from(slot).unwrap_or(0), raw)),
        }
    }

    /// The entries that are not 0, with their slots, in order.
    pub(super) fn present(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let few = self.few.iter().map(|&(slot, raw)| (usize::from(slot), raw));
        let all =
            self.all.iter().flat_map(|all| all.iter().copied().enumerate()).filter(|(_, raw)| *raw != 0);
        few.chain(all)
    }

    fn find(&self, slot: usize) -> Result<usize, usize> {
        self.few.binary_search_by_key(&slot, |&(slot, _)| usize::from(slot))
    }
}

impl Index<usize> for Entries {
    type Output = u64;

    #[inline]
    fn index(&self, slot: usize) -> &u64 {
        match &self.all {
            Some(all) => &all[slot],
            None => self.find(slot).map_or(&0, |at| &self.few[at].1),
        }
    }
}

/// Equal is what the hardware reads, however it is held.
impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        (0..ENTRIES).all(|slot| self[slot] == other[slot])
    }
}

impl Eq for Entries {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_entries_read_the_same() {
        let mut entries = Entries::default();
        let mut twin = [0; ENTRIES];
        let mut draw = 7_u64;
        for round in 0..3000_u64 {
            draw = draw.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            // First a handful of slots, later all.
            let slot = usize::try_from((draw >> 33) % if round < 1000 { 14 } else { 512 }).unwrap();
            let raw = if draw >> 62 == 0 { 0 } else { draw };
            entries.set(slot, raw);
            twin[slot] = raw;
            assert!((0..ENTRIES).all(|slot| entries[slot] == twin[slot]), "round {round}");
            let present = twin.iter().copied().enumerate().filter(|(_, raw)| *raw != 0);
            assert!(entries.present().eq(present), "round {round}");
            assert_eq!(entries.all.is_none(), round < 1000 || entries.few.len() > 1, "round {round}");
        }
        assert!(entries.all.is_some());
    }
}
