//! Questions that change nothing.

use super::state::Memblock;
use super::types::{MemblockFlags, MemblockType, NodeId, Region, cap_size};
use crate::mem::{PAGE_SHIFT, Pfn, PhysAddr, PhysRange};

/// The memory region that holds a page. Source: the results of `mm/memblock.c: memblock_search_pfn_nid()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PfnLookup {
    /// The region's node.
    pub nid: NodeId,
    /// Its first page, rounded down.
    pub start: Pfn,
    /// Its end, rounded down.
    pub end: Pfn,
}

impl Memblock {
    /// Source: `mm/memblock.c: memblock_is_memory()`.
    #[must_use]
    pub fn is_memory(&self, addr: PhysAddr) -> bool {
        self.memory.search(addr).is_some()
    }

    /// Source: `mm/memblock.c: memblock_is_map_memory()`.
    #[must_use]
    pub fn is_map_memory(&self, addr: PhysAddr) -> bool {
        self.memory.search(addr).is_some_and(|region| !region.flags.intersects(MemblockFlags::NOMAP))
    }

    /// Source: `mm/memblock.c: memblock_is_reserved()`.
    #[must_use]
    pub fn is_reserved(&self, addr: PhysAddr) -> bool {
        self.reserved.search(addr).is_some()
    }

    /// Whether one single region covers the range. Source: `mm/memblock.c: memblock_is_region_memory()`.
    #[must_use]
    pub fn is_region_memory(&self, base: PhysAddr, size: u64) -> bool {
        let end = base.wrapping_add(cap_size(base, size));
        self.memory.search(base).is_some_and(|region| region.end() >= end)
    }

    /// Whether any of the range is taken. Source: `mm/memblock.c: memblock_is_region_reserved()`.
    #[must_use]
    pub fn is_region_reserved(&self, base: PhysAddr, size: u64) -> bool {
        self.overlaps_region(MemblockType::Reserved, base, size)
    }

    /// Source: `mm/memblock.c: memblock_overlaps_region()`.
    #[must_use]
    pub fn overlaps_region(&self, kind: MemblockType, base: PhysAddr, size: u64) -> bool {
        self.list(kind).overlaps(base, cap_size(base, size))
    }

    /// Source: `mm/memblock.c: memblock_search_pfn_nid()`.
    #[must_use]
    pub fn search_pfn_nid(&self, pfn: Pfn) -> Option<PfnLookup> {
        let region = self.memory.search(pfn.phys())?;
        Some(PfnLookup { nid: region.nid, start: region.base.pfn(), end: region.end().pfn() })
    }

    /// All memory, as accounted: too much after a trim. Source: `mm/memblock.c: memblock_phys_mem_size()`.
    #[must_use]
    pub const fn phys_mem_size(&self) -> u64 {
        self.memory.total_size
    }

    /// All that is reserved, RAM or not. Source: `mm/memblock.c: memblock_reserved_size()`.
    #[must_use]
    pub const fn reserved_size(&self) -> u64 {
        self.reserved.total_size
    }

    /// What the page allocator is likely to get, in pages, before it has it; modulo 2^64, as more may be reserved than
    /// there is memory. Source: `mm/memblock.c: memblock_estimated_nr_free_pages()`, v6.12.
    #[must_use]
    pub const fn estimated_nr_free_pages(&self) -> u64 {
        self.memory.total_size.wrapping_sub(self.reserved.total_size) >> PAGE_SHIFT
    }

    /// Whether at most `threshold` bytes of whole pages belong to no node.
    /// Source: `mm/memblock.c: memblock_validate_numa_coverage()`, v6.12.
    #[must_use]
    pub fn validate_numa_coverage(&self, threshold: u64) -> bool {
        let homeless = self.pfn_ranges(NodeId::MAX_NUMNODES).filter(|run| !run.nid.is_valid());
        let pages = homeless.fold(0, |sum: u64, run| sum.wrapping_add(run.end.0 - run.start.0));
        pages << PAGE_SHIFT <= threshold
    }

    /// From the first byte of memory to the last. Without memory, an empty range where the kernel keeps a dummy
    /// entry, and `None` where it would read in front of its array.
    /// Source: `mm/memblock.c: memblock_start_of_DRAM(), memblock_end_of_DRAM()`.
    #[must_use]
    pub fn dram_range(&self) -> Option<PhysRange> {
        match (self.memory.regions.first(), self.memory.regions.last()) {
            (Some(first), Some(last)) => Some(PhysRange { start: first.base, end: last.end() }),
            _ => self.rules.empty_dummy_region.then(PhysRange::default),
        }
    }

    /// Source: `mm/memblock.c: memblock_get_current_limit()`.
    #[must_use]
    pub const fn current_limit(&self) -> PhysAddr {
        self.current_limit
    }

    /// Source: `include/linux/memblock.h: memblock_bottom_up()`.
    #[must_use]
    pub const fn bottom_up(&self) -> bool {
        self.bottom_up
    }

    /// Source: `mm/memblock.c: memblock_has_mirror()`, v6.12.
    #[must_use]
    pub const fn has_mirror(&self) -> bool {
        self.has_mirror
    }

    /// The regions of a list, in its order. Source: `struct memblock_type: regions`.
    #[must_use]
    pub fn regions(&self, kind: MemblockType) -> &[Region] {
        &self.list(kind).regions
    }

    /// How many regions fit into a list before it must grow. Source: `struct memblock_type: max`.
    #[must_use]
    pub const fn capacity(&self, kind: MemblockType) -> u64 {
        self.list(kind).max
    }
}
