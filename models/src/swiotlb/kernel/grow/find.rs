//! Searching all pools, and finding the pool of an address.

use std::rc::Rc;

use super::super::areas::{TakenSlots, search_pool_area};
use super::super::object::{IoTlbMem, IoTlbPool, PoolPtr};
use super::pool::{alloc_pool, dyn_free, swiotlb_dyn_alloc};
use super::{DEVICE_POOLS, Growth, POOLS, USES, pools_label};
use crate::device::Device;
use crate::dma::rules::min_not_zero;
use crate::kernel::{GfpFlags, Kx};
use crate::mem::{PhysAddr, Ptr};
use crate::profile::Behaviour;
use crate::swiotlb::{DmaLimits, IO_TLB_SEGSIZE, IO_TLB_SHIFT, PoolSize, Request, nr_slots};

/// Searches the pools for everybody, and makes a pool for this request if there is no place in any of them.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_find_slots()`, v6.12 with `CONFIG_SWIOTLB_DYNAMIC`.
pub(in super::super) async fn find_slots(
    kx: &Kx,
    dev: Ptr<Device>,
    mem: Ptr<IoTlbMem>,
    growth: &Rc<Growth>,
    limits: DmaLimits,
    request: &Request,
) -> Option<TakenSlots> {
    if request.alloc_size > u64::from(IO_TLB_SEGSIZE) << IO_TLB_SHIFT {
        return None;
    }
    let cpu = u32::from(kx.cpu());
    let mut found = None;
    for offset in 0..growth.size.get().nareas {
        found = search_area(kx, mem, growth, (cpu, offset), limits, request).await;
        if found.is_some() {
            break;
        }
    }
    let taken = match found {
        Some(taken) => taken,
        None => search_transient(kx, dev, mem, growth, limits, request).await?,
    };
    let object = kx.k.mem.object(dev).ok()?;
    object.io_tlb.uses.write_once(kx, kx.label(dev.id, USES), true).await;
    if kx.k.has(Behaviour::GrownPoolBarriers) {
        // Before whatever tells another CPU of the address, and after the list was read.
        kx.smp_mb().await;
    }
    Some(taken)
}

/// Searches one area of every pool.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_search_area()`, v6.12.
async fn search_area(
    kx: &Kx,
    mem: Ptr<IoTlbMem>,
    growth: &Growth,
    (start_cpu, cpu_offset): (u32, u32),
    limits: DmaLimits,
    request: &Request,
) -> Option<TakenSlots> {
    kx.rcu_read_lock();
    let mut found = None;
    for pool in growth.pools.read_once(kx, kx.label(mem.id, POOLS)).await.iter() {
        if let PoolPtr::Added(added) = *pool {
            kx.load(added, IoTlbPool::nareas).await;
        }
        let plan = pool.with(kx, |pool| (pool.size().nareas, pool.plan(limits, request)));
        let Some((nareas, plan)) = plan else { continue };
        if cpu_offset >= nareas {
            continue;
        }
        let area = start_cpu.wrapping_add(cpu_offset) & (nareas - 1);
        found = search_pool_area(kx, mem, *pool, area, &plan).await;
        if found.is_some() {
            break;
        }
    }
    kx.rcu_read_unlock();
    found
}

/// Has the worker add a pool, and makes one for this request meanwhile.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_find_slots()`, from `schedule_work()`, v6.12.
async fn search_transient(
    kx: &Kx,
    dev: Ptr<Device>,
    mem: Ptr<IoTlbMem>,
    growth: &Rc<Growth>,
    limits: DmaLimits,
    request: &Request,
) -> Option<TakenSlots> {
    if !growth.can_grow {
        return None;
    }
    schedule_work(kx, mem, growth).await;
    let nslabs = u32::try_from(nr_slots(request.alloc_size)).ok()?;
    let mask = kx.load(dev, Device::dma_mask).await;
    let phys_limit = min_not_zero(mask, kx.load(dev, Device::bus_dma_limit).await);
    let size = PoolSize { nslabs, nareas: 1 };
    let pool = alloc_pool(kx, Some(dev), nslabs, size, phys_limit, GfpFlags::NOWAIT).await?;
    let added = PoolPtr::Added(pool);
    let plan = added.with(kx, |pool| pool.plan(limits, request))?;
    let Some(taken) = search_pool_area(kx, mem, added, 0, &plan).await else {
        dyn_free(kx, pool).await;
        return None;
    };
    kx.store(pool, IoTlbPool::transient, true).await;
    let object = kx.k.mem.object(dev).ok()?;
    let held = kx.raw_spin_lock_irqsave_of(&object.io_tlb.lock(kx)).await;
    kx.changes(dev, DEVICE_POOLS);
    let mut list = vec![added];
    list.extend(object.io_tlb.pools.last().iter());
    object.io_tlb.pools.store_release(kx, pools_label(kx, dev), list.into()).await;
    kx.raw_spin_unlock_irqrestore(held);
    if let Ok(mem) = kx.k.mem.object(mem) {
        mem.transient_nslabs.set(mem.transient_nslabs.get() + u64::from(nslabs));
    }
    Some(taken)
}

async fn schedule_work(kx: &Kx, mem: Ptr<IoTlbMem>, growth: &Rc<Growth>) {
    let work = growth.work.get_or_init(|| {
        let (growth, k) = (Rc::downgrade(growth), Rc::downgrade(&kx.k));
        sim::Work::new(kx.cx(), "kworker: swiotlb_dyn_alloc", move |cx| {
            let (growth, k) = (growth.upgrade(), k.upgrade());
            async move {
                if let (Some(growth), Some(k)) = (growth, k) {
                    swiotlb_dyn_alloc(&Kx::new(cx, k), mem, &growth).await;
                }
            }
        })
    });
    kx.order_stores();
    work.queue(kx.cx(), kx.cpu()).await;
}

/// The pool of an address, if the device ever had a bounce buffer.
///
/// Source: `include/linux/swiotlb.h: swiotlb_find_pool()`, v6.12; `is_swiotlb_buffer()`, v6.6.
pub(in super::super) async fn find_pool_if_used(
    kx: &Kx,
    dev: Ptr<Device>,
    mem: Ptr<IoTlbMem>,
    growth: &Growth,
    paddr: PhysAddr,
) -> Option<PoolPtr> {
    if kx.k.has(Behaviour::GrownPoolBarriers) {
        // After whatever told of the address.
        kx.smp_rmb().await;
    }
    let object = kx.k.mem.object(dev).ok()?;
    if !object.io_tlb.uses.read_once(kx, kx.label(dev.id, USES)).await {
        return None;
    }
    find_pool(kx, dev, mem, growth, paddr).await
}

/// The pool of an address: one of those for everybody, or one that was made for a mapping of the device.
///
/// Source: `kernel/dma/swiotlb.c: __swiotlb_find_pool()`, v6.12; `swiotlb_find_pool()`, v6.6.
pub(in super::super) async fn find_pool(
    kx: &Kx,
    dev: Ptr<Device>,
    mem: Ptr<IoTlbMem>,
    growth: &Growth,
    paddr: PhysAddr,
) -> Option<PoolPtr> {
    let name = if kx.k.has(Behaviour::PoolFoundOnce) { "__swiotlb_find_pool" } else { "swiotlb_find_pool" };
    let _frame = kx.enter(name);
    let object = kx.k.mem.object(dev).ok()?;
    kx.rcu_read_lock();
    let mut found = in_list(kx, &growth.pools.read_once(kx, kx.label(mem.id, POOLS)).await, paddr).await;
    if found.is_none() {
        let own = object.io_tlb.pools.read_once(kx, pools_label(kx, dev)).await;
        found = in_list(kx, &own, paddr).await;
    }
    kx.rcu_read_unlock();
    found
}

async fn in_list(kx: &Kx, pools: &[PoolPtr], paddr: PhysAddr) -> Option<PoolPtr> {
    for pool in pools {
        let (start, end) = pool.range(kx).await;
        if start <= paddr && paddr < end {
            return Some(*pool);
        }
    }
    None
}
