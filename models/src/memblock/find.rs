//! The search for a free place.

use super::ranges::{FreeRanges, FreeRangesRev, RegionFilter};
use super::state::Memblock;
use super::types::{Bounds, MemblockFlags, NodeId, PHYS_ADDR_MAX, Region, round_down, round_up};
use crate::mem::{PAGE_SIZE, PhysAddr};

/// What is looked for, with all special values resolved.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    size: u64,
    align: u64,
    low: u64,
    high: u64,
}

impl Wanted {
    /// Whether the place at `found` has the alignment and lies within the bounds.
    const fn allows(self, found: u64) -> bool {
        // An alignment that is no power of two is rounded to nothing in particular, as in the kernel.
        let aligned = !self.align.is_power_of_two() || found.is_multiple_of(self.align);
        aligned && self.low <= found && found <= self.high && self.high - found >= self.size
    }
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
        let (memory, reserved) = (&self.memory, &self.reserved);
        // Where nothing is out of order and something is wanted, ranges that cannot matter are left out.
        let plain = memory.sorted && reserved.sorted && size != 0;
        let found = match (self.bottom_up, plain) {
            (false, true) => top_down_in_order(&memory.regions, &reserved.regions, filter, wanted),
            (true, true) => bottom_up_in_order(&memory.regions, &reserved.regions, filter, wanted),
            (false, false) => top_down(FreeRangesRev::new(memory, reserved, filter), wanted),
            (true, false) => bottom_up(FreeRanges::new(memory, reserved, filter), wanted),
        };
        debug_assert!(
            found == 0 || wanted.allows(found),
            "{found:#x} is not what was asked for: {wanted:x?}"
        );
        (found != 0).then_some(PhysAddr(found))
    }
}

/// The highest place in any of the ranges, each clamped to the bounds. A request for 0 bytes fits into what is
/// clamped to nothing, too. Source: `mm/memblock.c: __memblock_find_range_top_down()`.
fn top_down(ranges: FreeRangesRev<'_>, wanted: Wanted) -> u64 {
    let Wanted { size, align, low, high } = wanted;
    for free in ranges {
        let start = free.range.start.0.clamp(low, high);
        let end = free.range.end.0.clamp(low, high);
        if end >= size {
            let candidate = round_down(end - size, align);
            if candidate >= start {
                return candidate;
            }
        }
    }
    0
}

/// The lowest place. Rounding up may wrap to address 0, which ends the search without success.
/// Source: `mm/memblock.c: __memblock_find_range_bottom_up()`.
fn bottom_up(ranges: FreeRanges<'_>, wanted: Wanted) -> u64 {
    let Wanted { size, align, low, high } = wanted;
    for free in ranges {
        let start = free.range.start.0.clamp(low, high);
        let end = free.range.end.0.clamp(low, high);
        let candidate = round_up(start, align);
        if candidate < end && end - candidate >= size {
            return candidate;
        }
    }
    0
}

/// [`top_down`] on sorted lists and for at least one byte: begins at the upper bound and ends at the lower, since
/// ranges beyond are clamped to nothing.
fn top_down_in_order(memory: &[Region], reserved: &[Region], filter: RegionFilter, wanted: Wanted) -> u64 {
    let Wanted { size, align, low, high } = wanted;
    // Reservations that begin at or above the gap being looked at.
    let mut above = reserved.partition_point(|taken| taken.end().0 < high);
    for region in memory[..memory.partition_point(|region| region.base.0 < high)].iter().rev() {
        let (region_low, region_high) = (region.base.0.max(low), region.end().0.min(high));
        if region_high <= low {
            break;
        }
        if !filter.passes(region) {
            continue;
        }
        let mut gap_end = reserved.get(above).map_or(PHYS_ADDR_MAX, |taken| taken.base.0);
        loop {
            let gap_start = if above == 0 { 0 } else { reserved[above - 1].end().0 };
            let (start, end) = (gap_start.max(region_low), gap_end.min(region_high));
            if end.saturating_sub(start) >= size {
                let candidate = round_down(end - size, align);
                if candidate >= start {
                    return candidate;
                }
            }
            if gap_start <= region_low {
                break;
            }
            above -= 1;
            gap_end = reserved[above].base.0;
        }
    }
    0
}

/// [`bottom_up`] on sorted lists and for at least one byte: begins at the lower bound and ends at the upper. Where
/// rounding up wraps, it does so for all that follows.
fn bottom_up_in_order(memory: &[Region], reserved: &[Region], filter: RegionFilter, wanted: Wanted) -> u64 {
    let Wanted { size, align, low, high } = wanted;
    // Reservations that end at or below the gap being looked at.
    let mut below = reserved.partition_point(|taken| taken.base.0 <= low);
    for region in &memory[memory.partition_point(|region| region.end().0 <= low)..] {
        let (region_low, region_high) = (region.base.0.max(low), region.end().0.min(high));
        if region_low >= high {
            break;
        }
        if !filter.passes(region) {
            continue;
        }
        let mut gap_start = if below == 0 { 0 } else { reserved[below - 1].end().0 };
        loop {
            let gap_end = reserved.get(below).map_or(PHYS_ADDR_MAX, |taken| taken.base.0);
            let (start, end) = (gap_start.max(region_low), gap_end.min(region_high));
            if end.saturating_sub(start) >= size {
                let candidate = round_up(start, align);
                if candidate < end && end - candidate >= size {
                    return candidate;
                }
            }
            if gap_end >= region_high {
                break;
            }
            gap_start = reserved[below].end().0;
            below += 1;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_off_the_wish_are_told() {
        let wanted = Wanted { size: 0x1000, align: 0x1000, low: 0x2000, high: 0x8000 };
        assert!(wanted.allows(0x2000) && wanted.allows(0x7000));
        for wrong in [0x1000, 0x2800, 0x8000, 0x9000] {
            assert!(!wanted.allows(wrong), "{wrong:#x}");
        }
    }
}
