//! Mapping through the pool.

use sim::Draft;

use super::lookup::{device_pool, mem_nslabs};
use super::object::{IoTlbMem, IoTlbPool, MEM_SLOTS, POOL_LOCK, PoolPtr};
use super::recorded::took_slots;
use super::rules::search_rules;
use super::search::search_area;
use super::unmap::swiotlb_tbl_unmap_single;
use super::{areas, junk};
use crate::device::{Device, DeviceDmaParameters};
use crate::dma::{Attrs, dma_capable, phys_to_dma};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PhysAddr, PhysRange, Ptr};
use crate::oracle::{check_high_water, check_refused_mapping, slots_seen};
use crate::profile::Behaviour;
use crate::swiotlb::{Direction, DmaLimits, MapRequest, Prepared, Way};

/// Why the bit that skips syncs is reset without a lock: whoever syncs a bounced buffer has it from one who has done so
/// before; others do no more than look at a sync in vain, or not.
const RESET_ONCE: &str = "dma_reset_need_sync(): on a hot path, and once only";

/// What the device demands of mappings.
pub async fn dma_limits(kx: &Kx, dev: Ptr<Device>) -> DmaLimits {
    let parms = kx.load(dev, Device::dma_parms).await;
    if parms.is_null() {
        return DmaLimits::default();
    }
    // Before v5.12 there is no such field: what the driver asks for, nobody hears.
    let min_align_mask = if kx.k.has(Behaviour::MinAlignMask) {
        kx.load(parms, DeviceDmaParameters::min_align_mask).await
    } else {
        0
    };
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
    let tlb_addr = swiotlb_tbl_map_single(kx, dev, &MapRequest::plain(paddr, size), dir, attrs).await?;
    let dma_addr = phys_to_dma(kx, tlb_addr, true);
    if !dma_capable(kx, dev, dma_addr, size).await {
        swiotlb_tbl_unmap_single(kx, dev, tlb_addr, size, dir, attrs.with_skip_cpu_sync()).await;
        if let Some(node) = kx.k.node_of(dev) {
            node.why_failed.set("the bounce buffer lies where the device cannot reach");
        }
        if kx.k.globals.once("swiotlb addr overflow") {
            let mask = kx.peek(dev, Device::dma_mask).unwrap_or(0);
            let limit = kx.peek(dev, Device::bus_dma_limit).unwrap_or(0);
            kx.log(|| {
                format!("swiotlb addr {dma_addr:#018x}+{size} overflow (mask {mask:x}, bus limit {limit:x}).")
            });
        }
        return None;
    }
    Some(dma_addr)
}

/// Takes slots for a buffer, records where it came from, and copies it there if the device is to read it.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_map_single()`, v5.13 to v5.15, v6.1, v6.12.
pub async fn swiotlb_tbl_map_single(
    kx: &Kx,
    dev: Ptr<Device>,
    request: &MapRequest,
    dir: Direction,
    attrs: Attrs,
) -> Option<PhysAddr> {
    let _frame = kx.enter("swiotlb_tbl_map_single");
    let mem = device_pool(kx, dev).await;
    if !pool_exists(kx, dev, mem).await {
        return None;
    }
    if (kx.k.globals.sme_active.get() || kx.k.globals.sev_active.get())
        && kx.k.globals.once("memory encryption")
    {
        kx.log(|| "Memory encryption is active and system is using DMA bounce buffers".to_owned());
    }
    let limits = dma_limits(kx, dev).await;
    let (orig_addr, mapping_size) = (request.orig_addr, request.mapping_size);
    let asked = kx.bounce_asked(dev, mem, limits, request);
    let (pool, tlb_addr) = match slots_for(kx, dev, mem, limits, request, attrs).await? {
        Slots::Taken(pool, tlb_addr) => {
            kx.bounce_given(asked, tlb_addr);
            let usage = kx.k.mem.borrow().heap.get_ref(mem).map(|object| object.usage.get());
            if let Ok(usage) = usage {
                check_high_water(kx, usage);
            }
            took_slots(kx, dev, pool, limits, tlb_addr, || {
                format!("{mapping_size} bytes of {:#x}", orig_addr.0)
            });
            (pool, tlb_addr)
        }
        Slots::Full => return None,
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
    if kx.k.has(Behaviour::DmaSkipSync) && kx.load_racy(dev, Device::dma_skip_sync, RESET_ONCE).await {
        // dma_reset_need_sync: from here on this device's syncs are looked at.
        kx.store_racy(dev, Device::dma_skip_sync, false, RESET_ONCE).await;
    }
    let fills = pool.with(kx, |pool| pool.bounce_rules().copies_on_map(dir, false)).unwrap_or(false);
    // Since the mapping is always filled, whoever syncs by himself finds it filled too.
    if fills && (!attrs.skip_cpu_sync || kx.k.has(Behaviour::PrefillFromDevice)) {
        bounce(kx, pool, limits, tlb_addr, mapping_size, Way::ToSlots).await;
    }
    Some(tlb_addr)
}

/// Whether there is a pool to take slots of; where there is none, older kernels stop.
async fn pool_exists(kx: &Kx, dev: Ptr<Device>, mem: Ptr<IoTlbMem>) -> bool {
    let no_pool =
        "Can not allocate SWIOTLB buffer earlier and can't now provide you with the DMA bounce buffer";
    let tests_slots = kx.k.has(Behaviour::MapWithoutPoolErrors);
    let gave_up = kx.k.globals.no_iotlb_memory.get();
    if (mem.is_null() || gave_up) && !(tests_slots && kx.k.has(Behaviour::SwiotlbAreas)) {
        let title = format!("Kernel panic - not syncing: {no_pool}");
        kx.report(Draft::fatal("panic", title).ending("panic"), Vec::new);
        kx.spin_forever("the machine has stopped").await;
        return false;
    }
    if tests_slots && (mem.is_null() || mem_nslabs(kx, mem).await == 0) {
        kx.log(|| format!("{}: {no_pool}", kx.k.dev_string(dev)));
        if let Some(node) = kx.k.node_of(dev) {
            node.why_failed.set("there is no bounce pool");
        }
        return false;
    }
    let empty = kx.k.mem.object(mem).is_ok_and(|object| object.pool.borrow().is_none());
    if empty && kx.k.has(Behaviour::SwiotlbAreas) {
        // No pool, no areas: the search stops at once.
        let title = "kernel BUG at kernel/dma/swiotlb.c: BUG_ON(area_index >= mem->nareas)".to_owned();
        kx.report(Draft::fatal("kernel-bug", title).ending("BUG"), Vec::new);
        kx.spin_forever("the machine has stopped").await;
        return false;
    }
    true
}

/// The search, by version; a full pool has been told of.
async fn slots_for(
    kx: &Kx,
    dev: Ptr<Device>,
    mem: Ptr<IoTlbMem>,
    limits: DmaLimits,
    request: &MapRequest,
    attrs: Attrs,
) -> Option<Slots> {
    let rules = search_rules(kx.k.profile());
    let Some(prepared) = Prepared::new(rules, limits, request) else {
        if kx.k.globals.once("Invalid sizes") {
            let (mapping, alloc) = (request.mapping_size, request.alloc_size);
            kx.log(|| format!("Invalid sizes (mapping: {mapping} bytes, alloc: {alloc} bytes)"));
        }
        return None;
    };
    if prepared.warns_of_alignment && kx.k.globals.once("Alloc alignment") {
        kx.log(|| "Alloc alignment may prevent fulfilling requests with max mapping_size".to_owned());
    }
    let seen = slots_seen(kx, mem);
    let slots = if kx.k.has(Behaviour::SwiotlbAreas) {
        areas::map_slots(kx, dev, mem, limits, &prepared).await
    } else {
        find_slots(kx, mem, limits, request).await
    };
    if matches!(slots, Slots::Full) {
        check_refused_mapping(kx, dev, mem, limits, request, seen);
    }
    if matches!(slots, Slots::Full) && !attrs.no_warn {
        let told = if kx.k.has(Behaviour::OneMappingSize) {
            prepared.request.alloc_size
        } else {
            request.alloc_size
        };
        full(kx, dev, mem, told).await;
    }
    Some(slots)
}

async fn full(kx: &Kx, dev: Ptr<Device>, mem: Ptr<IoTlbMem>, size: u64) {
    let total = mem_nslabs(kx, mem).await;
    let used = if let Some(used) = super::grow::total_used(kx, mem).await {
        used
    } else if kx.k.has(Behaviour::SwiotlbAreas) {
        areas::mem_used(kx, mem).await
    } else {
        kx.load_racy(mem, IoTlbMem::used, "swiotlb_tbl_map_single(): for a message, after the unlock").await
    };
    kx.log(|| {
        let name = kx.k.dev_string(dev);
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
    Taken(PoolPtr, PhysAddr),
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
    let live = kx.k.mem.object(mem);
    let found = match live {
        Err(_) => junk::find_slots(kx, mem, limits, request).await,
        Ok(_) => take(kx, mem, limits, request).await,
    };
    if let Ok(object) = kx.k.mem.object(mem) {
        object.publish();
        kx.changes(mem, MEM_SLOTS);
    }
    let found = match found {
        Found::Hang => {
            // Interrupts stay off: nobody on this CPU gets any further.
            kx.spin_forever("swiotlb slot search in foreign memory, which leads round and round").await;
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
        Found::Taken(tlb_addr) => Slots::Taken(PoolPtr::First(mem), tlb_addr),
        Found::Foreign(tlb_addr) => Slots::Foreign(tlb_addr),
        Found::Slots { .. } | Found::Full | Found::Hang | Found::Bug => Slots::Full,
    }
}

/// As [`Slots`], with the ways in which the search itself can fail.
pub(super) enum Found {
    Taken(PhysAddr),
    /// Slots of a living pool, whose origin is not recorded yet.
    Slots {
        slot: u32,
        nslots: u32,
    },
    Full,
    /// Only in foreign memory: a living pool's search is walked for ever.
    Hang,
    Bug,
    Foreign(PhysAddr),
}

async fn take(kx: &Kx, mem: Ptr<IoTlbMem>, limits: DmaLimits, request: &MapRequest) -> Found {
    let pool = PoolPtr::First(mem);
    let planned = pool.with(kx, |pool| {
        let prepared = Prepared::new(pool.search_rules(), limits, request)?;
        Some((prepared, pool.plan(limits, &prepared.request)))
    });
    let Some((prepared, plan)) = planned.flatten() else { return Found::Full };
    let Found::Slots { slot, nslots } = search_area(kx, pool, 0, &plan).await else {
        return Found::Full;
    };
    let Some(mapping) = pool.with(kx, |pool| pool.record(&prepared, slot, nslots)) else {
        return Found::Full;
    };
    if let Ok(object) = kx.k.mem.object(mem) {
        object.count_taken(nslots);
    }
    kx.sim().mix(u64::from(slot));
    kx.note(|| format!("swiotlb: slots {slot}..{} of the pool, at {}", slot + nslots, mapping.tlb_addr));
    Found::Taken(mapping.tlb_addr)
}

/// Copies between a buffer and its slots.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_bounce()`, v5.13, v6.1, v6.12.
pub(super) async fn bounce(kx: &Kx, pool: PoolPtr, limits: DmaLimits, tlb: PhysAddr, size: u64, way: Way) {
    let _frame = kx.enter("swiotlb_bounce");
    kx.step(sim::Kind::Write, kx.label(pool.id(), 31)).await;
    if let PoolPtr::Added(added) = pool {
        // mem->start: a pool that was freed is noticed.
        kx.load(added, IoTlbPool::start).await;
    }
    let outcome = pool.with(kx, |pool| {
        let buffer = PhysRange { start: pool.start(), end: pool.end() };
        (pool.bounce(limits, tlb, size, way), buffer)
    });
    let Some((outcome, buffer)) = outcome else { return };
    if let Some(warning) = outcome.warning {
        kx.log(|| format!("WARNING: swiotlb_bounce: {warning:?}"));
    }
    if let Some(copy) = outcome.copy {
        let slot = buffer.start.wrapping_add(copy.slot_off);
        check_copy(kx, buffer, PhysRange::new(slot, copy.len), way);
        let (to, from) = match copy.way {
            Way::ToSlots => (slot, copy.orig),
            Way::ToOriginal => (copy.orig, slot),
        };
        let _ = kx.k.mem.borrow_mut().heap.copy(to, from, copy.len);
    }
}

/// A copy may touch the pool's own memory only.
fn check_copy(kx: &Kx, buffer: PhysRange, slots: PhysRange, way: Way) {
    if buffer.start <= slots.start && slots.end <= buffer.end {
        return;
    }
    let access = match way {
        Way::ToSlots => "Write",
        Way::ToOriginal => "Read",
    };
    let mem = kx.k.mem.borrow();
    let victim = mem.heap.shadow().object_at(buffer.end);
    let owner = mem.heap.record(victim).map_or("nobody's memory", |record| record.type_name);
    let title = format!(
        "BUG: KASAN: out-of-bounds in swiotlb_bounce: {access} of size {} at addr {:016x}, {} bytes behind the pool \
         {}..{}: {owner}",
        slots.size(),
        slots.start.virt(),
        slots.end.0.saturating_sub(buffer.end.0),
        buffer.start,
        buffer.end
    );
    drop(mem);
    kx.report(Draft::warning("out-of-bounds", title).discriminator(access), Vec::new);
}
