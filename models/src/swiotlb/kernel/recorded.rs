//! What a recorded run tells of bounce pools: who has which slots, and how many are in use.

use super::object::{IoTlbPool, PoolPtr};
use crate::device::Device;
use crate::kernel::Kx;
use crate::mem::{PhysAddr, Ptr};
use crate::swiotlb::DmaLimits;

/// The space of a pool's slots.
fn slots_of(start: PhysAddr) -> String {
    format!("slots of the bounce pool at {:#x}", start.0)
}

/// The slots of `tlb_addr` are `dev`'s from here on, for `what`.
pub(super) fn took_slots(
    kx: &Kx,
    dev: Ptr<Device>,
    pool: PoolPtr,
    limits: DmaLimits,
    tlb_addr: PhysAddr,
    what: impl FnOnce() -> String,
) {
    if !kx.sim().recording() {
        return;
    }
    let place = pool.with(kx, |pool| (pool.start(), pool.run_of(limits, tlb_addr)));
    let Some((start, run)) = place else { return };
    let (Ok(first), Ok(nslots)) = (u64::try_from(run.first), u64::try_from(run.nslots)) else { return };
    kx.interval_begins(|| (slots_of(start), first, nslots, format!("{}: {}", kx.k.dev_string(dev), what())));
    count_used(kx, pool);
}

/// Slots are nobody's any longer.
pub(super) fn left_slots(kx: &Kx, pool: PoolPtr, first: i64, nslots: i64) {
    let Some(start) = pool.with(kx, |pool| pool.start()) else { return };
    let (Ok(first), Ok(nslots)) = (u64::try_from(first), u64::try_from(nslots)) else { return };
    kx.interval_ends(|| (slots_of(start), first, nslots, String::new()));
    count_used(kx, pool);
}

fn count_used(kx: &Kx, pool: PoolPtr) {
    // A pool that is made for one mapping is full while it lives: that says nothing.
    if let PoolPtr::Added(added) = pool
        && kx.peek(added, IoTlbPool::transient) == Some(true)
    {
        return;
    }
    if let Some((start, used)) = pool.with(kx, |pool| (pool.start(), pool.used())) {
        kx.counter_of(|| (format!("used slots of the bounce pool at {:#x}", start.0), used));
    }
}
