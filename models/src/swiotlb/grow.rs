//! Pools that grow: the list of pools of one allocator, and pools made for a single mapping.

use std::collections::BTreeSet;

use super::area::Search;
use super::bounce::BounceRules;
use super::literal::Release;
use super::map::{MapRequest, Mapping, Prepared};
use super::pool::{MapError, Pool, Usage};
use super::search::{DmaLimits, Request, SearchPlan, SearchRules};
use super::sizing::{
    IO_TLB_MIN_SLABS, IO_TLB_SEGSIZE, IO_TLB_SHIFT, PoolSize, limit_nareas, low32, nr_slots,
};
use crate::mem::{PAGE_SIZE, PhysAddr, align_up};

/// Largest order of the page allocator. Source: `include/linux/mmzone.h: MAX_PAGE_ORDER`.
pub const MAX_PAGE_ORDER: u32 = 10;
/// Highest address of the lowest zone. Source: `kernel/dma/direct.c: zone_dma_limit`, on x86.
pub const ZONE_DMA_LIMIT: u64 = 0xff_ffff;
/// Highest address of the zone below 4 GiB.
pub const ZONE_DMA32_LIMIT: u64 = 0xffff_ffff;

/// Where pages are taken from. Source: `include/linux/gfp_types.h`, the zone modifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Zone {
    /// Below 16 MiB (`GFP_DMA`).
    Dma,
    /// Below 4 GiB (`GFP_DMA32`).
    Dma32,
    /// Anywhere.
    Normal,
}

impl Zone {
    /// The zone from which memory below `phys_limit` is asked for first.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_alloc_tlb()`, v6.12.
    #[must_use]
    pub const fn first(phys_limit: u64) -> Self {
        match phys_limit {
            limit if limit <= ZONE_DMA_LIMIT => Self::Dma,
            limit if limit <= ZONE_DMA32_LIMIT => Self::Dma32,
            _ => Self::Normal,
        }
    }

    /// The zone to ask after this one gave memory above `phys_limit`; `None` to give up.
    ///
    /// Source: the loop of `kernel/dma/swiotlb.c: swiotlb_alloc_tlb()`, v6.12.
    #[must_use]
    pub const fn lower(self, phys_limit: u64) -> Option<Self> {
        match self {
            Self::Normal if phys_limit < u64::MAX => Some(Self::Dma32),
            Self::Normal | Self::Dma32 => Some(Self::Dma),
            Self::Dma => None,
        }
    }
}

/// The page allocator, as far as growing pools need it.
pub trait DmaPages {
    /// A block of `PAGE_SIZE << order` bytes from `zone` or below, or none.
    fn alloc_pages(&mut self, zone: Zone, order: u32) -> Option<PhysAddr>;
    /// Gives a block back.
    fn free_pages(&mut self, block: PhysAddr, order: u32);
}

/// Which device asks: the identity that owns a transient pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device(pub u32);

/// A device's request, with all of it that the allocator looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The device.
    pub device: Device,
    /// The CPU that it runs on.
    pub cpu: u32,
    /// What it demands of addresses.
    pub limits: DmaLimits,
    /// Highest bus address it reaches: the lesser of mask and bus limit.
    pub phys_limit: u64,
}

/// A mapping, and the pool that it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolMapping {
    /// Start of the pool.
    pub pool: PhysAddr,
    /// The pool was made for this mapping alone.
    pub transient: bool,
    /// The mapping.
    pub mapping: Mapping,
}

/// Order of the smallest block that holds `bytes`. Source: `include/asm-generic/getorder.h`.
pub(crate) const fn get_order(bytes: u64) -> u32 {
    match bytes.div_ceil(PAGE_SIZE).checked_next_power_of_two() {
        Some(pages) => pages.ilog2(),
        None => 64,
    }
}

/// An allocator of bounce slots with pools that come and go.
///
/// Source: `include/linux/swiotlb.h: struct io_tlb_mem`, v6.12 with `CONFIG_SWIOTLB_DYNAMIC`.
#[derive(Clone, Debug)]
pub struct GrowingPools {
    search: SearchRules,
    bounce: BounceRules,
    /// `default_nslabs` and `default_nareas`.
    default_size: PoolSize,
    /// Newest first.
    pools: Vec<Pool>,
    /// Newest first.
    transient: Vec<(Device, Pool)>,
    /// Devices that ever had a mapping (`dma_uses_io_tlb`).
    users: BTreeSet<Device>,
    usage: Usage,
    transient_nslabs: u64,
    /// More pools may be made (`can_grow`).
    can_grow: bool,
    /// Highest address of a pool made by the worker.
    phys_limit: u64,
    /// The worker is queued.
    queued: bool,
}

impl GrowingPools {
    /// An allocator with its initial pool, which can grow below `phys_limit`.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_init_remap(), add_mem_pool()`, v6.12.
    #[must_use]
    pub fn new(
        search: SearchRules,
        bounce: BounceRules,
        start: PhysAddr,
        size: PoolSize,
        limit: u64,
    ) -> Self {
        Self {
            search,
            bounce,
            default_size: size,
            pools: vec![Pool::new(search, bounce, start, size)],
            transient: Vec::new(),
            users: BTreeSet::new(),
            usage: Usage::default(),
            transient_nslabs: 0,
            can_grow: true,
            phys_limit: limit,
            queued: false,
        }
    }

    /// Pools for everybody, newest first.
    #[must_use]
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// Pools made for one mapping each, newest first.
    pub fn transient(&self) -> impl Iterator<Item = (Device, &Pool)> {
        self.transient.iter().map(|(device, pool)| (*device, pool))
    }

    /// Slots in use, transient ones included.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// Slots in transient pools (`transient_nslabs`).
    #[must_use]
    pub const fn transient_nslabs(&self) -> u64 {
        self.transient_nslabs
    }

    /// Slots in the pools for everybody (`nslabs`).
    #[must_use]
    pub fn nslabs(&self) -> u64 {
        self.pools.iter().map(|pool| u64::from(pool.size().nslabs)).sum()
    }

    /// Whether the worker waits to run.
    #[must_use]
    pub const fn is_queued(&self) -> bool {
        self.queued
    }

    /// Lets no more pools be made. Source: `kernel/dma/swiotlb.c: default_swiotlb_base()`, v6.12.
    pub const fn stop_growing(&mut self) {
        self.can_grow = false;
    }

    /// The pool that holds `addr`, as far as `device` can have got it from here.
    ///
    /// Source: `include/linux/swiotlb.h: swiotlb_find_pool()`, v6.12.
    #[must_use]
    pub fn find_pool(&self, device: Device, addr: PhysAddr) -> Option<&Pool> {
        if !self.users.contains(&device) {
            return None;
        }
        let own = self.transient.iter().filter(|(owner, _)| *owner == device).map(|(_, pool)| pool);
        self.pools.iter().chain(own).find(|pool| pool.contains(addr))
    }

    /// Searches the pools for everybody: each CPU's area of all pools before anyone's next area.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_find_slots(), swiotlb_search_area()`, v6.12.
    fn search_pools(
        &mut self,
        asker: &Asker,
        request: &Request,
    ) -> Result<Option<(usize, Search)>, MapError> {
        for offset in 0..self.default_size.nareas {
            for (at, pool) in self.pools.iter_mut().enumerate() {
                let nareas = pool.size().nareas;
                if offset >= nareas {
                    continue;
                }
                let area = asker.cpu.wrapping_add(offset) & (nareas - 1);
                let plan = SearchPlan::new(self.search, asker.limits, pool.start(), request);
                match pool.search_area(area, &plan) {
                    Search::Full => {}
                    Search::Hang => return Err(MapError::Hang),
                    Search::Bug => return Err(MapError::Bug),
                    found @ Search::Found { .. } => return Ok(Some((at, found))),
                }
            }
        }
        Ok(None)
    }

    /// Gets slots for a buffer, in a pool of its own when there is no place elsewhere.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_map_single(), swiotlb_find_slots()`, v6.12.
    ///
    /// # Errors
    ///
    /// As [`MapError`] says. The worker may be queued all the same.
    pub fn map(
        &mut self,
        asker: &Asker,
        map: &MapRequest,
        pages: &mut impl DmaPages,
    ) -> Result<PoolMapping, MapError> {
        let prepared = Prepared::new(self.search, asker.limits, map).ok_or(MapError::InvalidSizes)?;
        let request = &prepared.request;
        if request.alloc_size > u64::from(IO_TLB_SEGSIZE) << IO_TLB_SHIFT {
            return Err(MapError::Full);
        }
        let (transient, at, found) = match self.search_pools(asker, request)? {
            Some((at, found)) => (false, at, found),
            None if !self.can_grow => return Err(MapError::Full),
            None => {
                self.queued = true;
                (true, 0, self.search_transient(asker, request, pages)?)
            }
        };
        let Search::Found { slot, nslots } = found else {
            return Err(MapError::Full);
        };
        self.usage.add(nslots);
        self.users.insert(asker.device);
        let pool = if transient { &mut self.transient[0].1 } else { &mut self.pools[at] };
        let mapping = pool.record(&prepared, slot, nslots);
        Ok(PoolMapping { pool: pool.start(), transient, mapping })
    }

    /// Makes a pool for one request and searches it.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_find_slots()`, from `schedule_work()`, v6.12.
    fn search_transient(
        &mut self,
        asker: &Asker,
        request: &Request,
        pages: &mut impl DmaPages,
    ) -> Result<Search, MapError> {
        let nslabs = low32(nr_slots(request.alloc_size));
        let size = PoolSize { nslabs, nareas: 1 };
        let mut pool = self.alloc_pool(nslabs, size, asker.phys_limit, pages).ok_or(MapError::Full)?;
        let plan = SearchPlan::new(self.search, asker.limits, pool.start(), request);
        let found = pool.search_area(0, &plan);
        match found {
            Search::Found { .. } => {
                self.transient.insert(0, (asker.device, pool));
                self.transient_nslabs += u64::from(nslabs);
                Ok(found)
            }
            Search::Full | Search::Hang | Search::Bug => {
                pages.free_pages(pool.start(), get_order(pool.size().bytes()));
                Err(match found {
                    Search::Hang => MapError::Hang,
                    Search::Bug => MapError::Bug,
                    Search::Full | Search::Found { .. } => MapError::Full,
                })
            }
        }
    }

    /// Makes a pool of `size`, or smaller down to `min_nslabs` slots.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_alloc_pool()`, v6.12.
    fn alloc_pool(
        &self,
        min_nslabs: u32,
        mut size: PoolSize,
        phys_limit: u64,
        pages: &mut impl DmaPages,
    ) -> Option<Pool> {
        size = limit_to_block(size);
        loop {
            if let Some(start) = alloc_tlb(size.bytes(), phys_limit, pages) {
                return Some(Pool::new(self.search, self.bounce, start, size));
            }
            size = halved(size, min_nslabs)?;
        }
    }

    /// Runs the queued worker, if it is queued: adds a pool for everybody. Returns whether it ran.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_dyn_alloc()`, v6.12.
    pub fn run_worker(&mut self, pages: &mut impl DmaPages) -> bool {
        if !std::mem::take(&mut self.queued) {
            return false;
        }
        if let Some(pool) =
            self.alloc_pool(low32(IO_TLB_MIN_SLABS), self.default_size, self.phys_limit, pages)
        {
            self.pools.insert(0, pool);
        }
        true
    }

    /// Frees the mapping of a bounce address, and with it a pool made for it; `None` when no pool of
    /// `device` holds it. The copy back comes before.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_unmap_single(), swiotlb_del_transient()`, v6.12.
    pub fn unmap(
        &mut self,
        device: Device,
        limits: DmaLimits,
        tlb_addr: PhysAddr,
        pages: &mut impl DmaPages,
    ) -> Option<Release> {
        self.find_pool(device, tlb_addr)?;
        if let Some(pool) = self.pools.iter_mut().find(|pool| pool.contains(tlb_addr)) {
            let release = pool.release_slots(limits, tlb_addr);
            if let Release::Done { nslots, .. } = release {
                self.usage.sub(nslots);
            }
            return Some(release);
        }
        let own = |(owner, pool): &(Device, Pool)| *owner == device && pool.contains(tlb_addr);
        let at = self.transient.iter().position(own)?;
        let (_, pool) = self.transient.remove(at);
        let nslots = i64::from(pool.size().nslabs);
        self.usage.sub(nslots);
        self.transient_nslabs = self.transient_nslabs.wrapping_sub(nslots.cast_unsigned());
        pages.free_pages(pool.start(), get_order(pool.size().bytes()));
        Some(Release::Done { first: 0, nslots, area: 0 })
    }
}

/// The size of a pool that no block of the page allocator need exceed.
///
/// Source: the head of `kernel/dma/swiotlb.c: swiotlb_alloc_pool()`, v6.12.
pub(crate) fn limit_to_block(size: PoolSize) -> PoolSize {
    let most = low32(PAGE_SIZE >> IO_TLB_SHIFT) << MAX_PAGE_ORDER;
    if size.nslabs <= most {
        return size;
    }
    PoolSize { nslabs: most, nareas: limit_nareas(size.nareas, u64::from(most)) }
}

/// Half the size of a pool that could not be had; `None` if it must not become smaller.
///
/// Source: the loop of `kernel/dma/swiotlb.c: swiotlb_alloc_pool()`, v6.12.
pub(crate) fn halved(size: PoolSize, min_nslabs: u32) -> Option<PoolSize> {
    if size.nslabs <= min_nslabs {
        return None;
    }
    let nslabs = low32(align_up(u64::from(size.nslabs >> 1), u64::from(IO_TLB_SEGSIZE)));
    Some(PoolSize { nslabs, nareas: limit_nareas(size.nareas, u64::from(nslabs)) })
}

/// Gets the memory of a pool below `phys_limit`, from lower zones if a block lies too high.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_alloc_tlb(), alloc_dma_pages()`, v6.12.
pub fn alloc_tlb(bytes: u64, phys_limit: u64, pages: &mut impl DmaPages) -> Option<PhysAddr> {
    let order = get_order(bytes);
    let mut zone = Zone::first(phys_limit);
    loop {
        let block = pages.alloc_pages(zone, order)?;
        if block.0.wrapping_add(bytes).wrapping_sub(1) <= phys_limit {
            return Some(block);
        }
        pages.free_pages(block, order);
        zone = zone.lower(phys_limit)?;
    }
}
