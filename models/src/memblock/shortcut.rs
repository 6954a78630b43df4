//! Shortcuts for the common changes of a list, with one move of its tail at most: the same result as isolating, inserting or
//! removing, and merging, which would move the tail there and back.

use super::list::{RegionList, count_ending_by};
use super::rules::MemblockRules;
use super::types::Region;
use crate::mem::PhysAddr;

impl RegionList {
    /// Adds a range that touches no region but perhaps the two beside it, and merges it with them at once: what
    /// [`Self::insert_pieces`] and [`Self::merge`] come to, without moving the tail there and back. `false`, and
    /// nothing done, if it is not that simple.
    #[inline]
    pub(super) fn insert_alone(&mut self, wanted: Region, rules: &MemblockRules) -> bool {
        let plain = self.sorted && (self.merged || !rules.merge_whole_list);
        if !plain || self.regions.len() as u64 >= self.max {
            return false;
        }
        let index = count_ending_by(&self.regions, wanted.base);
        let (below, from_here) = self.regions.split_at_mut(index);
        let next = from_here.first_mut();
        if next.as_ref().is_some_and(|next| next.base < wanted.end()) {
            return false;
        }
        let joins = |low: &Region, high: &Region| {
            low.end() == high.base && low.nid == high.nid && low.flags == high.flags
        };
        let prev = below.last_mut().filter(|prev| joins(prev, &wanted));
        let next = next.filter(|next| joins(&wanted, next));
        self.total_size = self.total_size.wrapping_add(wanted.size);
        match (prev, next) {
            (Some(prev), None) => prev.size += wanted.size,
            (None, Some(next)) => {
                next.base = wanted.base;
                next.size += wanted.size;
            }
            (Some(prev), Some(next)) => {
                prev.size += wanted.size + next.size;
                self.regions.remove(index);
            }
            (None, None) => self.regions.insert(index, wanted),
        }
        true
    }

    /// Changes what lies in `base..end`, if that is a part of one region: what isolating it, changing it and merging come
    /// to, with one move of the tail at most. `false`, and nothing done, if it is not that simple.
    #[inline]
    pub(super) fn change_part(
        &mut self,
        base: PhysAddr,
        end: PhysAddr,
        rules: &MemblockRules,
        change: impl FnOnce(&mut Region),
    ) -> bool {
        let plain = self.sorted && (self.merged || !rules.merge_whole_list);
        if !plain || self.regions.len() as u64 + 2 > self.max {
            return false;
        }
        let index = count_ending_by(&self.regions, base);
        let Some(&whole) = self.regions.get(index).filter(|whole| whole.base <= base && end <= whole.end())
        else {
            return false;
        };
        let mut part = Region { base, size: end.0 - base.0, ..whole };
        change(&mut part);
        let alike = |other: &Region| other.nid == part.nid && other.flags == part.flags;
        match (whole.base < base, end < whole.end()) {
            // Split, left as it was, and joined again: so it would be for neighbours that were never merged, too.
            (true, true) if alike(&whole) => {}
            (true, true) => {
                let upper = Region { base: end, size: whole.end().0 - end.0, ..whole };
                let behind = index + 1;
                let len = self.regions.len();
                self.regions.extend_from_slice(&[part, upper]);
                self.regions.copy_within(behind..len, behind + 2);
                self.regions[index].size = base.0 - whole.base.0;
                self.regions[behind] = part;
                self.regions[behind + 1] = upper;
            }
            (true, false) if !alike(&whole) => {
                self.regions[index].size -= part.size;
                match self.regions.get_mut(index + 1).filter(|next| next.base == end && alike(next)) {
                    Some(next) => {
                        next.base = base;
                        next.size += part.size;
                    }
                    None => self.regions.insert(index + 1, part),
                }
            }
            (false, true) if !alike(&whole) => {
                let rest = &mut self.regions[index];
                rest.base = end;
                rest.size -= part.size;
                let prev = index.checked_sub(1).map(|prev| &mut self.regions[prev]);
                match prev.filter(|prev| prev.end() == base && alike(prev)) {
                    Some(prev) => prev.size += part.size,
                    None => self.regions.insert(index, part),
                }
            }
            _ => return false,
        }
        true
    }

    /// Deletes what lies in `base..end` from a sorted list: what [`Self::isolate`] and [`Self::remove_span`] come
    /// to, with one move of the tail at most. Returns whether anything was there.
    #[inline]
    pub(super) fn remove_in_order(&mut self, base: PhysAddr, end: PhysAddr) -> bool {
        debug_assert!(self.sorted, "what is out of order is isolated first");
        let first = count_ending_by(&self.regions, base);
        let Some(low) = self.regions.get_mut(first).filter(|low| low.base < end) else {
            return false;
        };
        if low.base < base {
            let low_end = low.end();
            low.size = base.0 - low.base.0;
            if low_end > end {
                // A hole in one region makes two of it.
                let upper = Region { base: end, size: low_end.0 - end.0, ..*low };
                self.total_size = self.total_size.wrapping_sub(end.0 - base.0);
                self.regions.insert(first + 1, upper);
                return true;
            }
            self.total_size = self.total_size.wrapping_sub(low_end.0 - base.0);
            self.remove_whole_and_head(first + 1, end);
        } else {
            self.remove_whole_and_head(first, end);
        }
        true
    }

    /// Deletes the regions from `first` on that end by `end`, and the part of the next that lies below it.
    fn remove_whole_and_head(&mut self, first: usize, end: PhysAddr) {
        let mut last = first;
        let mut removed = 0_u64;
        while let Some(region) = self.regions.get_mut(last).filter(|region| region.base < end) {
            if region.end() > end {
                let cut = end.0 - region.base.0;
                region.base = end;
                region.size -= cut;
                removed = removed.wrapping_add(cut);
                break;
            }
            removed = removed.wrapping_add(region.size);
            last += 1;
        }
        match last - first {
            0 => {}
            1 => {
                self.regions.remove(first);
            }
            _ => {
                self.regions.drain(first..last);
            }
        }
        self.total_size = self.total_size.wrapping_sub(removed);
        self.note_emptied();
    }
}
