//! A request for slots that is refused: there must have been no room for it.

use sim::Draft;

use crate::device::Device;
use crate::kernel::Kx;
use crate::mem::{Kobject, PhysAddr, Ptr};
use crate::swiotlb::kernel::{IoTlbMem, PoolPtr, swiotlb_max_mapping_size};
use crate::swiotlb::{DmaLimits, IO_TLB_SEGSIZE, IO_TLB_SIZE, MapRequest, Pool, Request};

/// The slots of all pools as somebody saw them: what is taken or given back later changes the answer of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotsSeen(u64);

/// A look at the pools of an allocator, to be kept while a search goes on. Pools are added and never taken away.
#[must_use]
pub fn slots_seen(kx: &Kx, mem: Ptr<IoTlbMem>) -> SlotsSeen {
    let changes = |pool: PoolPtr| pool.with(kx, |pool| pool.changes() + 1).unwrap_or(0);
    SlotsSeen(pools(kx, mem).into_iter().map(changes).sum())
}

/// The pools of an allocator that are for everybody.
fn pools(kx: &Kx, mem: Ptr<IoTlbMem>) -> Vec<PoolPtr> {
    let growth =
        kx.k.mem.object(mem).ok().and_then(|object| object.growth.get().map(|growth| growth.pools()));
    growth.map_or_else(|| vec![PoolPtr::First(mem)], |pools| pools.to_vec())
}

/// No area of any pool has slots for a request that was refused. Says nothing where slots changed hands meanwhile: each area
/// is looked at under its own lock, and may have got room after it was searched.
pub fn check_refused_slots(
    kx: &Kx,
    dev: Ptr<Device>,
    mem: Ptr<IoTlbMem>,
    limits: DmaLimits,
    request: &Request,
    before: SlotsSeen,
) {
    if slots_seen(kx, mem) != before {
        return;
    }
    let room = pools(kx, mem).into_iter().find_map(|pool| {
        pool.with(kx, |pool| pool.has_room(limits, request).map(|slot| pool.slot_addr(slot))).flatten()
    });
    let Some(room) = room else { return };
    let title = format!(
        "{}: {} bytes of slots are refused, and there is room for them at {room}",
        kx.k.dev_string(dev),
        request.alloc_size
    );
    let draft = Draft::warning("refused-with-room", title).object(IoTlbMem::TYPE_NAME);
    kx.report(draft.discriminator("room elsewhere"), Vec::new);
}

/// Bytes of a segment of slots, of which a mapping may have one at most.
const SEGMENT: u64 = IO_TLB_SEGSIZE as u64 * IO_TLB_SIZE;

/// The longest part of a segment of slots that lies between two boundaries of a device.
fn uncut(start: PhysAddr, mask: u64) -> u64 {
    let end = start.0 + SEGMENT;
    let first = (start.0 | mask).saturating_add(1);
    if first >= end {
        return SEGMENT;
    }
    // A whole window, if there is one, or what lies before and behind.
    let behind = (end - first).min(mask.saturating_add(1));
    behind.max(first - start.0)
}

/// What a driver is told to be the largest mapping must fit into pools of which nothing is taken. Left out are what the
/// answer does not know of: alignment beyond the driver's, areas below a segment, and the device's boundary, where it cuts
/// every segment of the pool so that no part has room. Says nothing where slots changed hands meanwhile.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_max_mapping_size()`, v6.12; `Documentation/core-api/dma-api.rst`.
pub fn check_refused_mapping(
    kx: &Kx,
    dev: Ptr<Device>,
    mem: Ptr<IoTlbMem>,
    limits: DmaLimits,
    request: &MapRequest,
    before: SlotsSeen,
) {
    if slots_seen(kx, mem) != before {
        return;
    }
    let (size, most) = (request.mapping_size, swiotlb_max_mapping_size(kx, limits));
    if size > most || request.alloc_align_mask != 0 {
        return;
    }
    // With the offset of the buffer, and what the answer sets aside for any offset.
    let offset = request.orig_addr.0 & u64::from(limits.min_align_mask);
    let needed = size + offset.max(SEGMENT - most);
    let empty = |pool: &mut Pool| {
        let size = pool.size();
        pool.used() == 0
            && size.area_nslabs().is_multiple_of(IO_TLB_SEGSIZE)
            && (0..size.nslabs / IO_TLB_SEGSIZE)
                .map(|segment| pool.slot_addr(segment * IO_TLB_SEGSIZE))
                .any(|start| uncut(start, limits.seg_boundary_mask) >= needed)
    };
    if !pools(kx, mem).into_iter().any(|pool| pool.with(kx, empty) == Some(true)) {
        return;
    }
    let title = format!(
        "{}: a mapping of {size} bytes is refused by an empty pool, and {most} is said to be possible",
        kx.k.dev_string(dev)
    );
    let draft = Draft::warning("refused-with-room", title).object(IoTlbMem::TYPE_NAME);
    kx.report(draft.discriminator("empty pool"), Vec::new);
}
