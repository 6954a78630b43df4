//! A domain's allocator: the kernel's entry points.

use crate::mem::{DmaAddr, PAGE_SIZE};

use super::ranges::{Node, Ranges};
use super::rcache::{
    DepotTrim, IOVA_RANGE_CACHE_MAX_SIZE, Insert, IovaMemory, Magazine, MagazineView, Rcache, order_base_2,
};
use super::rules::{IovaRules, Max32Reset};
use super::types::{AllocError, CachedNode, Cpu, InitBug, IovaPfn, IovaRange, IovaWarning, NullPointer};

/// The result of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// The range that now covers what was asked, or the last part of it.
    Range(IovaRange),
    /// The page frames lie outside what the granule can express; nothing was reserved.
    Nonsensical,
    /// There was no memory for a range. Ranges that overlapped may already have been extended.
    NoMemory,
}

/// What a domain still held when it was destroyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutReport {
    /// Ranges that were allocated or reserved, the cached ones included.
    pub ranges: usize,
    /// Page frames that lay in magazines, and so were free from the point of view of drivers.
    pub cached: usize,
}

/// An allocator of I/O virtual addresses. Source: `include/linux/iova.h: struct iova_domain`.
///
/// Owns no heap memory until the first range or cached page frame.
#[derive(Clone, Debug)]
pub struct IovaDomain {
    rules: IovaRules,
    granule_shift: u32,
    start_pfn: u64,
    pub(super) ranges: Ranges,
    /// Where searches with a limit above 4 GiB begin; `None` is a NULL pointer.
    pub(super) cached: Option<Node>,
    /// Where searches below 4 GiB begin; `None` is a NULL pointer.
    pub(super) cached32: Option<Node>,
    /// The smallest size, in pages, known not to fit below 4 GiB.
    pub(super) max32_alloc_size: u64,
    rcaches: Option<[Rcache; IOVA_RANGE_CACHE_MAX_SIZE]>,
    warnings: Vec<IovaWarning>,
}

impl IovaDomain {
    /// An empty domain without caches. `granule` is in bytes; `start_pfn` is the lowest page frame handed out.
    ///
    /// Source: `drivers/iommu/iova.c: init_iova_domain()`, v6.12.
    ///
    /// # Errors
    ///
    /// [`InitBug::Granule`] if the granule exceeds the page size or is not a power of two.
    pub fn init_iova_domain(rules: IovaRules, granule: u64, start_pfn: IovaPfn) -> Result<Self, InitBug> {
        if granule > PAGE_SIZE || !granule.is_power_of_two() {
            return Err(InitBug::Granule(granule));
        }
        let granule_shift = granule.trailing_zeros();
        let ranges = Ranges::new();
        let anchor = ranges.anchor();
        Ok(Self {
            rules,
            granule_shift,
            start_pfn: start_pfn.0,
            ranges,
            cached: anchor,
            cached32: anchor,
            max32_alloc_size: 1 << (u32::BITS - granule_shift),
            rcaches: None,
            warnings: Vec::new(),
        })
    }

    /// Gives the domain its caches; until v5.17 `init_iova_domain()` itself did so.
    ///
    /// The kernel allocates two magazines for each CPU and class here, and may fail; magazines here are allocated
    /// when first used. Source: `drivers/iommu/iova.c: iova_domain_init_rcaches()`, v6.12.
    pub fn iova_domain_init_rcaches(&mut self) {
        if self.rcaches.is_none() {
            self.rcaches = Some(Default::default());
        }
    }

    /// Destroys the domain and tells what it still held.
    ///
    /// Source: `drivers/iommu/iova.c: put_iova_domain()`, v6.12.
    #[must_use]
    pub fn put_iova_domain(self) -> PutReport {
        let cached = self.rcaches.iter().flatten().map(Rcache::cached).sum();
        PutReport { ranges: self.ranges.len(), cached }
    }

    /// Allocates the highest free range of `size` pages whose last page is at most `limit_pfn`.
    ///
    /// With `size_aligned` the range begins on a multiple of the next power of two of `size`.
    /// Source: `drivers/iommu/iova.c: alloc_iova()`, v6.12.
    ///
    /// # Errors
    ///
    /// Any [`AllocError`] but [`AllocError::PageZero`].
    pub fn alloc_iova(
        &mut self,
        size: u64,
        limit_pfn: IovaPfn,
        size_aligned: bool,
        memory: &mut impl IovaMemory,
    ) -> Result<IovaRange, AllocError> {
        if !memory.alloc_iova_mem() {
            return Err(AllocError::NoSpace);
        }
        self.alloc_and_insert_iova_range(size, limit_pfn.0.wrapping_add(1), size_aligned)
    }

    /// The range that contains `pfn`. The sentinel at the very top counts as one.
    ///
    /// Source: `drivers/iommu/iova.c: find_iova()`, v6.12.
    #[must_use]
    pub fn find_iova(&self, pfn: IovaPfn) -> Option<IovaRange> {
        self.ranges.find(pfn.0).map(Node::range)
    }

    /// Frees the whole range that contains `pfn`, and returns it; `None` if there is none, which the kernel does
    /// not complain about. Source: `drivers/iommu/iova.c: free_iova()`, v6.12.
    ///
    /// # Errors
    ///
    /// [`NullPointer`] if the sentinel was freed before.
    pub fn free_iova(&mut self, pfn: IovaPfn) -> Result<Option<IovaRange>, NullPointer> {
        let Some(node) = self.ranges.find(pfn.0) else {
            return Ok(None);
        };
        self.remove_iova(node)?;
        Ok(Some(node.range()))
    }

    /// Sets `lo..=hi` aside, merging it with ranges it overlaps, so that it is never handed out.
    ///
    /// Where several ranges overlap, each is extended down to its predecessor, and the last one is the result.
    /// Source: `drivers/iommu/iova.c: reserve_iova()`, v6.12.
    pub fn reserve_iova(&mut self, lo: IovaPfn, hi: IovaPfn, memory: &mut impl IovaMemory) -> Reserved {
        if (hi.0 | lo.0) > (u64::MAX >> self.granule_shift) {
            self.warnings.push(IovaWarning::Nonsensical(IovaRange { lo, hi }));
            return Reserved::Nonsensical;
        }
        let mut low = lo.0;
        let high = hi.0;
        let mut overlapping = self.ranges.first_overlap(low, high);
        while let Some(node) = overlapping {
            let node = if low < node.lo { self.extend_down(node, low) } else { node };
            if high <= node.hi {
                return Reserved::Range(node.range());
            }
            low = node.hi + 1;
            let next = self.ranges.next_above(node.lo);
            overlapping = next.filter(|next| low <= next.hi && high >= next.lo);
        }
        if !memory.alloc_iova_mem() {
            return Reserved::NoMemory;
        }
        let new = Node { lo: low, hi: high };
        if !self.ranges.insert(new) {
            self.warnings.push(IovaWarning::SameStart(IovaPfn(low)));
        }
        Reserved::Range(new.range())
    }

    /// Allocates `size` pages through the caches of `cpu`; the usual way for a DMA mapping.
    ///
    /// Falls back to [`Self::alloc_iova`], aligned. If that fails and `flush_rcache` is set, all caches are
    /// emptied and it is tried once more. Source: `drivers/iommu/iova.c: alloc_iova_fast()`, v6.12.
    ///
    /// # Errors
    ///
    /// Any [`AllocError`]; [`AllocError::NullPointer`] also if the domain has no caches and the size is cacheable.
    pub fn alloc_iova_fast(
        &mut self,
        cpu: Cpu,
        size: u64,
        limit_pfn: IovaPfn,
        flush_rcache: bool,
        memory: &mut impl IovaMemory,
    ) -> Result<IovaPfn, AllocError> {
        if size == 0 {
            return Err(AllocError::ZeroSize);
        }
        let largest_class = 1 << (IOVA_RANGE_CACHE_MAX_SIZE - 1);
        let rounds = self.rules.fast_rounds_size && size < largest_class;
        let size = if rounds { size.next_power_of_two() } else { size };

        let class = order_base_2(size);
        if class < IOVA_RANGE_CACHE_MAX_SIZE {
            let rcaches = self.rcaches.as_mut().ok_or(AllocError::NullPointer)?;
            // Modulo 2^64: a size above the limit lets any entry pass, as in the kernel.
            let highest = limit_pfn.0.wrapping_add(1).wrapping_sub(size);
            match rcaches[class].get(cpu, highest) {
                // Page 0 is taken for "nothing cached", and stays lost.
                None | Some(IovaPfn(0)) => {}
                Some(pfn) => return Ok(pfn),
            }
        }

        let mut result = self.alloc_iova(size, limit_pfn, true, memory);
        if result == Err(AllocError::NoSpace) && flush_rcache {
            self.flush_rcaches()?;
            result = self.alloc_iova(size, limit_pfn, true, memory);
        }
        match result? {
            range if range.lo.0 == 0 => Err(AllocError::PageZero(range)),
            range => Ok(range.lo),
        }
    }

    /// Returns the range of `size` pages at `pfn` to the caches of `cpu`, or frees it if it cannot be cached.
    ///
    /// `size` is what was given to [`Self::alloc_iova_fast`]. Neither it nor `pfn` is checked: a wrong one
    /// poisons the cache, as in the kernel. Source: `drivers/iommu/iova.c: free_iova_fast()`, v6.12.
    ///
    /// # Errors
    ///
    /// [`NullPointer`] if the domain has no caches and the size is cacheable, or if the sentinel was freed.
    pub fn free_iova_fast(
        &mut self,
        cpu: Cpu,
        pfn: IovaPfn,
        size: u64,
        memory: &mut impl IovaMemory,
    ) -> Result<(), NullPointer> {
        let class = order_base_2(size);
        if class < IOVA_RANGE_CACHE_MAX_SIZE {
            let rcaches = self.rcaches.as_mut().ok_or(NullPointer)?;
            let IovaRules { magazine_size, depot, .. } = self.rules;
            match rcaches[class].insert(cpu, pfn, magazine_size, depot, memory) {
                Insert::Cached => return Ok(()),
                Insert::Evicted(magazine) => return self.magazine_free_pfns(&magazine),
                Insert::Refused => {}
            }
        }
        self.free_iova(pfn).map(|_| ())
    }

    /// A CPU has gone: what it had cached is freed.
    ///
    /// Source: `drivers/iommu/iova.c: iova_cpuhp_dead()`, v6.12.
    ///
    /// # Errors
    ///
    /// [`NullPointer`] if the sentinel was freed before.
    pub fn iova_cpuhp_dead(&mut self, cpu: Cpu) -> Result<(), NullPointer> {
        self.free_cpu_cached_iovas(cpu)
    }

    /// The size classes, as bits, to whose depot a magazine went since this was asked last: whoever gives addresses back
    /// queues their work.
    pub fn depots_to_trim(&mut self) -> u8 {
        let rcaches = self.rcaches.iter_mut().flatten().enumerate();
        rcaches.fold(0, |due, (class, rcache)| due | u8::from(std::mem::take(&mut rcache.pushed)) << class)
    }

    /// One run of the delayed work that trims the depot of a size class (0 to 5), if it is queued.
    ///
    /// Source: `drivers/iommu/iova.c: iova_depot_work_func()`, v6.12.
    ///
    /// # Errors
    ///
    /// [`NullPointer`] if the sentinel was freed before.
    pub fn iova_depot_work_func(
        &mut self,
        class: usize,
        online_cpus: usize,
    ) -> Result<DepotTrim, NullPointer> {
        let rcache = self.rcaches.as_mut().and_then(|rcaches| rcaches.get_mut(class));
        let Some(rcache) = rcache.filter(|rcache| rcache.trim_queued) else {
            return Ok(DepotTrim::Idle);
        };
        rcache.trim_queued = false;
        if rcache.depot.len() <= online_cpus {
            return Ok(DepotTrim::Enough);
        }
        let Some(magazine) = rcache.depot.pop() else {
            return Ok(DepotTrim::Enough);
        };
        rcache.trim_queued = true;
        self.magazine_free_pfns(&magazine)?;
        Ok(DepotTrim::Freed { pfns: magazine.len() })
    }

    /// The depot's work runs as it would have when the magazine that holds `pfn` was the newest one of its depot. For who
    /// knows what came of it, and not when that was. Says whether there is such a magazine.
    ///
    /// Source: `drivers/iommu/iova.c: iova_depot_work_func()`, v6.12.
    ///
    /// # Errors
    ///
    /// [`NullPointer`] if the sentinel was freed before.
    pub fn trim_magazine_of(&mut self, pfn: IovaPfn) -> Result<bool, NullPointer> {
        let held = self.rcaches.iter_mut().flatten().find_map(|rcache| rcache.remove_from_depot(pfn));
        held.map_or(Ok(false), |magazine| self.magazine_free_pfns(&magazine).map(|()| true))
    }

    /// Empties the magazines of all CPUs, and then the depots.
    ///
    /// The kernel visits online CPUs only; those of a dead CPU were emptied when it went.
    fn flush_rcaches(&mut self) -> Result<(), NullPointer> {
        let Some(rcaches) = self.rcaches.as_ref() else {
            return Ok(());
        };
        let cpus = rcaches.iter().map(|rcache| rcache.cpus.len()).max().unwrap_or(0);
        for cpu in (0..).take(cpus) {
            self.free_cpu_cached_iovas(Cpu(cpu))?;
        }
        if !self.rules.flushes_depot {
            return Ok(());
        }
        for class in 0..IOVA_RANGE_CACHE_MAX_SIZE {
            let depot = self.rules.depot;
            let rcache = self.rcaches.as_mut().map(|rcaches| &mut rcaches[class]);
            let drained = rcache.map(|rcache| rcache.drain_depot(depot)).unwrap_or_default();
            for magazine in drained {
                self.magazine_free_pfns(&magazine)?;
            }
        }
        Ok(())
    }

    /// Source: `drivers/iommu/iova.c: free_cpu_cached_iovas()`, v6.12.
    fn free_cpu_cached_iovas(&mut self, cpu: Cpu) -> Result<(), NullPointer> {
        for class in 0..IOVA_RANGE_CACHE_MAX_SIZE {
            let rcache = self.rcaches.as_mut().map(|rcaches| &mut rcaches[class]);
            let Some(own) = rcache.and_then(|rcache| rcache.cpus.get_mut(cpu.index())) else {
                continue;
            };
            let (loaded, prev) = (own.loaded.take(), own.prev.take());
            self.magazine_free_pfns(&loaded)?;
            self.magazine_free_pfns(&prev)?;
        }
        Ok(())
    }

    /// Source: `drivers/iommu/iova.c: iova_magazine_free_pfns()`, v6.12.
    fn magazine_free_pfns(&mut self, magazine: &Magazine) -> Result<(), NullPointer> {
        for &pfn in magazine.as_slice() {
            match self.ranges.find(pfn.0) {
                Some(node) => self.remove_iova(node)?,
                None => self.warnings.push(IovaWarning::StrayCached(pfn)),
            }
        }
        Ok(())
    }

    /// Unlinks a node and moves the remembered nodes off it, and up to it where it freed space above them.
    ///
    /// Source: `drivers/iommu/iova.c: remove_iova()` and `__cached_rbnode_delete_update()`, v6.12 and v5.13.
    fn remove_iova(&mut self, free: Node) -> Result<(), NullPointer> {
        let dma_32bit_pfn = self.dma_32bit_pfn();
        let cached32 = self.cached32.ok_or(NullPointer)?;
        let moves32 = free.lo == cached32.lo || (free.hi < dma_32bit_pfn && free.lo >= cached32.lo);
        let resets = match self.rules.max32_reset {
            Max32Reset::WithCachedNode => moves32,
            Max32Reset::AnyFree => free.lo < dma_32bit_pfn,
        };
        if resets {
            self.max32_alloc_size = dma_32bit_pfn;
        }
        let moves = free.lo >= self.cached.ok_or(NullPointer)?.lo;
        if moves || moves32 {
            let next = self.ranges.next_above(free.lo);
            if moves32 {
                self.cached32 = next;
            }
            if moves {
                self.cached = next;
            }
        }
        self.ranges.remove(free);
        Ok(())
    }

    /// Extends a range; remembered nodes stay the same nodes, with a lower start.
    fn extend_down(&mut self, node: Node, lo: u64) -> Node {
        let extended = self.ranges.extend_down(node, lo);
        for cached in [&mut self.cached, &mut self.cached32] {
            if *cached == Some(node) {
                *cached = Some(extended);
            }
        }
        extended
    }

    pub(super) fn rcaches_mut(&mut self) -> Option<&mut [Rcache; IOVA_RANGE_CACHE_MAX_SIZE]> {
        self.rcaches.as_mut()
    }

    /// The behaviour this domain follows.
    #[must_use]
    pub const fn rules(&self) -> IovaRules {
        self.rules
    }

    /// Logarithm of the granule in bytes. Source: `include/linux/iova.h: iova_shift()`.
    #[must_use]
    pub const fn iova_shift(&self) -> u32 {
        self.granule_shift
    }

    /// The lowest page frame handed out.
    #[must_use]
    pub const fn start_pfn(&self) -> IovaPfn {
        IovaPfn(self.start_pfn)
    }

    /// First page frame at 4 GiB: searches up to here use the 32-bit hint.
    pub(super) const fn dma_32bit_pfn(&self) -> u64 {
        1 << (u32::BITS - self.granule_shift)
    }

    /// The page frame of a bus address. Source: `include/linux/iova.h: iova_pfn()`.
    #[must_use]
    pub const fn iova_pfn(&self, addr: DmaAddr) -> IovaPfn {
        IovaPfn(addr.0 >> self.granule_shift)
    }

    /// The bus address at which a page frame begins. Source: `include/linux/iova.h: iova_dma_addr()`.
    #[must_use]
    pub const fn iova_dma_addr(&self, pfn: IovaPfn) -> DmaAddr {
        DmaAddr(pfn.0 << self.granule_shift)
    }

    /// All ranges, lowest first, the cached ones included and the sentinel left out.
    pub fn ranges(&self) -> impl DoubleEndedIterator<Item = IovaRange> + '_ {
        self.ranges.iter().map(Node::range)
    }

    /// Number of ranges, the cached ones included.
    #[must_use]
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// Where searches with a limit above 4 GiB begin.
    #[must_use]
    pub fn cached_node(&self) -> CachedNode {
        self.view(self.cached)
    }

    /// Where searches below 4 GiB begin.
    #[must_use]
    pub fn cached32_node(&self) -> CachedNode {
        self.view(self.cached32)
    }

    /// The smallest size, in pages, that is known not to fit below 4 GiB.
    #[must_use]
    pub const fn max32_alloc_size(&self) -> u64 {
        self.max32_alloc_size
    }

    /// The caches of one size class (0 to 5). Empty if the domain has none.
    #[must_use]
    pub fn rcache(&self, class: usize) -> MagazineView<'_> {
        MagazineView::new(self.rcaches.as_ref().and_then(|rcaches| rcaches.get(class)))
    }

    /// Whether the domain has caches.
    #[must_use]
    pub const fn has_rcaches(&self) -> bool {
        self.rcaches.is_some()
    }

    /// The warnings since the last call, oldest first.
    pub fn take_warnings(&mut self) -> Vec<IovaWarning> {
        std::mem::take(&mut self.warnings)
    }

    fn view(&self, node: Option<Node>) -> CachedNode {
        match node {
            None => CachedNode::Null,
            Some(node) if self.ranges.is_anchor(node) => CachedNode::Anchor,
            Some(node) => CachedNode::Range(IovaPfn(node.lo)),
        }
    }
}
