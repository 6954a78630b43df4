//! What is given back: to memblock while it is there, to the page allocator after.

use sim::{Draft, Kind};

use super::super::{Kx, Phase, reserved_by};
use super::GivenBack;
use crate::mem::{PhysAddr, PhysRange, Placement};
use crate::memblock::{Misuse, PfnRange, Request};

impl Kx {
    /// Gives boot memory back to memblock (`memblock_free`, `memblock_phys_free`). After the hand-over nobody gets it.
    ///
    /// Source: `mm/memblock.c: memblock_phys_free()`.
    pub async fn memblock_free(&self, base: PhysAddr, size: u64) {
        let range = PhysRange::new(base, size);
        let id = self.k.mem.borrow().heap.shadow().object_at(base);
        self.step(Kind::Free, self.label(id, 0)).await;
        let misuse = self.k.mem.borrow().memblock.misuse(Request::Free(range));
        let before = self.k.bootmem.before(range);
        let what = || format!("memblock_free of {size} bytes at {base} in {}", self.function());
        match misuse {
            Some(Misuse::Gone) => self.report_gone("memblock_free"),
            Some(Misuse::TooLate | Misuse::TooEarly) => {
                let title = format!("{} after memblock_free_all: the page allocator never gets it", what());
                self.report(Draft::warning("free-at-wrong-time", title), || self.owners_of(range));
            }
            Some(Misuse::NotReserved(at)) => match before {
                Some(before) => self.report_double_free(&what(), before),
                None => {
                    let title = format!("{}: {at} is not reserved", what());
                    self.report(Draft::warning("bad-free", title), || self.owners_of(range));
                }
            },
            Some(Misuse::TwoOwners(at, owner) | Misuse::Taken(at, owner)) => {
                let title = format!("{}: {at} is {}", what(), reserved_by(&owner));
                self.report(Draft::warning("bad-free", title), || self.owners_of(range));
            }
            None => {}
        }
        let site = self.site();
        let mut mem = self.k.mem.borrow_mut();
        if id != 0 {
            let _ = mem.heap.free_object(id, site);
        }
        if mem.memblock.free(base, size).is_ok() {
            self.k.bootmem.log.freed(range);
        }
        drop(mem);
        self.note(|| format!("memblock: [{:#x}-{:#x}] freed", base.0, (base.0 + size).saturating_sub(1)));
        self.left_memory(base, size);
        self.sim().mix(base.0 ^ size);
        self.note_given_back(range);
        self.note_stack(id, true);
    }

    fn note_given_back(&self, range: PhysRange) {
        let given = GivenBack { range, by: self.function(), at: self.stamp() };
        self.k.bootmem.given_back.borrow_mut().push(given);
    }

    /// Gives boot memory back after the hand-over (`memblock_free_late`), page by page, whatever object lies there.
    ///
    /// Source: `mm/memblock.c: __memblock_free_late()`, v5.13.
    pub async fn memblock_free_late(&self, base: PhysAddr, size: u64) {
        let id = self.k.mem.borrow().heap.shadow().object_at(base);
        self.step(Kind::Free, self.label(id, 0)).await;
        if self.k.globals.phase.get() < Phase::PageAllocator {
            let title = format!("memblock_free_late of {base} before the page allocator exists");
            self.report(Draft::warning("free-at-wrong-time", title), Vec::new);
            return;
        }
        let range = PhysRange::new(base, size);
        let object = self.k.mem.borrow().heap.record(id).map_or("memory", |record| record.type_name);
        let before = self.k.bootmem.before(range);
        let unreserved = self.k.mem.borrow().memblock.unreserved(range);
        if self.passed_over(range) {
            let what = || format!("memblock_free_late of {size} bytes at {base} in {}", self.function());
            let title =
                format!("{}: its page structures are not initialised yet, and nobody gets it", what());
            self.report(Draft::warning("lost-memory", title).object(object), || self.owners_of(range));
        }
        self.check_private(range);
        self.check_one_owner(range);
        let site = self.site();
        let mut mem = self.k.mem.borrow_mut();
        if id != 0 {
            let _ = mem.heap.free_object(id, site);
        }
        let freed = match self.initialised_part(range) {
            Some(part) => mem.free_late(part, Placement::Tail, site),
            None => Ok(0),
        };
        self.note(|| format!("{object} freed: {size} bytes at {base} go to the page allocator"));
        self.sim().mix(base.0 ^ size);
        drop(mem);
        self.left_memory(base, size);
        match (freed, before) {
            (Ok(_), _) => {
                if let Some(at) = unreserved {
                    let title =
                        format!("memblock_free_late of {size} bytes at {base}: {at} was never reserved");
                    self.report(Draft::warning("bad-free", title), || self.owners_of(range));
                }
                self.note_given_back(range);
            }
            (Err(_), Some(before)) => {
                self.report_double_free(&format!("memblock_free_late of {base}"), before);
            }
            (Err(error), None) => {
                let title = format!("memblock_free_late of {base}: {error}");
                self.report(Draft::warning("bad-free", title), || self.owners_of(range));
            }
        }
        self.note_stack(id, true);
    }

    /// What goes to the page allocator in one piece was taken by one function.
    fn check_one_owner(&self, range: PhysRange) {
        let owners = self.k.mem.borrow().memblock.owners_in(range);
        let Some((first, others)) = owners.split_first() else { return };
        if let Some(other) = others.iter().find(|other| other.owner.site != first.owner.site) {
            let title = format!(
                "memblock_free_late of {} bytes at {} in {}: {} is {}",
                range.size(),
                range.start,
                self.function(),
                other.range.start,
                reserved_by(&other.owner)
            );
            self.report(Draft::warning("bad-free", title).discriminator("two owners"), || {
                self.owners_of(range)
            });
        }
    }

    /// The pages of a range that have their structures: all that come before the first that has none.
    fn initialised_part(&self, range: PhysRange) -> Option<PhysRange> {
        let Some(deferred) = self.k.bootmem.deferred.get() else { return Some(range) };
        let run = deferred.cut(PfnRange { start: range.start.pfn(), end: range.end.pfn() });
        let end = if run.end < range.end.pfn() { run.end.phys() } else { range.end };
        (range.start < end).then_some(PhysRange { start: range.start, end })
    }

    fn passed_over(&self, range: PhysRange) -> bool {
        self.initialised_part(range).is_none_or(|part| part.end < range.end)
    }

    /// Gives the part of the kernel's image that only the boot needed to the page allocator.
    ///
    /// Source: `arch/x86/mm/init.c: free_initmem()`, `mm/page_alloc.c: free_reserved_area()`.
    pub fn free_init_pages(&self, init: PhysRange) {
        let site = self.site();
        let mut mem = self.k.mem.borrow_mut();
        let freed = mem.free_late(init, Placement::Usual, site);
        drop(mem);
        self.sim().mix(init.start.0 ^ init.size());
        let before = self.k.bootmem.before(init);
        match (freed, before) {
            (Ok(_), _) => self.note_given_back(init),
            (Err(_), Some(before)) => self.report_double_free("free_initmem", before),
            (Err(error), None) => {
                let title = format!("free_initmem: {error}");
                self.report(Draft::warning("bad-free", title), || self.owners_of(init));
            }
        }
    }
}
