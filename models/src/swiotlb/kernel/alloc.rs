//! Coherent memory from restricted pools.

use super::lookup::device_pool;
use super::map::{Slots, dma_limits, find_slots};
use super::object::IoTlbMem;
use super::unmap::swiotlb_release_slots;
use crate::device::Device;
use crate::kernel::Kx;
use crate::mem::{PhysAddr, Ptr};
use crate::swiotlb::MapRequest;

/// Takes slots for coherent memory.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_alloc()`, next of June 2021.
pub async fn swiotlb_alloc(kx: &Kx, dev: Ptr<Device>, size: u64) -> Option<PhysAddr> {
    let _frame = kx.enter("swiotlb_alloc");
    let mem: Ptr<IoTlbMem> = device_pool(kx, dev).await;
    if mem.is_null() {
        return None;
    }
    let limits = dma_limits(kx, dev).await;
    match find_slots(kx, mem, limits, &MapRequest::plain(PhysAddr(0), size)).await {
        Slots::Taken(addr) | Slots::Foreign(addr) => Some(addr),
        Slots::Full => None,
    }
}

/// Gives them back.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_free()`, next of June 2021.
pub async fn swiotlb_free(kx: &Kx, dev: Ptr<Device>, addr: PhysAddr) {
    let _frame = kx.enter("swiotlb_free");
    swiotlb_release_slots(kx, dev, addr).await;
}
