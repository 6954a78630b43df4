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
    pub fn area_of(&self, slot: u32) -> Option<u32> {
        let area = slot.checked_div(self.size().area_nslabs())?;
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
