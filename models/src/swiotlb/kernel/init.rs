//! Setting pools up.

use std::rc::Rc;

use sim::Draft;

use super::areas::new_areas;
use super::grow;
use super::lookup::default_pool;
use super::object::{IO_TLB_SLOT_SIZE, IoTlbArea, IoTlbMem};
use super::rules::{bounce_rules, search_rules};
use crate::device::{Device, DeviceNode};
use crate::kernel::{Kx, NoMemory, SwiotlbForce, Symbol};
use crate::mem::{PAGE_SIZE, PhysAddr, PhysRange, Ptr, align_up};
use crate::memblock::Bounds;
use crate::profile::Behaviour;
use crate::run::PoolFacts;
use crate::swiotlb::{IO_TLB_SHIFT, Pool, PoolSize};

/// Highest address of low memory (`ARCH_LOW_ADDRESS_LIMIT`).
const LOW_LIMIT: u64 = 0xffff_ffff;

/// Whether what describes the default pool is part of the image: a static object, or a set of variables, which are kept
/// as one here.
pub(super) fn pool_is_fixed(kx: &Kx) -> bool {
    kx.k.has(Behaviour::StaticDefaultPool) || kx.k.has(Behaviour::GlobalPoolVariables)
}

/// The static default pool begins its life with the kernel image (5.15 and later; variables before 5.13).
pub fn setup_static_pool(kx: &Kx) {
    if !pool_is_fixed(kx) {
        return;
    }
    let site = kx.site();
    let addr = kx.k.image.phys(Symbol::IoTlbDefaultMem);
    let object = Rc::new(IoTlbMem::default());
    let ptr = kx.k.mem.borrow_mut().heap.alloc_object(addr, 0x40, site, object);
    if let Ok(ptr) = ptr {
        kx.k.globals.io_tlb_default_mem.set(ptr);
        kx.label_object(ptr);
        kx.note_global("io_tlb_default_mem", ptr.id);
    }
}

/// Where the buffer of the default pool may lie.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_memblock_alloc()`, v6.1.
pub(super) fn pool_bounds(kx: &Kx) -> Bounds {
    if kx.k.globals.swiotlb_any.get() { Bounds::ACCESSIBLE } else { Bounds::below(PhysAddr(LOW_LIMIT)) }
}

/// The highest address of pools that are added to the default one (`phys_limit`).
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_init_remap()`, v6.12.
pub(super) fn pool_limit(kx: &Kx) -> u64 {
    let globals = &kx.k.globals;
    if globals.swiotlb_any.get() { globals.max_ram.get().0.saturating_sub(1) } else { LOW_LIMIT }
}

/// Sets the default pool up from boot memory.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_init()`, `swiotlb_init_with_tbl()`, v5.13 to v5.15.
pub async fn swiotlb_init(kx: &Kx) {
    let _frame = kx.enter("swiotlb_init");
    let globals = &kx.k.globals;
    if globals.swiotlb_force.get() == SwiotlbForce::NoForce {
        kx.k.facts.borrow_mut().pool_reason = "swiotlb=noforce: no pool".to_owned();
        return;
    }
    let nslabs = globals.default_nslabs.get();
    let bytes = align_up(nslabs << IO_TLB_SHIFT, PAGE_SIZE);
    let bounds = pool_bounds(kx);
    let Ok((start, buffer)) = kx.memblock_alloc("swiotlb bounce buffer", bytes, PAGE_SIZE, bounds) else {
        kx.log(|| "software IO TLB: Cannot allocate buffer".to_owned());
        kx.k.globals.no_iotlb_memory.set(kx.k.has(Behaviour::GlobalPoolVariables));
        kx.k.facts.borrow_mut().pool_reason = "no room below 4 GiB for the bounce buffer".to_owned();
        return;
    };
    let mem = {
        let _frame = kx.enter("swiotlb_init_with_tbl");
        if pool_is_fixed(kx) {
            let table = align_up(nslabs * IO_TLB_SLOT_SIZE, PAGE_SIZE);
            let Ok(slots) = kx.memblock_alloc("swiotlb slot table", table, PAGE_SIZE, Bounds::ACCESSIBLE)
            else {
                panic_no_memory(kx, table).await;
                return;
            };
            let mem = globals.io_tlb_default_mem.get();
            if let Ok(object) = kx.k.mem.object(mem) {
                object.slots_at.set(slots);
            }
            mem
        } else {
            let size = align_up(0x38 + nslabs * IO_TLB_SLOT_SIZE, PAGE_SIZE);
            let object = Rc::new(IoTlbMem::default());
            let Ok(mem) = kx.memblock_alloc_object(size, PAGE_SIZE, Bounds::ACCESSIBLE, object) else {
                panic_no_memory(kx, size).await;
                return;
            };
            mem
        }
    };
    let force = globals.swiotlb_force.get() == SwiotlbForce::Force;
    let size = PoolSize { nslabs: u32::try_from(nslabs).unwrap_or(u32::MAX), nareas: 1 };
    fill(kx, mem, start, size, force && kx.k.has(Behaviour::ForceBounceInPool), buffer);
    globals.io_tlb_default_mem.set(mem);
    kx.note_global("io_tlb_default_mem", mem.id);
    let facts = PoolFacts {
        start: start.0,
        bytes,
        descriptor: mem.addr,
        kind: match (pool_is_fixed(kx), kx.k.has(Behaviour::StaticDefaultPool)) {
            (_, true) => "static",
            (true, false) => "variables",
            (false, false) => "heap",
        },
        force,
        at: kx.stamp(),
    };
    kx.k.facts.borrow_mut().pool = Some(facts);
}

/// Sets an object up that nobody else can see yet (`swiotlb_init_io_tlb_mem`, `swiotlb_init_io_tlb_pool`).
pub(super) fn fill(kx: &Kx, mem: Ptr<IoTlbMem>, start: PhysAddr, size: PoolSize, force: bool, buffer: u32) {
    let Ok(object) = kx.k.mem.object(mem) else { return };
    let nslabs = u64::from(size.nslabs);
    object.start.set(start);
    object.end.set(start.wrapping_add(nslabs << IO_TLB_SHIFT));
    object.nslabs.set(nslabs);
    object.force_bounce.set(force);
    object.buffer_id.set(buffer);
    object.lock_of().init();
    for area in object.areas.borrow().iter() {
        if let Ok(area) = kx.k.mem.object(*area) {
            area.lock_of().init();
        }
    }
    let profile = kx.k.profile();
    let pool = Pool::new(search_rules(profile), bounce_rules(profile), start, size);
    *object.pool.borrow_mut() = Some(pool);
}

async fn panic_no_memory(kx: &Kx, bytes: u64) {
    let title = format!(
        "Kernel panic - not syncing: swiotlb_init_with_tbl: Failed to allocate {bytes} bytes align=0x1000"
    );
    kx.report(Draft::fatal("panic", title).ending("panic"), Vec::new);
    kx.spin_forever("the machine has stopped").await;
}

/// Says where the pool lies.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_print_info()`, v5.13, v6.1, v6.12.
pub fn swiotlb_print_info(kx: &Kx) {
    let mem = kx.k.globals.io_tlb_default_mem.get();
    let object = kx.k.mem.object(mem);
    match object {
        Ok(object) if object.nslabs.get() > 0 => kx.log(|| {
            let (start, end) = (object.start.get().0, object.end.get().0);
            let megabytes = (object.nslabs.get() << IO_TLB_SHIFT) >> 20;
            format!("software IO TLB: mapped [mem {start:#018x}-{end:#018x}] ({megabytes}MB)")
        }),
        Ok(_) | Err(_) => kx.log(|| "software IO TLB: No low mem".to_owned()),
    }
}

/// Shares the default pool with the host, where memory is encrypted.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_update_mem_attributes()`, v5.13 to v6.12.
pub fn swiotlb_update_mem_attributes(kx: &Kx) {
    let object = kx.k.mem.object(kx.k.globals.io_tlb_default_mem.get());
    if kx.memory_encrypted()
        && let Ok(object) = object
        && object.nslabs.get() > 0
    {
        let range = PhysRange { start: object.start.get(), end: object.end.get() };
        kx.mark_shared(range, true);
    }
}

/// Gives a device the pool that the firmware set aside for it, if it did and the kernel knows such pools: before each
/// probe, with a descriptor that is made at the first.
///
/// Source: `drivers/of/device.c: of_dma_configure_id()`, `kernel/dma/swiotlb.c: rmem_swiotlb_device_init()`, next of
/// June 2021, v5.15, v6.1, v6.12.
///
/// # Errors
/// There is no memory for the descriptor.
pub async fn rmem_swiotlb_device_init(kx: &Kx, node: &DeviceNode) -> Result<(), NoMemory> {
    let Some(region) = node.spec(&kx.k).restricted_pool else { return Ok(()) };
    if !kx.k.has(Behaviour::RestrictedDmaPools) || !kx.k.profile().config.dma_restricted_pool {
        return Ok(());
    }
    let _frame = kx.enter("rmem_swiotlb_device_init");
    let known =
        kx.k.globals.restricted_pools.borrow().iter().find(|(start, _)| start.0 == region.start).copied();
    let mem = match known {
        Some((_, mem)) => mem,
        None => {
            let size = PoolSize::restricted(region.size);
            let start = PhysAddr(region.start);
            let mem = kx.kzalloc(0x38, Rc::new(IoTlbMem::default())).await?;
            if kx.k.has(Behaviour::SwiotlbAreas) {
                let mut areas = Vec::new();
                for area in new_areas(size.nareas) {
                    areas.push(kx.kzalloc(IoTlbArea::SIZE, area).await?);
                }
                if let Ok(object) = kx.k.mem.object(mem) {
                    object.areas.replace(areas);
                }
            }
            fill(kx, mem, start, size, true, 0);
            if kx.memory_encrypted() {
                kx.mark_shared(PhysRange::new(start, region.size), true);
            }
            grow::setup(kx, mem, false, 0);
            let areas = grow::of(kx, default_pool(kx)).map_or(1, |growth| growth.default_areas());
            grow::first_pool(kx, mem, size, areas).await;
            kx.poke(mem, IoTlbMem::for_alloc, true);
            kx.k.globals.restricted_pools.borrow_mut().push((start, mem));
            let megabytes = region.size >> 20;
            kx.log(|| {
                format!("OF: reserved mem: created restricted DMA pool at {start}, size {megabytes} MiB")
            });
            mem
        }
    };
    kx.store_ptr(node.ptr.get(), Device::dma_io_tlb_mem, mem).await;
    Ok(())
}
