//! The kernel's own slot-walking algorithms, slot by slot, over anything that answers for slots.
//!
//! They serve two masters: as the naive twin of [`super::Area`] in tests and its fallback where no closed
//! form holds; and to walk a pool descriptor that was freed, where every read may return anything and any
//! access may end the walk. So a view may refuse with its own error, and every loop has a budget of steps.

use std::convert::Infallible;

use super::search::{DmaLimits, LoopEnd, SearchPlan, SearchRules};
use super::sizing::{INVALID_PHYS_ADDR, IO_TLB_SEGSIZE, IO_TLB_SHIFT, low32, nr_slots};
use crate::mem::PhysAddr;

/// The records of single slots, by slot number in the pool. A number may lie outside the pool: where that
/// leads is the view's business.
///
/// Source: `kernel/dma/swiotlb.c: struct io_tlb_slot`, all versions.
pub trait SlotView {
    /// Why a walk cannot go on: a wild access, say.
    type Error;

    /// Free slots from `slot` on (`list`).
    fn list(&mut self, slot: i64) -> Result<u32, Self::Error>;
    /// Stores the free counter.
    fn set_list(&mut self, slot: i64, list: u32) -> Result<(), Self::Error>;
    /// Bytes from `slot` to the end of its mapping (`alloc_size`).
    fn alloc_size(&mut self, slot: i64) -> Result<u64, Self::Error>;
    /// Stores the bytes.
    fn set_alloc_size(&mut self, slot: i64, bytes: u64) -> Result<(), Self::Error>;
    /// Original physical address (`orig_addr`), [`INVALID_PHYS_ADDR`] when none.
    fn orig_addr(&mut self, slot: i64) -> Result<u64, Self::Error>;
    /// Stores the original address.
    fn set_orig_addr(&mut self, slot: i64, addr: u64) -> Result<(), Self::Error>;
    /// Padding slots in front of `slot` (`pad_slots`); asked only where the rules have them.
    fn pad_slots(&mut self, slot: i64) -> Result<u16, Self::Error>;
    /// Stores the number of padding slots.
    fn set_pad_slots(&mut self, slot: i64, pad: u16) -> Result<(), Self::Error>;
}

/// The descriptor of a pool. Where a kernel has no areas, all of it is area 0.
///
/// Source: `include/linux/swiotlb.h: struct io_tlb_mem`, later `struct io_tlb_pool`.
pub trait PoolView: SlotView {
    /// Physical address of the first slot.
    fn start(&mut self) -> Result<u64, Self::Error>;
    /// Number of areas, or `None` in a kernel without.
    fn nareas(&mut self) -> Result<Option<u32>, Self::Error>;
    /// Slots in an area (`area_nslabs`, before v6.0 `nslabs`).
    fn area_nslabs(&mut self) -> Result<u64, Self::Error>;
    /// Slots in use in an area.
    fn used(&mut self, area: u32) -> Result<u64, Self::Error>;
    /// Stores the slots in use.
    fn set_used(&mut self, area: u32, used: u64) -> Result<(), Self::Error>;
    /// Where the next search in an area begins.
    fn index(&mut self, area: u32) -> Result<u32, Self::Error>;
    /// Stores where the next search begins.
    fn set_index(&mut self, area: u32, index: u32) -> Result<(), Self::Error>;
}

/// How a walk over the slots of an area ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// At this slot, counted from the start of the area.
    Found(u32),
    /// No place.
    Full,
    /// On an assertion of the kernel.
    Bug,
    /// Not within the steps allowed. Over slots that nobody changes, more steps than slots means never.
    Budget,
}

/// How the release of a mapping ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// With these slots free again.
    Done {
        /// First slot, in the pool.
        first: i64,
        /// Number of slots.
        nslots: i64,
        /// Area that they were given back to.
        area: u32,
    },
    /// On an assertion of the kernel: the slot lies in no area.
    Bug,
    /// On a division by `area_nslabs`, which is 0.
    DivideByZero,
    /// Not within the steps allowed.
    Budget,
}

/// The value of a result that cannot be an error.
pub(super) fn infallible<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

fn spend(budget: &mut u64) -> bool {
    match budget.checked_sub(1) {
        Some(rest) => {
            *budget = rest;
            true
        }
        None => false,
    }
}

/// The loop over the slots of one area, turn by turn, for callers that let others run between two turns.
///
/// Source: the loop of `kernel/dma/swiotlb.c: swiotlb_search_pool_area()` (v6.12) and of
/// `swiotlb_do_find_slots()` (v6.1), by the plan.
#[derive(Clone, Copy, Debug)]
pub struct Walker {
    plan: SearchPlan,
    base: u32,
    area_nslabs: u64,
    index: u32,
    begun_at: u32,
    checked: u32,
}

impl Walker {
    /// Before the first turn, at the cursor `index` of an area of `area_nslabs` slots that begins at slot `base`.
    #[must_use]
    pub const fn new(plan: &SearchPlan, (base, area_nslabs): (u32, u64), index: u32) -> Self {
        let index = match plan.loop_end {
            LoopEnd::Wrap => Self::wrapped(plan.first_index(index), area_nslabs),
            LoopEnd::Counted => index,
        };
        Self { plan: *plan, base, area_nslabs, index, begun_at: index, checked: 0 }
    }

    const fn wrapped(index: u32, area_nslabs: u64) -> u32 {
        if index as u64 >= area_nslabs { 0 } else { index }
    }

    /// Whether the loop ends before its next turn.
    const fn is_over(&self) -> bool {
        matches!(self.plan.loop_end, LoopEnd::Counted) && self.checked as u64 >= self.area_nslabs
    }

    /// One turn; how the walk ended, if it did.
    ///
    /// # Errors
    ///
    /// The error of `list`.
    pub fn turn<E>(&mut self, list: impl FnOnce(u32) -> Result<u32, E>) -> Result<Option<Walk>, E> {
        if self.is_over() {
            return Ok(Some(Walk::Full));
        }
        let slot = self.base.wrapping_add(self.index);
        let step = if self.plan.suits(slot) {
            match self.plan.spans_boundary(slot) {
                None => return Ok(Some(Walk::Bug)),
                Some(false) if list(slot)? >= self.plan.nslots => return Ok(Some(Walk::Found(self.index))),
                Some(_) => self.plan.stride,
            }
        } else {
            1
        };
        self.index = Self::wrapped(self.index.wrapping_add(step), self.area_nslabs);
        self.checked = self.checked.wrapping_add(step);
        let back = matches!(self.plan.loop_end, LoopEnd::Wrap) && self.index == self.begun_at;
        Ok(back.then_some(Walk::Full))
    }
}

/// Walks from `index` over the slots of an area of `area_nslabs` slots that begins at slot `base`, in at most `budget`
/// turns.
///
/// # Errors
///
/// The error of `list`, at once.
pub fn walk<E>(
    plan: &SearchPlan,
    range: (u32, u64),
    index: u32,
    budget: &mut u64,
    mut list: impl FnMut(u32) -> Result<u32, E>,
) -> Result<Walk, E> {
    let mut walker = Walker::new(plan, range, index);
    loop {
        if !walker.is_over() && !spend(budget) {
            return Ok(Walk::Budget);
        }
        if let Some(end) = walker.turn(&mut list)? {
            return Ok(end);
        }
    }
}

/// Searches an area and takes what it finds; [`Walk::Found`] is counted from the start of the area.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_search_pool_area()`, v6.12, and its predecessors.
///
/// # Errors
///
/// The error of the view, at once: what was stored before stays stored.
pub fn find_slots<V: PoolView>(
    view: &mut V,
    plan: &SearchPlan,
    area: u32,
    budget: &mut u64,
) -> Result<Walk, V::Error> {
    if plan.nslots == 0 {
        return Ok(Walk::Bug);
    }
    if let Some(nareas) = view.nareas()?
        && area >= nareas
    {
        return Ok(Walk::Bug);
    }
    let area_nslabs = view.area_nslabs()?;
    // Unsigned, as in C: an area that is over-full by mistake looks almost infinitely free.
    if u64::from(plan.nslots) > area_nslabs.wrapping_sub(view.used(area)?) {
        return Ok(Walk::Full);
    }
    let base = area.wrapping_mul(low32(area_nslabs));
    let cursor = view.index(area)?;
    let found = walk(plan, (base, area_nslabs), cursor, budget, |slot| view.list(i64::from(slot)))?;
    if let Walk::Found(index) = found {
        take_run(view, i64::from(base.wrapping_add(index)), plan.nslots, plan.first_alloc_size)?;
        let next = index.wrapping_add(plan.nslots);
        view.set_index(area, if u64::from(next) >= area_nslabs { 0 } else { next })?;
        let used = view.used(area)?;
        view.set_used(area, used.wrapping_add(u64::from(plan.nslots)))?;
    }
    Ok(found)
}

/// Whether `slot` has a neighbour below in the same segment; slot 0 has none, as -1 ends a segment too.
const fn continues_down(slot: i64) -> bool {
    const LAST: i64 = IO_TLB_SEGSIZE as i64 - 1;
    slot & LAST != LAST
}

/// Renumbers the free slots below `first`, counting on from `count`.
fn recount_below<V: SlotView>(view: &mut V, first: i64, mut count: u32) -> Result<(), V::Error> {
    let mut slot = first.wrapping_sub(1);
    while continues_down(slot) && view.list(slot)? != 0 {
        count = count.wrapping_add(1);
        view.set_list(slot, count)?;
        slot = slot.wrapping_sub(1);
    }
    Ok(())
}

/// Marks a run as taken and records what is left of the mapping at each of its slots.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_search_pool_area()`, from the label `found`, v6.12.
///
/// # Errors
///
/// The error of the view, at once.
pub fn take_run<V: SlotView>(view: &mut V, first: i64, nslots: u32, alloc_size: u64) -> Result<(), V::Error> {
    for distance in 0..nslots {
        let slot = first.wrapping_add(i64::from(distance));
        view.set_list(slot, 0)?;
        view.set_alloc_size(slot, alloc_size.wrapping_sub(u64::from(distance) << IO_TLB_SHIFT))?;
    }
    recount_below(view, first, 0)
}

/// Records where the bytes of a run came from, behind `pad` padding slots.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_map_single()`, after the slots were found, v6.12.
///
/// # Errors
///
/// The error of the view, at once.
pub fn record_origin<V: SlotView>(
    view: &mut V,
    first: i64,
    nslots: u32,
    pad: u16,
    orig_addr: PhysAddr,
) -> Result<(), V::Error> {
    let start = first.wrapping_add(i64::from(pad));
    view.set_pad_slots(start, pad)?;
    for distance in 0..nslots.saturating_sub(u32::from(pad)) {
        let addr = orig_addr.0.wrapping_add(u64::from(distance) << IO_TLB_SHIFT);
        view.set_orig_addr(start.wrapping_add(i64::from(distance)), addr)?;
    }
    Ok(())
}

/// Frees a run and joins it with the free slots around it; `false` when the budget did not suffice.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_release_slots()`, within the lock, all versions.
///
/// # Errors
///
/// The error of the view, at once.
pub fn release_run<V: SlotView>(
    view: &mut V,
    first: i64,
    nslots: i64,
    budget: &mut u64,
) -> Result<bool, V::Error> {
    let segment = i64::from(IO_TLB_SEGSIZE);
    let behind = first.wrapping_add(nslots);
    let segment_end = first.wrapping_add(segment) & !(segment - 1);
    let mut count = if behind < segment_end { view.list(behind)? } else { 0 };
    let mut slot = behind.wrapping_sub(1);
    while slot >= first {
        if !spend(budget) {
            return Ok(false);
        }
        count = count.wrapping_add(1);
        view.set_list(slot, count)?;
        view.set_orig_addr(slot, INVALID_PHYS_ADDR)?;
        view.set_alloc_size(slot, 0)?;
        view.set_pad_slots(slot, 0)?;
        slot = slot.wrapping_sub(1);
    }
    recount_below(view, first, count)?;
    Ok(true)
}

/// What a bounce address says about its run, before anything is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First slot, padding included; an `int` in the kernel.
    pub first: i64,
    /// Number of slots; an `int` in the kernel.
    pub nslots: i64,
}

/// The low 32 bits as a signed number, as an assignment to `int` keeps them.
const fn low32_signed(value: u64) -> i64 {
    low32(value).cast_signed() as i64
}

/// Finds the run of a bounce address in the records.
///
/// Source: the head of `kernel/dma/swiotlb.c: swiotlb_release_slots()`, all versions.
///
/// # Errors
///
/// The error of the reads, at once.
#[inline]
pub fn run_of<E>(
    rules: SearchRules,
    limits: DmaLimits,
    start: u64,
    tlb_addr: PhysAddr,
    pad_slots: impl FnOnce(i64) -> Result<u16, E>,
    alloc_size: impl FnOnce(i64) -> Result<u64, E>,
) -> Result<Run, E> {
    let offset = u64::from(limits.align_offset(tlb_addr));
    let mut first = low32_signed(tlb_addr.0.wrapping_sub(offset).wrapping_sub(start) >> IO_TLB_SHIFT);
    if rules.pad_slots {
        first -= i64::from(pad_slots(first)?);
    }
    let nslots = low32_signed(nr_slots(alloc_size(first)?.wrapping_add(offset)));
    Ok(Run { first, nslots })
}

/// Frees the mapping that a bounce address belongs to.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_release_slots()`, all versions.
///
/// # Errors
///
/// The error of the view, at once: what was stored before stays stored.
pub fn release_slots<V: PoolView>(
    view: &mut V,
    rules: SearchRules,
    limits: DmaLimits,
    tlb_addr: PhysAddr,
    budget: &mut u64,
) -> Result<Release, V::Error> {
    let start = view.start()?;
    // Two readers of one view, one after the other.
    let cell = std::cell::RefCell::new(&mut *view);
    let run = run_of(
        rules,
        limits,
        start,
        tlb_addr,
        |slot| cell.borrow_mut().pad_slots(slot),
        |slot| cell.borrow_mut().alloc_size(slot),
    )?;
    let area = match view.nareas()? {
        None => 0,
        Some(nareas) => {
            let unsigned = u64::from(low32(run.first.cast_unsigned()));
            let Some(area) = unsigned.checked_div(view.area_nslabs()?) else {
                return Ok(Release::DivideByZero);
            };
            if area >= u64::from(nareas) {
                return Ok(Release::Bug);
            }
            low32(area)
        }
    };
    if !release_run(view, run.first, run.nslots, budget)? {
        return Ok(Release::Budget);
    }
    let used = view.used(area)?;
    view.set_used(area, used.wrapping_sub(run.nslots.cast_unsigned()))?;
    Ok(Release::Done { first: run.first, nslots: run.nslots, area })
}
