//! The areas of a pool behind their locks, for callers that run at the same time.
//!
//! Generic over the lock, so that loom checks the code that others run.

use super::area::{Area, Search};
use super::area_slots::SlotMap;
use super::search::SearchPlan;
use super::sizing::{IO_TLB_SEGSIZE, PoolSize};

/// All that the lock of one area protects. Its slots are counted from the start of the area.
///
/// Source: `kernel/dma/swiotlb.c: struct io_tlb_area`, v6.0 to v6.12, with the slots that it covers.
#[derive(Clone, Debug)]
pub struct AreaState {
    area: Area,
    slots: SlotMap,
}

impl AreaState {
    /// An unused area of `nslabs` slots.
    #[must_use]
    pub fn new(nslabs: u32, list_clamped: bool) -> Self {
        Self { area: Area::new(0, nslabs), slots: SlotMap::new(nslabs, list_clamped) }
    }

    /// The counters.
    #[must_use]
    pub const fn area(&self) -> &Area {
        &self.area
    }

    /// The slots.
    #[must_use]
    pub const fn slots(&self) -> &SlotMap {
        &self.slots
    }

    /// As [`Area::find_slots`].
    pub fn find_slots(&mut self, plan: &SearchPlan) -> Search {
        self.area.find_slots(&mut self.slots, plan)
    }

    /// As [`Area::search`].
    #[must_use]
    pub fn search(&mut self, plan: &SearchPlan) -> Search {
        self.area.search(&mut self.slots, plan)
    }

    /// As [`Area::take`].
    pub fn take(&mut self, plan: &SearchPlan, slot: u32) {
        self.area.take(&mut self.slots, plan, slot);
    }

    /// Gives `nslots` slots from `slot` back. Returns whether there were so many.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_release_slots()`, within the lock.
    pub fn release(&mut self, slot: u32, nslots: u32) -> bool {
        let done = self.slots.release(i64::from(slot), i64::from(nslots));
        if done {
            self.area.give_back(i64::from(nslots));
        }
        done
    }
}

/// A lock around the state of one area (`spinlock_t` in `struct io_tlb_area`).
pub trait SlotLock {
    /// An open lock.
    fn new(state: AreaState) -> Self;
    /// Runs `step` with the lock held.
    fn with<R>(&self, step: impl FnOnce(&mut AreaState) -> R) -> R;
}

impl SlotLock for std::sync::Mutex<AreaState> {
    fn new(state: AreaState) -> Self {
        Self::new(state)
    }

    fn with<R>(&self, step: impl FnOnce(&mut AreaState) -> R) -> R {
        // A step that panicked has left counters that are wrong for one mapping, not for memory.
        step(&mut self.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// Several areas would share a segment, so that one area's lock protected slots of another. Kernels up to
/// v6.4 make such pools; [`super::Pool`] models them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AreasShareSegment;

/// The slots of one pool, for many callers.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_find_slots(), swiotlb_release_slots()`, v6.0 to v6.12.
#[derive(Debug)]
pub struct SlotAllocator<L> {
    areas: Vec<L>,
    area_nslabs: u32,
}

impl<L: SlotLock> SlotAllocator<L> {
    /// An unused pool.
    ///
    /// # Errors
    ///
    /// [`AreasShareSegment`] if areas do not consist of whole segments.
    pub fn new(size: PoolSize, list_clamped: bool) -> Result<Self, AreasShareSegment> {
        let area_nslabs = size.area_nslabs();
        if size.nareas > 1 && !area_nslabs.is_multiple_of(IO_TLB_SEGSIZE) {
            return Err(AreasShareSegment);
        }
        let area = |_| L::new(AreaState::new(area_nslabs, list_clamped));
        Ok(Self { areas: (0..size.nareas).map(area).collect(), area_nslabs })
    }

    fn numbered(&self) -> impl Iterator<Item = (u32, &L)> {
        (0u32..).map(|area| area.wrapping_mul(self.area_nslabs)).zip(&self.areas)
    }

    /// Takes slots for `plan` in the area of `cpu`, or else in the next one that has them.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_find_slots()`, v6.0 to v6.12 without growing pools.
    pub fn find_slots(&self, cpu: usize, plan: &SearchPlan) -> Search {
        let start = cpu & self.areas.len().wrapping_sub(1);
        let order = self.numbered().skip(start).chain(self.numbered().take(start));
        for (first, area) in order {
            let plan = plan.counted_from(first);
            match area.with(|state| state.find_slots(&plan)) {
                Search::Full => {}
                Search::Found { slot, nslots } => return Search::Found { slot: first + slot, nslots },
                end @ (Search::Hang | Search::Bug) => return end,
            }
        }
        Search::Full
    }

    /// Gives slots back. Returns whether there were so many.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_release_slots()`, v6.0 to v6.12.
    pub fn release(&self, slot: u32, nslots: u32) -> bool {
        let area = slot.checked_div(self.area_nslabs).and_then(|area| self.areas.get(area as usize));
        area.is_some_and(|area| area.with(|state| state.release(slot % self.area_nslabs, nslots)))
    }

    /// Sum of the areas' counters, each read by itself: inexact while others work.
    ///
    /// Source: `kernel/dma/swiotlb.c: mem_used()`, v6.1; `mem_pool_used()`, v6.12.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.areas.iter().fold(0, |sum, area| sum.wrapping_add(area.with(|state| state.area().used())))
    }

    /// Runs `look` on every area in turn, with its lock held.
    pub fn for_each_area(&self, mut look: impl FnMut(&AreaState)) {
        for area in &self.areas {
            area.with(|state| look(state));
        }
    }
}
