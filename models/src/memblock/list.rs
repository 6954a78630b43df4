//! One list of regions, and the steps that touch no other list.

use super::rules::MemblockRules;
use super::types::{Fatal, MemblockFlags, MemblockType, NodeId, Region, round_down, round_up};
use crate::mem::PhysAddr;

/// A list of regions with its accounting. Source: `include/linux/memblock.h: struct memblock_type`.
#[derive(Clone, Debug)]
pub(super) struct RegionList {
    /// Which list this is.
    pub(super) kind: MemblockType,
    /// The entries. An empty list stores none, also where the kernel keeps a dummy.
    pub(super) regions: Vec<Region>,
    /// Capacity of the kernel's array.
    pub(super) max: u64,
    /// The kernel's running total, modulo 2^64; trimming leaves it too high.
    pub(super) total_size: u64,
    /// Where the array lies once it has grown out of the kernel's image.
    pub(super) grown_at: Option<PhysAddr>,
    /// The array came from the slab allocator. Source: `mm/memblock.c: memblock_memory_in_slab`.
    pub(super) in_slab: bool,
    /// Regions ascend and do not overlap. Only trimming at the end of the address space can break this.
    pub(super) sorted: bool,
    /// No two neighbours could be merged. Then merging round a change is merging the whole list.
    pub(super) merged: bool,
    /// Trimming has shrunk regions without correcting `total_size`.
    pub(super) total_stale: bool,
}

/// Indices of a run of regions: from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A part of a range that no region covers yet, and the index before which it belongs.
#[derive(Clone, Copy, Debug)]
struct Piece {
    index: usize,
    base: PhysAddr,
    end: PhysAddr,
}

impl RegionList {
    /// An empty list with room for `max` regions, and for one at least: doubling nothing gives no room.
    pub(super) const fn new(kind: MemblockType, max: u32) -> Self {
        Self {
            kind,
            regions: Vec::new(),
            max: if max == 0 { 1 } else { max as u64 },
            total_size: 0,
            grown_at: None,
            in_slab: false,
            sorted: true,
            merged: true,
            total_stale: false,
        }
    }

    /// Back to an empty list of capacity `max`, without giving memory back to the host.
    pub(super) fn reset(&mut self, max: u32) {
        let mut regions = std::mem::take(&mut self.regions);
        regions.clear();
        *self = Self { regions, ..Self::new(self.kind, max) };
    }

    /// The kernel's count of regions. Source: `struct memblock_type: cnt`.
    pub(super) fn cnt(&self, rules: &MemblockRules) -> u64 {
        let stored = self.regions.len() as u64;
        if rules.empty_dummy_region { stored.max(1) } else { stored }
    }

    /// Index of the first region that can matter to a walk from `addr` upwards: the first that ends above it.
    /// In an unsorted list any region may, so a walk begins at the first.
    pub(super) fn first_ending_above(&self, addr: PhysAddr) -> usize {
        if self.sorted { count_ending_by(&self.regions, addr) } else { 0 }
    }

    /// The region that holds `addr`. Where regions are out of order it bisects as the kernel does, which decides the
    /// answer; else there is one answer at most. Source: `mm/memblock.c: memblock_search()`.
    #[inline]
    pub(super) fn search(&self, addr: PhysAddr) -> Option<&Region> {
        if self.sorted {
            return self
                .regions
                .get(count_ending_by(&self.regions, addr))
                .filter(|region| region.base <= addr);
        }
        self.bisect(addr)
    }

    fn bisect(&self, addr: PhysAddr) -> Option<&Region> {
        let (mut left, mut right) = (0, self.regions.len());
        while left < right {
            let mid = left.midpoint(right);
            let region = &self.regions[mid];
            if addr < region.base {
                right = mid;
            } else if addr >= region.end() {
                left = mid + 1;
            } else {
                return Some(region);
            }
        }
        None
    }

    /// Whether a region overlaps `size` bytes from `base` (already capped). An empty range counts as overlapping
    /// when it lies strictly inside a region. Source: `mm/memblock.c: memblock_overlaps_region()`.
    pub(super) fn overlaps(&self, base: PhysAddr, size: u64) -> bool {
        let end = base.wrapping_add(size);
        let hits = |region: &Region| base < region.end() && region.base < end;
        let candidates = &self.regions[self.first_ending_above(base)..];
        if self.sorted { candidates.first().is_some_and(hits) } else { candidates.iter().any(hits) }
    }

    /// Makes `region` the only entry; the total is set, not added to, which ends any staleness.
    pub(super) fn set_first(&mut self, region: Region) {
        debug_assert!(
            self.regions.is_empty() && region.size != 0,
            "only an empty list takes a range as it is"
        );
        self.regions.push(region);
        self.total_size = region.size;
        self.total_stale = false;
    }

    fn has_room(&self) -> Result<(), Fatal> {
        if self.regions.len() as u64 >= self.max {
            return Err(Fatal::InsertIntoFullList(self.kind));
        }
        Ok(())
    }

    /// Calls `visit` for each uncovered part of `base..end`, in the order in which the kernel inserts them.
    fn for_each_piece(&self, base: PhysAddr, end: PhysAddr, mut visit: impl FnMut(Piece)) {
        let first = self.first_ending_above(base);
        let (mut at, mut index) = (base, first);
        for region in &self.regions[first..] {
            if region.base >= end {
                break;
            }
            if region.end() > at {
                if region.base > at {
                    visit(Piece { index, base: at, end: region.base });
                }
                at = region.end().min(end);
            }
            index += 1;
        }
        if at < end {
            visit(Piece { index, base: at, end });
        }
    }

    /// How many regions an addition of `base..end` would insert.
    pub(super) fn count_pieces(&self, base: PhysAddr, end: PhysAddr) -> u64 {
        let mut count = 0;
        self.for_each_piece(base, end, |_| count += 1);
        count
    }

    /// Inserts the uncovered parts of `base..end`, and returns the run from the first inserted region to the
    /// last; `None` if there was nothing to insert. Source: `mm/memblock.c: memblock_add_range()`, second round.
    pub(super) fn insert_pieces(
        &mut self,
        base: PhysAddr,
        end: PhysAddr,
        nid: NodeId,
        flags: MemblockFlags,
    ) -> Result<Option<Span>, Fatal> {
        let region = |piece: Piece| Region { base: piece.base, size: piece.end.0 - piece.base.0, flags, nid };
        let (mut count, mut first, mut last) = (0, None, None);
        self.for_each_piece(base, end, |piece| {
            count += 1;
            first.get_or_insert(piece);
            last = Some(piece);
        });
        let (Some(first), Some(last)) = (first, last) else {
            return Ok(None);
        };
        if (self.regions.len() + count) as u64 > self.max {
            return Err(Fatal::InsertIntoFullList(self.kind));
        }
        if count == 1 {
            self.regions.insert(first.index, region(first));
            self.total_size = self.total_size.wrapping_add(first.end.0 - first.base.0);
        } else {
            self.interleave(base, end, first.index..last.index, region);
        }
        Ok(Some(Span { start: first.index, end: last.index + count }))
    }

    /// Replaces the regions `within` by themselves with all pieces of `base..end` between them: one move of the
    /// tail, where one insertion after the other would move it once for each piece.
    fn interleave(
        &mut self,
        base: PhysAddr,
        end: PhysAddr,
        within: std::ops::Range<usize>,
        region: impl Fn(Piece) -> Region,
    ) {
        let mut woven = Vec::with_capacity(2 * within.len() + 1);
        let mut kept = within.start;
        let mut added = 0_u64;
        self.for_each_piece(base, end, |piece| {
            woven.extend_from_slice(&self.regions[kept..piece.index]);
            woven.push(region(piece));
            kept = piece.index;
            added += piece.end.0 - piece.base.0;
        });
        self.regions.splice(within, woven);
        self.total_size = self.total_size.wrapping_add(added);
    }

    /// Splits regions at `base` and at `end`, and returns the run of those inside. The caller has made room for
    /// the two more regions that a sorted list needs. Source: `mm/memblock.c: memblock_isolate_range()`.
    pub(super) fn isolate(&mut self, base: PhysAddr, end: PhysAddr) -> Result<Span, Fatal> {
        let mut inside = Span::default();
        let mut index = self.first_ending_above(base);
        while let Some(&region) = self.regions.get(index) {
            if region.base >= end {
                break;
            }
            if region.end() <= base {
                index += 1;
            } else if region.base < base {
                self.split(index, base)?;
                index += 1;
            } else if region.end() > end {
                // The lower half is looked at next.
                self.split(index, end)?;
            } else {
                if inside.end == 0 {
                    inside.start = index;
                }
                index += 1;
                inside.end = index;
            }
        }
        Ok(inside)
    }

    /// Makes two regions of the one at `index`, which meet at `at`.
    fn split(&mut self, index: usize, at: PhysAddr) -> Result<(), Fatal> {
        self.has_room()?;
        let whole = self.regions[index];
        debug_assert!(whole.base < at && at < whole.end(), "a region is split inside");
        let lower = Region { size: at.0 - whole.base.0, ..whole };
        // Moved before it is changed: moving what was just written would wait for the write.
        self.regions.insert(index, lower);
        let upper = &mut self.regions[index + 1];
        upper.base = at;
        upper.size = whole.size - lower.size;
        Ok(())
    }

    /// Deletes a run of regions. Source: `mm/memblock.c: memblock_remove_region()`.
    pub(super) fn remove_span(&mut self, span: Span) {
        let removed: u64 =
            self.regions.drain(span.start..span.end).fold(0, |sum, region| sum.wrapping_add(region.size));
        self.total_size = self.total_size.wrapping_sub(removed);
        self.note_emptied();
    }

    /// Deletes every region outside `span` for which `goes` holds.
    pub(super) fn remove_outside(&mut self, span: Span, goes: impl Fn(&Region) -> bool) {
        let mut index = 0;
        let mut removed = 0_u64;
        self.regions.retain(|region| {
            let stays = (span.start..span.end).contains(&index) || !goes(region);
            index += 1;
            if !stays {
                removed = removed.wrapping_add(region.size);
            }
            stays
        });
        self.total_size = self.total_size.wrapping_sub(removed);
        self.note_emptied();
    }

    pub(super) fn note_emptied(&mut self) {
        if self.regions.is_empty() {
            self.sorted = true;
            self.merged = true;
        }
    }

    /// Joins neighbours that meet and are alike, round the changed run `changed` or, with
    /// [`MemblockRules::merge_whole_list`], everywhere. Source: `mm/memblock.c: memblock_merge_regions()`.
    pub(super) fn merge(&mut self, changed: Span, rules: &MemblockRules) -> Result<(), Fatal> {
        let last = self.regions.len().saturating_sub(1);
        let whole = rules.merge_whole_list && !self.merged;
        let (from, to) =
            if whole { (0, last) } else { (changed.start.saturating_sub(1), changed.end.min(last)) };
        self.merge_between(from, to)?;
        if whole {
            // Every pair was found in order on the way.
            self.sorted = true;
            self.merged = true;
        }
        Ok(())
    }

    /// Looks at the pairs (`from`, `from + 1`) up to (`to - 1`, `to`).
    fn merge_between(&mut self, from: usize, to: usize) -> Result<(), Fatal> {
        let mut kept = from;
        for index in from..to {
            let next = self.regions[index + 1];
            let this = &mut self.regions[kept];
            if this.end() == next.base && this.nid == next.nid && this.flags == next.flags {
                this.size += next.size;
            } else {
                if this.end() > next.base {
                    return Err(Fatal::NeighboursOverlap { list: self.kind, base: this.base });
                }
                kept += 1;
                if kept != index + 1 {
                    self.regions[kept] = next;
                }
            }
        }
        if from < to && kept < to {
            self.regions.drain(kept + 1..=to);
        }
        Ok(())
    }

    /// Shrinks each region to multiples of `align`, and deletes what is too small for that.
    /// Source: `mm/memblock.c: memblock_trim_memory()`.
    pub(super) fn trim(&mut self, align: u64) {
        let mut removed = 0_u64;
        let mut stale = false;
        self.regions.retain_mut(|region| {
            let (base, end) = (round_up(region.base.0, align), round_down(region.end().0, align));
            if base == region.base.0 && end == region.end().0 {
                return true;
            }
            if base >= end {
                removed = removed.wrapping_add(region.size);
                return false;
            }
            (region.base, region.size) = (PhysAddr(base), end - base);
            stale = true;
            true
        });
        self.total_size = self.total_size.wrapping_sub(removed);
        self.total_stale |= stale;
        // Rounding up the last page of the address space gives 0.
        if !self.regions.is_sorted_by(|low, high| low.end() <= high.base) {
            self.sorted = false;
            self.merged = false;
        }
        self.note_emptied();
    }
}

/// Below so many regions they are counted one by one: each comparison is independent of the others, while a step of
/// a bisection waits for the one before.
const COUNTED: usize = 16;

/// How many of a sorted slice's first elements pass a test that none behind them passes.
#[inline]
pub(super) fn count_by<T>(sorted: &[T], passes: impl Fn(&T) -> bool) -> usize {
    let mut left = 0;
    let mut part = sorted;
    while part.len() > COUNTED {
        let half = part.len() / 2;
        if passes(&part[half - 1]) {
            left += half;
            part = &part[half..];
        } else {
            part = &part[..half];
        }
    }
    left + part.iter().filter(|element| passes(element)).count()
}

/// How many regions of a sorted list end at or below `addr`.
pub(super) fn count_ending_by(regions: &[Region], addr: PhysAddr) -> usize {
    count_by(regions, |region| region.end() <= addr)
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    fn list_of_one() -> RegionList {
        let mut list = RegionList::new(MemblockType::Memory, 4);
        let (flags, nid) = (MemblockFlags::NONE, NodeId(0));
        list.set_first(Region { base: PhysAddr(0x1000), size: 0x1000, flags, nid });
        list
    }

    #[test]
    #[should_panic(expected = "a region is split inside")]
    fn a_region_is_not_split_at_its_border() {
        assert_eq!(list_of_one().split(0, PhysAddr(0x2000)), Ok(()));
    }

    #[test]
    #[should_panic(expected = "what is out of order is isolated first")]
    fn what_is_out_of_order_is_not_cut() {
        let mut list = list_of_one();
        list.sorted = false;
        list.remove_in_order(PhysAddr(0x1000), PhysAddr(0x2000));
    }

    #[test]
    #[should_panic(expected = "only an empty list")]
    fn a_list_has_one_first_region() {
        let mut list = list_of_one();
        list.set_first(list.regions[0]);
    }
}
