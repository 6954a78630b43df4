//! The areas of a pool behind their locks.

use super::SlotLock;
use crate::mem::PhysAddr;
use crate::swiotlb::area::{Area, Search};
use crate::swiotlb::area_slots::SlotMap;
use crate::swiotlb::literal::{self, Run};
use crate::swiotlb::map::{Mapping, Prepared};
use crate::swiotlb::search::{DmaLimits, SearchPlan, SearchRules};
use crate::swiotlb::sizing::{IO_TLB_SEGSIZE, IO_TLB_SHIFT, PoolSize};

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

    /// Takes slots for `plan` and records where they came from, for an area that begins at `start`. The slot of the
    /// mapping is counted from there.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_map_single()`, v6.12, which records without the lock.
    ///
    /// # Errors
    ///
    /// What the search says when it finds nothing.
    pub fn map(
        &mut self,
        plan: &SearchPlan,
        prepared: &Prepared,
        start: PhysAddr,
    ) -> Result<Mapping, Search> {
        let (slot, nslots) = match self.find_slots(plan) {
            Search::Found { slot, nslots } => (slot, nslots),
            other => return Err(other),
        };
        self.slots.set_orig(slot, nslots, prepared.pad, prepared.request.orig_addr);
        let first = u64::from(slot) + u64::from(prepared.pad);
        let tlb_addr = start.wrapping_add((first << IO_TLB_SHIFT) + u64::from(prepared.offset));
        Ok(Mapping { tlb_addr, slot, nslots, pad: prepared.pad })
    }

    /// The slots that a bounce address stands for, in an area that begins at `start`.
    ///
    /// Source: the head of `kernel/dma/swiotlb.c: swiotlb_release_slots()`, v6.12, which has no lock there.
    #[must_use]
    pub fn run_of(&self, rules: SearchRules, limits: DmaLimits, start: PhysAddr, tlb_addr: PhysAddr) -> Run {
        let at = |slot: i64| u32::try_from(slot).ok().filter(|&slot| slot < self.slots.nslabs());
        let pad = |slot| Ok(at(slot).map_or(0, |slot| self.slots.pad_slots(slot)));
        let size = |slot| Ok(at(slot).map_or(0, |slot| self.slots.alloc_size(slot)));
        literal::infallible(literal::run_of(rules, limits, start.0, tlb_addr, pad, size))
    }

    /// Gives `nslots` slots from `slot` back. Returns whether there were so many.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_release_slots()`, within the lock.
    pub fn release(&mut self, slot: u32, nslots: u32) -> bool {
        self.release_run(Run { first: i64::from(slot), nslots: i64::from(nslots) })
    }

    /// As [`Self::release`], for what [`Self::run_of`] says.
    pub fn release_run(&mut self, run: Run) -> bool {
        let done = self.slots.release(run.first, run.nslots);
        if done {
            self.area.give_back(run.nslots);
        }
        done
    }
}

/// Several areas would share a segment, so that one area's lock protected slots of another. Kernels up to
/// v6.4 make such pools; [`Pool`](crate::swiotlb::Pool) models them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AreasShareSegment;

/// The slots of one pool, for many callers.
///
/// ```
/// use std::sync::Mutex;
/// use models::mem::PhysAddr;
/// use models::swiotlb::{AreaState, DmaLimits, PoolSize, Request, Search, SearchPlan, SearchRules, SlotAllocator};
///
/// // 64 MiB in four areas.
/// let size = PoolSize { nslabs: 32_768, nareas: 4 };
/// let slots = SlotAllocator::<Mutex<AreaState>>::new(size, true).unwrap();
/// let request = Request { orig_addr: PhysAddr(0x1234_5000), alloc_size: 4096, alloc_align_mask: 0 };
/// let plan = SearchPlan::new(SearchRules::v6_12(), DmaLimits::default(), PhysAddr(0x400_0000), &request);
///
/// std::thread::scope(|scope| {
///     for cpu in 0..4 {
///         let (slots, plan) = (&slots, &plan);
///         scope.spawn(move || {
///             let Search::Found { slot, nslots } = slots.find_slots(cpu, plan) else { panic!("full") };
///             assert!(slots.release(slot, nslots));
///         });
///     }
/// });
/// assert_eq!(slots.used(), 0);
/// ```
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_find_slots(), swiotlb_release_slots()`, v6.0 to v6.12.
#[derive(Debug)]
pub struct SlotAllocator<L> {
    areas: Vec<L>,
    area_nslabs: u32,
}

impl<L> SlotAllocator<L> {
    /// An unused pool with locks that `lock` makes: for locks that are no [`SlotLock`], such as a simulator's, whose
    /// callers step through [`Self::order`] and [`Self::home`] themselves.
    ///
    /// # Errors
    ///
    /// [`AreasShareSegment`] if areas do not consist of whole segments.
    pub fn with_locks(
        size: PoolSize,
        list_clamped: bool,
        mut lock: impl FnMut(AreaState) -> L,
    ) -> Result<Self, AreasShareSegment> {
        let area_nslabs = size.area_nslabs();
        if size.nareas > 1 && !area_nslabs.is_multiple_of(IO_TLB_SEGSIZE) {
            return Err(AreasShareSegment);
        }
        let areas = (0..size.nareas).map(|_| lock(AreaState::new(area_nslabs, list_clamped))).collect();
        Ok(Self { areas, area_nslabs })
    }

    fn numbered(&self) -> impl Iterator<Item = (u32, &L)> {
        (0u32..).map(|area| area.wrapping_mul(self.area_nslabs)).zip(&self.areas)
    }

    /// The areas in the order in which `cpu` tries them, each with its first slot.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_find_slots()`, v6.0 to v6.12 without growing pools.
    pub fn order(&self, cpu: usize) -> impl Iterator<Item = (u32, &L)> {
        let start = cpu & self.areas.len().wrapping_sub(1);
        self.numbered().skip(start).chain(self.numbered().take(start))
    }

    /// The area of a slot, and the slot as counted there; `None` outside the pool.
    #[must_use]
    pub fn home(&self, slot: u32) -> Option<(u32, &L)> {
        let area = slot.checked_div(self.area_nslabs)?;
        Some((slot % self.area_nslabs, self.areas.get(area as usize)?))
    }
}

impl<L: SlotLock> SlotAllocator<L> {
    /// An unused pool.
    ///
    /// # Errors
    ///
    /// [`AreasShareSegment`] if areas do not consist of whole segments.
    pub fn new(size: PoolSize, list_clamped: bool) -> Result<Self, AreasShareSegment> {
        Self::with_locks(size, list_clamped, L::new)
    }

    /// Takes slots for `plan` in the area of `cpu`, or else in the next one that has them.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_find_slots()`, v6.0 to v6.12 without growing pools.
    pub fn find_slots(&self, cpu: usize, plan: &SearchPlan) -> Search {
        for (first, area) in self.order(cpu) {
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
        self.home(slot).is_some_and(|(at, area)| area.with(|state| state.release(at, nslots)))
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
