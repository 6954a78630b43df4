//! Pools with areas: the search that goes from one to the next, and the release into one.

use std::rc::Rc;

use sim::{Draft, Kind};

use super::grow;
use super::map::{Found, Slots};
use super::object::{AREA_LOCK, IoTlbArea, IoTlbMem, PoolPtr};
use super::recorded::left_slots;
use super::search::search_area;
use crate::device::Device;
use crate::kernel::Kx;
use crate::mem::{PhysAddr, Ptr};
use crate::oracle::{check_refused_slots, slots_seen};
use crate::profile::Behaviour;
use crate::swiotlb::literal::Release;
use crate::swiotlb::{DmaLimits, Prepared, Request, SearchPlan};

/// Label of the slots' records, beside the fields of a pool.
pub(super) const SLOTS: u8 = 30;

/// Slots that a search took, whose origin is not recorded yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct TakenSlots {
    /// In which pool.
    pub(super) pool: PoolPtr,
    /// The first.
    pub(super) slot: u32,
    /// How many.
    pub(super) nslots: u32,
}

/// Searches the areas of a pool, this CPU's first, each under its own lock; or all pools, where there are more.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_find_slots()`, v6.1; the same with `swiotlb_search_area()`, v6.12.
pub(super) async fn find_slots(
    kx: &Kx,
    dev: Ptr<Device>,
    mem: Ptr<IoTlbMem>,
    limits: DmaLimits,
    request: &Request,
) -> Option<TakenSlots> {
    let object = pool_object(kx, mem).await?;
    let before = slots_seen(kx, mem);
    let found = match object.growth.get() {
        Some(growth) => grow::find_slots(kx, dev, mem, growth, limits, request).await,
        None => search_areas(kx, mem, limits, request).await,
    };
    if found.is_none() {
        check_refused_slots(kx, dev, mem, limits, request, before);
    }
    found
}

/// The areas of the only pool, this CPU's first.
async fn search_areas(
    kx: &Kx,
    mem: Ptr<IoTlbMem>,
    limits: DmaLimits,
    request: &Request,
) -> Option<TakenSlots> {
    let pool = PoolPtr::First(mem);
    let (plan, order) = pool.with(kx, |pool| {
        (pool.plan(limits, request), pool.area_order(u32::from(kx.cpu())).collect::<Vec<_>>())
    })?;
    for area in order {
        if let Some(taken) = search_pool_area(kx, mem, pool, area, &plan).await {
            return Some(taken);
        }
    }
    None
}

/// Searches one area of one pool, under its lock.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_do_find_slots()`, v6.1; `swiotlb_search_pool_area()`, v6.12.
pub(super) async fn search_pool_area(
    kx: &Kx,
    mem: Ptr<IoTlbMem>,
    pool: PoolPtr,
    area: u32,
    plan: &SearchPlan,
) -> Option<TakenSlots> {
    let held = pool.lock_area(kx, area).await?;
    let found = search_area(kx, pool, area, plan).await;
    pool.publish(kx, area);
    kx.raw_spin_unlock_irqrestore(held);
    let Found::Slots { slot, nslots } = found else { return None };
    if kx.k.has(Behaviour::OneMappingSize) {
        // inc_used_and_hiwater: one atomic counter for all areas.
        kx.step(Kind::Atomic, kx.label(mem.id, IoTlbMem::used.index)).await;
    }
    if let Ok(object) = kx.k.mem.object(mem) {
        object.count_taken(nslots);
    }
    Some(TakenSlots { pool, slot, nslots })
}

/// Slots for a mapping: found under a lock, and then their origin recorded without one.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_map_single()`, v6.1, v6.12.
pub(super) async fn map_slots(
    kx: &Kx,
    dev: Ptr<Device>,
    mem: Ptr<IoTlbMem>,
    limits: DmaLimits,
    prepared: &Prepared,
) -> Slots {
    let Some(taken) = find_slots(kx, dev, mem, limits, &prepared.request).await else {
        return Slots::Full;
    };
    let TakenSlots { pool, slot, nslots } = taken;
    kx.step(Kind::Write, kx.label(pool.id(), SLOTS)).await;
    let mapping = pool.with(kx, |pool| pool.record(prepared, slot, nslots));
    let Some(mapping) = mapping else { return Slots::Full };
    kx.sim().mix(u64::from(slot));
    kx.note(|| {
        let which = match pool {
            PoolPtr::First(_) => "the pool",
            PoolPtr::Added(_) => "an added pool",
        };
        format!("swiotlb: slots {slot}..{} of {which}, at {}", slot + nslots, mapping.tlb_addr)
    });
    Slots::Taken(pool, mapping.tlb_addr)
}

/// Frees the slots of an address, under the lock of the area in which they lie.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_release_slots()`, v6.1, v6.12.
pub(super) async fn release_slots(
    kx: &Kx,
    mem: Ptr<IoTlbMem>,
    pool: PoolPtr,
    limits: DmaLimits,
    tlb_addr: PhysAddr,
) {
    if let PoolPtr::First(first) = pool
        && pool_object(kx, first).await.is_none()
    {
        return;
    }
    // What the slot says of itself is read before the lock is taken.
    kx.step(Kind::Read, kx.label(pool.id(), SLOTS)).await;
    let place = pool.with(kx, |pool| {
        let first = pool.run_of(limits, tlb_addr).first;
        let area = u32::try_from(first).ok().and_then(|first| first.checked_div(pool.size().area_nslabs()));
        area.filter(|area| *area < pool.size().nareas)
    });
    let Some(area) = place else { return };
    let held = match area {
        Some(area) => pool.lock_area(kx, area).await.map(|held| (area, held)),
        None => None,
    };
    let Some((area, held)) = held else {
        let title = "kernel BUG at kernel/dma/swiotlb.c: BUG_ON(aindex >= mem->nareas)".to_owned();
        kx.report(Draft::fatal("kernel-bug", title).ending("BUG"), Vec::new);
        kx.spin_forever("the machine has stopped").await;
        return;
    };
    let released = pool.with(kx, |pool| pool.release_slots(limits, tlb_addr));
    pool.publish(kx, area);
    kx.raw_spin_unlock_irqrestore(held);
    if let Some(Release::Done { first, nslots, .. }) = released {
        kx.sim().mix(first.cast_unsigned());
        kx.note(|| format!("swiotlb: slots {first}..{} free again", first + nslots));
        left_slots(kx, pool, first, nslots);
    }
    if kx.k.has(Behaviour::OneMappingSize) {
        kx.step(Kind::Atomic, kx.label(mem.id, IoTlbMem::used.index)).await;
    }
    if let (Ok(object), Some(Release::Done { nslots, .. })) = (kx.k.mem.object(mem), released) {
        object.count_given_back(nslots);
    }
}

/// Slots in use, added up over the areas without a lock.
///
/// Source: `kernel/dma/swiotlb.c: mem_used()`, v6.1; `mem_pool_used()`, v6.12.
pub(super) async fn mem_used(kx: &Kx, mem: Ptr<IoTlbMem>) -> u64 {
    let areas = kx.k.mem.object(mem).map(|object| object.areas.borrow().clone());
    let mut used: u64 = 0;
    for area in areas.into_iter().flatten() {
        used = used.wrapping_add(
            kx.load_racy(area, IoTlbArea::used, "mem_used(): adds up without locks, for messages").await,
        );
    }
    used
}

/// The pool behind a descriptor. One that is no descriptor is followed to its areas, wherever that leads: mostly into an
/// oops.
async fn pool_object(kx: &Kx, mem: Ptr<IoTlbMem>) -> Option<Rc<IoTlbMem>> {
    if let Ok(object) = kx.k.mem.object(mem) {
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
