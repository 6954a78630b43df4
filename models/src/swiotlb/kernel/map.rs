//! Mapping through the pool.

use sim::Draft;

use super::junk;
use super::lookup::device_pool;
use super::object::{IoTlbMem, POOL_LOCK};
use super::unmap::swiotlb_tbl_unmap_single;
use crate::device::{Device, DeviceDmaParameters};
use crate::dma::{Attrs, dma_capable, phys_to_dma};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PhysAddr, Ptr};
use crate::profile::Behaviour;
use crate::swiotlb::{Direction, DmaLimits, MapRequest, Prepared, Search, Way};

/// What the device demands of mappings.
pub async fn dma_limits(kx: &Kx, dev: Ptr<Device>) -> DmaLimits {
    let parms = kx.load(dev, Device::dma_parms).await;
    if parms.is_null() {
        return DmaLimits::default();
    }
    let min_align_mask = kx.load(parms, DeviceDmaParameters::min_align_mask).await;
    let boundary = kx.load(parms, DeviceDmaParameters::segment_boundary_mask).await;
    DmaLimits { min_align_mask, seg_boundary_mask: if boundary == 0 { 0xffff_ffff } else { boundary } }
}

/// Bounces a buffer for dma-direct.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_map()`, v5.13.
pub async fn swiotlb_map(
    kx: &Kx,
    dev: Ptr<Device>,
    paddr: PhysAddr,
    size: u64,
    dir: Direction,
    attrs: Attrs,
) -> Option<DmaAddr> {
    let _frame = kx.enter("swiotlb_map");
    let tlb_addr = swiotlb_tbl_map_single(kx, dev, paddr, size, size, dir, attrs).await?;
    let dma_addr = phys_to_dma(kx, tlb_addr, true);
    if !dma_capable(kx, dev, dma_addr, size).await {
        swiotlb_tbl_unmap_single(kx, dev, tlb_addr, size, dir, attrs.with_skip_cpu_sync()).await;
        if kx.k.globals.once("swiotlb addr overflow") {
            kx.log(|| format!("swiotlb addr {dma_addr:#x}+{size} overflow (mask, bus limit)."));
        }
        return None;
    }
    Some(dma_addr)
}

/// Takes slots for a buffer, records where it came from, and copies it there if the device is to read it.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_map_single()`, v5.13 to v5.15.
pub async fn swiotlb_tbl_map_single(
    kx: &Kx,
    dev: Ptr<Device>,
    orig_addr: PhysAddr,
    mapping_size: u64,
    alloc_size: u64,
    dir: Direction,
    attrs: Attrs,
) -> Option<PhysAddr> {
    let _frame = kx.enter("swiotlb_tbl_map_single");
    let mem = device_pool(kx, dev).await;
    let no_pool =
        "Can not allocate SWIOTLB buffer earlier and can't now provide you with the DMA bounce buffer";
    if mem.is_null() {
        let title = format!("Kernel panic - not syncing: {no_pool}");
        kx.report(Draft::fatal("panic", title).ending("panic"), Vec::new);
        kx.spin_forever("the machine has stopped").await;
        return None;
    }
    if kx.k.has(Behaviour::MapWithoutPoolErrors) && kx.load(mem, IoTlbMem::nslabs).await == 0 {
        kx.log(|| no_pool.to_owned());
        return None;
    }
    if (kx.k.globals.sme_active.get() || kx.k.globals.sev_active.get())
        && kx.k.globals.once("memory encryption")
    {
        kx.log(|| "Memory encryption is active and system is using DMA bounce buffers".to_owned());
    }
    let limits = dma_limits(kx, dev).await;
    let request = MapRequest { orig_addr, mapping_size, alloc_size, alloc_align_mask: 0 };
    let tlb_addr = match find_slots(kx, mem, limits, &request).await {
        Slots::Taken(tlb_addr) => tlb_addr,
        Slots::Full => {
            if !attrs.no_warn {
                full(kx, dev, mem, alloc_size).await;
            }
            return None;
        }
        Slots::Foreign(tlb_addr) => {
            // The copy goes to wherever the junk says.
            if !attrs.skip_cpu_sync && dir.reaches_device() {
                junk::wild_copy(kx, tlb_addr, orig_addr, mapping_size).await;
            }
            return Some(tlb_addr);
        }
    };
    if let Some(node) = kx.k.node_of(dev) {
        let (maps, bounced, failed) = node.counts.get();
        node.counts.set((maps, bounced + 1, failed));
    }
    let live = kx.k.mem.borrow().heap.get(mem);
    if let Ok(object) = live {
        let fills = {
            let pool = object.pool.borrow();
            pool.as_ref().is_some_and(|pool| pool.bounce_rules().copies_on_map(dir, false))
        };
        if fills && !attrs.skip_cpu_sync {
            bounce(kx, mem, limits, tlb_addr, mapping_size, Way::ToSlots).await;
        }
    }
    Some(tlb_addr)
}

async fn full(kx: &Kx, dev: Ptr<Device>, mem: Ptr<IoTlbMem>, size: u64) {
    let total = kx.load(mem, IoTlbMem::nslabs).await;
    let used = kx.load(mem, IoTlbMem::used).await;
    kx.log(|| {
        let name = kx.k.device_name(dev.id).unwrap_or("device");
        format!(
            "{name}: swiotlb buffer is full (sz: {size} bytes), total {total} (slots), used {used} (slots)"
        )
    });
    if let Some(node) = kx.k.node_of(dev) {
        node.why_failed.set("swiotlb buffer is full");
    }
}

/// What a search gave.
pub(super) enum Slots {
    Taken(PhysAddr),
    Full,
    /// The descriptor was not a pool any more, and its junk led here.
    Foreign(PhysAddr),
}

/// The search under the pool's lock.
///
/// Source: `kernel/dma/swiotlb.c: find_slots()`, v5.13 to v5.15 (inlined into its caller).
pub(super) async fn find_slots(
    kx: &Kx,
    mem: Ptr<IoTlbMem>,
    limits: DmaLimits,
    request: &MapRequest,
) -> Slots {
    let held = kx.raw_spin_lock_irqsave(mem, IoTlbMem::lock, POOL_LOCK, IoTlbMem::lock_of).await;
    let live = kx.k.mem.borrow().heap.get(mem);
    let found = match live {
        Err(_) => junk::find_slots(kx, mem, limits, request).await,
        Ok(object) => {
            let mut pool = object.pool.borrow_mut();
            match pool.as_mut() {
                None => Found::Full,
                Some(pool) => take(kx, pool, limits, request),
            }
        }
    };
    if let Ok(object) = kx.k.mem.borrow().heap.get_ref(mem) {
        object.publish();
    }
    let found = match found {
        Found::Hang => {
            // Interrupts stay off: nobody on this CPU gets any further.
            kx.spin_forever("swiotlb slot search never comes back to where it began").await;
            Found::Full
        }
        Found::Bug => {
            let title = "kernel BUG at kernel/dma/swiotlb.c: BUG_ON in the slot search".to_owned();
            kx.report(Draft::fatal("kernel-bug", title).ending("BUG"), Vec::new);
            kx.spin_forever("the machine has stopped").await;
            Found::Full
        }
        found => found,
    };
    kx.raw_spin_unlock_irqrestore(held);
    match found {
        Found::Taken(tlb_addr) => Slots::Taken(tlb_addr),
        Found::Foreign(tlb_addr) => Slots::Foreign(tlb_addr),
        Found::Full | Found::Hang | Found::Bug => Slots::Full,
    }
}

/// As [`Slots`], with the ways in which the search itself can fail.
pub(super) enum Found {
    Taken(PhysAddr),
    Full,
    Hang,
    Bug,
    Foreign(PhysAddr),
}

fn take(kx: &Kx, pool: &mut crate::swiotlb::Pool, limits: DmaLimits, request: &MapRequest) -> Found {
    let Some(prepared) = Prepared::new(pool.search_rules(), limits, request) else { return Found::Full };
    match pool.find_slots(u32::from(kx.cpu()), limits, &prepared.request) {
        Search::Found { slot, nslots } => {
            let mapping = pool.record(&prepared, slot, nslots);
            kx.sim().mix(u64::from(slot));
            kx.note(|| {
                format!("swiotlb: slots {slot}..{} of the pool, at {}", slot + nslots, mapping.tlb_addr)
            });
            Found::Taken(mapping.tlb_addr)
        }
        Search::Full => Found::Full,
        Search::Hang => Found::Hang,
        Search::Bug => Found::Bug,
    }
}

/// Copies between a buffer and its slots.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_bounce()`, v5.13.
pub(super) async fn bounce(
    kx: &Kx,
    mem: Ptr<IoTlbMem>,
    limits: DmaLimits,
    tlb: PhysAddr,
    size: u64,
    way: Way,
) {
    let _frame = kx.enter("swiotlb_bounce");
    kx.step(sim::Kind::Write, kx.label(mem.id, 31)).await;
    let live = kx.k.mem.borrow().heap.get(mem);
    let Ok(object) = live else { return };
    let outcome = match object.pool.borrow().as_ref() {
        Some(pool) => pool.bounce(limits, tlb, size, way),
        None => return,
    };
    if let Some(warning) = outcome.warning {
        kx.log(|| format!("WARNING: swiotlb_bounce: {warning:?}"));
    }
    if let Some(copy) = outcome.copy {
        let slot = object.start.get().wrapping_add(copy.slot_off);
        let (to, from) = match copy.way {
            Way::ToSlots => (slot, copy.orig),
            Way::ToOriginal => (copy.orig, slot),
        };
        let _ = kx.k.mem.borrow_mut().heap.copy(to, from, copy.len);
    }
}
