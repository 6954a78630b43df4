//! Unmapping and syncing.

use super::junk;
use super::lookup::device_pool;
use super::map::{bounce, dma_limits};
use super::object::{IoTlbMem, POOL_LOCK};
use crate::device::Device;
use crate::dma::Attrs;
use crate::kernel::Kx;
use crate::mem::{PhysAddr, Ptr};
use crate::swiotlb::literal::Release;
use crate::swiotlb::{Direction, DmaLimits, Way};

/// Copies back what the device wrote, and frees the slots.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_unmap_single()`, v5.13.
pub async fn swiotlb_tbl_unmap_single(
    kx: &Kx,
    dev: Ptr<Device>,
    tlb_addr: PhysAddr,
    size: u64,
    dir: Direction,
    attrs: Attrs,
) {
    let _frame = kx.enter("swiotlb_tbl_unmap_single");
    let mem = device_pool(kx, dev).await;
    let limits = dma_limits(kx, dev).await;
    if !attrs.skip_cpu_sync && dir.reaches_cpu() {
        bounce(kx, mem, limits, tlb_addr, size, Way::ToOriginal).await;
    }
    release(kx, mem, limits, tlb_addr).await;
}

/// Frees the slots of an address (`release_slots`).
pub(super) async fn swiotlb_release_slots(kx: &Kx, dev: Ptr<Device>, tlb_addr: PhysAddr) {
    let mem = device_pool(kx, dev).await;
    let limits = dma_limits(kx, dev).await;
    release(kx, mem, limits, tlb_addr).await;
}

async fn release(kx: &Kx, mem: Ptr<IoTlbMem>, limits: DmaLimits, tlb_addr: PhysAddr) {
    let held = kx.raw_spin_lock_irqsave(mem, IoTlbMem::lock, POOL_LOCK, IoTlbMem::lock_of).await;
    let live = kx.k.mem.borrow().heap.get(mem);
    match live {
        Ok(object) => {
            let released = object.pool.borrow_mut().as_mut().map(|pool| pool.release_slots(limits, tlb_addr));
            object.publish();
            if let Some(Release::Done { first, nslots, .. }) = released {
                kx.sim().mix(first.cast_unsigned());
                kx.note(|| format!("swiotlb: slots {first}..{} free again", first + nslots));
            }
        }
        Err(_) => junk::release_slots(kx, mem, limits, tlb_addr).await,
    }
    kx.raw_spin_unlock_irqrestore(held);
}

/// Copies part of a mapping, for the CPU or for the device.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_sync_single_for_cpu()`, `swiotlb_sync_single_for_device()`, v5.13.
pub async fn swiotlb_sync_single(
    kx: &Kx,
    dev: Ptr<Device>,
    tlb_addr: PhysAddr,
    size: u64,
    dir: Direction,
    for_cpu: bool,
) {
    let mem = device_pool(kx, dev).await;
    let limits = dma_limits(kx, dev).await;
    if for_cpu && dir.reaches_cpu() {
        bounce(kx, mem, limits, tlb_addr, size, Way::ToOriginal).await;
    } else if !for_cpu && dir.reaches_device() {
        bounce(kx, mem, limits, tlb_addr, size, Way::ToSlots).await;
    }
}
