//! dma-iommu on one domain: addresses, translations, and the queue of those that wait for a flush.

use models::iommu::dma::{DmaIommuRules, FqRings, IovaLimit, SgLayout, SgSegment, iommu_dma_alloc_iova};
use models::iommu::iova::{
    AllocError, Cpu, DepotTrim, IOVA_RANGE_CACHE_MAX_SIZE, IovaDomain, IovaPfn, IovaRules, Plenty,
    order_base_2,
};
use models::iommu::pagetable::{PageTable, Prot};
use models::mem::{DmaAddr, PAGE_SHIFT, PAGE_SIZE, PhysAddr, align_up};

use super::{DmaParams, KernelRules, MapFailed};

/// Where the made-up pages of page tables lie: above all memory that a recording speaks of.
const TABLE_PAGES: u64 = 1 << 51;

/// What a domain is made of.
#[derive(Clone, Debug)]
pub struct DomainSpec {
    /// The rules of the kernel.
    pub rules: KernelRules,
    /// Possible CPUs: as many flush queues.
    pub cpus: usize,
    /// The last address of the aperture, where the domain insists on it.
    pub aperture_end: Option<u64>,
    /// What is never handed out: first and last byte of each region, in the order in which the kernel reserves them.
    pub reserved: Vec<(u64, u64)>,
    /// Unmapped addresses wait for a flush (`DMA-FQ`).
    pub lazy: bool,
    /// Addresses below 4 GiB come first: a PCI device, and no `iommu.forcedac`.
    pub low_first: bool,
}

/// The addresses of a domain, without the translations.
#[derive(Clone, Debug)]
pub struct IovaSpace {
    rules: DmaIommuRules,
    aperture_end: Option<u64>,
    low_first: bool,
    iovad: IovaDomain,
    queue: Option<FqRings>,
}

impl IovaSpace {
    /// A fresh domain's. Source: `drivers/iommu/dma-iommu.c: iommu_dma_init_domain()`, `iova_reserve_iommu_regions()`.
    #[must_use]
    pub fn new(spec: &DomainSpec) -> Self {
        let rules: IovaRules = spec.rules.iova;
        let mut iovad = IovaDomain::init_iova_domain(rules, PAGE_SIZE, IovaPfn(1))
            .expect("a page is a granule that every domain takes");
        iovad.iova_domain_init_rcaches();
        for (first, last) in &spec.reserved {
            iovad.reserve_iova(IovaPfn(first >> PAGE_SHIFT), IovaPfn(last >> PAGE_SHIFT), &mut Plenty);
        }
        Self {
            rules: spec.rules.dma_iommu,
            aperture_end: spec.aperture_end,
            low_first: spec.low_first,
            iovad,
            queue: spec.lazy.then(|| FqRings::new(spec.cpus.max(1))),
        }
    }

    /// The allocator.
    #[must_use]
    pub const fn iovad(&self) -> &IovaDomain {
        &self.iovad
    }

    /// Ranges that wait for a flush.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.queue.as_ref().map_or(0, FqRings::pending)
    }

    /// Whether the next free on `cpu` flushes, since its queue is full.
    #[must_use]
    pub fn is_full(&self, cpu: u32) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.is_full(cpu as usize))
    }

    /// Takes `size` bytes (whole pages) under `mask`. Source: `iommu_dma_alloc_iova()`.
    ///
    /// # Errors
    ///
    /// The allocator's.
    pub fn alloc(&mut self, cpu: u32, mask: u64, bus_limit: u64, size: u64) -> Result<DmaAddr, AllocError> {
        let limit =
            IovaLimit { mask, bus: bus_limit, aperture_end: self.aperture_end, low_first: self.low_first };
        let taken = iommu_dma_alloc_iova(self.rules, &mut self.iovad, Cpu(cpu), size, &limit, &mut Plenty);
        if taken.low_failed && self.rules.sac_given_up {
            self.low_first = false;
        }
        taken.addr
    }

    /// Takes whole pages for a buffer: their start and length. Source: the head of `__iommu_dma_map()`.
    ///
    /// # Errors
    ///
    /// [`MapFailed`].
    pub fn take_page(
        &mut self,
        cpu: u32,
        params: &DmaParams,
        phys: PhysAddr,
        size: u64,
        coherent: bool,
    ) -> Result<(DmaAddr, u64), MapFailed> {
        if self.rules.refuses(params.min_align_mask, PAGE_SIZE) {
            return Err(MapFailed::MinAlign);
        }
        let mask = if coherent { params.coherent_mask } else { params.mask };
        let length = align_up(size.saturating_add(phys.page_offset()), PAGE_SIZE);
        let start = self.alloc(cpu, mask, params.bus_limit, length).map_err(MapFailed::Iova)?;
        Ok((start, length))
    }

    /// Takes a range for a scatterlist: its start and layout. Source: `iommu_dma_map_sg()`.
    ///
    /// # Errors
    ///
    /// [`MapFailed`].
    pub fn take_list(
        &mut self,
        cpu: u32,
        params: &DmaParams,
        entries: &[(PhysAddr, u32)],
    ) -> Result<(DmaAddr, SgLayout), MapFailed> {
        let layout = SgLayout::of(entries, params.boundary);
        let start = self.alloc(cpu, params.mask, params.bus_limit, layout.total).map_err(MapFailed::Iova)?;
        Ok((start, layout))
    }

    /// Gives a range back, through the queue if there is one. Source: `iommu_dma_free_iova()`, `queue_iova()`.
    pub fn free(&mut self, cpu: u32, addr: DmaAddr, size: u64) {
        if self.queue.is_none() {
            self.free_now(cpu, addr, size);
            return;
        }
        self.give_back(cpu, cpu as usize);
        if self.is_full(cpu) {
            self.start_and_finish();
            self.give_back(cpu, cpu as usize);
        }
        if let Some(queue) = self.queue.as_mut() {
            queue.add(cpu as usize, IovaPfn(addr.0 >> PAGE_SHIFT), size >> PAGE_SHIFT);
        }
    }

    /// Gives a range back that was never mapped, past the queue.
    pub fn free_now(&mut self, cpu: u32, addr: DmaAddr, size: u64) {
        // Fails only without caches or without sentinel; this domain has both.
        let _ = self.iovad.free_iova_fast(
            Cpu(cpu),
            IovaPfn(addr.0 >> PAGE_SHIFT),
            size >> PAGE_SHIFT,
            &mut Plenty,
        );
    }

    /// Whether both will answer every later call alike.
    #[must_use]
    pub fn same_as(&self, other: &Self, cpus: u32) -> bool {
        let caches = |class: usize| {
            let (mine, theirs) = (self.iovad.rcache(class), other.iovad.rcache(class));
            (0..cpus)
                .map(Cpu)
                .all(|cpu| mine.loaded(cpu) == theirs.loaded(cpu) && mine.prev(cpu) == theirs.prev(cpu))
                && mine.depot().eq(theirs.depot())
        };
        self.low_first == other.low_first
            && self.queue == other.queue
            && self.iovad.cached_node() == other.iovad.cached_node()
            && self.iovad.cached32_node() == other.iovad.cached32_node()
            && self.iovad.max32_alloc_size() == other.iovad.max32_alloc_size()
            && self.iovad.range_count() == other.iovad.range_count()
            && (0..IOVA_RANGE_CACHE_MAX_SIZE).all(caches)
            && self.iovad.ranges().eq(other.iovad.ranges())
    }

    /// The timer fires on `cpu`: all queues are given back to the caches of this CPU. Source: `fq_flush_timeout()`.
    pub fn flush(&mut self, cpu: u32) {
        if let Some(queue) = self.queue.as_mut() {
            queue.disarm();
            let rings = queue.cpus();
            self.start_and_finish();
            for ring in 0..rings {
                self.give_back(cpu, ring);
            }
        }
    }

    /// A flush came when only the oldest `count` ranges of `cpu` waited.
    pub fn flush_oldest(&mut self, cpu: u32, count: usize) {
        let oldest =
            self.queue.as_mut().map(|queue| queue.take_oldest(cpu as usize, count)).unwrap_or_default();
        for entry in oldest {
            let _ = self.iovad.free_iova_fast(Cpu(cpu), entry.pfn, entry.pages, &mut Plenty);
        }
    }

    /// The depot's work runs once for a size class. Source: `drivers/iommu/iova.c: iova_depot_work_func()`.
    pub fn trim(&mut self, class: usize, online_cpus: usize) -> bool {
        matches!(self.iovad.iova_depot_work_func(class, online_cpus), Ok(DepotTrim::Freed { .. }))
    }

    /// The depot's work ran when the magazine that holds `addr` was the newest. Says whether there is one.
    pub fn trim_holding(&mut self, addr: DmaAddr) -> bool {
        self.iovad.trim_magazine_of(IovaPfn(addr.0 >> PAGE_SHIFT)).unwrap_or(false)
    }

    /// Where in its depot the magazine stands that holds `addr`, the oldest being 0.
    #[must_use]
    pub fn depot_place(&self, addr: DmaAddr) -> Option<usize> {
        let pfn = IovaPfn(addr.0 >> PAGE_SHIFT);
        (0..IOVA_RANGE_CACHE_MAX_SIZE).find_map(|class| {
            let rcache = self.iovad.rcache(class);
            let newest_first = rcache.depot().position(|magazine| magazine.contains(&pfn))?;
            Some(rcache.depot_size() - 1 - newest_first)
        })
    }

    fn start_and_finish(&mut self) {
        if let Some(queue) = self.queue.as_mut() {
            queue.start_flush();
            queue.finish_flush();
        }
    }

    fn give_back(&mut self, cpu: u32, ring: usize) {
        let flushed = self.queue.as_mut().map(|queue| queue.take_flushed(ring)).unwrap_or_default();
        for entry in flushed {
            let _ = self.iovad.free_iova_fast(Cpu(cpu), entry.pfn, entry.pages, &mut Plenty);
        }
    }

    /// Takes the very range that a recording says was handed out. Says whether the state can hold that: the range is
    /// free, or one of `cpu`'s caches holds it.
    pub fn take(&mut self, cpu: u32, addr: DmaAddr, size: u64) -> bool {
        let pages = (size >> PAGE_SHIFT).max(1);
        let lo = addr.0 >> PAGE_SHIFT;
        let wanted = IovaPfn(lo);
        let Some(hi) = lo.checked_add(pages - 1) else { return false };
        match self.iovad.find_iova(wanted) {
            None => {
                let free = self.iovad.ranges().all(|range| range.hi.0 < lo || hi < range.lo.0);
                if free {
                    self.iovad.reserve_iova(wanted, IovaPfn(hi), &mut Plenty);
                }
                free
            }
            Some(range) if range.lo == wanted => self.take_cached(cpu, wanted, pages),
            Some(_) => false,
        }
    }

    /// Looks through the magazines that `cpu` reaches, newest first, and puts back what it had to take out.
    fn take_cached(&mut self, cpu: u32, wanted: IovaPfn, pages: u64) -> bool {
        let class = order_base_2(pages);
        let view = self.iovad.rcache(class);
        let held = view.loaded(Cpu(cpu)).contains(&wanted)
            || view.prev(Cpu(cpu)).contains(&wanted)
            || view.depot().any(|magazine| magazine.contains(&wanted));
        if !held {
            return false;
        }
        let mut others = Vec::new();
        let found = loop {
            match self.iovad.alloc_iova_fast(Cpu(cpu), pages, IovaPfn(u64::MAX >> 13), false, &mut Plenty) {
                Ok(pfn) if pfn == wanted => break true,
                Ok(pfn) => others.push(pfn),
                Err(_) => break false,
            }
            if others.len() > 1 << 16 {
                break false;
            }
        };
        for pfn in others.into_iter().rev() {
            let _ = self.iovad.free_iova_fast(Cpu(cpu), pfn, pages, &mut Plenty);
        }
        found
    }
}

/// A domain with its translations.
#[derive(Clone, Debug)]
pub struct DmaDomain {
    space: IovaSpace,
    table: PageTable,
    next_page: u64,
}

impl DmaDomain {
    /// An empty domain. `table` makes the page table, out of pages that `source` hands out.
    ///
    /// # Panics
    ///
    /// If `table` cannot make a table out of pages without end.
    pub fn new(
        spec: &DomainSpec,
        table: impl FnOnce(&mut dyn FnMut() -> Option<PhysAddr>) -> Option<PageTable>,
    ) -> Self {
        let mut next_page = TABLE_PAGES;
        let table = table(&mut || fresh(&mut next_page)).expect("there are pages without end");
        Self { space: IovaSpace::new(spec), table, next_page }
    }

    /// The addresses.
    #[must_use]
    pub const fn space(&self) -> &IovaSpace {
        &self.space
    }

    /// The addresses, to be changed.
    pub const fn space_mut(&mut self) -> &mut IovaSpace {
        &mut self.space
    }

    /// Source: `drivers/iommu/dma-iommu.c: __iommu_dma_map()`; `coherent` memory has a mask of its own.
    ///
    /// # Errors
    ///
    /// [`MapFailed`].
    pub fn map_page(
        &mut self,
        cpu: u32,
        params: &DmaParams,
        phys: PhysAddr,
        size: u64,
        coherent: bool,
    ) -> Result<DmaAddr, MapFailed> {
        let (start, length) = self.space.take_page(cpu, params, phys, size, coherent)?;
        if !self.translate(start, PhysAddr(phys.0 - phys.page_offset()), length) {
            self.space.free_now(cpu, start, length);
            return Err(MapFailed::Table);
        }
        Ok(start.wrapping_add(phys.page_offset()))
    }

    /// Source: `drivers/iommu/dma-iommu.c: __iommu_dma_unmap()`.
    pub fn unmap(&mut self, cpu: u32, addr: DmaAddr, size: u64) {
        let start = DmaAddr(addr.0 - addr.page_offset());
        let length = align_up(size.saturating_add(addr.page_offset()), PAGE_SIZE);
        self.untranslate(start, length);
        self.space.free(cpu, start, length);
    }

    /// Source: `drivers/iommu/dma-iommu.c: iommu_dma_map_sg()`.
    ///
    /// # Errors
    ///
    /// [`MapFailed`].
    pub fn map_sg(
        &mut self,
        cpu: u32,
        params: &DmaParams,
        entries: &[(PhysAddr, u32)],
    ) -> Result<Vec<SgSegment>, MapFailed> {
        let (start, layout) = self.space.take_list(cpu, params, entries)?;
        for ((phys, _), place) in entries.iter().zip(&layout.places) {
            let page = PhysAddr(phys.0 - phys.page_offset());
            if !self.translate(start.wrapping_add(place.start), page, place.length) {
                self.untranslate(start, layout.total);
                self.space.free_now(cpu, start, layout.total);
                return Err(MapFailed::Table);
            }
        }
        Ok(layout.finalise(entries, start, params.max_segment, params.boundary))
    }

    /// From the first segment's start to the last one's end. Source: `drivers/iommu/dma-iommu.c: iommu_dma_unmap_sg()`.
    pub fn unmap_sg(&mut self, cpu: u32, segments: &[SgSegment]) {
        if let (Some(first), Some(last)) = (segments.first(), segments.last()) {
            let end = last.dma.0.wrapping_add(u64::from(last.length));
            self.unmap(cpu, first.dma, end.wrapping_sub(first.dma.0));
        }
    }

    /// Where a bus address leads. Source: `iommu_iova_to_phys()`.
    #[must_use]
    pub fn iova_to_phys(&self, addr: DmaAddr) -> Option<PhysAddr> {
        self.table.lookup(addr).map(|leaf| leaf.phys.wrapping_add(addr.0 - leaf.iova.0))
    }

    /// Enters a translation. Says whether the table took it.
    pub fn translate(&mut self, start: DmaAddr, phys: PhysAddr, length: u64) -> bool {
        let next = &mut self.next_page;
        self.table.map(start, phys, length, Prot::READ_WRITE, &mut || fresh(next)).is_ok()
    }

    /// Takes translations out.
    pub fn untranslate(&mut self, start: DmaAddr, length: u64) {
        let _ = self.table.unmap(start, length);
    }

    /// After a contradiction: `before` is what the addresses were, and a mapping of `size` bytes was made at
    /// `recorded`, or failed. Says whether the state can hold it.
    pub fn accept(
        &mut self,
        cpu: u32,
        before: IovaSpace,
        phys: PhysAddr,
        size: u64,
        modelled: Option<DmaAddr>,
        recorded: Option<DmaAddr>,
    ) -> bool {
        let length = align_up(size.saturating_add(phys.page_offset()), PAGE_SIZE);
        let page = |addr: DmaAddr| DmaAddr(addr.0 - addr.page_offset());
        if let Some(addr) = modelled {
            self.untranslate(page(addr), length);
        }
        self.space = before;
        let Some(addr) = recorded.map(page) else { return true };
        let held = self.space.take(cpu, addr, length);
        if held {
            self.translate(addr, PhysAddr(phys.0 - phys.page_offset()), length);
        }
        held
    }
}

fn fresh(next: &mut u64) -> Option<PhysAddr> {
    let page = *next;
    *next += PAGE_SIZE;
    Some(PhysAddr(page))
}
