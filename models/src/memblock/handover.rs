//! The end of memblock: what the page allocator receives.

use super::ranges::pfn_up;
use super::stage::Stage;
use super::state::Memblock;
use super::types::{Fatal, MemblockFlags, MemblockType, NodeId, unless_fatal};
use crate::mem::{Pfn, PhysAddr};

/// A run of whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PfnRange {
    /// First page frame.
    pub start: Pfn,
    /// One past the last.
    pub end: Pfn,
}

impl PfnRange {
    /// How many pages.
    #[must_use]
    pub const fn pages(self) -> u64 {
        self.end.0 - self.start.0
    }
}

impl Memblock {
    /// Does what the kernel does to the lists before it hands the free pages over, and returns these, in the order
    /// in which the page allocator receives them. `max_low_pfn` is the end of directly mapped memory.
    /// Source: `mm/memblock.c: memblock_free_all(), free_low_memory_core_early()`.
    pub fn free_all(&mut self, max_low_pfn: Pfn) -> Result<Vec<PfnRange>, Fatal> {
        // Not looked at by the kernel: a full list keeps its hotpluggable regions.
        unless_fatal(self.clear_hotplug(PhysAddr(0), u64::MAX))?;
        self.memmap_init_reserved_pages()?;
        self.stage = Stage::HandedOver;
        Ok(self.free_memory_ranges(max_low_pfn).collect())
    }

    /// The whole free pages as the lists stand now: the last step of [`Self::free_all`], without the changes that
    /// it makes first. Source: `mm/memblock.c: __free_memory_core()`.
    pub fn free_memory_ranges(&self, max_low_pfn: Pfn) -> impl Iterator<Item = PfnRange> + '_ {
        self.free_ranges(NodeId::NO_NODE, MemblockFlags::NONE).filter_map(move |free| {
            let (start, end) = (pfn_up(free.range.start), free.range.end.pfn().min(max_low_pfn));
            (start < end).then_some(PfnRange { start, end })
        })
    }

    /// Gives each reserved region the node of the memory under it. That splits regions, so the list may grow into
    /// memory that was about to be handed over.
    /// Source: `mm/memblock.c: memmap_init_reserved_pages()`, v6.12.
    fn memmap_init_reserved_pages(&mut self) -> Result<(), Fatal> {
        if !self.rules.handover_sets_reserved_nodes {
            return Ok(());
        }
        loop {
            let max_before = self.reserved.max;
            for index in 0..self.memory.regions.len() {
                let region = self.memory.regions[index];
                let kind = MemblockType::Reserved;
                unless_fatal(self.set_node(region.base, region.size, kind, region.nid))?;
            }
            // A list that moved lies in memory whose turn may have been before.
            if self.reserved.max == max_before || !self.rules.handover_repeats_after_growth {
                return Ok(());
            }
        }
    }
}
