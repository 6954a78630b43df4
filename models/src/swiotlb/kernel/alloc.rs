//! Coherent memory from restricted pools.

use sim::Draft;

use super::areas::{self, TakenSlots};
use super::lookup::{device_pool, is_swiotlb_buffer};
use super::map::{Slots, dma_limits, find_slots};
use super::object::IoTlbMem;
use super::recorded::took_slots;
use super::unmap::swiotlb_release_slots;
use crate::device::Device;
use crate::kernel::Kx;
use crate::mem::{PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, PhysAddr, Ptr};
use crate::profile::Behaviour;
use crate::swiotlb::{IO_TLB_SHIFT, MapRequest, Request};

/// Takes slots for coherent memory.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_alloc()`, next of June 2021, v6.1, v6.12.
pub async fn swiotlb_alloc(kx: &Kx, dev: Ptr<Device>, size: u64) -> Option<PhysAddr> {
    let _frame = kx.enter("swiotlb_alloc");
    let mem: Ptr<IoTlbMem> = device_pool(kx, dev).await;
    if mem.is_null() {
        return None;
    }
    let limits = dma_limits(kx, dev).await;
    if !kx.k.has(Behaviour::SwiotlbAreas) {
        return match find_slots(kx, mem, limits, &MapRequest::plain(PhysAddr(0), size)).await {
            Slots::Taken(pool, addr) => {
                took_slots(kx, dev, pool, limits, addr, || format!("{size} bytes of coherent memory"));
                Some(addr)
            }
            Slots::Foreign(addr) => Some(addr),
            Slots::Full => None,
        };
    }
    let aligned = kx.k.has(Behaviour::PoolAllocPageAligned);
    let pages = size.div_ceil(PAGE_SIZE).max(1).next_power_of_two();
    let align = if aligned { (pages << PAGE_SHIFT) - 1 } else { 0 };
    let request = Request {
        orig_addr: PhysAddr(0),
        alloc_size: size,
        alloc_align_mask: u32::try_from(align).unwrap_or(u32::MAX),
    };
    let TakenSlots { pool, slot, nslots } = areas::find_slots(kx, dev, mem, limits, &request).await?;
    let start = pool.start(kx).await;
    let addr = pool.with(kx, |pool| pool.slot_addr(slot));
    let addr = addr.unwrap_or_else(|| start.wrapping_add(u64::from(slot) << IO_TLB_SHIFT));
    kx.sim().mix(u64::from(slot));
    kx.note(|| format!("swiotlb: slots {slot}..{} of the pool for coherent memory", slot + nslots));
    took_slots(kx, dev, pool, limits, addr, || format!("{size} bytes of coherent memory"));
    if aligned && addr.page_offset() != 0 {
        let title = format!("Cannot allocate pages from non page-aligned swiotlb addr {:#x}.", addr.0);
        kx.report(Draft::warning("warn-on", title), Vec::new);
        swiotlb_release_slots(kx, dev, addr).await;
        return None;
    }
    // struct page knows no address within the page: an odd slot is forgotten, and with it half a page of somebody's.
    Some(PhysAddr(addr.0 & PAGE_MASK))
}

/// Gives them back.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_free()`, next of June 2021, v6.1, v6.12.
pub async fn swiotlb_free(kx: &Kx, dev: Ptr<Device>, addr: PhysAddr) {
    let _frame = kx.enter("swiotlb_free");
    if kx.k.has(Behaviour::SwiotlbAreas) && !is_swiotlb_buffer(kx, dev, addr).await {
        return;
    }
    swiotlb_release_slots(kx, dev, addr).await;
}
