//! Pools of memory that is shared with the host already, for requests that may not sleep.
//!
//! They are set up only where something takes from them: with encrypted memory, and where memory is mapped a second time.

use sim::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use sim::Kind;

use super::gen_pool::GenPool;
use super::phys_to_dma;
use super::rules::{dma_bit_mask, min_not_zero};
use crate::device::Device;
use crate::kernel::{GfpFlags, Kx};
use crate::mem::{Gfp, PAGE_SIZE, PhysAddr, Ptr, Source};
use crate::profile::Behaviour;

/// One of the three pools. Source: the file-scope variables of `kernel/dma/pool.c`, v6.12.
#[derive(Debug)]
struct AtomicPool {
    zone: Gfp,
    pages: RefCell<GenPool>,
}

/// All pools, in the order in which a request without a zone tries them.
///
/// Source: `kernel/dma/pool.c: dma_guess_pool()`, v6.12.
#[derive(Debug, Default)]
pub struct AtomicPools {
    pools: RefCell<Vec<Rc<AtomicPool>>>,
    /// `atomic_pool_size`, bytes.
    size: Cell<u64>,
    /// `atomic_pool_work`.
    work: OnceCell<sim::Work>,
}

impl AtomicPools {
    /// Whether none was set up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pools.borrow().is_empty()
    }

    /// The pages of all pools that are handed out.
    #[must_use]
    pub fn taken(&self) -> Vec<PhysAddr> {
        let taken = |pool: &Rc<AtomicPool>| pool.pages.borrow().taken().collect::<Vec<_>>();
        self.pools.borrow().iter().flat_map(taken).collect()
    }
}

/// The least, in bytes, and for how much memory that is.
const LEAST: u64 = 128 << 10;
const FOR_EACH: u64 = 1 << 30;
/// The most: the largest block of the page allocator.
const MOST: u64 = PAGE_SIZE << 10;

/// Sets the pools up.
///
/// Source: `kernel/dma/pool.c: dma_atomic_pool_init()`, v6.12.
pub async fn dma_atomic_pool_init(kx: &Kx) {
    if !kx.memory_encrypted() && !kx.k.profile().config.dma_direct_remap {
        return;
    }
    let _frame = kx.enter("dma_atomic_pool_init");
    let size = (kx.k.globals.max_ram.get().0 / FOR_EACH * LEAST).clamp(LEAST, MOST);
    kx.k.atomic_pools.size.set(size);
    for (zone, name) in
        [(Gfp::Kernel, "GFP_KERNEL"), (Gfp::Dma32, "GFP_KERNEL|GFP_DMA32"), (Gfp::Dma, "GFP_KERNEL|GFP_DMA")]
    {
        let pool = Rc::new(AtomicPool { zone, pages: RefCell::default() });
        if expand(kx, &pool, size).await {
            let kib = pool.pages.borrow().size() >> 10;
            kx.log(|| format!("DMA: preallocated {kib} KiB {name} pool for atomic allocations"));
            kx.k.atomic_pools.pools.borrow_mut().push(pool);
        } else {
            let kib = size >> 10;
            kx.log(|| format!("DMA: failed to allocate {kib} KiB {name} pool for atomic allocation"));
        }
    }
}

/// Source: `kernel/dma/pool.c: atomic_pool_expand()`, v6.12.
async fn expand(kx: &Kx, pool: &AtomicPool, size: u64) -> bool {
    let mut order = u8::try_from(size.div_ceil(PAGE_SIZE).next_power_of_two().ilog2()).unwrap_or(10).min(10);
    let flags = GfpFlags { zone: pool.zone, ..GfpFlags::KERNEL };
    let (start, id) = loop {
        if let Ok(pages) = kx.alloc_pages("pool of atomic allocations", order, flags).await {
            break pages;
        }
        match order.checked_sub(1) {
            Some(smaller) => order = smaller,
            None => return false,
        }
    };
    if kx.k.profile().config.dma_direct_remap && !kx.k.has(Behaviour::PoolPagesDecrypted) {
        // set_memory_decrypted of the second mapping: the pages themselves stay as they are.
        kx.step(Kind::Write, kx.memory_label()).await;
    } else if kx.set_memory_decrypted(start, 1 << order).await.is_err() {
        if kx.set_memory_encrypted(start, 1 << order).await.is_ok() {
            kx.free_pages(start, order, id).await;
        }
        return false;
    }
    pool.pages.borrow_mut().add(start, PAGE_SIZE << order);
    true
}

/// Whether memory for a device must be shared with the host, or lie outside the encrypted range that the device cannot
/// name.
///
/// Source: `arch/x86/mm/mem_encrypt.c: force_dma_unencrypted()`, v6.12.
pub async fn force_dma_unencrypted(kx: &Kx, dev: Ptr<Device>) -> bool {
    if kx.k.globals.sev_active.get() {
        return true;
    }
    if !kx.k.globals.sme_active.get() {
        return false;
    }
    coherent_limit(kx, dev).await <= dma_bit_mask(47)
}

async fn coherent_limit(kx: &Kx, dev: Ptr<Device>) -> u64 {
    let mask = kx.load(dev, Device::coherent_dma_mask).await;
    min_not_zero(mask, kx.load(dev, Device::bus_dma_limit).await)
}

/// Takes memory, cleared; without an IOMMU it must be within the reach of the device.
///
/// Source: `kernel/dma/pool.c: dma_alloc_from_pool()`, `__dma_alloc_from_pool()`, `kernel/dma/direct.c:
/// dma_coherent_ok()`, v6.12.
pub async fn dma_alloc_from_pool(kx: &Kx, direct: Option<Ptr<Device>>, bytes: u64) -> Option<PhysAddr> {
    let _frame = kx.enter("dma_alloc_from_pool");
    let pools: Vec<_> = kx.k.atomic_pools.pools.borrow().clone();
    for pool in &pools {
        kx.step(Kind::Alloc, kx.memory_label()).await;
        let taken = pool.pages.borrow_mut().alloc(bytes);
        let Some(start) = taken else { continue };
        let last = phys_to_dma(kx, start, true).0.wrapping_add(bytes).wrapping_sub(1);
        if let Some(dev) = direct
            && last > coherent_limit(kx, dev).await
        {
            pool.pages.borrow_mut().free(start, bytes);
            continue;
        }
        if pool.pages.borrow().avail() < kx.k.atomic_pools.size.get() {
            schedule_work(kx).await;
        }
        let _ = kx.k.mem.borrow_mut().heap.write_at(start, bytes, Source::Zero, 0);
        kx.sim().mix(start.0);
        return Some(start);
    }
    None
}

async fn schedule_work(kx: &Kx) {
    let k = Rc::downgrade(&kx.k);
    let work = kx.k.atomic_pools.work.get_or_init(|| {
        sim::Work::new(kx.cx(), "kworker: atomic_pool_work_fn", move |cx| {
            let k = k.upgrade();
            async move {
                if let Some(k) = k {
                    atomic_pool_work_fn(&Kx::new(cx, k)).await;
                }
            }
        })
    });
    work.queue(kx.cx(), kx.cpu()).await;
}

/// Source: `kernel/dma/pool.c: atomic_pool_work_fn()`, `atomic_pool_resize()`, v6.12.
async fn atomic_pool_work_fn(kx: &Kx) {
    let _frame = kx.enter("atomic_pool_work_fn");
    let pools: Vec<_> = kx.k.atomic_pools.pools.borrow().clone();
    // The lowest zone first.
    for pool in pools.iter().rev() {
        let (avail, size) = (pool.pages.borrow().avail(), pool.pages.borrow().size());
        if avail < kx.k.atomic_pools.size.get() {
            let _ = expand(kx, pool, size).await;
        }
    }
}

/// Gives memory back; says whether it is that of a pool.
///
/// Source: `kernel/dma/pool.c: dma_free_from_pool()`, v6.12.
pub async fn dma_free_from_pool(kx: &Kx, start: PhysAddr, bytes: u64) -> bool {
    kx.step(Kind::Free, kx.memory_label()).await;
    let pools: Vec<_> = kx.k.atomic_pools.pools.borrow().clone();
    pools.iter().any(|pool| pool.pages.borrow_mut().free(start, bytes))
}
