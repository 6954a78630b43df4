//! Pools that come and go, for many callers.

use std::fmt;

use super::rcu_list::{Descriptor, Node, PoolList};
use super::{AreasShareSegment, Platform, ReadSections, SharedUsage, SharedWord, SlotLock};
use crate::mem::PhysAddr;
use crate::swiotlb::area::Search;
use crate::swiotlb::grow::{
    Asker, Device, DmaPages, PoolMapping, alloc_tlb, get_order, halved, limit_to_block,
};
use crate::swiotlb::literal::Release;
use crate::swiotlb::map::{MapRequest, Mapping, Prepared};
use crate::swiotlb::pool::{MapError, Usage};
use crate::swiotlb::search::{DmaLimits, Request, SearchPlan, SearchRules};
use crate::swiotlb::sizing::{IO_TLB_MIN_SLABS, IO_TLB_SEGSIZE, IO_TLB_SHIFT, PoolSize, low32, nr_slots};

/// How an allocator with growing pools begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolsSetup {
    /// Rules of the search.
    pub search: SearchRules,
    /// Start of the first pool.
    pub start: PhysAddr,
    /// Its size, and that of pools which the worker adds (`default_nslabs`, `default_nareas`).
    pub size: PoolSize,
    /// Highest address of a pool made by the worker (`phys_limit`).
    pub phys_limit: u64,
    /// Number of devices, whose numbers begin at 0.
    pub devices: u32,
    /// At most so many pools exist at a time, transient ones included.
    pub max_pools: u32,
    /// Whether slots in use are counted, as with `CONFIG_DEBUG_FS`.
    pub counts_usage: bool,
}

/// `struct device`, as far as the allocator keeps something in it.
struct DeviceState<P: Platform> {
    /// `dma_uses_io_tlb`.
    uses_io_tlb: P::Word,
    /// `dma_io_tlb_pools` and `dma_io_tlb_lock`.
    pools: PoolList<P>,
}

/// What the page and slab allocators protect by themselves.
struct Store<D> {
    spare: Vec<usize>,
    pages: D,
}

/// An allocator of bounce slots with pools that come and go, for many callers.
///
/// The same as [`GrowingPools`](crate::swiotlb::GrowingPools), which has no threads. A wrong address given back cannot
/// spoil more than the area that it lies in.
///
/// Source: `include/linux/swiotlb.h: struct io_tlb_mem`, v6.12 with `CONFIG_SWIOTLB_DYNAMIC`.
pub struct SharedPools<P: Platform, D> {
    setup: PoolsSetup,
    nodes: Vec<Node<P>>,
    pools: PoolList<P>,
    devices: Vec<DeviceState<P>>,
    store: P::Lock<Store<D>>,
    rcu: P::Rcu,
    /// Taken out of their lists, and waiting for readers to leave (`call_rcu`).
    retired: P::Lock<Vec<usize>>,
    usage: SharedUsage<P::Word>,
    transient_nslabs: P::Word,
    can_grow: P::Word,
    /// The worker is queued.
    queued: P::Word,
}

impl<P: Platform, D> fmt::Debug for SharedPools<P, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPools").field("setup", &self.setup).finish_non_exhaustive()
    }
}

/// A request worked out, and who asks.
struct Wanted<'a> {
    asker: &'a Asker,
    prepared: Prepared,
}

impl<P: Platform, D: DmaPages> SharedPools<P, D> {
    /// An allocator with its first pool, which gets the memory of others from `pages`.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_init_remap(), swiotlb_dev_init()`, v6.12.
    ///
    /// # Errors
    ///
    /// [`AreasShareSegment`] if the areas do not consist of whole segments, or those of a halved pool would not; also
    /// if there is no first pool, or no room for it.
    pub fn new(setup: PoolsSetup, pages: D) -> Result<Self, AreasShareSegment> {
        let PoolSize { nslabs, nareas } = setup.size;
        let halves = nareas == 1 || nslabs.is_power_of_two() && nareas.is_power_of_two();
        let whole = nareas == 1 || setup.size.area_nslabs().is_multiple_of(IO_TLB_SEGSIZE);
        if nslabs == 0 || nareas == 0 || setup.max_pools == 0 || !halves || !whole {
            return Err(AreasShareSegment);
        }
        let device = |_| DeviceState { uses_io_tlb: P::Word::new(0), pools: PoolList::new() };
        let shared = Self {
            setup,
            nodes: (0..setup.max_pools).map(|_| Node::spare(nareas)).collect(),
            pools: PoolList::new(),
            devices: (0..setup.devices).map(device).collect(),
            store: P::Lock::new(Store { spare: (2..=setup.max_pools as usize).rev().collect(), pages }),
            rcu: P::Rcu::new(),
            retired: P::Lock::new(Vec::new()),
            usage: SharedUsage::default(),
            transient_nslabs: P::Word::new(0),
            can_grow: P::Word::new(1),
            queued: P::Word::new(0),
        };
        shared.nodes[0].init(Descriptor { start: setup.start, size: setup.size }, setup.search.list_clamped);
        shared.pools.add(&shared.nodes, 1);
        Ok(shared)
    }

    /// Slots in use; zeroes if they are not counted.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.usage.get()
    }

    /// Slots in transient pools (`transient_nslabs`).
    #[must_use]
    pub fn transient_nslabs(&self) -> u64 {
        self.transient_nslabs.read_once()
    }

    /// Whether the worker waits to run.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.queued.read_once() != 0
    }

    /// Queues the worker, if it is not queued. Source: `schedule_work(&mem->dyn_alloc)`, v6.12.
    pub fn queue_worker(&self) {
        // Who finds it queued has nothing to do.
        let _ = self.queued.try_cmpxchg(0, 1);
    }

    /// Lets no more pools be made. Source: `kernel/dma/swiotlb.c: default_swiotlb_base()`, v6.12.
    pub fn stop_growing(&self) {
        self.can_grow.write_once(0);
    }

    /// Looks at the page allocator, with its lock held.
    pub fn with_pages<R>(&self, look: impl FnOnce(&mut D) -> R) -> R {
        self.store.with(|store| look(&mut store.pages))
    }

    /// Start and size of the pools for everybody, newest first.
    #[must_use]
    pub fn pools(&self) -> Vec<(PhysAddr, PoolSize)> {
        let mut found = Vec::new();
        self.rcu.read(|| {
            self.pools.find(&self.nodes, |_, node| {
                let pool = node.get();
                found.push((pool.start, pool.size));
                None::<()>
            })
        });
        found
    }

    /// Slots in use by the areas' counters, each read by itself: inexact while others work.
    ///
    /// Source: `kernel/dma/swiotlb.c: mem_used()`, v6.12 without `CONFIG_DEBUG_FS`.
    #[must_use]
    pub fn used(&self) -> u64 {
        let mut used = 0_u64;
        self.rcu.read(|| {
            self.pools.find(&self.nodes, |_, node| {
                let areas = node.areas.iter();
                used = areas.fold(used, |sum, area| sum.wrapping_add(area.with(|state| state.area().used())));
                None::<()>
            })
        });
        used
    }

    /// The pool that holds `addr`, as far as `device` can have got it from here: its start, and whether it is
    /// transient.
    ///
    /// Source: `include/linux/swiotlb.h: swiotlb_find_pool()`, v6.12.
    #[must_use]
    pub fn find_pool(&self, device: Device, addr: PhysAddr) -> Option<(PhysAddr, bool)> {
        let node = &self.nodes[self.find(device, addr)? - 1];
        Some((node.get().start, node.is_transient()))
    }

    /// Source: `kernel/dma/swiotlb.c: __swiotlb_find_pool()`, v6.12, with the test before it.
    fn find(&self, device: Device, addr: PhysAddr) -> Option<usize> {
        let device = self.devices.get(device.0 as usize)?;
        // The address was loaded from somewhere: that load comes first. Pairs with the barrier in `map`.
        P::smp_rmb();
        if device.uses_io_tlb.read_once() == 0 {
            return None;
        }
        let holds = |number, node: &Node<P>| node.get().contains(addr).then_some(number);
        self.rcu
            .read(|| self.pools.find(&self.nodes, holds).or_else(|| device.pools.find(&self.nodes, holds)))
    }

    /// Searches one area of one pool.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_search_pool_area()`, v6.12.
    fn search_pool_area(
        &self,
        node: &Node<P>,
        area: u32,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Mapping>, MapError> {
        let pool = node.get();
        let plan =
            SearchPlan::new(self.setup.search, wanted.asker.limits, pool.start, &wanted.prepared.request);
        let first = area * pool.size.area_nslabs();
        let plan = plan.counted_from(first);
        let start = pool.start.wrapping_add(u64::from(first) << IO_TLB_SHIFT);
        match node.areas[area as usize].with(|state| state.map(&plan, &wanted.prepared, start)) {
            Ok(mapping) => Ok(Some(Mapping { slot: first + mapping.slot, ..mapping })),
            Err(Search::Hang) => Err(MapError::Hang),
            Err(Search::Bug) => Err(MapError::Bug),
            Err(Search::Full | Search::Found { .. }) => Ok(None),
        }
    }

    /// Source: `kernel/dma/swiotlb.c: swiotlb_search_area()`, v6.12, for each area.
    fn search_pools(&self, wanted: &Wanted<'_>) -> Result<Option<(usize, Mapping)>, MapError> {
        for offset in 0..self.setup.size.nareas {
            let found = self.rcu.read(|| {
                self.pools.find(&self.nodes, |number, node| {
                    let nareas = node.get().size.nareas;
                    if offset >= nareas {
                        return None;
                    }
                    let area = wanted.asker.cpu.wrapping_add(offset) & (nareas - 1);
                    let found = self.search_pool_area(node, area, wanted).transpose()?;
                    Some(found.map(|mapping| (number, mapping)))
                })
            });
            if let Some(found) = found {
                return found.map(Some);
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
    /// As [`MapError`] says; [`MapError::NoPool`] for a device that does not exist. The worker may be queued all the
    /// same.
    pub fn map(&self, asker: &Asker, map: &MapRequest) -> Result<PoolMapping, MapError> {
        let device = self.devices.get(asker.device.0 as usize).ok_or(MapError::NoPool)?;
        let prepared = Prepared::new(self.setup.search, asker.limits, map).ok_or(MapError::InvalidSizes)?;
        if prepared.request.alloc_size > u64::from(IO_TLB_SEGSIZE) << IO_TLB_SHIFT {
            return Err(MapError::Full);
        }
        let wanted = Wanted { asker, prepared };
        let (number, mapping, transient) = match self.search_pools(&wanted)? {
            Some((number, mapping)) => (number, mapping, false),
            None if self.can_grow.read_once() == 0 => return Err(MapError::Full),
            None => {
                self.queue_worker();
                let (number, mapping) = self.map_transient(device, &wanted)?;
                (number, mapping, true)
            }
        };
        if self.setup.counts_usage {
            self.usage.add(mapping.nslots);
        }
        device.uses_io_tlb.write_once(1);
        // The caller will store the address somewhere: after the flag, and after what was seen of the lists.
        P::smp_mb();
        Ok(PoolMapping { pool: self.nodes[number - 1].get().start, transient, mapping })
    }

    /// Source: `kernel/dma/swiotlb.c: swiotlb_find_slots()`, from `schedule_work()`, v6.12.
    fn map_transient(
        &self,
        device: &DeviceState<P>,
        wanted: &Wanted<'_>,
    ) -> Result<(usize, Mapping), MapError> {
        let Request { alloc_size, .. } = wanted.prepared.request;
        let nslabs = low32(nr_slots(alloc_size));
        let size = PoolSize { nslabs, nareas: 1 };
        let number = self.alloc_pool(nslabs, size, wanted.asker.phys_limit).ok_or(MapError::Full)?;
        let node = &self.nodes[number - 1];
        match self.search_pool_area(node, 0, wanted) {
            Ok(Some(mapping)) => {
                node.set_transient();
                device.pools.add(&self.nodes, number);
                if self.setup.counts_usage {
                    self.transient_nslabs.add_return(u64::from(nslabs));
                }
                Ok((number, mapping))
            }
            other => {
                // Nobody else has seen it.
                self.free_pool(number);
                Err(other.err().unwrap_or(MapError::Full))
            }
        }
    }

    /// Source: `kernel/dma/swiotlb.c: swiotlb_alloc_pool()`, v6.12.
    fn alloc_pool(&self, min_nslabs: u32, size: PoolSize, phys_limit: u64) -> Option<usize> {
        let (number, pool) = self.store.with(|store| {
            let number = store.spare.pop()?;
            let mut wanted = Some(limit_to_block(size));
            while let Some(size) = wanted {
                if let Some(start) = alloc_tlb(size.bytes(), phys_limit, &mut store.pages) {
                    return Some((number, Descriptor { start, size }));
                }
                wanted = halved(size, min_nslabs);
            }
            store.spare.push(number);
            None
        })?;
        self.nodes[number - 1].init(pool, self.setup.search.list_clamped);
        Some(number)
    }

    /// Source: `kernel/dma/swiotlb.c: swiotlb_dyn_free()`, v6.12.
    fn free_pool(&self, number: usize) {
        let pool = self.nodes[number - 1].clear();
        self.store.with(|store| {
            store.pages.free_pages(pool.start, get_order(pool.size.bytes()));
            store.spare.push(number);
        });
    }

    /// Runs the queued worker, if it is queued: adds a pool for everybody. Returns whether it ran.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_dyn_alloc(), add_mem_pool()`, v6.12.
    pub fn run_worker(&self) -> bool {
        if self.queued.try_cmpxchg(1, 0).is_err() {
            return false;
        }
        let PoolsSetup { size, phys_limit, .. } = self.setup;
        if let Some(number) = self.alloc_pool(low32(IO_TLB_MIN_SLABS), size, phys_limit) {
            self.pools.add(&self.nodes, number);
        }
        true
    }

    /// Frees the mapping of a bounce address; a pool made for it is retired, and freed by [`Self::reclaim`]. `None`
    /// when no pool of `device` holds the address. The copy back comes before.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_unmap_single(), swiotlb_del_transient()`, v6.12.
    pub fn unmap(&self, device: Device, limits: DmaLimits, tlb_addr: PhysAddr) -> Option<Release> {
        let number = self.find(device, tlb_addr)?;
        let node = &self.nodes[number - 1];
        let pool = node.get();
        if node.is_transient() {
            let nslots = i64::from(pool.size.nslabs);
            if self.setup.counts_usage {
                self.usage.sub(nslots);
            }
            self.devices.get(device.0 as usize)?.pools.remove(&self.nodes, number);
            self.retired.with(|retired| retired.push(number));
            if self.setup.counts_usage {
                self.transient_nslabs.add_return(nslots.wrapping_neg().cast_unsigned());
            }
            return Some(Release::Done { first: 0, nslots, area: 0 });
        }
        let area_nslabs = pool.size.area_nslabs();
        let area = low32((tlb_addr.0 - pool.start.0) >> IO_TLB_SHIFT) / area_nslabs;
        let first = area * area_nslabs;
        let start = pool.start.wrapping_add(u64::from(first) << IO_TLB_SHIFT);
        let Some(lock) = node.areas.get(area as usize) else {
            return Some(Release::Bug);
        };
        let (run, done) = lock.with(|state| {
            let run = state.run_of(self.setup.search, limits, start, tlb_addr);
            (run, state.release_run(run))
        });
        if !done {
            return Some(Release::Budget);
        }
        if self.setup.counts_usage {
            self.usage.sub(run.nslots);
        }
        Some(Release::Done { first: i64::from(first) + run.first, nslots: run.nslots, area })
    }

    /// Waits until nobody can look at the pools that were retired so far, and frees them. Returns how many.
    ///
    /// Source: `call_rcu()` with `kernel/dma/swiotlb.c: swiotlb_dyn_free()`, v6.12.
    pub fn reclaim(&self) -> usize {
        let retired = self.retired.with(std::mem::take);
        if !retired.is_empty() {
            self.rcu.synchronize();
        }
        for &number in &retired {
            self.free_pool(number);
        }
        retired.len()
    }
}
