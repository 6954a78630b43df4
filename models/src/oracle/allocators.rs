//! The lists of the page and slab allocators when everything has settled.

use sim::Draft;

use crate::kernel::Kx;
use crate::mem::{BrokenList, PhysAddr};

/// Free lists, pages and slabs must say the same.
pub(super) fn check_allocators(kx: &Kx) {
    let (pages, slabs) = {
        let mem = kx.k.mem.borrow();
        (mem.pages().check(), mem.slabs().check())
    };
    for (allocator, BrokenList { addr, what }) in
        [("page allocator", pages.err()), ("slab allocator", slabs.err())]
            .into_iter()
            .filter_map(|(name, broken)| Some((name, broken?)))
    {
        let title = format!("{allocator}: {what} ({addr})");
        kx.report(
            Draft::warning("allocator-inconsistent", title).object(allocator).discriminator(what),
            Vec::new,
        );
    }
}

/// A page that the page allocator hands out, or gets back, is no slab's (`bad_page()`).
pub fn check_no_slab(kx: &Kx, addr: PhysAddr) {
    if kx.k.mem.borrow().slabs().has_page(addr) {
        let title = format!("BUG: Bad page state in {}: {addr} belongs to the slab allocator", kx.function());
        let draft = Draft::warning("allocator-inconsistent", title).object("page allocator");
        kx.report(draft.discriminator("slab"), Vec::new);
    }
}
