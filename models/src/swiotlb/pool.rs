//! A pool: an address range cut into slots, its areas, and what is recorded of each mapping.

use super::area::{Area, Search};
use super::area_slots::SlotMap;
use super::bounce::{Bounce, BounceRules, Bounced, Way};
use super::literal::{self, Release, Run, Walker};
use super::map::{MapRequest, Mapping, Prepared};
use super::search::{DmaLimits, Request, SearchPlan, SearchRules};
use super::sizing::{IO_TLB_SHIFT, IO_TLB_SIZE, PoolSize, low32};
use crate::mem::{PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, PhysAddr};

/// Slots in use over all areas, and the most there ever were (`total_used`, `used_hiwater`).
///
/// Source: `kernel/dma/swiotlb.c: inc_used_and_hiwater(), dec_used()`, v6.12.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Usage {
    /// Slots in use, modulo 2^64.
    pub total_used: u64,
    /// The most that were in use at once.
    pub used_hiwater: u64,
}

impl Usage {
    /// Counts `nslots` as taken.
    pub const fn add(&mut self, nslots: u32) {
        self.total_used = self.total_used.wrapping_add(nslots as u64);
        if self.total_used > self.used_hiwater {
            self.used_hiwater = self.total_used;
        }
    }

    /// Counts `nslots` (an `int`) as given back.
    pub const fn sub(&mut self, nslots: i64) {
        self.total_used = self.total_used.wrapping_sub(nslots.cast_unsigned());
    }
}

/// What a pool is for.
///
/// Source: `include/linux/swiotlb.h: struct io_tlb_mem`, v6.12.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PoolFlags {
    /// Every mapping bounces, needed or not (`force_bounce`).
    pub force_bounce: bool,
    /// Coherent memory comes from here and only from here: a restricted pool (`for_alloc`, v5.15).
    pub for_alloc: bool,
    /// Made of the page allocator's memory, which frees it differently (`late_alloc`).
    pub late_alloc: bool,
}

impl PoolFlags {
    /// Those of a device's own pool. Source: `kernel/dma/swiotlb.c: rmem_swiotlb_device_init()`, v6.12.
    pub const RESTRICTED: Self = Self { force_bounce: true, for_alloc: true, late_alloc: false };
}

/// Why a mapping failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// The pool has no slots ("Can not allocate SWIOTLB buffer earlier").
    NoPool,
    /// More bytes to map than to allocate; the kernel warns.
    InvalidSizes,
    /// No place ("swiotlb buffer is full").
    Full,
    /// A search that never ends, with the lock held.
    Hang,
    /// The kernel stops on an assertion.
    Bug,
}

/// The pool.
///
/// Source: `include/linux/swiotlb.h: struct io_tlb_pool`, v6.12; before v6.6 `struct io_tlb_mem`.
#[derive(Clone, Debug)]
pub struct Pool {
    search: SearchRules,
    bounce: BounceRules,
    start: PhysAddr,
    size: PoolSize,
    area_nslabs: u32,
    areas: Vec<Area>,
    slots: SlotMap,
    usage: Usage,
    flags: PoolFlags,
    /// How often slots were taken or given back.
    changes: u64,
}

impl Pool {
    /// A new pool at `start`, all of it free.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_init_io_tlb_pool()`, v6.12.
    #[must_use]
    pub fn new(search: SearchRules, bounce: BounceRules, start: PhysAddr, size: PoolSize) -> Self {
        let mut pool = Self {
            search,
            bounce,
            start,
            size,
            area_nslabs: 0,
            areas: Vec::new(),
            slots: SlotMap::default(),
            usage: Usage::default(),
            flags: PoolFlags::default(),
            changes: 0,
        };
        pool.reset(start, size);
        pool
    }

    /// The same pool for another purpose.
    #[must_use]
    pub fn with_flags(self, flags: PoolFlags) -> Self {
        Self { flags, ..self }
    }

    /// Makes this a new pool, keeping its rules, its flags and what memory was got.
    pub fn reset(&mut self, start: PhysAddr, size: PoolSize) {
        self.start = start;
        self.size = size;
        self.usage = Usage::default();
        self.areas.clear();
        let area_nslabs = size.area_nslabs();
        self.area_nslabs = area_nslabs;
        self.areas
            .extend((0..size.nareas).map(|area| Area::new(area.wrapping_mul(area_nslabs), area_nslabs)));
        self.slots.reset(size.nslabs, self.search.list_clamped);
    }

    /// First byte of the pool (`start`).
    #[must_use]
    pub const fn start(&self) -> PhysAddr {
        self.start
    }

    /// One past the last byte of the pool (`end`).
    #[must_use]
    pub const fn end(&self) -> PhysAddr {
        self.start.wrapping_add((self.size.nslabs as u64) << IO_TLB_SHIFT)
    }

    /// Numbers of slots and areas.
    #[must_use]
    pub const fn size(&self) -> PoolSize {
        self.size
    }

    /// The areas in order.
    #[must_use]
    pub fn areas(&self) -> &[Area] {
        &self.areas
    }

    /// The slots.
    #[must_use]
    pub const fn slots(&self) -> &SlotMap {
        &self.slots
    }

    /// What the pool is for.
    #[must_use]
    pub const fn flags(&self) -> PoolFlags {
        self.flags
    }

    /// The rules of the search.
    #[must_use]
    pub const fn search_rules(&self) -> SearchRules {
        self.search
    }

    /// The rules of the copies.
    #[must_use]
    pub const fn bounce_rules(&self) -> BounceRules {
        self.bounce
    }

    /// Totals over the pool's life.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// Sum of the areas' counters, modulo 2^64.
    ///
    /// Source: `kernel/dma/swiotlb.c: mem_used()`, v6.1; `mem_pool_used()`, v6.12.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.areas.iter().fold(0, |sum, area| sum.wrapping_add(area.used()))
    }

    /// Whether `addr` lies in the pool.
    ///
    /// Source: `include/linux/swiotlb.h: is_swiotlb_buffer()`, v6.1; `swiotlb_find_pool()`, v6.12.
    #[must_use]
    pub const fn contains(&self, addr: PhysAddr) -> bool {
        self.start.0 <= addr.0 && addr.0 < self.end().0
    }

    /// Physical address of a slot.
    ///
    /// Before v6.0 the distance from the start is an `int`: at 2 GiB its sign changes, at 4 GiB it begins anew.
    ///
    /// Source: `kernel/dma/swiotlb.c: slot_addr()`, all versions.
    #[must_use]
    pub const fn slot_addr(&self, slot: u32) -> PhysAddr {
        let distance = if self.search.wide_slot_addr {
            (slot as u64) << IO_TLB_SHIFT
        } else {
            ((slot << IO_TLB_SHIFT).cast_signed() as i64).cast_unsigned()
        };
        self.start.wrapping_add(distance)
    }

    /// Areas in the order in which a CPU tries them.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_find_slots()`, v6.0 and, without growing pools, v6.12. A
    /// pool without areas has just the one.
    pub fn area_order(&self, cpu: u32) -> impl Iterator<Item = u32> + use<> {
        let count = self.size.nareas;
        let start = cpu & count.wrapping_sub(1);
        // No remainder: a division costs as much as the search that follows.
        (0..count).map(move |step| {
            let area = start + step;
            if area >= count { area - count } else { area }
        })
    }

    /// Searches one area and takes what it finds.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_search_pool_area()`, v6.12, within the area's lock.
    #[inline]
    pub fn search_area(&mut self, area: u32, plan: &SearchPlan) -> Search {
        let Some(area) = self.areas.get_mut(area as usize) else {
            return Search::Bug;
        };
        let found = area.find_slots(&mut self.slots, plan);
        if let Search::Found { nslots, .. } = found {
            self.usage.add(nslots);
            self.changes += 1;
        }
        found
    }

    /// A number that is greater whenever slots were taken or given back meanwhile.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// The first slot that a request would get in any area, whatever area is tried; nothing is taken.
    pub fn has_room(&mut self, limits: DmaLimits, request: &Request) -> Option<u32> {
        let plan = self.plan(limits, request);
        self.areas.iter().find_map(|area| match area.search(&mut self.slots, &plan) {
            Search::Found { slot, .. } => Some(slot),
            Search::Full | Search::Hang | Search::Bug => None,
        })
    }

    /// What a search of one area would take, without taking it.
    pub(super) fn foresee_in_area(&mut self, area: u32, plan: &SearchPlan) -> Search {
        match self.areas.get(area as usize) {
            Some(area) => area.search(&mut self.slots, plan),
            None => Search::Bug,
        }
    }

    /// Whether a segment, and with it a run of free slots, may lie in two areas, which have two locks.
    pub(super) const fn areas_share_segments(&self) -> bool {
        self.size.nareas > 1 && !self.area_nslabs.is_multiple_of(super::sizing::IO_TLB_SEGSIZE)
    }

    /// The walk of a search of one area, for callers that take it turn by turn; [`SlotMap::list`] answers for its
    /// slots. `None` if there is no such area.
    #[must_use]
    pub fn walker(&self, area: u32, plan: &SearchPlan) -> Option<Walker> {
        let area = self.areas.get(area as usize)?;
        Some(Walker::new(plan, (area.first(), u64::from(area.nslabs())), area.index()))
    }

    /// The request worked out for this pool, as each search of one of its areas computes it.
    #[must_use]
    pub fn plan(&self, limits: DmaLimits, request: &Request) -> SearchPlan {
        SearchPlan::new(self.search, limits, self.start, request)
    }

    pub(super) fn area_mut(&mut self, area: u32) -> Option<&mut Area> {
        self.areas.get_mut(area as usize)
    }

    /// Takes a free run for `plan` in `area`, as a search that found it.
    pub(super) fn take_in(&mut self, area: u32, plan: &SearchPlan, slot: u32) {
        if let Some(area) = self.areas.get_mut(area as usize) {
            area.take(&mut self.slots, plan, slot);
            self.usage.add(plan.nslots);
            self.changes += 1;
        }
    }

    /// Searches the areas in a CPU's order until one has a place, or the search does not return.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_find_slots()`, v6.0 and, without growing pools, v6.12.
    #[inline]
    pub fn find_slots(&mut self, cpu: u32, limits: DmaLimits, request: &Request) -> Search {
        let plan = SearchPlan::new(self.search, limits, self.start, request);
        for area in self.area_order(cpu) {
            match self.search_area(area, &plan) {
                Search::Full => {}
                other => return other,
            }
        }
        Search::Full
    }

    /// Records the origin of slots that a search has taken, and says where the bytes begin.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_map_single()`, after the search, without a lock.
    #[inline]
    pub fn record(&mut self, prepared: &Prepared, slot: u32, nslots: u32) -> Mapping {
        self.slots.set_orig(slot, nslots, prepared.pad, prepared.request.orig_addr);
        let first = self.slot_addr(slot + u32::from(prepared.pad));
        let tlb_addr = first.wrapping_add(u64::from(prepared.offset));
        Mapping { tlb_addr, slot, nslots, pad: prepared.pad }
    }

    /// Gets slots for a buffer; the copy is a separate step ([`Self::bounce`]).
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_map_single()`, by version.
    ///
    /// # Errors
    ///
    /// As [`MapError`] says; nothing is taken then.
    pub fn map(&mut self, cpu: u32, limits: DmaLimits, map: &MapRequest) -> Result<Mapping, MapError> {
        if self.size.nslabs == 0 {
            return Err(MapError::NoPool);
        }
        let prepared = Prepared::new(self.search, limits, map).ok_or(MapError::InvalidSizes)?;
        match self.find_slots(cpu, limits, &prepared.request) {
            Search::Found { slot, nslots } => Ok(self.record(&prepared, slot, nslots)),
            Search::Full => Err(MapError::Full),
            Search::Hang => Err(MapError::Hang),
            Search::Bug => Err(MapError::Bug),
        }
    }

    /// What [`Self::map`] would give, without taking it.
    ///
    /// # Errors
    ///
    /// As [`Self::map`].
    pub fn foresee(&mut self, cpu: u32, limits: DmaLimits, map: &MapRequest) -> Result<PhysAddr, MapError> {
        let prepared = Prepared::new(self.search, limits, map).ok_or(MapError::InvalidSizes)?;
        let plan = SearchPlan::new(self.search, limits, self.start, &prepared.request);
        for area in self.area_order(cpu) {
            let Some(area) = self.areas.get(area as usize) else { return Err(MapError::Bug) };
            match area.search(&mut self.slots, &plan) {
                Search::Found { slot, .. } => {
                    let first = self.slot_addr(slot + u32::from(prepared.pad));
                    return Ok(first.wrapping_add(u64::from(prepared.offset)));
                }
                Search::Full => {}
                Search::Hang => return Err(MapError::Hang),
                Search::Bug => return Err(MapError::Bug),
            }
        }
        Err(MapError::Full)
    }

    /// Takes the very slots that a mapping at `tlb_addr` stands for, where a recording says that it was made; the
    /// area's cursor moves as if a search had found them. `None`, and nothing is taken, if no such mapping fits there
    /// or the slots are not free.
    pub fn place(&mut self, limits: DmaLimits, map: &MapRequest, tlb_addr: PhysAddr) -> Option<Mapping> {
        let prepared = Prepared::new(self.search, limits, map)?;
        let plan = SearchPlan::new(self.search, limits, self.start, &prepared.request);
        let into = tlb_addr.0.checked_sub(self.start.0)?.checked_sub(u64::from(prepared.offset))?;
        let slot = (into >> IO_TLB_SHIFT).checked_sub(u64::from(prepared.pad))?;
        let slot = u32::try_from(slot).ok().filter(|slot| *slot < self.size.nslabs)?;
        let area = slot.checked_div(self.area_nslabs)?;
        let free = u64::from(self.slots.list(slot)) >= u64::from(plan.nslots);
        if into & (IO_TLB_SIZE - 1) != 0 || plan.nslots == 0 || !free {
            return None;
        }
        self.areas.get_mut(area as usize)?.take(&mut self.slots, &plan, slot);
        self.usage.add(plan.nslots);
        Some(self.record(&prepared, slot, plan.nslots))
    }

    /// The copy that a bounce of `size` bytes at `tlb_addr` makes.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_bounce()`, by version.
    #[must_use]
    pub fn bounce(&self, limits: DmaLimits, tlb_addr: PhysAddr, size: u64, way: Way) -> Bounce {
        self.bounce.bounce(limits, &Bounced::of(self, tlb_addr), size, way)
    }

    /// The slots that a bounce address stands for.
    ///
    /// Source: the head of `kernel/dma/swiotlb.c: swiotlb_release_slots()`, by version.
    #[must_use]
    pub fn run_of(&self, limits: DmaLimits, tlb_addr: PhysAddr) -> Run {
        let sizes = |slot: i64| u32::try_from(slot).map_or((0, 0), |slot| self.slots.sizes(slot));
        // Padding and size are mostly those of the same slot.
        let seen = std::cell::Cell::new((i64::MIN, 0));
        let pad = |at: i64| {
            let (pad, size) = sizes(at);
            seen.set((at, size));
            Ok(pad)
        };
        let size = |at: i64| Ok(if seen.get().0 == at { seen.get().1 } else { sizes(at).1 });
        literal::infallible(literal::run_of(self.search, limits, self.start.0, tlb_addr, pad, size))
    }

    /// Frees the mapping of a bounce address. The copy back comes before ([`Self::bounce`]).
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_release_slots()`, by version.
    #[inline]
    pub fn release_slots(&mut self, limits: DmaLimits, tlb_addr: PhysAddr) -> Release {
        self.changes += 1;
        // Mostly a whole mapping without padding is given back by the address that it was given.
        let offset = limits.align_offset(tlb_addr);
        let slot =
            low32(tlb_addr.0.wrapping_sub(u64::from(offset)).wrapping_sub(self.start.0) >> IO_TLB_SHIFT);
        if let Some(area) = self.area_of(slot)
            && let Some(nslots) = self.slots.release_whole(slot, offset)
        {
            let nslots = i64::from(nslots);
            self.areas[area as usize].give_back(nslots);
            self.usage.sub(nslots);
            return Release::Done { first: i64::from(slot), nslots, area };
        }
        self.release_any(limits, tlb_addr)
    }

    /// The same, whatever the address is.
    fn release_any(&mut self, limits: DmaLimits, tlb_addr: PhysAddr) -> Release {
        let run = self.run_of(limits, tlb_addr);
        let unsigned = low32(run.first.cast_unsigned());
        let area = if unsigned < self.area_nslabs {
            0
        } else if let Some(area) = unsigned.checked_div(self.area_nslabs) {
            area
        } else {
            return Release::DivideByZero;
        };
        let Some(counters) = self.areas.get_mut(area as usize) else {
            return Release::Bug;
        };
        if !self.slots.release(run.first, run.nslots) {
            return Release::Budget;
        }
        counters.give_back(run.nslots);
        self.usage.sub(run.nslots);
        Release::Done { first: run.first, nslots: run.nslots, area }
    }

    /// Allocates `size` bytes of a restricted pool, without an original.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_alloc()`, v5.15 to v6.12.
    ///
    /// # Errors
    ///
    /// As [`AllocError`] says; nothing stays taken.
    pub fn alloc(&mut self, cpu: u32, limits: DmaLimits, size: u64) -> Result<Allocation, AllocError> {
        let page_aligned = self.search.alloc_page_aligned;
        let pages = size.div_ceil(PAGE_SIZE).checked_next_power_of_two().unwrap_or(0);
        let alloc_align_mask = if page_aligned { low32((pages << PAGE_SHIFT).wrapping_sub(1)) } else { 0 };
        let request = Request { orig_addr: PhysAddr(0), alloc_size: size, alloc_align_mask };
        match self.find_slots(cpu, limits, &request) {
            Search::Found { slot, nslots } => {
                let addr = self.slot_addr(slot);
                if page_aligned && addr.page_offset() != 0 {
                    self.release_slots(limits, addr);
                    return Err(AllocError::NotPageAligned);
                }
                // struct page knows no address within the page: an odd slot is forgotten.
                Ok(Allocation { page: PhysAddr(addr.0 & PAGE_MASK), slot, nslots })
            }
            Search::Full => Err(AllocError::Full),
            Search::Hang => Err(AllocError::Hang),
            Search::Bug => Err(AllocError::Bug),
        }
    }

    /// The largest mapping advertised to a device, in bytes.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_max_mapping_size()`, v5.19 to v6.12.
    #[must_use]
    pub const fn max_mapping_size(limits: DmaLimits) -> u64 {
        let segment = (super::sizing::IO_TLB_SEGSIZE as u64) << IO_TLB_SHIFT;
        segment.wrapping_sub((limits.min_align_mask as u64).next_multiple_of(IO_TLB_SIZE))
    }
}

/// Pages out of a restricted pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Start of the page that holds the first slot; not the slot's own address where that is odd.
    pub page: PhysAddr,
    /// First slot.
    pub slot: u32,
    /// Number of slots.
    pub nslots: u32,
}

/// Why an allocation from a restricted pool failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocError {
    /// No place.
    Full,
    /// The place found does not begin a page; the kernel warns and gives it back (v6.9-rc1).
    NotPageAligned,
    /// A search that never ends.
    Hang,
    /// The kernel stops on an assertion.
    Bug,
}
