//! Making and unmaking pools.

use std::rc::Rc;

use sim::Kind;
use sim::sync::SpinLock;

use super::super::areas::SLOTS;
use super::super::object::{AREA_LOCK, IO_TLB_SLOT_SIZE, IoTlbMem, IoTlbPool, PoolPtr};
use super::super::recorded::left_slots;
use super::super::rules::{bounce_rules, search_rules};
use super::memory::{Tlb, alloc_tlb, descriptor_bytes, free_descriptor, free_tlb};
use super::{DEVICE_POOLS, Growth, pools_label};
use crate::device::Device;
use crate::kernel::{GfpFlags, Kx};
use crate::mem::{PhysAddr, Ptr, Source};
use crate::oracle::check_unpublished;
use crate::swiotlb::grow::{get_order, halved, limit_to_block};
use crate::swiotlb::{IO_TLB_MIN_SLABS, Pool, PoolSize};

/// Makes a pool of `size`, or a smaller one down to `min_nslabs` slots, which nobody else knows yet.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_alloc_pool()`, v6.12.
pub(super) async fn alloc_pool(
    kx: &Kx,
    dev: Option<Ptr<Device>>,
    min_nslabs: u32,
    size: PoolSize,
    phys_limit: u64,
    flags: GfpFlags,
) -> Option<Ptr<IoTlbPool>> {
    let _frame = kx.enter("swiotlb_alloc_pool");
    let mut size = limit_to_block(size);
    let bytes = descriptor_bytes(size.nareas);
    let pool = kx.kzalloc_gfp(bytes, flags, Rc::new(IoTlbPool::default())).await.ok()?;
    let tlb = loop {
        if let Some(tlb) = alloc_tlb(kx, dev, size.bytes(), phys_limit, flags).await {
            break Some(tlb);
        }
        match halved(size, min_nslabs) {
            Some(smaller) => size = smaller,
            None => break None,
        }
    };
    let Some(tlb) = tlb else {
        free_descriptor(kx, pool).await;
        return None;
    };
    let order = u8::try_from(get_order(u64::from(size.nslabs) * IO_TLB_SLOT_SIZE)).unwrap_or(u8::MAX);
    let Ok((slots, id)) = kx.alloc_pages("swiotlb slot records", order, flags).await else {
        free_tlb(kx, tlb).await;
        free_descriptor(kx, pool).await;
        return None;
    };
    init_pool(kx, pool, tlb, size, (slots, id, order)).await;
    Some(pool)
}

/// Source: `kernel/dma/swiotlb.c: swiotlb_init_io_tlb_pool()`, v6.12.
async fn init_pool(kx: &Kx, ptr: Ptr<IoTlbPool>, tlb: Tlb, size: PoolSize, slots_at: (PhysAddr, u32, u8)) {
    // memset of the buffer; nobody else sees any of it.
    kx.step(Kind::Write, kx.label(ptr.id, SLOTS)).await;
    let range = tlb.range();
    let _ = kx.k.mem.borrow_mut().heap.write_at(range.start, range.size(), Source::Zero, 0);
    let Ok(object) = kx.k.mem.object(ptr) else { return };
    object.start.set(range.start);
    object.end.set(range.end);
    object.nslabs.set(u64::from(size.nslabs));
    object.late_alloc.set(true);
    object.nareas.set(size.nareas);
    object.area_nslabs.set(size.area_nslabs());
    object.tlb.set(Some(tlb));
    object.slots_at.set(slots_at);
    let lock = |_| Rc::new(SpinLock::new(kx.cx(), AREA_LOCK));
    object.locks.replace((0..size.nareas).map(lock).collect());
    let profile = kx.k.profile();
    let pool = Pool::new(search_rules(profile), bounce_rules(profile), range.start, size);
    object.pool.replace(Some(pool));
    kx.sim().mix(u64::from(size.nslabs));
    kx.note(|| {
        let PoolSize { nslabs, nareas } = size;
        format!("swiotlb: a pool of {nslabs} slots and {nareas} areas at {}", range.start)
    });
}

/// The worker: adds a pool for everybody.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_dyn_alloc()`, v6.12.
pub(super) async fn swiotlb_dyn_alloc(kx: &Kx, mem: Ptr<IoTlbMem>, growth: &Growth) {
    let _frame = kx.enter("swiotlb_dyn_alloc");
    let least = u32::try_from(IO_TLB_MIN_SLABS).unwrap_or(u32::MAX);
    let made = alloc_pool(kx, None, least, growth.size.get(), growth.phys_limit, GfpFlags::KERNEL).await;
    let Some(pool) = made else {
        kx.log(|| "software IO TLB: Failed to allocate new pool".to_owned());
        return;
    };
    let nslabs = kx.load(pool, IoTlbPool::nslabs).await;
    growth.add_mem_pool(kx, mem, PoolPtr::Added(pool), nslabs).await;
}

/// Frees a pool that no reader can see any more.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_dyn_free()`, v6.12.
pub(super) async fn dyn_free(kx: &Kx, pool: Ptr<IoTlbPool>) {
    let _frame = kx.enter("swiotlb_dyn_free");
    check_unpublished(kx, pool);
    let Ok(object) = kx.k.mem.object(pool) else { return };
    let (slots, id, order) = object.slots_at.get();
    let tlb = object.tlb.get();
    drop(object);
    kx.free_pages(slots, order, id).await;
    if let Some(tlb) = tlb {
        free_tlb(kx, tlb).await;
    }
    free_descriptor(kx, pool).await;
}

/// Takes a pool that was made for one mapping off its device's list, and frees it when nobody can look at it any more.
/// Says whether it was such a pool.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_del_transient()`, `swiotlb_del_pool()`, v6.12.
pub(in super::super) async fn del_transient(
    kx: &Kx,
    dev: Ptr<Device>,
    pool: Ptr<IoTlbPool>,
    tlb_addr: PhysAddr,
) -> bool {
    if !kx.load(pool, IoTlbPool::transient).await {
        return false;
    }
    let Ok(object) = kx.k.mem.object(dev) else { return true };
    let nslabs = kx.load(pool, IoTlbPool::nslabs).await;
    let mem = object.dma_io_tlb_mem.get();
    kx.bounce_returned(mem, tlb_addr);
    kx.step(Kind::Atomic, kx.label(mem.id, IoTlbMem::used.index)).await;
    let with_mem = |f: &dyn Fn(&IoTlbMem)| {
        if let Ok(mem) = kx.k.mem.object(mem) {
            f(&mem);
        }
    };
    with_mem(&|mem| mem.count_given_back(nslabs.cast_signed()));
    let held = kx.raw_spin_lock_irqsave_of(&object.io_tlb.lock(kx)).await;
    kx.changes(dev, DEVICE_POOLS);
    let left: Vec<PoolPtr> =
        object.io_tlb.pools.last().iter().filter(|other| **other != PoolPtr::Added(pool)).copied().collect();
    object.io_tlb.pools.store_release(kx, pools_label(kx, dev), left.into()).await;
    kx.raw_spin_unlock_irqrestore(held);
    kx.note(|| "swiotlb: the pool of this mapping is off its list".to_owned());
    if let Ok(object) = kx.k.mem.object(pool) {
        object.unlisted.set(Some(kx.cx().get_state_synchronize_rcu()));
    }
    left_slots(kx, PoolPtr::Added(pool), 0, nslabs.cast_signed());
    let k = Rc::clone(&kx.k);
    kx.call_rcu(move |cx| async move { dyn_free(&Kx::new(cx, k), pool).await });
    with_mem(&|mem| mem.transient_nslabs.set(mem.transient_nslabs.get().wrapping_sub(nslabs)));
    true
}
