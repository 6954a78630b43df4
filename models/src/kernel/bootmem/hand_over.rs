//! The hand-over to the page allocator, at once and later, and the end of memblock's lists.

use sim::Kind;

use super::super::{Kx, Memory, Phase, reserved_by};
use super::SlabArray;
use crate::mem::{Pfn, PhysAddr, PhysRange, Placement};
use crate::memblock::{DeferredInit, NodeId, PfnRange, Request, Stage};
use crate::oracle::check_reserved;
use crate::profile::Behaviour;
use crate::scenario::schema::{E820Entry, E820Kind};

impl Kx {
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
}

/// Hands a run of pages over, each block to the tail of its list; returns how many.
fn free_run(mem: &mut Memory, run: PfnRange) -> u64 {
    let (start, end): (Pfn, Pfn) = (run.start, run.end);
    if start >= end {
        return 0;
    }
    let range = PhysRange { start: start.phys(), end: end.phys() };
    mem.free_boot_range(range, Placement::Tail).unwrap_or(0)
}
