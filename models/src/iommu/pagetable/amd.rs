//! AMD's version 1 tables. Source: `drivers/iommu/amd/io_pgtable.c`, v6.12.

use crate::mem::{DmaAddr, PhysAddr};

use super::entry::{
    AMD_PR, AMD_SIZED_LEAF, Entry, Format, Prot, amd_leaf, amd_leaf_level, amd_leaf_size, amd_next_level,
    amd_repeats, amd_table, level_bytes, slot,
};
use super::outcome::{FreedPage, MapError, Mapped};
use super::table::PageTable;
use super::tables::TableId;

/// Levels that cover all 64 address bits. Source: `amd_iommu_types.h: PAGE_MODE_6_LEVEL`.
const MOST_LEVELS: u32 = 6;

/// An entry, or the first of the entries that repeat it.
#[derive(Clone, Copy, Debug)]
struct Found {
    table: TableId,
    slot: usize,
    /// Bytes that it covers, together with its repetitions.
    size: u64,
}

/// A root, and how many levels the table had under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootSeen {
    root: TableId,
    levels: u32,
}

const fn present(raw: u64) -> bool {
    raw & AMD_PR != 0
}

/// The highest address that a table of `levels` covers. Source: `PM_LEVEL_SIZE()`.
const fn last_address(levels: u32) -> u64 {
    if levels < MOST_LEVELS { level_bytes(levels + 1) - 1 } else { u64::MAX }
}

impl PageTable {
    /// Source: `iommu_v1_map_pages()`.
    #[expect(clippy::too_many_arguments, reason = "the kernel's operation has these arguments")]
    pub(super) fn amd_map_pages(
        &mut self,
        iova: DmaAddr,
        phys: PhysAddr,
        pgsize: u64,
        pgcount: u64,
        prot: Prot,
        source: &mut impl FnMut() -> Option<PhysAddr>,
        done: &mut Mapped,
    ) -> Result<(), MapError> {
        let level = amd_leaf_level(pgsize);
        for page in 0..pgcount {
            let at = iova.0.wrapping_add(page * pgsize);
            let (table, first) = self.amd_alloc_pte(at, pgsize, source, done)?;
            let leaf = amd_leaf(phys.wrapping_add(page * pgsize), pgsize, prot);
            for slot in first..first + amd_repeats(pgsize) {
                self.amd_clear_pte(table, slot, level, done);
                self.tables.set(table, slot, leaf);
            }
            done.bytes += pgsize;
        }
        Ok(())
    }

    /// The table and entry for a leaf of `size` bytes at `iova`, with all tables above it.
    ///
    /// Source: `alloc_pte()`.
    fn amd_alloc_pte(
        &mut self,
        iova: u64,
        size: u64,
        source: &mut impl FnMut() -> Option<PhysAddr>,
        done: &mut Mapped,
    ) -> Result<(TableId, usize), MapError> {
        let leaf_level = amd_leaf_level(size);
        let last = iova.wrapping_add(size - 1);
        while last > last_address(self.levels) || self.levels < leaf_level {
            self.amd_increase_address_space(source, done)?;
        }
        if leaf_level == 1
            && let Some(table) = self.tables.leaf_table(iova)
        {
            return Ok((table, slot(iova, 1)));
        }
        let mut table = self.root.ok_or(MapError::NullRoot)?;
        let mut level = self.levels;
        while level > leaf_level {
            let index = slot(iova, level);
            let raw = self.tables.entry(table, index);
            match Entry::decode(Format::AmdV1, level, raw) {
                Entry::Table { .. } => table = self.tables.child(table, index),
                Entry::Empty | Entry::Leaf { .. } => {
                    let sized = present(raw) && amd_next_level(raw) == AMD_SIZED_LEAF;
                    if sized {
                        self.amd_tear_down_repeated(table, index, raw);
                        done.flushes = true;
                        done.replaced += 1;
                    }
                    let page = source().ok_or(MapError::NoMemory)?;
                    let child = self.tables.add(page, level - 1)?;
                    self.tables.link(table, index, amd_table(level, page), child);
                    table = child;
                    if present(raw) && !sized {
                        done.flushes = true;
                        done.replaced += 1;
                    }
                }
                // The driver gives up on levels that are skipped.
                Entry::Reserved => return Err(MapError::NoMemory),
            }
            level -= 1;
        }
        if level == 1 {
            self.tables.found_leaf_table(iova, table);
        }
        Ok((table, slot(iova, level)))
    }

    /// Puts a new root above the old one. Source: `increase_address_space()`.
    fn amd_increase_address_space(
        &mut self,
        source: &mut impl FnMut() -> Option<PhysAddr>,
        done: &mut Mapped,
    ) -> Result<(), MapError> {
        if self.levels == MOST_LEVELS {
            return Err(MapError::NoMemory);
        }
        let page = source().ok_or(MapError::NoMemory)?;
        let old = self.root.ok_or(MapError::NullRoot)?;
        let old_page = self.tables.page(old);
        let new = self.tables.add(page, self.levels + 1)?;
        self.tables.link(new, 0, amd_table(self.levels + 1, old_page), old);
        self.root = Some(new);
        self.levels += 1;
        done.root_changed = true;
        Ok(())
    }

    /// Whether the table must get more levels before something that ends with `last` can be mapped.
    #[must_use]
    pub const fn is_too_small_for(&self, last: u64) -> bool {
        matches!(self.format(), Format::AmdV1)
            && last > last_address(self.levels)
            && self.levels < MOST_LEVELS
    }

    /// The root as it is now, for somebody who wants to put another above it.
    #[must_use]
    pub fn root_seen(&self) -> Option<RootSeen> {
        self.root.map(|root| RootSeen { root, levels: self.levels })
    }

    /// Puts a root in `page` above the one that was `seen`, and counts one level more than there is now. If the root has
    /// changed since, what was reached through the newer one is lost, and a level is skipped.
    ///
    /// Source: `increase_address_space()`, without its lock.
    ///
    /// # Errors
    ///
    /// [`MapError::NoMemory`] if there are six levels, [`MapError::PageInUse`].
    pub fn put_root_above(&mut self, seen: RootSeen, page: PhysAddr) -> Result<(), MapError> {
        if self.levels == MOST_LEVELS {
            return Err(MapError::NoMemory);
        }
        let below = self.tables.page(seen.root);
        let new = self.tables.add(page, seen.levels + 1)?;
        self.tables.link(new, 0, amd_table(seen.levels + 1, below), seen.root);
        self.tables.forget_leaf_table();
        self.root = Some(new);
        self.levels += 1;
        Ok(())
    }

    /// Clears all entries that still repeat the leaf at `index`.
    fn amd_tear_down_repeated(&mut self, table: TableId, index: usize, raw: u64) {
        let repeats = amd_repeats(amd_leaf_size(raw));
        let first = index & !(repeats - 1);
        for slot in first..first + repeats {
            if self.tables.entry(table, slot) == raw {
                self.tables.set(table, slot, 0);
            }
        }
    }

    /// Clears an entry of `level`, and frees the tables below it. Source: `free_clear_pte()`.
    fn amd_clear_pte(&mut self, table: TableId, slot: usize, level: u32, done: &mut Mapped) {
        let raw = self.tables.entry(table, slot);
        match Entry::decode(Format::AmdV1, level, raw) {
            Entry::Empty | Entry::Reserved => return,
            Entry::Leaf { .. } => done.replaced += 1,
            Entry::Table { .. } => {
                let child = self.tables.child(table, slot);
                self.free_tree(child, level - 1, &mut done.freed);
                done.flushes = true;
            }
        }
        self.tables.set(table, slot, 0);
    }

    /// Frees a table after the tables below it.
    ///
    /// Source: `free_sub_pt()`, `free_pt_lvl()`; `drivers/iommu/io-pgtable-arm.c: __arm_lpae_free_pgtable()`.
    pub(super) fn free_tree(&mut self, table: TableId, level: u32, freed: &mut Vec<FreedPage>) {
        if level > 1 {
            for slot in 0..super::entries::ENTRIES {
                let raw = self.tables.entry(table, slot);
                if matches!(Entry::decode(self.format(), level, raw), Entry::Table { .. }) {
                    let child = self.tables.child(table, slot);
                    self.free_tree(child, level - 1, freed);
                }
            }
        }
        freed.extend(self.tables.free(table));
    }

    /// The entry for `iova`, present or not at level 1, present above. Source: `fetch_pte()`.
    fn amd_fetch_pte(&mut self, iova: u64) -> Option<Found> {
        if iova > last_address(self.levels) {
            return None;
        }
        let (mut table, mut level) = match self.tables.leaf_table(iova) {
            Some(table) => (table, 1),
            None => (self.root?, self.levels),
        };
        let mut raw = self.tables.entry(table, slot(iova, level));
        while level > 1 {
            match Entry::decode(Format::AmdV1, level, raw) {
                Entry::Empty | Entry::Reserved => return None,
                Entry::Leaf { .. } => break,
                Entry::Table { .. } => table = self.tables.child(table, slot(iova, level)),
            }
            level -= 1;
            raw = self.tables.entry(table, slot(iova, level));
        }
        if level == 1 {
            self.tables.found_leaf_table(iova, table);
        }
        let index = slot(iova, level);
        if amd_next_level(raw) == AMD_SIZED_LEAF {
            let size = amd_leaf_size(raw);
            return Some(Found { table, slot: index & !(amd_repeats(size) - 1), size });
        }
        Some(Found { table, slot: index, size: level_bytes(level) })
    }

    /// Returns the bytes it counts. Source: `iommu_v1_unmap_pages()`.
    pub(super) fn amd_unmap(&mut self, iova: DmaAddr, size: u64) -> u64 {
        let mut bytes = 0;
        let mut at = iova.0;
        while bytes < size {
            let Some(found) = self.amd_fetch_pte(at) else { break };
            for slot in found.slot..found.slot + amd_repeats(found.size) {
                self.tables.set(found.table, slot, 0);
            }
            at = (at & !(found.size - 1)).wrapping_add(found.size);
            bytes += found.size;
        }
        bytes
    }
}
