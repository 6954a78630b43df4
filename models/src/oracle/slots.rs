//! Slots and pools when everything has settled: each slot belongs to a mapping, and what is counted is there.

use sim::Draft;

use crate::kernel::Kx;
use crate::mem::{Kobject, PAGE_SIZE, PhysAddr};
use crate::swiotlb::Pool;
use crate::swiotlb::kernel::{Growth, IoTlbMem, PoolPtr};

/// Whether one of some stretches of memory, which are in order, begins in a range.
fn begins_in(targets: &[(PhysAddr, u64)], start: PhysAddr, end: PhysAddr) -> bool {
    let next = targets.partition_point(|(target, _)| *target < start);
    targets.get(next).is_some_and(|(target, _)| *target < end)
}

/// How many slots of a pool are in use by none of the mappings that lead to `targets`. Where every slot is kept by itself,
/// one mapping that leads into the pool must do.
pub(super) fn nobodys_slots(pool: &Pool, targets: &[(PhysAddr, u64)]) -> u64 {
    let Some(runs) = pool.slots().runs() else {
        return if begins_in(targets, pool.start(), pool.end()) { 0 } else { pool.used() };
    };
    let lost = |(first, nslots): &(u32, u32)| {
        !begins_in(targets, pool.slot_addr(*first), pool.slot_addr(first.wrapping_add(*nslots)))
    };
    runs.filter(lost).map(|(_, nslots)| u64::from(nslots)).sum()
}

/// Pools that can be added are counted, and lie where the allocator promised.
///
/// Source: `include/linux/swiotlb.h: struct io_tlb_mem` (`nslabs`, `phys_limit`), v6.12.
pub(super) fn check_growth(kx: &Kx, growth: &Growth) {
    let pools = growth.pools();
    let slots = pools.iter().filter_map(|pool| pool.with(kx, |pool| u64::from(pool.size().nslabs)));
    let (there, counted) = (slots.sum::<u64>(), growth.peek_nslabs());
    // An allocator that was torn down has pools without slots.
    if there != counted && there > 0 {
        let title = format!("swiotlb: {counted} slots are said to be in the pools, and {there} are there");
        let draft = Draft::warning("slots-inconsistent", title).object(IoTlbMem::TYPE_NAME);
        kx.report(draft.discriminator("slots in all pools"), Vec::new);
    }
    let added = pools.iter().filter(|pool| matches!(pool, PoolPtr::Added(_)));
    let last = |pool: &PoolPtr| pool.with(kx, |pool| pool.end().0.wrapping_sub(1));
    if let Some(high) = added.filter_map(last).find(|last| *last > growth.phys_limit()) {
        let title = format!(
            "swiotlb: a pool for everybody was added that ends at {high:#x}, and devices are promised pools below {:#x}",
            growth.phys_limit()
        );
        kx.report(Draft::warning("pool-too-high", title).object(IoTlbMem::TYPE_NAME), Vec::new);
    }
}

/// What is taken of the pools of atomic allocations belongs to a mapping, or to a pool that was made for one.
pub(super) fn check_atomic_pools(kx: &Kx, mut owners: Vec<(PhysAddr, u64)>) {
    if kx.k.atomic_pools.is_empty() {
        return;
    }
    let devices: Vec<_> = kx.k.devices.borrow().iter().map(|node| node.ptr.get()).collect();
    for dev in devices {
        let own = kx.k.mem.object(dev).map(|dev| dev.io_tlb.transient_pools());
        let range = |pool: &PoolPtr| pool.with(kx, |pool| (pool.start(), pool.end().0 - pool.start().0));
        owners.extend(own.iter().flat_map(|pools| pools.iter()).filter_map(range));
    }
    owners.sort_unstable();
    let owned = |page: &PhysAddr| {
        let next = owners.partition_point(|(start, _)| start.0 < page.0 + PAGE_SIZE);
        // The last one that begins before the page's end is the one that may reach into it: they do not overlap.
        next.checked_sub(1).and_then(|at| owners.get(at)).is_some_and(|(start, len)| page.0 < start.0 + len)
    };
    let lost: Vec<PhysAddr> = kx.k.atomic_pools.taken().into_iter().filter(|page| !owned(page)).collect();
    if let Some(first) = lost.first() {
        let title = format!(
            "memory leak: {} pages of the pools of atomic allocations are taken, the first at {first}, and nobody has them",
            lost.len()
        );
        kx.report(Draft::warning("memory-leak", title).discriminator("pool of atomic allocations"), Vec::new);
    }
}
