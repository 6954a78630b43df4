//! Arm's stage 1 tables (LPAE, 4 KiB granule). Source: `drivers/iommu/io-pgtable-arm.c`, v6.1, v6.12.
//!
//! Nobody holds a lock over such a table. Who needs a table where none is makes one, and puts it there by compare and
//! exchange: of two who race for one entry the second finds it taken, and frees its page. So a map is told in pieces here:
//! [`PageTable::arm_try_map`] says which table is missing, and [`PageTable::arm_install_table`] puts one there, or not.
//!
//! The architecture counts levels from the root down, 0 to 3; here level 1 holds 4 KiB pages, as everywhere in this folder.

use crate::mem::{DmaAddr, PhysAddr};

use super::entries::ENTRIES;
use super::entry::{
    Entry, Format, Prot, amd_leaf_level, arm_addr, arm_attributes, arm_leaf, arm_leaf_of, arm_table,
    level_bytes, slot,
};
use super::outcome::{Gathered, MapError, Mapped, Unmapped, WalkFlush};
use super::table::PageTable;
use super::tables::TableId;

/// Where a table is missing, as somebody saw it who needs one there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    table: TableId,
    /// The page of `table`: who knows a table by its number only would take a later one for it.
    page: PhysAddr,
    slot: usize,
    level: u32,
}

/// What one call of the driver is asked to unmap.
#[derive(Clone, Copy, Debug)]
struct Asked {
    iova: u64,
    pgsize: u64,
    pgcount: u64,
}

impl Asked {
    /// How many of the pages have their entries in the table in which `first` is the first one.
    fn within(self, first: usize) -> usize {
        usize::try_from(self.pgcount).unwrap_or(ENTRIES).min(ENTRIES - first)
    }
}

impl PageTable {
    /// An empty stage 1 table for bus addresses of `ias` bits (13 to 48) and memory of 48 bits.
    ///
    /// Source: `drivers/iommu/io-pgtable-arm.c: arm_lpae_alloc_pgtable()`, `arm_64_lpae_alloc_pgtable_s1()`, v6.12.
    ///
    /// # Errors
    ///
    /// [`MapError::NoMemory`] if `source` has no page for the root; [`MapError::Invalid`] for other widths.
    pub fn arm_lpae_s1(ias: u32, source: &mut impl FnMut() -> Option<PhysAddr>) -> Result<Self, MapError> {
        if !(13..=48).contains(&ias) {
            return Err(MapError::Invalid);
        }
        let levels = (ias - crate::mem::PAGE_SHIFT).div_ceil(super::entry::LEVEL_BITS);
        Self::new(Format::ArmLpaeS1, levels, super::split::ARM_PGSIZES, source)
            .map(|table| table.with_ias(ias))
    }

    /// All of one call: tables that are missing are made at once, with nobody in between.
    #[expect(clippy::too_many_arguments, reason = "the kernel's operation has these arguments")]
    pub(super) fn arm_map_pages(
        &mut self,
        iova: DmaAddr,
        phys: PhysAddr,
        pgsize: u64,
        pgcount: u64,
        prot: Prot,
        source: &mut impl FnMut() -> Option<PhysAddr>,
        done: &mut Mapped,
    ) -> Result<(), MapError> {
        while let Some(missing) = self.arm_try_map(iova, phys, pgsize, pgcount, prot, done)? {
            let page = source().ok_or(MapError::NoMemory)?;
            self.arm_install_table(missing, page)?;
        }
        Ok(())
    }

    /// Maps as many of `pgcount` pages of `pgsize` bytes as one table has entries for, and adds to `done` what it did; or
    /// says which table is missing on the way, and has mapped nothing then.
    ///
    /// What is mapped already is not mapped over: the driver wants an unmap first, and complains. A table that lies where a
    /// large page is wanted makes way.
    ///
    /// Source: `drivers/iommu/io-pgtable-arm.c: arm_lpae_map_pages()`, `__arm_lpae_map()`, `arm_lpae_init_pte()`, v6.1,
    /// v6.12.
    ///
    /// # Errors
    ///
    /// [`MapError::Invalid`], [`MapError::BeyondWidth`], [`MapError::Exists`].
    pub fn arm_try_map(
        &mut self,
        iova: DmaAddr,
        phys: PhysAddr,
        pgsize: u64,
        pgcount: u64,
        prot: Prot,
        done: &mut Mapped,
    ) -> Result<Option<Missing>, MapError> {
        if self.pgsize_bitmap() & pgsize == 0 || !pgsize.is_power_of_two() {
            return Err(MapError::Invalid);
        }
        if self.beyond_width(iova) || phys.0 >> 48 != 0 {
            return Err(MapError::BeyondWidth);
        }
        if prot == Prot::NONE {
            return Err(MapError::Invalid);
        }
        let target = amd_leaf_level(pgsize);
        let mut table = self.root.ok_or(MapError::NullRoot)?;
        let mut level = self.levels;
        if target == 1
            && let Some(known) = self.tables.leaf_table(iova.0)
        {
            (table, level) = (known, 1);
        }
        while level > target {
            let index = slot(iova.0, level);
            match Entry::decode(Format::ArmLpaeS1, level, self.tables.entry(table, index)) {
                Entry::Empty => {
                    let page = self.tables.page(table);
                    return Ok(Some(Missing { table, page, slot: index, level }));
                }
                Entry::Leaf { .. } => return Err(MapError::Exists(iova)),
                Entry::Table { .. } | Entry::Reserved => table = self.tables.child(table, index),
            }
            level -= 1;
        }
        if level == 1 {
            self.tables.found_leaf_table(iova.0, table);
        }
        let first = slot(iova.0, level);
        let asked = Asked { iova: iova.0, pgsize, pgcount };
        let count = asked.within(first);
        for nth in 0..count {
            let at = iova.wrapping_add(nth as u64 * pgsize);
            match Entry::decode(Format::ArmLpaeS1, level, self.tables.entry(table, first + nth)) {
                Entry::Leaf { .. } => return Err(MapError::Exists(at)),
                Entry::Table { .. } => {
                    self.tables.set(table, first + nth, 0);
                    done.walks.push(WalkFlush { iova: at, size: pgsize });
                    self.free_tree(self.tables.child(table, first + nth), level - 1, &mut done.freed);
                }
                Entry::Empty | Entry::Reserved => {}
            }
        }
        for nth in 0..count {
            let leaf = arm_leaf(phys.wrapping_add(nth as u64 * pgsize), level, prot);
            self.tables.set(table, first + nth, leaf);
        }
        done.bytes += count as u64 * pgsize;
        Ok(None)
    }

    /// Puts a table in `page` where one was missing. Says whether that is the table now: if not, somebody was first, and the
    /// page is the caller's to free.
    ///
    /// Source: `drivers/iommu/io-pgtable-arm.c: arm_lpae_install_table()`, v6.1, v6.12.
    ///
    /// # Errors
    ///
    /// [`MapError::PageInUse`].
    pub fn arm_install_table(&mut self, missing: Missing, page: PhysAddr) -> Result<bool, MapError> {
        let Missing { table, slot, level, .. } = missing;
        let there = self.tables.entries(table).is_some() && self.tables.page(table) == missing.page;
        if !there || self.tables.entry(table, slot) != 0 {
            return Ok(false);
        }
        let child = self.tables.add(page, level - 1)?;
        self.tables.link(table, slot, arm_table(page), child);
        Ok(true)
    }

    /// One call of the driver's unmap, with pages for tables that take the place of large pages.
    pub fn arm_unmap_pages(
        &mut self,
        iova: DmaAddr,
        cut: (u64, u64),
        source: &mut impl FnMut() -> Option<PhysAddr>,
    ) -> Unmapped {
        let mut unmapped = Unmapped::default();
        self.unmap_into(iova, cut, source, &mut unmapped);
        unmapped
    }

    /// Unmaps as many of `pgcount` pages of `pgsize` bytes as one table has entries for; the bytes it counts. A hole ends it,
    /// with a complaint. A table that lies where a page of this size was asked for goes, with all below it. Of a larger page
    /// a part is unmapped by a table in its place, for which `source` has the page.
    ///
    /// Source: `drivers/iommu/io-pgtable-arm.c: arm_lpae_unmap_pages()`, `__arm_lpae_unmap()`, v6.12. (v6.1 asks for no
    /// invalidation of the addresses below a table beyond that of the walks.)
    pub(super) fn arm_unmap(
        &mut self,
        iova: DmaAddr,
        (pgsize, pgcount): (u64, u64),
        source: &mut impl FnMut() -> Option<PhysAddr>,
        unmapped: &mut Unmapped,
    ) -> u64 {
        if self.beyond_width(iova) || self.pgsize_bitmap() & pgsize == 0 {
            return 0;
        }
        let Some(mut table) = self.root else { return 0 };
        let mut level = self.levels;
        let target = amd_leaf_level(pgsize);
        let asked = Asked { iova: iova.0, pgsize, pgcount };
        if target == 1
            && let Some(known) = self.tables.leaf_table(iova.0)
        {
            (table, level) = (known, 1);
        }
        while level > target {
            let index = slot(iova.0, level);
            let raw = self.tables.entry(table, index);
            match Entry::decode(Format::ArmLpaeS1, level, raw) {
                Entry::Empty => {
                    unmapped.holes.push(iova);
                    return 0;
                }
                Entry::Leaf { .. } => {
                    let Some(child) = self.arm_split(table, level, raw, asked, source, unmapped) else {
                        return 0;
                    };
                    if level - 1 == target {
                        let count = asked.within(slot(iova.0, target)) as u64;
                        arm_gather(asked, count, unmapped);
                        return count * pgsize;
                    }
                    table = child;
                }
                Entry::Table { .. } | Entry::Reserved => table = self.tables.child(table, index),
            }
            level -= 1;
        }
        if level == 1 {
            self.tables.found_leaf_table(iova.0, table);
        }
        self.arm_clear(table, level, asked, unmapped)
    }

    /// Clears entries of `table`, which is of the level of the pages that are asked for.
    fn arm_clear(&mut self, table: TableId, level: u32, asked: Asked, unmapped: &mut Unmapped) -> u64 {
        let first = slot(asked.iova, level);
        let mut count = 0;
        while count < asked.within(first) {
            let at = DmaAddr(asked.iova.wrapping_add(count as u64 * asked.pgsize));
            let raw = self.tables.entry(table, first + count);
            if raw == 0 {
                unmapped.holes.push(at);
                break;
            }
            if matches!(Entry::decode(Format::ArmLpaeS1, level, raw), Entry::Table { .. }) {
                unmapped.walks.push(WalkFlush { iova: at, size: asked.pgsize });
                self.free_tree(self.tables.child(table, first + count), level - 1, &mut unmapped.freed);
            }
            self.tables.set(table, first + count, 0);
            count += 1;
        }
        arm_gather(asked, count as u64, unmapped);
        count as u64 * asked.pgsize
    }

    /// Puts a table in place of a large page of `level`, which maps the same but for what is asked for, if that are pages of
    /// the new table's level.
    ///
    /// Source: `drivers/iommu/io-pgtable-arm.c: arm_lpae_split_blk_unmap()`, v6.1, v6.12.
    fn arm_split(
        &mut self,
        table: TableId,
        level: u32,
        raw: u64,
        asked: Asked,
        source: &mut impl FnMut() -> Option<PhysAddr>,
        unmapped: &mut Unmapped,
    ) -> Option<TableId> {
        let (below, page) = (level - 1, source()?);
        let child = self.tables.add(page, below).ok()?;
        let size = level_bytes(below);
        let left_out = if asked.pgsize == size {
            let first = slot(asked.iova, below);
            first..first + asked.within(first)
        } else {
            0..0
        };
        for nth in (0..ENTRIES).filter(|nth| !left_out.contains(nth)) {
            let phys = arm_addr(raw).wrapping_add(nth as u64 * size);
            self.tables.set(child, nth, arm_leaf_of(phys, below, arm_attributes(raw)));
        }
        self.tables.link(table, slot(asked.iova, level), arm_table(page), child);
        unmapped.split += 1;
        Some(child)
    }
}

/// The driver asks for the invalidation of these pages. Source: `io_pgtable_tlb_add_page()`.
fn arm_gather(asked: Asked, pages: u64, unmapped: &mut Unmapped) {
    if pages > 0 {
        unmapped.gathered.push(Gathered { iova: DmaAddr(asked.iova), pgsize: asked.pgsize, pages });
    }
}
