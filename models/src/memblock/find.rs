//! The search for a free place.

use super::list::RegionList;
use super::ranges::{FreeRanges, FreeRangesRev, RegionFilter};
use super::state::Memblock;
use super::types::{Bounds, MemblockFlags, NodeId, round_down, round_up};
use crate::mem::{PAGE_SIZE, PhysAddr};

/// What is looked for, with all special values resolved.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    size: u64,
    align: u64,
    low: u64,
    high: u64,
}

impl Memblock {
    /// Which memory an allocation prefers. Source: `mm/memblock.c: choose_memblock_flags()`.
    pub(super) const fn choose_flags(&self) -> MemblockFlags {
        if self.has_mirror { MemblockFlags::MIRROR } else { MemblockFlags::NONE }
    }

    /// Finds a place for a grown list: mirrored memory first, then any.
    /// Source: `mm/memblock.c: memblock_find_in_range()`.
    pub(super) fn find_in_range(&self, bounds: Bounds, size: u64, align: u64) -> Option<PhysAddr> {
        let flags = self.choose_flags();
        let find = |flags| self.find_in_range_node(size, align, bounds, NodeId::NO_NODE, flags);
        find(flags).or_else(|| if self.has_mirror { find(MemblockFlags::NONE) } else { None })
    }

    /// Finds a place, without taking it. Address 0 cannot be told from failure, as in the kernel.
    /// Source: `mm/memblock.c: memblock_find_in_range_node()`.
    pub(super) fn find_in_range_node(
        &self,
        size: u64,
        align: u64,
        bounds: Bounds,
        nid: NodeId,
        flags: MemblockFlags,
    ) -> Option<PhysAddr> {
        // The first page is never given out.
        let low = bounds.min.0.max(PAGE_SIZE);
        let high = if bounds.max.0 <= Bounds::NOLEAKTRACE.max.0 { self.current_limit } else { bounds.max };
        let wanted = Wanted { size, align, low, high: high.0.max(low) };
        let filter = RegionFilter::new(&self.rules, nid, flags);
        let found = if self.bottom_up {
            find_bottom_up(&self.memory, &self.reserved, filter, wanted)
        } else {
            find_top_down(&self.memory, &self.reserved, filter, wanted)
        };
        debug_assert!(found == 0 || !align.is_power_of_two() || found.is_multiple_of(align), "not aligned");
        debug_assert!(
            found == 0 || (found >= wanted.low && wanted.high.saturating_sub(found) >= size),
            "out of bounds"
        );
        (found != 0).then_some(PhysAddr(found))
    }
}

/// The lowest place. Source: `mm/memblock.c: __memblock_find_range_bottom_up()`.
fn find_bottom_up(memory: &RegionList, reserved: &RegionList, filter: RegionFilter, wanted: Wanted) -> u64 {
    let Wanted { size, align, low, high } = wanted;
    let mut ranges = FreeRanges::new(memory, reserved, filter);
    // Ranges below `low` are clamped to nothing at `low`, which is no place. Where rounding up from `low` wraps to
    // address 0 the search fails with these ranges and without.
    let sorted = memory.sorted && reserved.sorted;
    if sorted {
        ranges.skip_below(PhysAddr(low));
    }
    for free in ranges {
        let start = free.range.start.0.clamp(low, high);
        let end = free.range.end.0.clamp(low, high);
        let candidate = round_up(start, align);
        if candidate < end && end - candidate >= size {
            return candidate;
        }
        if sorted && free.range.start.0 >= high {
            // All further ranges are clamped to nothing at `high`: no place, or address 0.
            return 0;
        }
    }
    0
}

/// The highest place. Source: `mm/memblock.c: __memblock_find_range_top_down()`.
fn find_top_down(memory: &RegionList, reserved: &RegionList, filter: RegionFilter, wanted: Wanted) -> u64 {
    let Wanted { size, align, low, high } = wanted;
    let mut ranges = FreeRangesRev::new(memory, reserved, filter);
    // A range outside the bounds is clamped to nothing at one of them, where only a request for 0 bytes fits.
    let bounded = memory.sorted && reserved.sorted && size != 0;
    if bounded {
        ranges.skip_above(PhysAddr(high));
    }
    for free in ranges {
        let start = free.range.start.0.clamp(low, high);
        let end = free.range.end.0.clamp(low, high);
        if end >= size {
            let candidate = round_down(end - size, align);
            if candidate >= start {
                return candidate;
            }
        }
        if bounded && free.range.end.0 <= low {
            return 0;
        }
    }
    0
}
