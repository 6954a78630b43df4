//! Pools that grow (`CONFIG_SWIOTLB_DYNAMIC`): the list of an allocator's pools, and those of one mapping each.
//!
//! Both lists are read without a lock. What makes a new entry known to other CPUs is in
//! [`Shared`](crate::kernel::Shared).
//!
//! Source: `kernel/dma/swiotlb.c`, v6.6 and v6.12.

mod find;
mod memory;
mod pool;

use sim::cell::{Cell, OnceCell};
use std::rc::Rc;

use sim::sync::{LockClass, SpinLock};
use sim::{Kind, ObjId};

pub(super) use find::{find_pool, find_pool_if_used, find_slots};
pub use memory::Tlb;
pub(super) use pool::del_transient;

use super::object::{IoTlbMem, POOL_LOCK, PoolPtr};
use crate::device::Device;
use crate::kernel::{Kx, Shared};
use crate::mem::Ptr;
use crate::oracle::Beside;
use crate::profile::Behaviour;
use crate::swiotlb::PoolSize;

/// Class of `dev->dma_io_tlb_lock`.
const DEVICE_POOLS_LOCK: LockClass = LockClass::new(7, "&dev->dma_io_tlb_lock");

/// Labels beside the fields of `struct io_tlb_mem` and `struct device`.
const POOLS: u8 = 29;
const USES: u8 = 28;

/// The list of an allocator's pools, as those see it who change it: under `mem->lock`.
const ALLOCATOR_POOLS: Beside = Beside { label: POOLS, name: "struct io_tlb_mem.pools" };

/// That of a device's own pools: under `dev->dma_io_tlb_lock`.
const DEVICE_POOLS: Beside = Beside { label: POOLS, name: "struct device.dma_io_tlb_pools" };

/// A list of pools, newest first, as a reader finds it.
pub(crate) type Pools = Rc<[PoolPtr]>;

/// What an allocator needs to grow.
///
/// Source: `include/linux/swiotlb.h: struct io_tlb_mem`, v6.12, what `CONFIG_SWIOTLB_DYNAMIC` adds.
#[derive(Debug)]
pub struct Growth {
    /// Whether pools may be added (`can_grow`).
    can_grow: bool,
    /// Highest address of a pool that the worker adds (`phys_limit`).
    phys_limit: u64,
    /// Size of what the worker adds (`default_nslabs`, `default_nareas`).
    size: Cell<PoolSize>,
    /// Slots in the pools for everybody (`nslabs`).
    nslabs: Cell<u64>,
    /// Protects the list against other writers (`lock`).
    lock: SpinLock,
    /// The pools for everybody (`pools`).
    pools: Shared<Pools>,
    /// The worker (`dyn_alloc`).
    work: OnceCell<sim::Work>,
}

/// What a device keeps of bounce buffers, where pools grow.
///
/// Source: `include/linux/device.h: struct device`, v6.12, what `CONFIG_SWIOTLB_DYNAMIC` adds.
#[derive(Debug, Default)]
pub struct DeviceIoTlb {
    /// Whether it ever had a bounce buffer (`dma_uses_io_tlb`).
    uses: Shared<bool>,
    /// The pools that were made for one mapping each (`dma_io_tlb_pools`).
    pools: Shared<Pools>,
    /// Protects that list against other writers (`dma_io_tlb_lock`).
    lock: OnceCell<Rc<SpinLock>>,
}

impl DeviceIoTlb {
    fn lock(&self, kx: &Kx) -> Rc<SpinLock> {
        Rc::clone(self.lock.get_or_init(|| Rc::new(SpinLock::new(kx.cx(), DEVICE_POOLS_LOCK))))
    }

    /// The pools that were made for one mapping each, newest first.
    #[must_use]
    pub fn transient_pools(&self) -> Rc<[PoolPtr]> {
        self.pools.last()
    }
}

impl Growth {
    /// The pools for everybody, newest first.
    #[must_use]
    pub fn pools(&self) -> Rc<[PoolPtr]> {
        self.pools.last()
    }

    /// Slots in the pools for everybody, without a step.
    #[must_use]
    pub fn peek_nslabs(&self) -> u64 {
        self.nslabs.get()
    }

    /// Areas that a search goes over in every pool (`default_nareas`).
    pub(super) fn default_areas(&self) -> u32 {
        self.size.get().nareas
    }

    /// The highest address that a pool for everybody may have.
    #[must_use]
    pub const fn phys_limit(&self) -> u64 {
        self.phys_limit
    }

    /// Whether the worker waits to run, or to be run once more.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.work.get().is_some_and(sim::Work::pending)
    }

    /// Slots in the pools for everybody.
    pub(super) async fn nslabs(&self, kx: &Kx, mem: Ptr<IoTlbMem>) -> u64 {
        kx.step(Kind::Read, kx.label(mem.id, IoTlbMem::nslabs.index)).await;
        self.nslabs.get()
    }

    /// Adds a pool for everybody: `added` slots.
    ///
    /// Source: `kernel/dma/swiotlb.c: add_mem_pool()`, v6.12.
    async fn add_mem_pool(&self, kx: &Kx, mem: Ptr<IoTlbMem>, pool: PoolPtr, added: u64) {
        self.lock.lock(kx.cx()).await;
        kx.changes(mem, ALLOCATOR_POOLS);
        let mut list = vec![pool];
        list.extend(self.pools.last().iter());
        self.pools.store_release(kx, kx.label(mem.id, POOLS), list.into()).await;
        self.nslabs.set(self.nslabs.get() + added);
        kx.order_stores();
        self.lock.unlock(kx.cx());
    }
}

/// Whether this kernel's pools can grow.
fn grows(kx: &Kx) -> bool {
    kx.k.has(Behaviour::GrowingPools) && kx.k.profile().config.swiotlb_dynamic
}

/// What lets the allocator grow, if this kernel's can.
pub(super) fn of(kx: &Kx, mem: Ptr<IoTlbMem>) -> Option<Rc<Growth>> {
    kx.k.mem.object(mem).ok()?.growth.get().cloned()
}

/// Prepares an allocator that was set up, where pools can grow. Its own pool comes with [`first_pool`].
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_init_remap()`, `rmem_swiotlb_device_init()`, v6.12.
pub(super) fn setup(kx: &Kx, mem: Ptr<IoTlbMem>, can_grow: bool, phys_limit: u64) {
    if !grows(kx) {
        return;
    }
    if let Ok(object) = kx.k.mem.object(mem) {
        object.growth.get_or_init(|| {
            Rc::new(Growth {
                can_grow,
                phys_limit,
                size: Cell::new(PoolSize { nslabs: 0, nareas: 0 }),
                nslabs: Cell::new(0),
                lock: SpinLock::new(kx.cx(), POOL_LOCK),
                pools: Shared::default(),
                work: OnceCell::new(),
            })
        });
    }
}

/// Puts the allocator's own pool on the list; `default_nareas` areas are what a search goes over.
pub(super) async fn first_pool(kx: &Kx, mem: Ptr<IoTlbMem>, size: PoolSize, default_nareas: u32) {
    if let Some(growth) = of(kx, mem) {
        growth.size.set(PoolSize { nareas: default_nareas, ..size });
        growth.add_mem_pool(kx, mem, PoolPtr::First(mem), u64::from(size.nslabs)).await;
    }
}

/// Slots in use in all pools (`mem_used()`), where pools can grow.
pub(super) async fn total_used(kx: &Kx, mem: Ptr<IoTlbMem>) -> Option<u64> {
    of(kx, mem)?;
    kx.step(Kind::Read, kx.label(mem.id, IoTlbMem::used.index)).await;
    kx.k.mem.object(mem).ok().map(|object| object.usage.get().total_used)
}

fn pools_label(kx: &Kx, dev: Ptr<Device>) -> ObjId {
    kx.label(dev.id, POOLS)
}
