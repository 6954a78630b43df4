//! Pools with areas: the search that goes from one to the next, and the release into one.

use std::rc::Rc;

use sim::{Draft, Kind};

use super::map::{Found, Slots};
use super::object::{AREA_LOCK, IoTlbArea, IoTlbMem};
use super::search::search_area;
use crate::kernel::Kx;
use crate::mem::{PhysAddr, Ptr};
use crate::profile::Behaviour;
use crate::swiotlb::literal::Release;
use crate::swiotlb::{DmaLimits, Prepared, Request};

/// Label of the slots' records, beside the fields of a pool.
const SLOTS: u8 = 30;

/// Searches the areas of a pool, this CPU's first, each under its own lock.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_find_slots()`, v6.1; the same with `swiotlb_search_area()`, v6.12.
pub(super) async fn find_slots(
    kx: &Kx,
    mem: Ptr<IoTlbMem>,
    limits: DmaLimits,
    request: &Request,
) -> Option<(u32, u32)> {
    let object = pool_object(kx, mem).await?;
    let plan_and_order =
        object.pool.borrow().as_ref().map(|pool| {
            (pool.plan(limits, request), pool.area_order(u32::from(kx.cpu())).collect::<Vec<_>>())
        });
    let (plan, order) = plan_and_order?;
    for area in order {
        let ptr = *object.areas.borrow().get(area as usize)?;
        let held = kx.raw_spin_lock_irqsave(ptr, IoTlbArea::lock, AREA_LOCK, IoTlbArea::lock_of).await;
        let found = search_area(kx, mem, &object, area, &plan).await;
        object.publish();
        publish_area(kx, &object, area);
        kx.raw_spin_unlock_irqrestore(held);
        if let Found::Slots { slot, nslots } = found {
            if kx.k.has(Behaviour::OneMappingSize) {
                // inc_used_and_hiwater: one atomic counter for all areas.
                kx.step(Kind::Atomic, kx.label(mem.id, IoTlbMem::used.index)).await;
            }
            return Some((slot, nslots));
        }
    }
    None
}

/// The areas' counters in memory follow the slots.
fn publish_area(kx: &Kx, object: &IoTlbMem, area: u32) {
    let pool = object.pool.borrow();
    let counters = pool.as_ref().and_then(|pool| pool.areas().get(area as usize));
    if let (Some(counters), Some(ptr)) = (counters, object.areas.borrow().get(area as usize)) {
        kx.poke(*ptr, IoTlbArea::used, counters.used());
        kx.poke(*ptr, IoTlbArea::index, counters.index());
    }
}

/// Slots for a mapping: found under a lock, and then their origin recorded without one.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_map_single()`, v6.1, v6.12.
pub(super) async fn map_slots(kx: &Kx, mem: Ptr<IoTlbMem>, limits: DmaLimits, prepared: &Prepared) -> Slots {
    let Some((slot, nslots)) = find_slots(kx, mem, limits, &prepared.request).await else {
        return Slots::Full;
    };
    kx.step(Kind::Write, kx.label(mem.id, SLOTS)).await;
    let object = kx.k.mem.borrow().heap.get(mem);
    let Ok(object) = object else { return Slots::Full };
    let mapping = object.pool.borrow_mut().as_mut().map(|pool| pool.record(prepared, slot, nslots));
    let Some(mapping) = mapping else { return Slots::Full };
    kx.sim().mix(u64::from(slot));
    kx.note(|| format!("swiotlb: slots {slot}..{} of the pool, at {}", slot + nslots, mapping.tlb_addr));
    Slots::Taken(mapping.tlb_addr)
}

/// Frees the slots of an address, under the lock of the area in which they lie.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_release_slots()`, v6.1, v6.12.
pub(super) async fn release_slots(kx: &Kx, mem: Ptr<IoTlbMem>, limits: DmaLimits, tlb_addr: PhysAddr) {
    let Some(object) = pool_object(kx, mem).await else { return };
    // What the slot says of itself is read before the lock is taken.
    kx.step(Kind::Read, kx.label(mem.id, SLOTS)).await;
    let area = {
        let pool = object.pool.borrow();
        let Some(pool) = pool.as_ref() else { return };
        let first = pool.run_of(limits, tlb_addr).first;
        u32::try_from(first).ok().and_then(|first| first.checked_div(pool.size().area_nslabs()))
    };
    let ptr = area.and_then(|area| object.areas.borrow().get(area as usize).copied());
    let (Some(area), Some(ptr)) = (area, ptr) else {
        let title = "kernel BUG at kernel/dma/swiotlb.c: BUG_ON(aindex >= mem->nareas)".to_owned();
        kx.report(Draft::fatal("kernel-bug", title).ending("BUG"), Vec::new);
        kx.spin_forever("the machine has stopped").await;
        return;
    };
    let held = kx.raw_spin_lock_irqsave(ptr, IoTlbArea::lock, AREA_LOCK, IoTlbArea::lock_of).await;
    let released = object.pool.borrow_mut().as_mut().map(|pool| pool.release_slots(limits, tlb_addr));
    object.publish();
    publish_area(kx, &object, area);
    kx.raw_spin_unlock_irqrestore(held);
    if let Some(Release::Done { first, nslots, .. }) = released {
        kx.sim().mix(first.cast_unsigned());
        kx.note(|| format!("swiotlb: slots {first}..{} free again", first + nslots));
    }
    if kx.k.has(Behaviour::OneMappingSize) {
        kx.step(Kind::Atomic, kx.label(mem.id, IoTlbMem::used.index)).await;
    }
}

/// Slots in use, added up over the areas without a lock.
///
/// Source: `kernel/dma/swiotlb.c: mem_used()`, v6.1; `mem_pool_used()`, v6.12.
pub(super) async fn mem_used(kx: &Kx, mem: Ptr<IoTlbMem>) -> u64 {
    let areas = kx.k.mem.borrow().heap.get(mem).map(|object| object.areas.borrow().clone());
    let mut used: u64 = 0;
    for area in areas.into_iter().flatten() {
        used = used.wrapping_add(kx.load(area, IoTlbArea::used).await);
    }
    used
}

/// The pool behind a descriptor. One that is no descriptor is followed to its areas, wherever that leads: mostly into an
/// oops.
async fn pool_object(kx: &Kx, mem: Ptr<IoTlbMem>) -> Option<Rc<IoTlbMem>> {
    if let Ok(object) = kx.k.mem.borrow().heap.get(mem) {
        return Some(object);
    }
    // Where the pointer to the areas lies; v6.12 has no `used` and `debugfs` before it.
    let offset = if kx.k.has(Behaviour::OneMappingSize) { 0x30 } else { 0x40 };
    kx.load(mem, IoTlbMem::start).await;
    let field = mem.addr.wrapping_add(offset);
    let Some(phys) = kx.k.image.mapped(field) else {
        kx.page_fault(field, "read").await;
        return None;
    };
    let areas: Ptr<IoTlbArea> = Ptr::wild(kx.raw_read(phys, 8));
    let held = kx.raw_spin_lock_irqsave(areas, IoTlbArea::lock, AREA_LOCK, IoTlbArea::lock_of).await;
    kx.raw_spin_unlock_irqrestore(held);
    None
}

/// The areas of a new pool.
pub(super) fn new_areas(count: u32) -> impl ExactSizeIterator<Item = Rc<IoTlbArea>> {
    (0..count as usize).map(|_| Rc::new(IoTlbArea::default()))
}
