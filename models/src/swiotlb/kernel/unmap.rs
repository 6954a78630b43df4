//! Unmapping and syncing.

use super::lookup::{find_pool, is_swiotlb_buffer, pool_of};
use super::map::{bounce, dma_limits};
use super::object::{IoTlbMem, MEM_SLOTS, POOL_LOCK, PoolPtr};
use super::recorded::left_slots;
use super::{areas, grow, junk};
use crate::device::Device;
use crate::dma::Attrs;
use crate::kernel::Kx;
use crate::mem::{PhysAddr, Ptr};
use crate::profile::Behaviour;
use crate::swiotlb::literal::Release;
use crate::swiotlb::{Direction, DmaLimits, Way};

/// Undoes the bounce of a mapping, if it was bounced: asks where the address lies, and unmaps there.
///
/// Source: `include/linux/swiotlb.h: swiotlb_tbl_unmap_single()`, v6.12; `is_swiotlb_buffer()` and
/// `kernel/dma/swiotlb.c: swiotlb_tbl_unmap_single()` by their callers, before.
pub async fn swiotlb_unmap_if_bounced(
    kx: &Kx,
    dev: Ptr<Device>,
    phys: PhysAddr,
    size: u64,
    dir: Direction,
    attrs: Attrs,
) {
    if !kx.k.has(Behaviour::PoolFoundOnce) {
        if is_swiotlb_buffer(kx, dev, phys).await {
            swiotlb_tbl_unmap_single(kx, dev, phys, size, dir, attrs).await;
        }
        return;
    }
    if let Some(pool) = find_pool(kx, dev, phys).await {
        let _frame = kx.enter("__swiotlb_tbl_unmap_single");
        unmap_in(kx, dev, pool, phys, size, dir, attrs).await;
    }
}

/// Copies back what the device wrote, and frees the slots.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_unmap_single()`, v5.13, v6.1.
pub async fn swiotlb_tbl_unmap_single(
    kx: &Kx,
    dev: Ptr<Device>,
    tlb_addr: PhysAddr,
    size: u64,
    dir: Direction,
    attrs: Attrs,
) {
    let _frame = kx.enter(if kx.k.has(Behaviour::PoolFoundOnce) {
        "__swiotlb_tbl_unmap_single"
    } else {
        "swiotlb_tbl_unmap_single"
    });
    if let Some(pool) = pool_of(kx, dev, tlb_addr).await {
        unmap_in(kx, dev, pool, tlb_addr, size, dir, attrs).await;
    }
}

async fn unmap_in(
    kx: &Kx,
    dev: Ptr<Device>,
    pool: PoolPtr,
    tlb_addr: PhysAddr,
    size: u64,
    dir: Direction,
    attrs: Attrs,
) {
    let limits = dma_limits(kx, dev).await;
    if !attrs.skip_cpu_sync && dir.reaches_cpu() {
        bounce(kx, pool, limits, tlb_addr, size, Way::ToOriginal).await;
    }
    if let PoolPtr::Added(added) = pool
        && grow::del_transient(kx, dev, added, tlb_addr).await
    {
        return;
    }
    release(kx, dev, pool, limits, tlb_addr).await;
}

/// Frees the slots of an address (`release_slots`).
pub(super) async fn swiotlb_release_slots(kx: &Kx, dev: Ptr<Device>, tlb_addr: PhysAddr) {
    if let Some(pool) = pool_of(kx, dev, tlb_addr).await {
        let limits = dma_limits(kx, dev).await;
        release(kx, dev, pool, limits, tlb_addr).await;
    }
}

async fn release(kx: &Kx, dev: Ptr<Device>, pool: PoolPtr, limits: DmaLimits, tlb_addr: PhysAddr) {
    // Pools that were added belong to the allocator of the device.
    let mem = match pool {
        PoolPtr::First(mem) => mem,
        PoolPtr::Added(_) => kx.peek(dev, Device::dma_io_tlb_mem).unwrap_or_default(),
    };
    kx.bounce_returned(mem, tlb_addr);
    if kx.k.has(Behaviour::SwiotlbAreas) {
        areas::release_slots(kx, mem, pool, limits, tlb_addr).await;
        return;
    }
    let held = kx.raw_spin_lock_irqsave(mem, IoTlbMem::lock, POOL_LOCK, IoTlbMem::lock_of).await;
    let live = kx.k.mem.object(mem);
    match live {
        Ok(object) => {
            let released = object.pool.borrow_mut().as_mut().map(|pool| pool.release_slots(limits, tlb_addr));
            object.publish();
            kx.changes(mem, MEM_SLOTS);
            if let Some(Release::Done { first, nslots, .. }) = released {
                object.count_given_back(nslots);
                kx.sim().mix(first.cast_unsigned());
                kx.note(|| format!("swiotlb: slots {first}..{} free again", first + nslots));
                left_slots(kx, pool, first, nslots);
            }
        }
        Err(_) => junk::release_slots(kx, mem, limits, tlb_addr).await,
    }
    kx.raw_spin_unlock_irqrestore(held);
}

/// Copies part of a mapping, for the CPU or for the device, if it is a bounced one.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_sync_single_for_cpu()`, `swiotlb_sync_single_for_device()`, v5.13, v6.1; with
/// two underscores in front, v6.12.
pub async fn swiotlb_sync_if_bounced(
    kx: &Kx,
    dev: Ptr<Device>,
    phys: PhysAddr,
    size: u64,
    dir: Direction,
    for_cpu: bool,
) {
    let found_once = kx.k.has(Behaviour::PoolFoundOnce);
    let Some(pool) = find_pool(kx, dev, phys).await else { return };
    let _frame = kx.k.has(Behaviour::SwiotlbAreas).then(|| {
        kx.enter(match (found_once, for_cpu) {
            (false, true) => "swiotlb_sync_single_for_cpu",
            (false, false) => "swiotlb_sync_single_for_device",
            (true, true) => "__swiotlb_sync_single_for_cpu",
            (true, false) => "__swiotlb_sync_single_for_device",
        })
    });
    let limits = dma_limits(kx, dev).await;
    if for_cpu && dir.reaches_cpu() {
        bounce(kx, pool, limits, phys, size, Way::ToOriginal).await;
    } else if !for_cpu && (dir.reaches_device() || kx.k.has(Behaviour::SyncForDeviceAlways)) {
        bounce(kx, pool, limits, phys, size, Way::ToSlots).await;
    }
}
