//! Bringing a pool into the state that a recording shows: for a replay that begins in the middle, or goes on after the
//! kernel did something else than the model.

use super::area::Area;
use super::map::{Mapping, Prepared};
use super::pool::Pool;
use super::search::{DmaLimits, SearchPlan};

impl Area {
    /// Lets the next search begin at `index`, counted from the start of the area; 0 if it lies outside.
    pub const fn resume_at(&mut self, index: u32) {
        let inside = index < self.nslabs();
        self.set_index(if inside { index } else { 0 });
    }
}

impl Pool {
    /// The area that a slot belongs to; none for slots behind the last one.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_release_slots()`, v6.1 and v6.12.
    #[must_use]
    #[inline]
    pub fn area_of(&self, slot: u32) -> Option<u32> {
        let each = self.size().area_nslabs();
        // No division where it can be helped: it costs as much as the rest of an unmap.
        let area = if slot < each { 0 } else { slot.checked_div(each)? };
        (area < self.size().nareas).then_some(area)
    }

    /// Takes the run that a recorded kernel took, without a search. Cursors stay where they are.
    ///
    /// Nothing is taken, and the answer is `None`, if a slot of the run is busy, or the run crosses a segment or lies
    /// outside the pool: no search of the kernel would have found it in this state.
    pub fn adopt(&mut self, limits: DmaLimits, prepared: &Prepared, slot: u32) -> Option<Mapping> {
        let plan = SearchPlan::new(self.search_rules(), limits, self.start(), &prepared.request);
        let area = self.area_of(slot)?;
        if plan.nslots == 0 || self.slots().list(slot) < plan.nslots {
            return None;
        }
        let index = self.areas().get(area as usize)?.index();
        self.take_in(area, &plan, slot);
        self.resume_at(area, index);
        Some(self.record(prepared, slot, plan.nslots))
    }

    /// Lets the next search of `area` begin at `index`, counted from the start of the area; 0 if it lies outside.
    pub fn resume_at(&mut self, area: u32, index: u32) {
        if let Some(area) = self.area_mut(area) {
            area.resume_at(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::PhysAddr;
    use crate::swiotlb::{BounceRules, MapRequest, PoolSize, SearchRules};

    #[test]
    fn what_is_adopted_is_in_the_way_and_moves_no_cursor() {
        let size = PoolSize { nslabs: 256, nareas: 2 };
        let mut pool = Pool::new(SearchRules::v6_12(), BounceRules::v6_9_rc4(), PhysAddr(0x100_0000), size);
        let limits = DmaLimits::default();
        let request = MapRequest::plain(PhysAddr(0x1000), 2048);
        let prepared = Prepared::new(pool.search_rules(), limits, &request).expect("a request");
        let held = pool.adopt(limits, &prepared, 0).expect("slot 0 is free");
        assert_eq!(held.tlb_addr, PhysAddr(0x100_0000));
        assert_eq!((pool.areas()[0].index(), pool.used()), (0, 1));
        assert!(pool.adopt(limits, &prepared, 0).is_none(), "it is taken");
        assert!(pool.adopt(limits, &prepared, 256).is_none(), "it lies outside");
        let found = pool.map(0, limits, &request).expect("a place");
        assert_eq!(found.slot, 1);
        pool.release_slots(limits, held.tlb_addr);
        pool.resume_at(0, 0);
        assert_eq!(pool.map(0, limits, &request).expect("a place").slot, 0);
        assert_eq!(pool.violation(), None);
        assert_eq!((pool.area_of(127), pool.area_of(128), pool.area_of(256)), (Some(0), Some(1), None));
    }
}
