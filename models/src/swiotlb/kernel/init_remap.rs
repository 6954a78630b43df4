//! Setting the default pool up where the architecture says whether it is wanted.

use super::areas::new_areas;
use super::grow;
use super::init::{fill, pool_bounds, pool_limit};
use super::object::{IO_TLB_SLOT_SIZE, IoTlbArea, IoTlbMem};
use super::rules::sizing_rules;
use crate::kernel::{Kx, SwiotlbForce};
use crate::mem::{PAGE_SIZE, Ptr, align_up};
use crate::memblock::Bounds;
use crate::profile::Behaviour;
use crate::run::PoolFacts;
use crate::swiotlb::{IO_TLB_SHIFT, PoolDefaults};

/// Alignment of the areas (`SMP_CACHE_BYTES`).
const SMP_CACHE_BYTES: u64 = 64;

/// What the command line says of the pool to come.
///
/// Source: `kernel/dma/swiotlb.c: setup_io_tlb_npages()`, v6.1.
fn pool_defaults(kx: &Kx, say: bool) -> PoolDefaults {
    let globals = &kx.k.globals;
    let mut defaults = PoolDefaults::new(sizing_rules(kx.k.profile()));
    defaults.nslabs = globals.default_nslabs.get();
    defaults.force_bounce = globals.swiotlb_force.get() == SwiotlbForce::Force;
    defaults.force_disable = globals.swiotlb_force.get() == SwiotlbForce::NoForce;
    if let Some(areas) = kx.k.scenario.command_line.swiotlb.areas {
        adjust_nareas(kx, &mut defaults, u32::try_from(areas & 0xffff_ffff).unwrap_or(u32::MAX), say);
    }
    defaults
}

/// Says how many areas the command line asks for: that is when it is read, and not when the pool is made.
pub fn setup_io_tlb_npages(kx: &Kx) {
    let _ = pool_defaults(kx, true);
}

/// Changes the pool's size to `bytes`, unless the command line has given another than the default one.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_adjust_size()`, v5.13, v6.1, v6.12.
pub fn swiotlb_adjust_size(kx: &Kx, bytes: u64) {
    let _frame = kx.enter("swiotlb_adjust_size");
    let mut defaults = pool_defaults(kx, false);
    if let Some(told) = defaults.adjust_size(bytes) {
        kx.k.globals.default_nslabs.set(defaults.nslabs);
        kx.log(|| format!("software IO TLB: SWIOTLB bounce buffer size adjusted to {}MB", told >> 20));
    }
}

/// Source: `kernel/dma/swiotlb.c: swiotlb_adjust_nareas()`, v6.1.
fn adjust_nareas(kx: &Kx, defaults: &mut PoolDefaults, nareas: u32, say: bool) {
    let before = defaults.nslabs;
    defaults.adjust_nareas(nareas);
    if defaults.nareas == 0 || !say {
        return;
    }
    kx.log(|| format!("software IO TLB: area num {}.", defaults.nareas));
    if defaults.nslabs != before {
        let megabytes = (defaults.nslabs << IO_TLB_SHIFT) >> 20;
        kx.log(|| format!("software IO TLB: SWIOTLB bounce buffer size roundup to {megabytes}MB"));
    }
}

/// Sets the default pool up from boot memory, if it is wanted.
///
/// What cannot be had is told in the log, and the kernel goes on without a pool.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_init_remap()`, v6.1, v6.12.
pub async fn swiotlb_init_remap(kx: &Kx, addressing_limit: bool, guest_encrypted: bool) {
    let _frame = kx.enter("swiotlb_init");
    let _inner = kx.enter("swiotlb_init_remap");
    kx.step(sim::Kind::Point, kx.memory_label()).await;
    let reason = |text: &str| text.clone_into(&mut kx.k.facts.borrow_mut().pool_reason);
    let mut defaults = pool_defaults(kx, false);
    if !addressing_limit && !defaults.force_bounce {
        reason("all RAM lies below 4 GiB, or iommu=off");
        return;
    }
    if defaults.force_disable {
        reason("swiotlb=noforce: no pool");
        return;
    }
    grow::setup(kx, kx.k.globals.io_tlb_default_mem.get(), true, pool_limit(kx));
    if defaults.nareas == 0 {
        adjust_nareas(kx, &mut defaults, kx.k.possible_cpus(), true);
    }
    let asked = defaults.boot_nslabs(kx.k.possible_cpus());
    let mut nslabs = asked;
    let (start, buffer) = loop {
        let bytes = align_up(nslabs << IO_TLB_SHIFT, PAGE_SIZE);
        if let Ok(found) = kx.memblock_alloc("swiotlb bounce buffer", bytes, PAGE_SIZE, pool_bounds(kx)) {
            break found;
        }
        kx.log(|| {
            format!("software IO TLB: swiotlb_memblock_alloc: Failed to allocate {bytes} bytes tlb structure")
        });
        let Some(smaller) = defaults.boot_retry(nslabs) else {
            reason("no room below 4 GiB for the bounce buffer");
            return;
        };
        nslabs = smaller;
    };
    if nslabs != asked {
        kx.log(|| format!("software IO TLB: SWIOTLB bounce buffer size adjusted {asked} -> {nslabs} slabs"));
    }
    kx.k.globals.default_nslabs.set(nslabs);
    let size = defaults.boot_pool(nslabs);
    let failed = |what: String| {
        kx.log(|| format!("software IO TLB: swiotlb_init_remap: Failed to allocate {what}"));
        reason("no memory for what describes the pool");
    };
    let table = align_up(nslabs * IO_TLB_SLOT_SIZE, PAGE_SIZE);
    let Ok(slots) = kx.memblock_alloc("swiotlb slot table", table, PAGE_SIZE, Bounds::ACCESSIBLE) else {
        failed(format!("{table} bytes align={PAGE_SIZE:#x}"));
        return;
    };
    let mem = kx.k.globals.io_tlb_default_mem.get();
    if kx.k.has(Behaviour::SwiotlbAreas) {
        let areas = new_areas(size.nareas);
        let Ok(areas) = kx.memblock_alloc_array(IoTlbArea::SIZE, SMP_CACHE_BYTES, Bounds::ACCESSIBLE, areas)
        else {
            failed("mem->areas.".to_owned());
            return;
        };
        with(kx, mem, |object| *object.areas.borrow_mut() = areas);
    }
    with(kx, mem, |object| object.slots_at.set(slots));
    let force = defaults.force_bounce || guest_encrypted;
    fill(kx, mem, start, size, force, buffer);
    grow::first_pool(kx, mem, size, defaults.nareas).await;
    kx.note_global("io_tlb_default_mem", mem.id);
    kx.k.facts.borrow_mut().pool = Some(PoolFacts {
        start: start.0,
        bytes: size.bytes(),
        descriptor: mem.addr,
        kind: "static",
        force,
        at: kx.stamp(),
    });
}

fn with(kx: &Kx, mem: Ptr<IoTlbMem>, f: impl FnOnce(&IoTlbMem)) {
    if let Ok(object) = kx.k.mem.object(mem) {
        f(&object);
    }
}
