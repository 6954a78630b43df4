//! One record per slot, as the kernel has it: the fallback of a spoilt pool, and the naive twin in tests.

use std::convert::Infallible;

use super::literal::SlotView;
use super::sizing::{INVALID_PHYS_ADDR, IO_TLB_SEGSIZE};

/// What the kernel keeps for one slot.
///
/// Source: `kernel/dma/swiotlb.c: struct io_tlb_slot`, v6.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Physical address of the bounced bytes, or [`INVALID_PHYS_ADDR`].
    pub orig_addr: u64,
    /// Bytes from here to the end of the mapping, modulo 2^64.
    pub alloc_size: u64,
    /// Free slots from here on; 0 when busy.
    pub list: u32,
    /// Padding slots in front, in the first slot behind them.
    pub pad_slots: u16,
}

impl Slot {
    /// A slot that nothing was recorded for.
    pub const FREE: Self = Self { orig_addr: INVALID_PHYS_ADDR, alloc_size: 0, list: 0, pad_slots: 0 };
}

/// Slots in a plain vector. What lies outside reads as busy and empty, and stores there are counted.
#[derive(Clone, Debug, Default)]
pub struct SlotDetail {
    slots: Vec<Slot>,
    stray_writes: u64,
}

impl SlotDetail {
    /// `nslabs` busy slots without record.
    pub(super) fn empty(nslabs: u32) -> Self {
        Self { slots: vec![Slot::FREE; nslabs as usize], stray_writes: 0 }
    }

    /// All slots of a new pool, with counters that run to the end of the segment or, `list_clamped`, of
    /// the pool. Unclamped, the slots that the last segment lacks exist.
    #[must_use]
    pub fn new(nslabs: u32, list_clamped: bool) -> Self {
        let kept = if list_clamped { nslabs } else { nslabs.next_multiple_of(IO_TLB_SEGSIZE) };
        let mut detail = Self::empty(kept);
        for (slot, at) in (0..kept).zip(&mut detail.slots) {
            at.list = (IO_TLB_SEGSIZE - slot % IO_TLB_SEGSIZE).min(kept - slot);
        }
        detail
    }

    /// The slot, or a free record with counter 0 outside.
    #[must_use]
    pub fn at(&self, slot: u32) -> Slot {
        self.slots.get(slot as usize).copied().unwrap_or(Slot::FREE)
    }

    pub(super) fn at_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.slots[slot as usize]
    }

    /// Stores that went to no slot of this pool.
    #[must_use]
    pub const fn stray_writes(&self) -> u64 {
        self.stray_writes
    }

    fn get(&self, slot: i64) -> Slot {
        usize::try_from(slot).ok().and_then(|at| self.slots.get(at)).copied().unwrap_or(Slot::FREE)
    }

    fn change(&mut self, slot: i64, change: impl FnOnce(&mut Slot)) -> Result<(), Infallible> {
        match usize::try_from(slot).ok().and_then(|at| self.slots.get_mut(at)) {
            Some(slot) => change(slot),
            None => self.stray_writes += 1,
        }
        Ok(())
    }
}

impl SlotView for SlotDetail {
    type Error = Infallible;

    fn list(&mut self, slot: i64) -> Result<u32, Infallible> {
        Ok(self.get(slot).list)
    }

    fn set_list(&mut self, slot: i64, list: u32) -> Result<(), Infallible> {
        self.change(slot, |slot| slot.list = list)
    }

    fn alloc_size(&mut self, slot: i64) -> Result<u64, Infallible> {
        Ok(self.get(slot).alloc_size)
    }

    fn set_alloc_size(&mut self, slot: i64, bytes: u64) -> Result<(), Infallible> {
        self.change(slot, |slot| slot.alloc_size = bytes)
    }

    fn orig_addr(&mut self, slot: i64) -> Result<u64, Infallible> {
        Ok(self.get(slot).orig_addr)
    }

    fn set_orig_addr(&mut self, slot: i64, addr: u64) -> Result<(), Infallible> {
        self.change(slot, |slot| slot.orig_addr = addr)
    }

    fn pad_slots(&mut self, slot: i64) -> Result<u16, Infallible> {
        Ok(self.get(slot).pad_slots)
    }

    fn set_pad_slots(&mut self, slot: i64, pad: u16) -> Result<(), Infallible> {
        self.change(slot, |slot| slot.pad_slots = pad)
    }
}
