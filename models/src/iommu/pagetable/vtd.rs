//! VT-d's second-level tables. Source: `drivers/iommu/intel/iommu.c`, v6.12.

use crate::mem::{DmaAddr, PAGE_SHIFT, PhysAddr};

use super::entries::ENTRIES;
use super::entry::{
    LEVEL_BITS, Prot, level_bytes, slot, vtd_addr, vtd_leaf, vtd_present, vtd_superpage, vtd_table,
};
use super::outcome::{DataWalk, FreedPage, MapError, Mapped, Unmapped};
use super::table::PageTable;
use super::tables::TableId;

/// Pages that one entry of `level` covers. Source: `lvl_to_nr_pages()`.
const fn level_pages(level: u32) -> u64 {
    level_bytes(level) >> PAGE_SHIFT
}

/// Index of the entry for page frame `pfn`. Source: `pfn_level_offset()`.
fn pfn_slot(pfn: u64, level: u32) -> usize {
    slot(pfn << PAGE_SHIFT, level)
}

impl PageTable {
    /// The largest level whose pages fit. Source: `hardware_largepage_caps()`.
    const fn vtd_largepage_level(&self, iov_pfn: u64, phys_pfn: u64, pages: u64) -> u32 {
        let mut level = 1;
        let mut merged = iov_pfn | phys_pfn;
        let mut left = pages;
        while self.pgsize_bitmap() & level_bytes(level + 1) != 0 && merged & ((1 << LEVEL_BITS) - 1) == 0 {
            left >>= LEVEL_BITS;
            if left == 0 {
                break;
            }
            merged >>= LEVEL_BITS;
            level += 1;
        }
        level
    }

    /// Source: `intel_iommu_map()` and `__domain_mapping()`.
    #[expect(clippy::too_many_arguments, reason = "the kernel's operation has these arguments")]
    pub(super) fn vtd_map_pages(
        &mut self,
        iova: DmaAddr,
        phys: PhysAddr,
        pgsize: u64,
        pgcount: u64,
        prot: Prot,
        source: &mut impl FnMut() -> Option<PhysAddr>,
        done: &mut Mapped,
    ) -> Result<(), MapError> {
        let size = pgcount << pgsize.trailing_zeros();
        let end = iova.0.checked_add(size).ok_or(MapError::BeyondWidth)?;
        if end > level_bytes(self.levels + 1) {
            return Err(MapError::BeyondWidth);
        }
        let mut iov_pfn = iova.0 >> PAGE_SHIFT;
        let mut phys_pfn = phys.pfn().0;
        let mut left = size >> PAGE_SHIFT;
        while left > 0 {
            let level = self.vtd_largepage_level(iov_pfn, phys_pfn, left);
            let pages = level_pages(level);
            let (table, first) = self.vtd_alloc_pte(iov_pfn, level, source)?;
            let rest = usize::try_from(left / pages).map_or(ENTRIES, |whole| first.saturating_add(whole));
            if level > 1 && !self.rounds_switch && !left.is_multiple_of(pages) && rest < ENTRIES {
                // Less than a large page is left for this entry, and it is emptied all the same.
                self.vtd_switch_to_super_page(table, rest, level, done);
            }
            // One table's worth; the level is chosen anew in the next table.
            for index in first..ENTRIES {
                if left < pages {
                    break;
                }
                if level > 1 {
                    self.vtd_switch_to_super_page(table, index, level, done);
                }
                if self.tables.entry(table, index) == 0 {
                    let leaf = vtd_leaf(PhysAddr(phys_pfn << PAGE_SHIFT), level, prot);
                    self.tables.set(table, index, leaf);
                } else {
                    done.already_set.push(DmaAddr(iov_pfn << PAGE_SHIFT));
                }
                iov_pfn += pages;
                phys_pfn += pages;
                left -= pages;
            }
        }
        done.bytes += size;
        Ok(())
    }

    /// The table and entry for `iov_pfn` at `target`, with all tables above it.
    ///
    /// The kernel does not notice a large page on its way and takes the memory for a table.
    /// Source: `pfn_to_dma_pte()`.
    fn vtd_alloc_pte(
        &mut self,
        iov_pfn: u64,
        target: u32,
        source: &mut impl FnMut() -> Option<PhysAddr>,
    ) -> Result<(TableId, usize), MapError> {
        let iova = iov_pfn << PAGE_SHIFT;
        if target == 1
            && let Some(table) = self.tables.leaf_table(iova)
        {
            return Ok((table, slot(iova, 1)));
        }
        let mut table = self.root.ok_or(MapError::NullRoot)?;
        let mut level = self.levels;
        while level > target {
            let index = slot(iova, level);
            let raw = self.tables.entry(table, index);
            if !vtd_present(raw) {
                let page = source().ok_or(MapError::NoMemory)?;
                let child = self.tables.add(page, level - 1)?;
                self.tables.link(table, index, vtd_table(page), child);
                table = child;
            } else if vtd_superpage(raw) {
                return Err(MapError::DataAsTable { page: vtd_addr(raw), level: level - 1 });
            } else {
                table = self.tables.child(table, index);
            }
            level -= 1;
        }
        if level == 1 {
            self.tables.found_leaf_table(iova, table);
        }
        Ok((table, slot(iova, level)))
    }

    /// Empties an entry that is to become a large page. Source: `switch_to_super_page()`.
    fn vtd_switch_to_super_page(&mut self, table: TableId, index: usize, level: u32, done: &mut Mapped) {
        let raw = self.tables.entry(table, index);
        if !vtd_present(raw) {
            return;
        }
        if vtd_superpage(raw) {
            done.replaced += 1;
        } else {
            let child = self.tables.child(table, index);
            self.vtd_free_pagetable(child, level - 1, done);
        }
        self.tables.set(table, index, 0);
    }

    /// Clears a table's leaves and frees it after the tables below it, cleared, too.
    ///
    /// Source: `dma_pte_free_pagetable()`.
    fn vtd_free_pagetable(&mut self, table: TableId, level: u32, done: &mut Mapped) {
        for index in 0..ENTRIES {
            let raw = self.tables.entry(table, index);
            if !vtd_present(raw) {
                continue;
            }
            if level == 1 || vtd_superpage(raw) {
                done.replaced += 1;
            } else {
                let child = self.tables.child(table, index);
                self.vtd_free_pagetable(child, level - 1, done);
            }
            self.tables.set(table, index, 0);
        }
        done.freed.extend(self.tables.free(table));
    }

    /// Level of the leaf, or else of the hole, at `iova`. Source: `pfn_to_dma_pte()` with a target of 0.
    fn vtd_level_at(&mut self, iova: u64) -> Option<u32> {
        if self.tables.leaf_table(iova).is_some() {
            return Some(1);
        }
        let mut table = self.root?;
        let mut level = self.levels;
        while level > 1 {
            let index = slot(iova, level);
            let raw = self.tables.entry(table, index);
            if !vtd_present(raw) || vtd_superpage(raw) {
                break;
            }
            table = self.tables.child(table, index);
            level -= 1;
        }
        if level == 1 {
            self.tables.found_leaf_table(iova, table);
        }
        Some(level)
    }

    /// Returns the bytes it counts. Source: `intel_iommu_unmap()`.
    pub(super) fn vtd_unmap(&mut self, iova: DmaAddr, size: u64, unmapped: &mut Unmapped) -> u64 {
        if self.beyond_width(iova) {
            return 0;
        }
        let Some(level) = self.vtd_level_at(iova.0) else {
            return 0;
        };
        let size = size.max(level_bytes(level));
        let last = iova.0.wrapping_add(size - 1);
        self.vtd_domain_unmap(iova.0 >> PAGE_SHIFT, last, unmapped);
        size
    }

    /// Clears a range, and takes out the tables it covers. Source: `domain_unmap()`.
    ///
    /// `last` is an address. A range that ends beyond the table's width is counted, but nothing is cleared.
    fn vtd_domain_unmap(&mut self, start: u64, last: u64, unmapped: &mut Unmapped) {
        let Some(root) = self.root else { return };
        let last_pfn = last >> PAGE_SHIFT;
        if self.beyond_width(DmaAddr(last)) || start > last_pfn {
            return;
        }
        let within_one_table = start >> LEVEL_BITS == last_pfn >> LEVEL_BITS;
        let whole_table = last_pfn - start >= level_pages(2) - 1;
        if within_one_table
            && !whole_table
            && let Some(table) = self.tables.leaf_table(last)
        {
            self.vtd_clear_level(table, 1, start, start, last_pfn, unmapped);
            return;
        }
        self.vtd_clear_level(root, self.levels, 0, start, last_pfn, unmapped);
        if start == 0 && last_pfn == level_pages(self.levels + 1) - 1 {
            unmapped.freed.extend(self.tables.free(root));
            self.root = None;
        }
    }

    /// Source: `dma_pte_clear_level()`.
    fn vtd_clear_level(
        &mut self,
        table: TableId,
        level: u32,
        base: u64,
        start: u64,
        last: u64,
        unmapped: &mut Unmapped,
    ) {
        let pages = level_pages(level);
        let mut pfn = start.max(base);
        for index in pfn_slot(pfn, level)..ENTRIES {
            let entry_base = pfn & !(pages - 1);
            let raw = self.tables.entry(table, index);
            if vtd_present(raw) {
                let covered = start <= entry_base && last >= entry_base + (pages - 1);
                let superpage = level > 1 && vtd_superpage(raw);
                if covered {
                    if level > 1 && !superpage {
                        self.vtd_list_pagetables(
                            self.tables.child(table, index),
                            level - 1,
                            &mut unmapped.freed,
                        );
                    }
                    self.tables.set(table, index, 0);
                } else if superpage {
                    unmapped.data_walks.push(DataWalk {
                        page: vtd_addr(raw),
                        level: level - 1,
                        first: pfn_slot(start.max(entry_base), level - 1),
                        last: pfn_slot(last.min(entry_base + (pages - 1)), level - 1),
                    });
                } else if level > 1 {
                    let child = self.tables.child(table, index);
                    self.vtd_clear_level(child, level - 1, entry_base, start, last, unmapped);
                }
            }
            pfn = entry_base + pages;
            if pfn > last {
                break;
            }
        }
    }

    /// Takes out a table before the tables below it; their entries stay as they are.
    ///
    /// Source: `dma_pte_list_pagetables()`.
    fn vtd_list_pagetables(&mut self, table: TableId, level: u32, freed: &mut Vec<FreedPage>) {
        let mut below = Vec::new();
        if level > 1 {
            for index in 0..ENTRIES {
                let raw = self.tables.entry(table, index);
                if vtd_present(raw) && !vtd_superpage(raw) {
                    below.push(self.tables.child(table, index));
                }
            }
        }
        freed.extend(self.tables.free(table));
        for child in below {
            self.vtd_list_pagetables(child, level - 1, freed);
        }
    }

    /// Source: `domain_exit()`.
    pub(super) fn vtd_free_all(&mut self, freed: &mut Vec<FreedPage>) {
        let mut unmapped = Unmapped::default();
        self.vtd_domain_unmap(0, level_bytes(self.levels + 1) - 1, &mut unmapped);
        freed.append(&mut unmapped.freed);
    }
}
