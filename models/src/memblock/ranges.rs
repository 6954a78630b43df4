//! Walking over memory: what is free, forwards and backwards.

use super::handover::PfnRange;
use super::list::RegionList;
use super::rules::MemblockRules;
use super::state::Memblock;
use super::types::{MemblockFlags, NodeId, PHYS_ADDR_MAX, Region};
use crate::mem::{PAGE_SHIFT, PAGE_SIZE, Pfn, PhysAddr, PhysRange};

/// Memory that is not reserved: what the free-range walks yield.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FreeRange {
    /// The bytes. May be empty where two reserved regions meet without being merged.
    pub range: PhysRange,
    /// Node of the memory region.
    pub nid: NodeId,
}

/// Whole pages of one memory region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodePfnRange {
    /// First page frame.
    pub start: Pfn,
    /// One past the last.
    pub end: Pfn,
    /// Node of the region.
    pub nid: NodeId,
}

/// Which memory regions a walk looks at. Source: `mm/memblock.c: should_skip_region()`.
#[derive(Clone, Copy, Debug)]
pub(super) struct RegionFilter {
    /// The node that a region must have, if any.
    nid: Option<NodeId>,
    flags: MemblockFlags,
    /// Bits that a region must not have.
    unwanted: MemblockFlags,
}

impl RegionFilter {
    pub(super) fn new(rules: &MemblockRules, nid: NodeId, flags: MemblockFlags) -> Self {
        let any = if rules.invalid_nid_is_any {
            !nid.is_valid()
        } else {
            nid == NodeId::NO_NODE || nid == NodeId::MAX_NUMNODES
        };
        let mut hidden = MemblockFlags::NOMAP | MemblockFlags::DRIVER_MANAGED;
        if rules.movable_node {
            hidden |= MemblockFlags::HOTPLUG;
        }
        Self { nid: (!any).then_some(nid), flags, unwanted: hidden & !flags }
    }

    pub(super) fn passes(self, region: &Region) -> bool {
        self.nid.is_none_or(|nid| nid == region.nid)
            && !region.flags.intersects(self.unwanted)
            && (!self.flags.intersects(MemblockFlags::MIRROR)
                || region.flags.intersects(MemblockFlags::MIRROR))
    }
}

/// The `index`-th gap of a list of reserved regions: what lies before region `index`, or after the last.
fn gap(reserved: &[Region], index: usize) -> PhysRange {
    let start = match index.checked_sub(1) {
        Some(before) => reserved[before].end(),
        None => PhysAddr(0),
    };
    let end = reserved.get(index).map_or(PhysAddr(PHYS_ADDR_MAX), |region| region.base);
    PhysRange { start, end }
}

/// What a region and a gap have in common.
fn intersection(region: &Region, gap: PhysRange) -> FreeRange {
    let range = PhysRange { start: region.base.max(gap.start), end: region.end().min(gap.end) };
    FreeRange { range, nid: region.nid }
}

/// Free ranges in ascending order. Source: `mm/memblock.c: __next_mem_range()`.
///
/// Regions and gaps are walked in lockstep, and neither index ever goes back: on an unsorted list that decides
/// what is seen.
#[derive(Clone, Debug)]
pub struct FreeRanges<'a> {
    memory: &'a [Region],
    reserved: &'a [Region],
    filter: RegionFilter,
    region_index: usize,
    gap_index: usize,
}

impl<'a> FreeRanges<'a> {
    pub(super) fn new(memory: &'a RegionList, reserved: &'a RegionList, filter: RegionFilter) -> Self {
        Self { memory: &memory.regions, reserved: &reserved.regions, filter, region_index: 0, gap_index: 0 }
    }
}

impl Iterator for FreeRanges<'_> {
    type Item = FreeRange;

    fn next(&mut self) -> Option<FreeRange> {
        while let Some(region) = self.memory.get(self.region_index) {
            if self.filter.passes(region) {
                while self.gap_index <= self.reserved.len() {
                    let gap = gap(self.reserved, self.gap_index);
                    if gap.start >= region.end() {
                        break;
                    }
                    if region.base < gap.end {
                        // Whichever ends first has nothing more to give.
                        if region.end() <= gap.end {
                            self.region_index += 1;
                        } else {
                            self.gap_index += 1;
                        }
                        return Some(intersection(region, gap));
                    }
                    self.gap_index += 1;
                }
            }
            self.region_index += 1;
        }
        None
    }
}

/// Free ranges in descending order. Source: `mm/memblock.c: __next_mem_range_rev()`.
#[derive(Clone, Debug)]
pub struct FreeRangesRev<'a> {
    memory: &'a [Region],
    reserved: &'a [Region],
    filter: RegionFilter,
    /// How many regions and gaps are still to be looked at; the last of them is next.
    regions_left: usize,
    gaps_left: usize,
}

impl<'a> FreeRangesRev<'a> {
    pub(super) fn new(memory: &'a RegionList, reserved: &'a RegionList, filter: RegionFilter) -> Self {
        Self {
            memory: &memory.regions,
            reserved: &reserved.regions,
            filter,
            regions_left: memory.regions.len(),
            gaps_left: reserved.regions.len() + 1,
        }
    }
}

impl Iterator for FreeRangesRev<'_> {
    type Item = FreeRange;

    fn next(&mut self) -> Option<FreeRange> {
        while let Some(region) = self.regions_left.checked_sub(1).map(|last| &self.memory[last]) {
            if self.filter.passes(region) {
                while let Some(index) = self.gaps_left.checked_sub(1) {
                    let gap = gap(self.reserved, index);
                    if gap.end <= region.base {
                        break;
                    }
                    if region.end() > gap.start {
                        if region.base >= gap.start {
                            self.regions_left -= 1;
                        } else {
                            self.gaps_left -= 1;
                        }
                        return Some(intersection(region, gap));
                    }
                    self.gaps_left -= 1;
                }
            }
            self.regions_left -= 1;
        }
        None
    }
}

impl Memblock {
    /// Unreserved memory in ascending order. Source: `include/linux/memblock.h: for_each_free_mem_range()`.
    #[must_use]
    pub fn free_ranges(&self, nid: NodeId, flags: MemblockFlags) -> FreeRanges<'_> {
        FreeRanges::new(&self.memory, &self.reserved, RegionFilter::new(&self.rules, nid, flags))
    }

    /// Unreserved memory in descending order.
    /// Source: `include/linux/memblock.h: for_each_free_mem_range_reverse()`.
    #[must_use]
    pub fn free_ranges_rev(&self, nid: NodeId, flags: MemblockFlags) -> FreeRangesRev<'_> {
        FreeRangesRev::new(&self.memory, &self.reserved, RegionFilter::new(&self.rules, nid, flags))
    }

    /// Memory, reserved or not, as far as it is mapped; backwards with `.rev()`. An empty list yields one empty
    /// range where the kernel keeps a dummy entry.
    /// Source: `include/linux/memblock.h: for_each_mem_range(), for_each_mem_range_rev()`.
    pub fn mem_ranges(&self) -> impl DoubleEndedIterator<Item = PhysRange> + '_ {
        let flags = MemblockFlags::HOTPLUG | MemblockFlags::DRIVER_MANAGED;
        let filter = RegionFilter::new(&self.rules, NodeId::NO_NODE, flags);
        let dummy = self.rules.empty_dummy_region && self.memory.regions.is_empty();
        let regions = self.memory.regions.iter();
        let ranges = regions.filter(move |region| filter.passes(region)).map(Region::range);
        dummy.then(PhysRange::default).into_iter().chain(ranges)
    }

    /// Reserved memory, whatever is there; backwards with `.rev()`. An empty list yields one empty range where the kernel
    /// keeps a dummy entry. Source: `include/linux/memblock.h: for_each_reserved_mem_range()`.
    pub fn reserved_ranges(&self) -> impl DoubleEndedIterator<Item = PhysRange> + '_ {
        let dummy = self.rules.empty_dummy_region && self.reserved.regions.is_empty();
        let ranges = self.reserved.regions.iter().map(Region::range);
        dummy.then(PhysRange::default).into_iter().chain(ranges)
    }

    /// Whole free pages of a node between two frames: of a zone. Ranges are rounded inwards and cut to the zone.
    /// Source: `mm/memblock.c: __next_mem_pfn_range_in_zone()`.
    pub fn free_pfn_ranges_in_zone(
        &self,
        nid: NodeId,
        zone_start: Pfn,
        zone_end: Pfn,
    ) -> impl Iterator<Item = PfnRange> + '_ {
        self.free_ranges(nid, MemblockFlags::NONE).filter_map(move |free| {
            // A range that ends below the zone, or is empty once rounded, is passed over; the first that begins
            // above it ends the walk there, and what follows begins above it, too.
            let (start, end) = (pfn_up(free.range.start).max(zone_start), free.range.end.pfn().min(zone_end));
            (start < end).then_some(PfnRange { start, end })
        })
    }

    /// Whole pages of the memory regions of a node, or of all regions.
    /// Source: `mm/memblock.c: __next_mem_pfn_range()`, `include/linux/memblock.h: for_each_mem_pfn_range()`.
    pub fn pfn_ranges(&self, nid: NodeId) -> impl Iterator<Item = NodePfnRange> + '_ {
        // Unlike the walks by address, this one never took -1 for "any" before the check for a valid node.
        let any = if self.rules.invalid_nid_is_any { !nid.is_valid() } else { nid == NodeId::MAX_NUMNODES };
        self.memory.regions.iter().filter_map(move |region| {
            let (start, end) = (pfn_up(region.base), region.end().pfn());
            (start < end && (any || region.nid == nid)).then_some(NodePfnRange {
                start,
                end,
                nid: region.nid,
            })
        })
    }
}

/// The first frame at or above `addr`; 0 in the last page, as the sum wraps.
/// Source: `include/linux/pfn.h: PFN_UP`.
pub(super) const fn pfn_up(addr: PhysAddr) -> Pfn {
    Pfn(addr.0.wrapping_add(PAGE_SIZE - 1) >> PAGE_SHIFT)
}
