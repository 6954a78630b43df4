//! Boot memory on code paths: memblock while it is there, what becomes of it at the hand-over and after, and the oracle
//! that watches who asks for what when.

use sim::cell::{Cell, RefCell};
use std::rc::Rc;

use sim::{Draft, Kind, Nanos};

use super::{GfpFlags, Kx, Phase, reserved_by, seconds};

use crate::mem::{Kobject, Pfn, PhysAddr, PhysRange, Placement, Ptr, Source};
use crate::memblock::{
    Bounds, DeferredInit, MemblockError, MemblockRules, MemblockType, Misuse, NodeId, Owner, PfnRange,
    Request, Stage,
};
use crate::oracle::{BootLog, check_reserved};
use crate::profile::{Behaviour, Profile};
use crate::scenario::limits::PHYS_MAX;
use crate::scenario::schema::{E820Entry, E820Kind};

/// The largest request that slab serves. Source: `include/linux/slab.h: KMALLOC_MAX_SIZE`.
const KMALLOC_MAX_SIZE: u64 = 4 << 20;

/// A piece of boot memory that was given back.
#[derive(Clone, Copy, Debug)]
struct GivenBack {
    range: PhysRange,
    by: &'static str,
    at: Nanos,
}

/// What became of boot memory, beside the lists of memblock.
#[derive(Debug, Default)]
pub struct BootMemory {
    given_back: RefCell<Vec<GivenBack>>,
    /// Which pages have no structure yet; `None` with all initialised.
    deferred: Cell<Option<DeferredInit>>,
    /// The arrays of memblock that came from slab: whose, where, how long, heap id.
    in_slab: RefCell<Vec<SlabArray>>,
    warned: Cell<bool>,
    /// What callers asked for.
    log: BootLog,
}

/// An array of memblock that lies in slab memory.
#[derive(Clone, Copy, Debug)]
struct SlabArray {
    list: MemblockType,
    at: PhysAddr,
    bytes: u64,
    id: u32,
}

impl BootMemory {
    /// When some of a range was given back before, and by whom.
    fn before(&self, range: PhysRange) -> Option<GivenBack> {
        let given = self.given_back.borrow();
        given.iter().find(|one| one.range.start < range.end && range.start < one.range.end).copied()
    }

    /// From now on somebody has the range again.
    fn taken(&self, range: PhysRange) {
        let gone = |one: &GivenBack| one.range.start < range.end && range.start < one.range.end;
        self.given_back.borrow_mut().retain(|one| !gone(one));
    }
}

impl MemblockRules {
    /// What the kernel of a profile does: its version's rules, and those of its configuration.
    #[must_use]
    pub fn of_profile(profile: &Profile) -> Self {
        Self {
            keep_memblock: profile.config.arch_keep_memblock,
            growth_avoids_request: profile.has(Behaviour::MemblockGrowthAvoidsRequest),
            ..Self::of_version(profile.version.base())
        }
    }
}

impl Kx {
    /// Allocates boot memory (`memblock_alloc`), zeroed. The memory is entered as an object without fields. Once there is
    /// a slab allocator the kernel warns, and the memory comes from there.
    ///
    /// # Errors
    /// There is none in `bounds`.
    ///
    /// Source: `mm/memblock.c: memblock_alloc_internal()`.
    pub fn memblock_alloc(
        &self,
        type_name: &'static str,
        size: u64,
        align: u64,
        bounds: Bounds,
    ) -> Result<(PhysAddr, u32), MemblockError> {
        if self.k.mem.borrow().memblock.slab_available() {
            return self.memblock_alloc_from_slab(type_name, size);
        }
        let addr = self.memblock_reserve_found(size, align, bounds)?;
        Ok((addr, self.enter_boot_memory(type_name, addr, size)))
    }

    /// Allocates a physical place (`memblock_phys_alloc_range`), which is not cleared. Up to 6.10 nothing looks whether
    /// memblock is still the allocator: then somebody else has the memory, too.
    ///
    /// # Errors
    /// There is none in `bounds`.
    ///
    /// Source: `mm/memblock.c: memblock_phys_alloc_range(), memblock_alloc_range_nid()`.
    pub fn memblock_phys_alloc(
        &self,
        type_name: &'static str,
        size: u64,
        align: u64,
        bounds: Bounds,
    ) -> Result<(PhysAddr, u32), MemblockError> {
        let (slab, warns) = {
            let mem = self.k.mem.borrow();
            (mem.memblock.slab_available(), mem.memblock.rules().phys_alloc_sees_slab)
        };
        if slab && warns {
            return self.memblock_alloc_from_slab(type_name, size);
        }
        let addr = self.memblock_reserve_found(size, align, bounds)?;
        let id =
            self.k.mem.borrow_mut().heap.alloc_buffer(type_name, PhysRange::new(addr, size), self.site());
        Ok((addr, id.unwrap_or(0)))
    }

    fn memblock_alloc_from_slab(
        &self,
        type_name: &'static str,
        size: u64,
    ) -> Result<(PhysAddr, u32), MemblockError> {
        if !self.k.bootmem.warned.replace(true) {
            let title = format!(
                "WARNING in memblock_alloc_internal: {} asks for boot memory after the slab allocator is up",
                self.function()
            );
            self.report(Draft::warning("warn-on", title), Vec::new);
        }
        if size > KMALLOC_MAX_SIZE {
            return Err(MemblockError::NoMemory);
        }
        let site = self.site();
        let mut mem = self.k.mem.borrow_mut();
        let taken = mem.kmalloc(type_name, size, self.slab_context(GfpFlags::ZEROED), site);
        let (addr, id) = taken.map_err(|_| MemblockError::NoMemory)?;
        let _ = mem.heap.write_at(addr, size, Source::Zero, 0);
        drop(mem);
        self.sim().mix(addr.0);
        self.note_stack(id, false);
        Ok((addr, id))
    }

    /// Allocates a kernel object from boot memory.
    ///
    /// # Errors
    /// There is no memory in `bounds`.
    pub fn memblock_alloc_object<T: Kobject>(
        &self,
        size: u64,
        align: u64,
        bounds: Bounds,
        object: Rc<T>,
    ) -> Result<Ptr<T>, MemblockError> {
        let addr = self.memblock_reserve_found(size, align, bounds)?;
        let site = self.site();
        let mut mem = self.k.mem.borrow_mut();
        let _ = mem.heap.write_at(addr, size, Source::Zero, 0);
        let ptr = mem.heap.alloc_object(addr, size, site, object).unwrap_or(Ptr::wild(addr.virt()));
        drop(mem);
        self.k.enter_labels::<T>(self.sim(), ptr.id);
        self.note_stack(ptr.id, false);
        Ok(ptr)
    }

    /// Allocates an array of kernel objects of `each` bytes from boot memory, as one block.
    ///
    /// # Errors
    /// There is no memory in `bounds`.
    pub fn memblock_alloc_array<T: Kobject>(
        &self,
        each: u64,
        align: u64,
        bounds: Bounds,
        objects: impl ExactSizeIterator<Item = Rc<T>>,
    ) -> Result<Vec<Ptr<T>>, MemblockError> {
        let size = each * objects.len() as u64;
        let base = self.memblock_reserve_found(size, align, bounds)?;
        let site = self.site();
        let _ = self.k.mem.borrow_mut().heap.write_at(base, size, Source::Zero, 0);
        let mut pointers = Vec::with_capacity(objects.len());
        for (nth, object) in objects.enumerate() {
            let addr = base.wrapping_add(each * nth as u64);
            let made = self.k.mem.borrow_mut().heap.alloc_object(addr, each, site, object);
            let ptr = made.unwrap_or(Ptr::wild(addr.virt()));
            self.k.enter_labels::<T>(self.sim(), ptr.id);
            self.note_stack(ptr.id, false);
            pointers.push(ptr);
        }
        Ok(pointers)
    }

    /// Enters zeroed boot memory as an object without fields; returns its id.
    fn enter_boot_memory(&self, type_name: &'static str, addr: PhysAddr, size: u64) -> u32 {
        let site = self.site();
        let mut mem = self.k.mem.borrow_mut();
        let id = mem.heap.alloc_buffer(type_name, PhysRange::new(addr, size), site).unwrap_or(0);
        let _ = mem.heap.write_at(addr, size, Source::Zero, 0);
        drop(mem);
        self.note_stack(id, false);
        id
    }

    fn memblock_reserve_found(
        &self,
        size: u64,
        align: u64,
        bounds: Bounds,
    ) -> Result<PhysAddr, MemblockError> {
        let owner = Owner::new(self.function(), self.stamp());
        let misuse = self.k.mem.borrow().memblock.misuse(Request::Alloc);
        let addr =
            self.k.mem.borrow_mut().memblock.alloc_try_nid(size, align, bounds, NodeId::NO_NODE, owner)?;
        self.sim().mix(addr.0);
        self.note(|| format!("memblock: {size} bytes at {addr} for {}", owner.site));
        self.took_memory(addr, size, owner.site);
        if self.k.scenario.command_line.memblock_debug {
            self.log(|| format!("memblock_alloc_try_nid: {size} bytes align={align:#x} nid=-1 from={:#018x} max_addr={:#018x} {}", bounds.min.0, bounds.max.0, owner.site));
            self.log(|| {
                format!(
                    "memblock_reserve: [{:#018x}-{:#018x}] memblock_alloc_range_nid",
                    addr.0,
                    addr.0 + size - 1
                )
            });
        }
        let range = PhysRange::new(addr, size);
        self.k.bootmem.taken(range);
        self.k.bootmem.log.taken(range);
        match misuse {
            Some(Misuse::Gone) => self.report_gone("an allocation"),
            Some(_) => self.report_two_owners(range, "the page allocator, since memblock_free_all"),
            None => {
                let mem = self.k.mem.borrow();
                let other = mem.memblock.owners_in(range).into_iter().find(|owned| owned.owner != owner);
                drop(mem);
                if let Some(other) = other {
                    self.report_two_owners(range, &reserved_by(&other.owner));
                }
            }
        }
        Ok(addr)
    }

    /// Reserves a given range (`memblock_reserve`) for the current function. Failures are not looked at, as in most of
    /// the kernel.
    pub fn memblock_reserve(&self, range: PhysRange) {
        self.memblock_reserve_for(self.function(), range);
    }

    /// The same for somebody named.
    pub fn memblock_reserve_for(&self, who: &'static str, range: PhysRange) {
        let misuse = self.k.mem.borrow().memblock.misuse(Request::Reserve(range));
        let owner = Owner::new(who, self.stamp());
        let reserved = self.k.mem.borrow_mut().memblock.reserve(range.start, range.size(), owner);
        self.k.bootmem.taken(range);
        if reserved.is_ok() {
            self.k.bootmem.log.taken(range);
        }
        self.check_reachable(range);
        self.follow_growth();
        match misuse {
            Some(Misuse::Gone) => self.report_gone("a reservation"),
            Some(Misuse::Taken(_, other)) => self.report_two_owners(range, &reserved_by(&other)),
            Some(_) => self.report_two_owners(range, "the page allocator, since memblock_free_all"),
            None => {}
        }
    }

    /// A reservation is of physical memory, and no bus has more than 52 address lines.
    fn check_reachable(&self, range: PhysRange) {
        if range.start.0 > PHYS_MAX {
            let title = format!(
                "{} reserves {}..{}, where no physical memory can be",
                self.function(),
                range.start,
                range.end
            );
            self.report(Draft::warning("reserve-outside-memory", title), Vec::new);
        }
    }

    /// Lists that have grown since there is a slab allocator lie there: takes the memory.
    ///
    /// Source: `mm/memblock.c: memblock_double_array()`, which calls `kmalloc()` then.
    fn follow_growth(&self) {
        if !self.k.mem.borrow().memblock.slab_available() {
            return;
        }
        let grown = self.k.mem.borrow().memblock.grown_arrays();
        for array in grown.iter().filter(|array| array.at.is_none()) {
            let old = {
                let mut arrays = self.k.bootmem.in_slab.borrow_mut();
                let known = arrays.iter().position(|known| known.list == array.list);
                if known.is_some_and(|at| arrays[at].bytes == array.bytes) {
                    continue;
                }
                known.map(|at| arrays.remove(at))
            };
            let _frame = self.enter("memblock_double_array");
            let site = self.site();
            let mut mem = self.k.mem.borrow_mut();
            if let Some(old) = old {
                let _ = mem.kfree(old.at, u32::from(self.cpu()), site);
            }
            let context = self.slab_context(GfpFlags::ZEROED);
            let Ok((at, id)) = mem.kmalloc("struct memblock_region[]", array.bytes, context, site) else {
                continue;
            };
            drop(mem);
            self.sim().mix(at.0);
            self.note_stack(id, false);
            let new = SlabArray { list: array.list, at, bytes: array.bytes, id };
            self.k.bootmem.in_slab.borrow_mut().push(new);
        }
    }

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

    /// Decides which page structures are initialised later, if this kernel does that.
    ///
    /// Source: `mm/page_alloc.c: free_area_init(), defer_init()`, with `CONFIG_DEFERRED_STRUCT_PAGE_INIT`.
    pub fn free_area_init(&self, end: PhysAddr) {
        if !self.k.profile().config.deferred_struct_page_init {
            return;
        }
        let last_zone = [1 << 32, 1 << 24, 0].into_iter().find(|start| *start < end.0).unwrap_or(0);
        let mem = self.k.mem.borrow();
        // All memory is one node, and the lists name none.
        let deferred =
            DeferredInit::new(&mem.memblock, NodeId::MAX_NUMNODES, PhysAddr(last_zone).pfn(), end.pfn());
        drop(mem);
        if let Some(first) = deferred.first() {
            self.note(|| format!("page structures from {} on are initialised later", first.phys()));
        }
        self.k.bootmem.deferred.set(Some(deferred));
    }

    /// Hands all that is not reserved over, as far as it has page structures; returns the pages.
    ///
    /// Source: `mm/memblock.c: memblock_free_all()`.
    pub fn hand_over(&self, end: PhysAddr) -> u64 {
        check_reserved(self, &self.k.bootmem.log);
        let deferred = self.k.bootmem.deferred.get();
        let mut mem = self.k.mem.borrow_mut();
        let ranges = mem.memblock.free_all(end.pfn()).unwrap_or_default();
        mem.memblock.set_slab_available();
        let cut = |run| deferred.map_or(run, |deferred| deferred.cut(run));
        let runs: Vec<PfnRange> = ranges.into_iter().map(cut).collect();
        let pages = runs.iter().map(|run| free_run(&mut mem, *run)).sum();
        drop(mem);
        self.check_handed_over(&runs);
        pages
    }

    /// What the page allocator gets is nobody's, and is memory: the firmware's map says what is, unless the command line
    /// or the machine changes it.
    fn check_handed_over(&self, runs: &[PfnRange]) {
        let machine = &self.k.scenario.machine;
        let as_told = machine.e820_changes.is_empty() && !self.k.scenario.cmdline.contains("memmap=");
        for run in runs.iter().filter(|run| run.start < run.end) {
            let range = PhysRange { start: run.start.phys(), end: run.end.phys() };
            let owner = self.k.mem.borrow().memblock.owners_in(range).first().copied();
            if let Some(owned) = owner {
                self.report_two_owners(owned.range, &reserved_by(&owned.owner));
            }
            let kept = |entry: &&E820Entry| {
                entry.kind != E820Kind::Usable && entry.start < range.end.0 && range.start.0 <= entry.end
            };
            if let Some(entry) = machine.e820.iter().find(kept).filter(|_| as_told) {
                let part =
                    PhysRange { start: PhysAddr(entry.start), end: PhysAddr(entry.end.saturating_add(1)) };
                self.report_two_owners(part, "the firmware, by the memory map");
            }
        }
    }

    /// Initialises the page structures that were left, and hands their free pages over; then the lists of memblock go.
    /// Returns how many pages that were.
    ///
    /// Source: `mm/mm_init.c: page_alloc_init_late(), deferred_init_memmap()`, `mm/memblock.c: memblock_discard()`.
    pub async fn page_alloc_init_late(&self) -> u64 {
        let mut late = 0;
        let _frame = self.enter("page_alloc_init_late");
        if let Some(mut deferred) = self.k.bootmem.deferred.take()
            && deferred.first().is_some()
        {
            if self.k.mem.borrow().memblock.misuse(Request::Query).is_some() {
                let _frame = self.enter("deferred_init_memmap");
                self.report_gone("the initialisation of the page structures that are left");
            }
            self.step(Kind::Free, self.memory_label()).await;
            let mut mem = self.k.mem.borrow_mut();
            let pieces = deferred.finish(&mem.memblock);
            let pages: u64 = pieces.iter().map(|run| free_run(&mut mem, *run)).sum();
            drop(mem);
            self.check_handed_over(&pieces);
            self.sim().mix(pages);
            late = pages;
            self.log(|| "node 0 deferred pages initialised in 0ms".to_owned());
        }
        if self.memblock_stage() != Stage::Discarded {
            self.memblock_discard().await;
        }
        self.k.globals.phase.set(Phase::Discarded);
        late
    }

    /// Gives the arrays back that have outgrown the kernel's image, if there are any, right after the hand-over: whoever
    /// looks at the lists later looks at freed memory. Lists that have not grown lie in the image, and stay for a while.
    ///
    /// Source: `mm/nobootmem.c: free_low_memory_core_early()`, v4.12.
    pub async fn discard_grown_arrays(&self) {
        if !self.k.mem.borrow().memblock.grown_arrays().is_empty() {
            self.memblock_discard().await;
        }
    }

    /// The end of memblock's lists. An array from slab goes back there, or, before `memblock-array-kfreed`, to the page
    /// allocator.
    ///
    /// Source: `mm/memblock.c: memblock_discard()`.
    async fn memblock_discard(&self) {
        let arrays = self.k.mem.borrow_mut().memblock.discard().unwrap_or_default();
        let _frame = self.enter("memblock_discard");
        for array in arrays {
            let in_slab =
                self.k.bootmem.in_slab.borrow().iter().find(|known| known.list == array.list).copied();
            match (array.at, in_slab) {
                (Some(at), _) => self.memblock_free_late(at, array.bytes).await,
                (None, Some(SlabArray { at, id, .. })) if self.k.has(Behaviour::MemblockArrayKfreed) => {
                    self.kfree(at, id).await;
                }
                (None, Some(SlabArray { at, .. })) => self.memblock_free_late(at, array.bytes).await,
                (None, None) => {}
            }
        }
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

    /// How far memblock is.
    #[must_use]
    pub fn memblock_stage(&self) -> Stage {
        self.k.mem.borrow().memblock.stage()
    }

    /// Who has reserved a range, for a report.
    fn owners_of(&self, range: PhysRange) -> Vec<(String, Vec<String>)> {
        let mem = self.k.mem.borrow();
        let line = |owned: &crate::memblock::OwnedRange| {
            format!("{}..{} {}", owned.range.start, owned.range.end, reserved_by(&owned.owner))
        };
        let mut lines: Vec<String> = mem.memblock.owners_in(range).iter().take(12).map(line).collect();
        if lines.is_empty() {
            lines.push("nobody".to_owned());
        }
        vec![("boot memory there".to_owned(), lines)]
    }

    fn report_double_free(&self, what: &str, before: GivenBack) {
        let title = format!("{what}: given back before, in {} at {}", before.by, seconds(before.at));
        self.report(Draft::warning("double-free", title).discriminator(before.by), Vec::new);
    }

    fn report_two_owners(&self, range: PhysRange, other: &str) {
        let title = format!(
            "{}..{} is given to {}, and belongs to another: {other}",
            range.start,
            range.end,
            self.function()
        );
        self.report(Draft::warning("overlapping-owners", title), || self.owners_of(range));
    }

    fn report_gone(&self, what: &str) {
        let title =
            format!("{what} in {} looks at the lists of memblock, which were discarded", self.function());
        self.report(Draft::warning("memblock-gone", title), Vec::new);
    }
}

/// Hands a run of pages over, each block to the tail of its list; returns how many.
fn free_run(mem: &mut super::Memory, run: PfnRange) -> u64 {
    let (start, end): (Pfn, Pfn) = (run.start, run.end);
    if start >= end {
        return 0;
    }
    let range = PhysRange { start: start.phys(), end: end.phys() };
    mem.free_boot_range(range, Placement::Tail).unwrap_or(0)
}
