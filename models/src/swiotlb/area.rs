//! One area of a pool: its counters, and the search that chooses its slots.

use std::convert::Infallible;

use super::area_slots::SlotMap;
use super::literal::{self, Walk};
use super::search::{LoopEnd, SearchPlan};
use super::sizing::{IO_TLB_SHIFT, IO_TLB_SIZE, low32};

/// The answer of a slot search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// These slots are taken now.
    Found {
        /// First slot, in the pool.
        slot: u32,
        /// Number of slots.
        nslots: u32,
    },
    /// No place for the request (`-1`).
    Full,
    /// The kernel would walk for ever, holding the lock; nothing was taken.
    Hang,
    /// The kernel would stop on an assertion; nothing was taken.
    Bug,
}

/// The counters of one area, a range of slots of a pool with a lock of its own. In a kernel without areas,
/// the whole pool.
///
/// Source: `kernel/dma/swiotlb.c: struct io_tlb_area`, since v6.0; before, `struct io_tlb_mem`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Area {
    /// First slot of the area, in the pool.
    first: u32,
    /// Slots in the area (`area_nslabs`).
    nslabs: u32,
    /// Slots in use; below zero, modulo 2^64, when more was given back than taken.
    used: u64,
    /// Where the next search begins, counted from `first`.
    index: u32,
}

impl Area {
    /// An unused area of `nslabs` slots from `first`.
    #[must_use]
    pub const fn new(first: u32, nslabs: u32) -> Self {
        Self { first, nslabs, used: 0, index: 0 }
    }

    /// First slot of the area, in the pool.
    #[must_use]
    pub const fn first(&self) -> u32 {
        self.first
    }

    /// Slots in the area (`area_nslabs`).
    #[must_use]
    pub const fn nslabs(&self) -> u32 {
        self.nslabs
    }

    /// Slots in use (`used`), modulo 2^64.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Where the next search begins, counted from the start of the area (`index`).
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    pub(super) const fn set_index(&mut self, index: u32) {
        self.index = index;
    }

    /// Searches the area for `plan` and takes the slots found in `slots`, the pool's.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_search_pool_area()` (v6.12), `swiotlb_do_find_slots()`
    /// (v6.0), `find_slots()` (v5.13), within the lock.
    #[inline]
    pub fn find_slots(&mut self, slots: &mut SlotMap, plan: &SearchPlan) -> Search {
        if let Some(end) = self.refused(plan) {
            return end;
        }
        let lattice = if slots.is_detailed() { None } else { Lattice::of(plan, self.first) };
        let Some(lattice) = lattice else {
            let found = self.search_literally(slots, plan);
            if let Search::Found { slot, .. } = found {
                self.take(slots, plan, slot);
            }
            return found;
        };
        // Mostly the cursor points at free slots: they are looked up once.
        let begun_at = self.begun_at(plan);
        let slot = self.first.wrapping_add(begun_at + lattice.distance(begun_at));
        if slot - self.first < self.nslabs
            && plan.spans_boundary(slot) == Some(false)
            && slots.take_if_free(slot, plan.nslots, plan.first_alloc_size)
        {
            self.count_taken(plan, slot);
            return Search::Found { slot, nslots: plan.nslots };
        }
        let found = self.search_lattice(slots, plan, lattice);
        if let Search::Found { slot, .. } = found {
            self.take(slots, plan, slot);
        }
        found
    }

    /// What is decided before any slot is looked at.
    #[inline]
    fn refused(&self, plan: &SearchPlan) -> Option<Search> {
        if plan.nslots == 0 {
            return Some(Search::Bug);
        }
        // Unsigned, as in C: an area that is over-full by mistake looks almost infinitely free.
        let full = u64::from(plan.nslots) > u64::from(self.nslabs).wrapping_sub(self.used);
        full.then_some(Search::Full)
    }

    /// Index at which the walk begins.
    #[inline]
    const fn begun_at(&self, plan: &SearchPlan) -> u32 {
        match plan.loop_end {
            LoopEnd::Counted => self.index,
            LoopEnd::Wrap => {
                let aligned = plan.first_index(self.index);
                if aligned >= self.nslabs { 0 } else { aligned }
            }
        }
    }

    /// The first half of [`Self::find_slots`]: what it would take. In the kernel, the same lock is held
    /// until [`Self::take`]. Of `slots`, only what speeds up later searches is changed.
    #[must_use]
    #[inline]
    pub fn search(&self, slots: &mut SlotMap, plan: &SearchPlan) -> Search {
        if let Some(end) = self.refused(plan) {
            return end;
        }
        match Lattice::of(plan, self.first).filter(|_| !slots.is_detailed()) {
            Some(lattice) => self.search_lattice(slots, plan, lattice),
            None => self.search_literally(slots, plan),
        }
    }

    /// The second half of [`Self::find_slots`]: takes the run for `plan` at `slot` of the pool. That it is
    /// free still is not asked, as the kernel does not ask.
    #[inline]
    pub fn take(&mut self, slots: &mut SlotMap, plan: &SearchPlan, slot: u32) {
        slots.take(slot, plan.nslots, plan.first_alloc_size);
        self.count_taken(plan, slot);
    }

    /// The area's counters after slots were taken.
    #[inline]
    const fn count_taken(&mut self, plan: &SearchPlan, slot: u32) {
        let next = slot.wrapping_sub(self.first).wrapping_add(plan.nslots);
        self.index = if next >= self.nslabs { 0 } else { next };
        self.used = self.used.wrapping_add(plan.nslots as u64);
    }

    /// Counts `nslots` (an `int`) as given back; the cursor stays where it is.
    ///
    /// Source: the end of `kernel/dma/swiotlb.c: swiotlb_release_slots()`, all versions.
    pub const fn give_back(&mut self, nslots: i64) {
        self.used = self.used.wrapping_sub(nslots.cast_unsigned());
    }

    /// The walk itself. Slots do not change under it, so more steps than slots are a cycle without end.
    fn search_literally(&self, slots: &SlotMap, plan: &SearchPlan) -> Search {
        let range = (self.first, u64::from(self.nslabs));
        let mut budget = u64::from(self.nslabs) + 1;
        let list = |slot| Ok::<u32, Infallible>(slots.list(slot));
        match literal::infallible(literal::walk(plan, range, self.index, &mut budget, list)) {
            Walk::Found(index) => Search::Found { slot: self.first + index, nslots: plan.nslots },
            Walk::Full => Search::Full,
            Walk::Bug => Search::Bug,
            Walk::Budget => Search::Hang,
        }
    }

    /// The same slot without the walk: the suitable slots are a lattice, so the walk visits at most two
    /// stretches of it.
    #[inline]
    fn search_lattice(&self, slots: &mut SlotMap, plan: &SearchPlan, lattice: Lattice) -> Search {
        let nslabs = self.nslabs;
        let mut pass = |from: u32, end: u32| -> Option<Search> {
            let first = from.checked_add(lattice.distance(from))?;
            if first >= end {
                return None;
            }
            let range = (self.first + first, self.first + end);
            let teeth = (plan.stride, self.first + first);
            let fits = |slot| plan.spans_boundary(slot) == Some(false);
            let slot = slots.find_run(range, plan.nslots, teeth, fits)?;
            Some(Search::Found { slot, nslots: plan.nslots })
        };
        match plan.loop_end {
            LoopEnd::Counted => {
                let begun_at = self.index;
                if let Some(found) = pass(begun_at, nslabs) {
                    return found;
                }
                // What a stride leads past the end is counted as checked, though nothing was looked at.
                let first = begun_at + lattice.distance(begun_at);
                let passed = match nslabs.checked_sub(first + 1) {
                    Some(room) => {
                        u64::from(first + room / plan.stride * plan.stride) + u64::from(plan.stride)
                    }
                    None => u64::from(nslabs),
                };
                let checked = passed - u64::from(begun_at);
                let left = low32(u64::from(nslabs).saturating_sub(checked));
                pass(0, left).unwrap_or(Search::Full)
            }
            LoopEnd::Wrap => {
                let begun_at = self.begun_at(plan);
                if let Some(found) = pass(begun_at, nslabs) {
                    return found;
                }
                let distance = lattice.distance(0);
                if begun_at == 0 || distance >= nslabs {
                    // Back at 0, where it began; or no slot suits, and single steps meet every index.
                    return Search::Full;
                }
                if distance == 0 {
                    return pass(0, begun_at).unwrap_or(Search::Full);
                }
                // The start is a multiple of the stride and the visited slots never are: no way back to it.
                pass(0, nslabs).unwrap_or(Search::Hang)
            }
        }
    }
}

/// The slots of an area that suit a request, where they lie evenly: every `period` slots.
#[derive(Clone, Copy, Debug)]
struct Lattice {
    /// A power of two that divides the stride.
    period: u32,
    /// Suitable slots, counted from the start of the area, modulo the period.
    residue: u32,
}

impl Lattice {
    /// `None` where only the walk itself tells which slots are visited.
    fn of(plan: &SearchPlan, area_first: u32) -> Option<Self> {
        let tested = plan.zero_mask | plan.match_mask;
        let period = low32(tested >> IO_TLB_SHIFT).checked_add(1)?;
        let regular = period.is_power_of_two()
            && plan.stride.is_power_of_two()
            && period <= plan.stride
            && plan.max_slots.is_power_of_two()
            && plan.tbl_dma_addr & (IO_TLB_SIZE - 1) == 0
            && plan.match_mask & (IO_TLB_SIZE - 1) == 0;
        if !regular {
            return None;
        }
        let start = low32(plan.tbl_dma_addr >> IO_TLB_SHIFT).wrapping_add(area_first);
        let residue = low32(plan.match_bits >> IO_TLB_SHIFT).wrapping_sub(start) & (period - 1);
        Some(Self { period, residue })
    }

    /// Single steps from `index` to the next suitable slot.
    const fn distance(self, index: u32) -> u32 {
        self.residue.wrapping_sub(index) & (self.period - 1)
    }
}
