//! Which pool, and whether an address lies in it.

use super::object::PoolPtr;
use super::{IoTlbMem, grow};
use crate::device::Device;
use crate::kernel::{Kx, SwiotlbForce};
use crate::mem::{PhysAddr, Ptr};
use crate::profile::Behaviour;
use crate::swiotlb::{DmaLimits, Pool};

/// The default pool (`io_tlb_default_mem`): a global pointer, or the address of a static object.
#[must_use]
pub fn default_pool(kx: &Kx) -> Ptr<IoTlbMem> {
    kx.k.globals.io_tlb_default_mem.get()
}

/// The pool of a device: its own pointer where devices have one, else the default.
pub async fn device_pool(kx: &Kx, dev: Ptr<Device>) -> Ptr<IoTlbMem> {
    if kx.k.has(Behaviour::DevicePoolPointer) {
        kx.load(dev, Device::dma_io_tlb_mem).await
    } else {
        default_pool(kx)
    }
}

/// Whether a physical address lies in the device's pool.
///
/// Source: `include/linux/swiotlb.h: is_swiotlb_buffer()`, v5.13, next of June 2021.
pub async fn is_swiotlb_buffer(kx: &Kx, dev: Ptr<Device>, paddr: PhysAddr) -> bool {
    let mem = device_pool(kx, dev).await;
    if mem.is_null() {
        return false;
    }
    if let Some(growth) = grow::of(kx, mem) {
        return grow::find_pool_if_used(kx, dev, mem, &growth, paddr).await.is_some();
    }
    paddr >= kx.load(mem, IoTlbMem::start).await && paddr < kx.load(mem, IoTlbMem::end).await
}

/// The pool in which a physical address lies, as unmap and sync ask for it: one of the device's, or none.
///
/// With `pool-found-once` the answer is passed on; before, each function looks again.
///
/// Source: `include/linux/swiotlb.h: swiotlb_find_pool()`, v6.12; `is_swiotlb_buffer()`, v5.13, v6.1.
pub async fn find_pool(kx: &Kx, dev: Ptr<Device>, paddr: PhysAddr) -> Option<PoolPtr> {
    if !kx.k.has(Behaviour::PoolFoundOnce) {
        return if is_swiotlb_buffer(kx, dev, paddr).await { pool_of(kx, dev, paddr).await } else { None };
    }
    let mem = device_pool(kx, dev).await;
    if mem.is_null() {
        return None;
    }
    if let Some(growth) = grow::of(kx, mem) {
        return grow::find_pool_if_used(kx, dev, mem, &growth, paddr).await;
    }
    let pool = PoolPtr::First(mem);
    let inside = paddr >= kx.load(mem, IoTlbMem::start).await && paddr < kx.load(mem, IoTlbMem::end).await;
    inside.then_some(pool)
}

/// The pool of an address that is known to be a bounced one: the device's only one, or the one of its list.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_find_pool()`, v6.6.
pub(super) async fn pool_of(kx: &Kx, dev: Ptr<Device>, paddr: PhysAddr) -> Option<PoolPtr> {
    let mem = device_pool(kx, dev).await;
    match grow::of(kx, mem) {
        Some(growth) => grow::find_pool(kx, dev, mem, &growth, paddr).await,
        None => Some(PoolPtr::First(mem)),
    }
}

/// Slots in all pools of an allocator (`mem->nslabs`).
pub(super) async fn mem_nslabs(kx: &Kx, mem: Ptr<IoTlbMem>) -> u64 {
    match grow::of(kx, mem) {
        Some(growth) => growth.nslabs(kx, mem).await,
        None => kx.load(mem, IoTlbMem::nslabs).await,
    }
}

/// Whether the device has a pool with slots.
///
/// Source: `kernel/dma/swiotlb.c: is_swiotlb_active()`, v6.1, v6.12.
pub async fn is_swiotlb_active(kx: &Kx, dev: Ptr<Device>) -> bool {
    let mem = device_pool(kx, dev).await;
    !mem.is_null() && mem_nslabs(kx, mem).await != 0
}

/// Whether everything that this device maps is to bounce: a flag of its pool, or a global.
///
/// Source: `include/linux/swiotlb.h: is_swiotlb_force_bounce()`, next of June 2021; `swiotlb_force`, v5.13.
pub async fn is_swiotlb_force_bounce(kx: &Kx, dev: Ptr<Device>) -> bool {
    if !kx.k.has(Behaviour::ForceBounceInPool) {
        return kx.k.globals.swiotlb_force.get() == SwiotlbForce::Force;
    }
    let mem = device_pool(kx, dev).await;
    !mem.is_null() && kx.load(mem, IoTlbMem::force_bounce).await
}

/// Whether coherent memory of this device comes from its pool. Without `CONFIG_DMA_RESTRICTED_POOL` nobody looks.
///
/// Source: `include/linux/swiotlb.h: is_swiotlb_for_alloc()`, next of June 2021.
pub async fn is_swiotlb_for_alloc(kx: &Kx, dev: Ptr<Device>) -> bool {
    if !kx.k.has(Behaviour::RestrictedDmaPools) || !kx.k.profile().config.dma_restricted_pool {
        return false;
    }
    let mem = device_pool(kx, dev).await;
    !mem.is_null() && kx.load(mem, IoTlbMem::for_alloc).await
}

/// The most bytes that one bounce can serve for a device.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_max_mapping_size()`, v5.13, v6.1.
#[must_use]
pub fn swiotlb_max_mapping_size(kx: &Kx, limits: DmaLimits) -> u64 {
    if kx.k.has(Behaviour::MaxMappingLessAlign) {
        Pool::max_mapping_size(limits)
    } else {
        Pool::max_mapping_size(DmaLimits::default())
    }
}
