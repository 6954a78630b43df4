//! One segment of 128 slots: a word of free bits, and the records of its mappings.

use super::sizing::{INVALID_PHYS_ADDR, IO_TLB_SEGSIZE, IO_TLB_SHIFT};

/// The lowest `count` bits, `count` up to 128.
#[inline]
pub(super) const fn low_bits(count: u32) -> u128 {
    if count >= 128 { u128::MAX } else { (1 << count) - 1 }
}

/// The bits from which a run of `count` set bits begins.
#[inline]
pub(super) const fn run_starts(mut bits: u128, count: u32) -> u128 {
    let mut have = 1;
    while have < count && bits != 0 {
        let step = if have < count - have { have } else { count - have };
        bits &= bits >> step;
        have += step;
    }
    bits
}

/// One bit in every `1 << n`, from bit 0. A table, as dividing 128 bits costs more than a search.
pub(super) const COMBS: [u128; 8] = {
    let mut combs = [0; 8];
    let mut n = 0;
    while n < 8 {
        combs[n] = u128::MAX / low_bits(1 << n);
        n += 1;
    }
    combs
};

/// One mapping, or what a partial release has left of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// Original address of the first slot that has one.
    pub(super) orig_addr: u64,
    /// Recorded size of the first slot; each further one has a slot's worth less.
    pub(super) alloc_size: u64,
    pub(super) nslots: u16,
    /// Slots at the start that have no original address.
    pub(super) lead: u16,
    /// `pad_slots` as stored in slot `pad_at`.
    pub(super) pad_slots: u16,
    pub(super) pad_at: u16,
}

pub(super) const NO_RECORD: Record =
    Record { orig_addr: INVALID_PHYS_ADDR, alloc_size: 0, nslots: 0, lead: 0, pad_slots: 0, pad_at: 0 };

/// The records of a segment, by the slot at which they begin.
pub(super) type Records = [Record; IO_TLB_SEGSIZE as usize];

/// A segment: its free slots, and what is recorded of the others.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) free: u128,
    /// Slots at which a record begins.
    pub(super) begins: u128,
    /// Valid where `begins` has a bit. Comes into being when the segment is first taken from.
    pub(super) records: Option<Box<Records>>,
    /// Whether it was taken from since the last reset.
    pub(super) touched: bool,
}

impl Segment {
    /// One that nothing was ever taken from.
    pub(super) const fn new(free: u128) -> Self {
        Self { free, begins: 0, records: None, touched: false }
    }

    /// The record that begins at `offset`, if one does.
    #[inline]
    pub(super) fn record_at(&self, offset: u32) -> Option<&Record> {
        if self.begins >> offset & 1 == 0 {
            return None;
        }
        self.records.as_ref().map(|records| &records[offset as usize])
    }

    /// The same, to be changed.
    #[inline]
    pub(super) fn record_at_mut(&mut self, offset: u32) -> Option<&mut Record> {
        if self.begins >> offset & 1 == 0 {
            return None;
        }
        self.records.as_mut().map(|records| &mut records[offset as usize])
    }

    /// Marks `taken` as busy, and lets `record` begin at `offset`.
    #[inline]
    pub(super) fn take(&mut self, taken: u128, offset: u32, record: Record) {
        self.free &= !taken;
        self.begins |= 1 << offset;
        match &mut self.records {
            Some(records) => records[offset as usize] = record,
            none => new_records(none)[offset as usize] = record,
        }
    }

    /// Lets a record begin at `offset` if one goes across it.
    pub(super) fn split_at(&mut self, offset: u32) {
        let before = self.begins & low_bits(offset);
        if self.free >> offset & 1 == 1 || self.begins >> offset & 1 == 1 || before == 0 {
            return;
        }
        let begin = before.ilog2();
        let Some(records) = &mut self.records else { return };
        let old = &mut records[begin as usize];
        let Some(rest) = u16::try_from(offset - begin).ok().and_then(|cut| old.nslots.checked_sub(cut))
        else {
            return;
        };
        let cut = old.nslots - rest;
        if rest == 0 {
            return;
        }
        let mut new = *old;
        old.nslots = cut;
        new.nslots = rest;
        new.alloc_size = old.alloc_size.wrapping_sub(u64::from(cut) << IO_TLB_SHIFT);
        new.lead = old.lead.saturating_sub(cut);
        if old.orig_addr != INVALID_PHYS_ADDR {
            let moved = u64::from(cut.saturating_sub(old.lead)) << IO_TLB_SHIFT;
            new.orig_addr = old.orig_addr.wrapping_add(moved);
        }
        match old.pad_at.checked_sub(cut) {
            Some(at) => new.pad_at = at,
            None => new.pad_slots = 0,
        }
        self.begins |= 1 << offset;
        records[offset as usize] = new;
    }
}

#[cold]
fn new_records(none: &mut Option<Box<Records>>) -> &mut Records {
    none.get_or_insert_with(|| Box::new([NO_RECORD; IO_TLB_SEGSIZE as usize]))
}
