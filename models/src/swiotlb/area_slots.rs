//! The slots of a pool: one word of free bits per segment, one record per mapping.
//!
//! The kernel keeps three or four fields per slot. All of them follow from less: the free counter of a
//! slot is the number of free slots from it to the end of its segment, and what is recorded for the slots
//! of one mapping differs only by the distance from its first. Segments come into being when they are
//! first taken from, so that a large pool costs nothing until it is used.
//!
//! A caller that unmaps the wrong address can bring the kernel's counters into a state that no longer
//! says which slots are free. From then on the map keeps every slot by itself, as the kernel does.

use super::area_detail::{Slot, SlotDetail};
use super::area_segment::{COMBS, NO_RECORD, Record, Segment, low_bits, run_starts};
use super::check::Violation;
use super::literal;
use super::sizing::{INVALID_PHYS_ADDR, IO_TLB_SEGSIZE, IO_TLB_SHIFT, nr_slots};
use crate::mem::PhysAddr;

/// The slots of one pool (`io_tlb_mem.slots`, later `io_tlb_pool.slots`).
///
/// Source: `kernel/dma/swiotlb.c: struct io_tlb_slot`, all versions.
#[derive(Clone, Debug, Default)]
pub struct SlotMap {
    nslabs: u32,
    list_clamped: bool,
    /// Per segment, at least the length of its longest free run. Searches that fail lower it, so it must
    /// not reach any digest.
    run_bound: Vec<u8>,
    segments: Vec<Segment>,
    /// Numbers of those that were taken from since the last reset.
    touched: Vec<u32>,
    detail: Option<Box<SlotDetail>>,
}

const fn offset_in(slot: u32) -> u32 {
    slot % IO_TLB_SEGSIZE
}

const fn segment_of(slot: u32) -> u32 {
    slot / IO_TLB_SEGSIZE
}

/// Place of the first segment that may have a run of `nslots`. Sixteen at a time: a full pool is passed over quickly.
#[inline]
fn first_with(bounds: &[u8], nslots: u32) -> Option<usize> {
    const AT_ONCE: usize = 16;
    let wanted = u8::try_from(nslots).unwrap_or(u8::MAX);
    if bounds.first().is_some_and(|bound| *bound >= wanted) {
        return Some(0);
    }
    let chunks = bounds.chunks(AT_ONCE);
    let any = |chunk: &[u8]| chunk.iter().fold(false, |any, bound| any | (*bound >= wanted));
    for (nth, chunk) in chunks.enumerate() {
        if any(chunk) {
            return chunk.iter().position(|bound| *bound >= wanted).map(|at| nth * AT_ONCE + at);
        }
    }
    None
}

impl SlotMap {
    /// All slots of a new pool, free. With `list_clamped` unset, the slots that the last segment lacks
    /// are free as well, as in kernels before v6.7.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_init_io_tlb_mem()`, later `swiotlb_init_io_tlb_pool()`.
    #[must_use]
    pub fn new(nslabs: u32, list_clamped: bool) -> Self {
        let mut map = Self::default();
        map.reset(nslabs, list_clamped);
        map
    }

    /// Makes all slots free again, keeping what memory was got.
    pub fn reset(&mut self, nslabs: u32, list_clamped: bool) {
        let count = nslabs.div_ceil(IO_TLB_SEGSIZE) as usize;
        self.detail = None;
        if self.nslabs == nslabs && self.list_clamped == list_clamped {
            for number in std::mem::take(&mut self.touched) {
                let full = self.full(number);
                let segment = &mut self.segments[number as usize];
                (segment.free, segment.begins, segment.touched) = (full, 0, false);
                self.run_bound[number as usize] = 128;
            }
        } else {
            self.nslabs = nslabs;
            self.list_clamped = list_clamped;
            self.touched.clear();
            self.segments.clear();
            let (mut free, clamped) = (nslabs, list_clamped);
            self.segments.extend((0..count).map(|_| {
                let full = if clamped { low_bits(free) } else { u128::MAX };
                free = free.saturating_sub(IO_TLB_SEGSIZE);
                Segment::new(full)
            }));
            self.run_bound.clear();
            self.run_bound.resize(count, 128);
        }
    }

    /// Number of slots.
    #[must_use]
    pub const fn nslabs(&self) -> u32 {
        self.nslabs
    }

    /// Whether every slot is kept by itself since an unmap has spoilt the counters.
    #[must_use]
    pub const fn is_detailed(&self) -> bool {
        self.detail.is_some()
    }

    /// Stores to slots outside the pool so far: in the kernel, writes to foreign memory.
    #[must_use]
    pub fn stray_writes(&self) -> u64 {
        self.detail.as_ref().map_or(0, |detail| detail.stray_writes())
    }

    /// Slots that have counters: unclamped, also those that the last segment lacks.
    pub(super) const fn kept(&self) -> u32 {
        if self.list_clamped { self.nslabs } else { self.nslabs.next_multiple_of(IO_TLB_SEGSIZE) }
    }

    /// Slots that are taken; `None` when every slot is kept by itself.
    pub(super) fn busy_by_segments(&self) -> Option<u64> {
        if self.detail.is_some() {
            return None;
        }
        let busy = |number: &u32| (self.full(*number) & !self.segments[*number as usize].free).count_ones();
        Some(self.touched.iter().map(|number| u64::from(busy(number))).sum())
    }

    /// What is recorded, each by its first slot and how many there are; `None` when every slot is kept by itself.
    #[must_use]
    pub fn runs(&self) -> Option<impl Iterator<Item = (u32, u32)>> {
        if self.detail.is_some() {
            return None;
        }
        Some(self.touched.iter().flat_map(move |&number| {
            let segment = &self.segments[number as usize];
            let begins = (0..IO_TLB_SEGSIZE).filter(|begin| segment.begins >> begin & 1 == 1);
            begins.map(move |begin| {
                let nslots = segment.record_at(begin).map_or(0, |record| record.nslots);
                (number * IO_TLB_SEGSIZE + begin, u32::from(nslots))
            })
        }))
    }

    /// What the compact form promises itself.
    pub(super) fn inner_violation(&self) -> Option<Violation> {
        if self.detail.is_some() {
            return None;
        }
        for &number in &self.touched {
            let segment = &self.segments[number as usize];
            let bound = u32::from(self.run_bound[number as usize]);
            if bound < IO_TLB_SEGSIZE && run_starts(segment.free, bound + 1) != 0 {
                return Some(Violation::RunUnderrated { segment: number });
            }
            let mut owned = 0;
            let mut begins = segment.begins;
            while begins != 0 {
                let begin = begins.trailing_zeros();
                let nslots = segment.record_at(begin).map_or(0, |record| record.nslots);
                let range = low_bits(u32::from(nslots)) << begin;
                if range & (owned | segment.free) != 0 {
                    return Some(Violation::NoOwner { slot: number * IO_TLB_SEGSIZE + begin });
                }
                owned |= range;
                begins &= begins - 1;
            }
            let orphans = self.full(number) & !segment.free & !owned;
            if orphans != 0 {
                let slot = number * IO_TLB_SEGSIZE + orphans.trailing_zeros();
                return Some(Violation::NoOwner { slot });
            }
        }
        None
    }

    #[inline]
    fn full(&self, segment: u32) -> u128 {
        let slots = self.nslabs.saturating_sub(segment * IO_TLB_SEGSIZE);
        if self.list_clamped { low_bits(slots) } else { u128::MAX }
    }

    /// Remembers that a segment is taken from.
    #[cold]
    fn touch(&mut self, number: u32) {
        self.segments[number as usize].touched = true;
        self.touched.push(number);
    }

    #[inline]
    fn free_bits(&self, segment: u32) -> u128 {
        self.segments.get(segment as usize).map_or(0, |segment| segment.free)
    }

    /// The record that covers `slot`, and the distance of `slot` from its start.
    fn record(&self, slot: u32) -> Option<(&Record, u32)> {
        let segment = self.segments.get(segment_of(slot) as usize)?;
        let offset = offset_in(slot);
        let before = segment.begins & low_bits(offset + 1);
        if segment.free >> offset & 1 == 1 || before == 0 {
            return None;
        }
        let begin = before.ilog2();
        let record = segment.record_at(begin)?;
        (offset - begin < u32::from(record.nslots)).then_some((record, offset - begin))
    }

    /// Free slots from `slot` to the end of its segment or to the next busy one (`list`).
    #[must_use]
    pub fn list(&self, slot: u32) -> u32 {
        match &self.detail {
            Some(detail) => detail.at(slot).list,
            None => (self.free_bits(segment_of(slot)) >> offset_in(slot)).trailing_ones(),
        }
    }

    /// All that is recorded for `slot`, its counter left out (0).
    ///
    /// Source: `kernel/dma/swiotlb.c: struct io_tlb_slot`, all versions.
    #[must_use]
    pub fn slot(&self, slot: u32) -> Slot {
        if let Some(detail) = &self.detail {
            return Slot { list: 0, ..detail.at(slot) };
        }
        let Some((record, distance)) = self.record(slot) else {
            return Slot::FREE;
        };
        let mut found = Slot::FREE;
        found.alloc_size = record.alloc_size.wrapping_sub(u64::from(distance) << IO_TLB_SHIFT);
        if let Some(behind) = distance.checked_sub(u32::from(record.lead))
            && record.orig_addr != INVALID_PHYS_ADDR
        {
            found.orig_addr = record.orig_addr.wrapping_add(u64::from(behind) << IO_TLB_SHIFT);
        }
        if distance == u32::from(record.pad_at) {
            found.pad_slots = record.pad_slots;
        }
        found
    }

    /// Bytes recorded from `slot` to the end of its mapping, modulo 2^64; 0 when free.
    #[must_use]
    pub fn alloc_size(&self, slot: u32) -> u64 {
        self.slot(slot).alloc_size
    }

    /// Original address recorded for `slot`, or `None` (`INVALID_PHYS_ADDR`).
    #[must_use]
    pub fn orig_addr(&self, slot: u32) -> Option<PhysAddr> {
        let addr = self.slot(slot).orig_addr;
        (addr != INVALID_PHYS_ADDR).then_some(PhysAddr(addr))
    }

    /// Padding slots in front of `slot`, as stored in it. Source: `struct io_tlb_slot`, since v6.9-rc4.
    #[must_use]
    pub fn pad_slots(&self, slot: u32) -> u16 {
        self.slot(slot).pad_slots
    }

    /// [`Slot::pad_slots`] and [`Slot::alloc_size`] of `slot`.
    pub(super) fn sizes(&self, slot: u32) -> (u16, u64) {
        let offset = offset_in(slot);
        if self.detail.is_none()
            && let Some(segment) = self.segments.get(segment_of(slot) as usize)
            && let Some(record) = segment.record_at(offset)
        {
            // Mostly a mapping is asked for by its first slot.
            let pad = if record.pad_at == 0 { record.pad_slots } else { 0 };
            return (pad, record.alloc_size);
        }
        let slot = self.slot(slot);
        (slot.pad_slots, slot.alloc_size)
    }

    /// The first slot of `from..end` that lies at `residue` modulo `stride` (a power of two), begins a
    /// free run of `nslots`, and is accepted.
    pub(super) fn find_run(
        &mut self,
        (from, end): (u32, u32),
        nslots: u32,
        (stride, residue): (u32, u32),
        accept: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        debug_assert!(stride.is_power_of_two() && self.detail.is_none());
        if from >= end || nslots > IO_TLB_SEGSIZE {
            return None;
        }
        let first = from + (residue.wrapping_sub(from) & (stride - 1));
        if stride > IO_TLB_SEGSIZE {
            let mut slot = first;
            while slot < end {
                if self.list(slot) >= nslots && accept(slot) {
                    return Some(slot);
                }
                slot = slot.checked_add(stride)?;
            }
            return None;
        }
        let teeth = COMBS[stride.trailing_zeros() as usize] << (residue & (stride - 1));
        let (first, last) = (segment_of(from), segment_of(end - 1));
        let mut segment = first;
        while segment <= last {
            let bounds = &self.run_bound[segment as usize..=last as usize];
            segment += u32::try_from(first_with(bounds, nslots)?).ok()?;
            let base = segment * IO_TLB_SEGSIZE;
            let runs = run_starts(self.free_bits(segment), nslots);
            if runs == 0 {
                // nslots is 1 to 128 here.
                self.run_bound[segment as usize] = u8::try_from(nslots - 1).unwrap_or(128);
            }
            let mut fits = runs & teeth;
            fits &= !low_bits(from.saturating_sub(base));
            fits &= low_bits(end - base);
            while fits != 0 {
                let slot = base + fits.trailing_zeros();
                if accept(slot) {
                    return Some(slot);
                }
                fits &= fits - 1;
            }
            segment += 1;
        }
        None
    }

    /// Marks `first..first + nslots` as taken and records the sizes.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_search_pool_area()`, from the label `found`, v6.12.
    pub(super) fn take(&mut self, first: u32, nslots: u32, alloc_size: u64) {
        let offset = offset_in(first);
        let fits = self.detail.is_none() && nslots <= IO_TLB_SEGSIZE - offset;
        let taken = if fits { low_bits(nslots) << offset } else { 0 };
        if !fits || taken & !self.free_bits(segment_of(first)) != 0 {
            // Without its lock a search can be overtaken: the kernel then takes what is taken already.
            let detail = self.detailed();
            literal::infallible(literal::take_run(detail, i64::from(first), nslots, alloc_size));
            return;
        }
        self.take_in_segment(first, taken, nslots, alloc_size);
    }

    #[inline]
    fn take_in_segment(&mut self, first: u32, taken: u128, nslots: u32, alloc_size: u64) {
        let number = segment_of(first);
        // At most a segment's worth.
        let nslots = u16::try_from(nslots).unwrap_or(u16::MAX);
        let record = Record { alloc_size, nslots, ..NO_RECORD };
        let segment = &mut self.segments[number as usize];
        segment.take(taken, offset_in(first), record);
        if !segment.touched {
            self.touch(number);
        }
    }

    /// Takes `first..first + nslots` if all of it is free, as [`Self::take`] does; says whether it did.
    #[inline]
    pub(super) fn take_if_free(&mut self, first: u32, nslots: u32, alloc_size: u64) -> bool {
        let offset = offset_in(first);
        if self.detail.is_some() || nslots > IO_TLB_SEGSIZE - offset {
            return false;
        }
        let taken = low_bits(nslots) << offset;
        let free = taken & !self.free_bits(segment_of(first)) == 0;
        if free {
            self.take_in_segment(first, taken, nslots, alloc_size);
        }
        free
    }

    /// Records where the run `first..first + nslots` came from, behind `pad` padding slots.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_map_single()`, after the slots were found, all versions.
    pub fn set_orig(&mut self, first: u32, nslots: u32, pad: u16, orig_addr: PhysAddr) {
        if self.detail.is_none() && u32::from(pad) < nslots {
            let offset = offset_in(first);
            let segment = self.segments.get_mut(segment_of(first) as usize);
            if let Some(record) = segment.and_then(|segment| segment.record_at_mut(offset))
                && u32::from(record.nslots) == nslots
            {
                record.orig_addr = orig_addr.0;
                record.lead = pad;
                record.pad_at = pad;
                record.pad_slots = pad;
                return;
            }
        }
        let detail = self.detailed();
        literal::infallible(literal::record_origin(detail, i64::from(first), nslots, pad, orig_addr));
    }

    /// Gives `first..first + nslots` back, whatever they were.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_release_slots()`, within the lock, all versions.
    pub(super) fn release(&mut self, first: i64, nslots: i64) -> bool {
        if self.detail.is_none()
            && let (Ok(start), Ok(count)) = (u32::try_from(first), u32::try_from(nslots))
            && start < self.nslabs
            && self.fits_segment(start, count)
        {
            if count > 0 {
                self.release_within(start, count);
            }
            return true;
        }
        // More than the pool has is no release but a walk through foreign memory.
        let mut budget = 2 * (u64::from(self.nslabs) + u64::from(IO_TLB_SEGSIZE));
        literal::infallible(literal::release_run(self.detailed(), first, nslots, &mut budget))
    }

    /// Whether `start..start + count` lies in one segment, and inside what is counted as free there.
    fn fits_segment(&self, start: u32, count: u32) -> bool {
        let offset = offset_in(start);
        if count > IO_TLB_SEGSIZE - offset {
            return false;
        }
        let range = low_bits(count) << offset;
        range & !self.full(segment_of(start)) == 0
    }

    /// Gives a whole mapping back that begins at `slot`, if one without padding does, and its recorded size and
    /// `offset` bytes make up just its slots. How many they were; `None`, and nothing is done, for all else.
    #[inline]
    pub(super) fn release_whole(&mut self, slot: u32, offset: u32) -> Option<u32> {
        let at = offset_in(slot);
        let number = segment_of(slot);
        if self.detail.is_some() {
            return None;
        }
        let segment = self.segments.get_mut(number as usize)?;
        let record = segment.record_at(at)?;
        let nslots = u32::from(record.nslots);
        let recorded = nr_slots(record.alloc_size.wrapping_add(u64::from(offset)));
        if recorded != u64::from(nslots) || nslots == 0 || record.pad_slots != 0 {
            return None;
        }
        segment.begins &= !(1 << at);
        segment.free |= low_bits(nslots) << at;
        self.raise_bound(number, at);
        Some(nslots)
    }

    /// After slots round `offset` became free, a segment may have a longer run than searches believe.
    #[inline]
    fn raise_bound(&mut self, number: u32, offset: u32) {
        let bound = &mut self.run_bound[number as usize];
        if u32::from(*bound) < IO_TLB_SEGSIZE {
            let free = self.segments[number as usize].free;
            let below = (!free & low_bits(offset)).checked_ilog2().map_or(0, |busy| busy + 1);
            let run = (free >> below).trailing_ones();
            *bound = (*bound).max(u8::try_from(run).unwrap_or(128));
        }
    }

    fn release_within(&mut self, start: u32, count: u32) {
        let offset = offset_in(start);
        let number = segment_of(start);
        let range = low_bits(count) << offset;
        if !self.segments[number as usize].touched {
            self.touch(number);
        }
        let segment = &mut self.segments[number as usize];
        if segment.record_at(offset).is_some_and(|record| u32::from(record.nslots) == count) {
            segment.begins &= !(1 << offset);
        } else {
            // The record that reaches into the range from below is cut; what sticks out above starts anew.
            let end = offset + count;
            segment.split_at(offset);
            if end < IO_TLB_SEGSIZE {
                segment.split_at(end);
            }
            segment.begins &= !range;
        }
        segment.free |= range;
        self.raise_bound(number, offset);
    }

    /// Switches to one record per slot.
    fn detailed(&mut self) -> &mut SlotDetail {
        if self.detail.is_none() {
            let kept = self.kept();
            let mut detail = SlotDetail::empty(kept);
            for slot in 0..kept {
                *detail.at_mut(slot) = Slot { list: self.list(slot), ..self.slot(slot) };
            }
            self.detail = Some(Box::new(detail));
        }
        self.detail.get_or_insert_default()
    }
}
