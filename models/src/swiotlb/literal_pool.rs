//! A whole pool kept literally: every slot by itself, every walk step by step.

use std::convert::Infallible;

use super::area_detail::{Slot, SlotDetail};
use super::literal::{self, PoolView, Release, SlotView, Walk};
use super::search::{DmaLimits, SearchPlan, SearchRules};
use super::sizing::PoolSize;
use crate::mem::PhysAddr;

/// The naive twin of [`super::Pool`], by which that is tested.
///
/// Source: `include/linux/swiotlb.h: struct io_tlb_pool`, v6.12.
#[derive(Clone, Debug)]
pub struct LiteralPool {
    start: PhysAddr,
    size: PoolSize,
    slots: SlotDetail,
    /// `used` and `index` of each area.
    areas: Vec<(u64, u32)>,
}

impl LiteralPool {
    /// A new pool at `start`, all of it free.
    #[must_use]
    pub fn new(rules: SearchRules, start: PhysAddr, size: PoolSize) -> Self {
        let slots = SlotDetail::new(size.nslabs, rules.list_clamped);
        Self { start, size, slots, areas: vec![(0, 0); size.nareas as usize] }
    }

    /// What is kept for a slot.
    #[must_use]
    pub fn slot(&self, slot: u32) -> Slot {
        self.slots.at(slot)
    }

    /// `used` and `index` of each area.
    #[must_use]
    pub fn areas(&self) -> &[(u64, u32)] {
        &self.areas
    }

    /// Searches one area and takes what it finds; the slot is counted from the start of the area.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_search_pool_area()`, v6.12, and its predecessors.
    pub fn find_slots(&mut self, area: u32, plan: &SearchPlan) -> Walk {
        // More than once round is for ever, as nothing changes meanwhile; ten times round for good measure.
        let mut budget = 10 * u64::from(self.size.nslabs) + 10;
        literal::infallible(literal::find_slots(self, plan, area, &mut budget))
    }

    /// Records where the bytes of a run came from.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_map_single()`, after the slots were found, v6.12.
    pub fn record(&mut self, first: u32, nslots: u32, pad: u16, orig_addr: PhysAddr) {
        literal::infallible(literal::record_origin(self, i64::from(first), nslots, pad, orig_addr));
    }

    /// Frees the mapping that a bounce address belongs to.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_release_slots()`, all versions.
    pub fn release_slots(&mut self, rules: SearchRules, limits: DmaLimits, tlb_addr: PhysAddr) -> Release {
        let mut budget = 2 * u64::from(self.size.nslabs) + 256;
        literal::infallible(literal::release_slots(self, rules, limits, tlb_addr, &mut budget))
    }
}

impl SlotView for LiteralPool {
    type Error = Infallible;

    fn list(&mut self, slot: i64) -> Result<u32, Infallible> {
        self.slots.list(slot)
    }

    fn set_list(&mut self, slot: i64, list: u32) -> Result<(), Infallible> {
        self.slots.set_list(slot, list)
    }

    fn alloc_size(&mut self, slot: i64) -> Result<u64, Infallible> {
        self.slots.alloc_size(slot)
    }

    fn set_alloc_size(&mut self, slot: i64, bytes: u64) -> Result<(), Infallible> {
        self.slots.set_alloc_size(slot, bytes)
    }

    fn orig_addr(&mut self, slot: i64) -> Result<u64, Infallible> {
        self.slots.orig_addr(slot)
    }

    fn set_orig_addr(&mut self, slot: i64, addr: u64) -> Result<(), Infallible> {
        self.slots.set_orig_addr(slot, addr)
    }

    fn pad_slots(&mut self, slot: i64) -> Result<u16, Infallible> {
        self.slots.pad_slots(slot)
    }

    fn set_pad_slots(&mut self, slot: i64, pad: u16) -> Result<(), Infallible> {
        self.slots.set_pad_slots(slot, pad)
    }
}

impl PoolView for LiteralPool {
    fn start(&mut self) -> Result<u64, Infallible> {
        Ok(self.start.0)
    }

    fn nareas(&mut self) -> Result<Option<u32>, Infallible> {
        Ok(Some(self.size.nareas))
    }

    fn area_nslabs(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from(self.size.area_nslabs()))
    }

    fn used(&mut self, area: u32) -> Result<u64, Infallible> {
        Ok(self.areas.get(area as usize).map_or(0, |area| area.0))
    }

    fn set_used(&mut self, area: u32, used: u64) -> Result<(), Infallible> {
        if let Some(area) = self.areas.get_mut(area as usize) {
            area.0 = used;
        }
        Ok(())
    }

    fn index(&mut self, area: u32) -> Result<u32, Infallible> {
        Ok(self.areas.get(area as usize).map_or(0, |area| area.1))
    }

    fn set_index(&mut self, area: u32, index: u32) -> Result<(), Infallible> {
        if let Some(area) = self.areas.get_mut(area as usize) {
            area.1 = index;
        }
        Ok(())
    }
}
