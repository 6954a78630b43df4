//! What a recorded run tells of memory: who has which part of it, and how much is free.

use super::Kx;
use crate::mem::{PhysAddr, ZoneKind};

/// The space of physical addresses in a recorded run.
const PHYSICAL: &str = "physical memory";

impl Kx {
    /// `what` has memory from here on.
    pub(crate) fn took_memory(&self, addr: PhysAddr, size: u64, what: &str) {
        self.interval_begins(|| (PHYSICAL.to_owned(), addr.0, size, what.to_owned()));
        self.count_free_pages();
    }

    /// Nobody has it any longer.
    pub(crate) fn left_memory(&self, addr: PhysAddr, size: u64) {
        self.interval_ends(|| (PHYSICAL.to_owned(), addr.0, size, String::new()));
        self.count_free_pages();
    }

    /// Pages of the page allocator, without those that lie on lists of CPUs.
    fn count_free_pages(&self) {
        self.counter("free pages", || {
            let mem = self.k.mem.borrow();
            [ZoneKind::Dma, ZoneKind::Dma32, ZoneKind::Normal]
                .into_iter()
                .map(|zone| mem.pages().free_page_count(0, zone))
                .sum()
        });
    }
}
