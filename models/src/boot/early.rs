//! Before the page allocator: the memory map, the per-CPU areas, early tables, and the hand-over.

use crate::kernel::{Kx, Phase, SwiotlbForce};
use crate::mem::{PAGE_SIZE, PhysAddr, PhysRange, align_down, align_up};
use crate::memblock::Bounds;
use crate::scenario::schema::{CpuVendor, E820Kind, FreedAt, FreedBy, MemEncrypt, Region};
use crate::swiotlb::kernel::setup_static_pool;
use crate::swiotlb::{IO_TLB_DEFAULT_SLABS, IO_TLB_SEGSIZE};

/// Bytes of per-CPU data of one CPU in the embedded first chunk.
const PCPU_UNIT: u64 = 0x40000;
/// Alignment of the chunk (`PMD_SIZE`).
const PCPU_ATOM: u64 = 2 << 20;

/// Fills memblock from the firmware's map, and reads early parameters.
///
/// Source: `arch/x86/kernel/setup.c: setup_arch()`, `arch/x86/kernel/e820.c: e820__memblock_setup()`, v5.13.
pub(super) async fn setup_arch(kx: &Kx) {
    let _frame = kx.enter("setup_arch");
    kx.step(sim::Kind::Point, sim::ObjId::NONE).await;
    let scenario = &kx.k.scenario;
    let machine = &scenario.machine;
    kx.log(|| "BIOS-provided physical RAM map:".to_owned());
    let limit = scenario.command_line.mem_limit.unwrap_or(u64::MAX);
    let mut max = 0;
    for entry in &machine.e820 {
        kx.log(|| {
            format!("BIOS-e820: [mem {:#018x}-{:#018x}] {}", entry.start, entry.end, kind_name(entry.kind))
        });
        if entry.kind != E820Kind::Usable {
            continue;
        }
        let start = align_up(entry.start, PAGE_SIZE);
        let end = align_down(entry.end.saturating_add(1).min(limit), PAGE_SIZE);
        if start < end {
            let _ = kx.k.mem.borrow_mut().memblock.add(PhysAddr(start), end - start);
            max = max.max(end);
        }
    }
    kx.k.globals.max_ram.set(PhysAddr(max));
    reserve(kx, "reserve_real_mode", Region { start: 0, size: 0x1_0000 });
    reserve(kx, "reserve_bios_regions", Region { start: 0x9_f000, size: 0x6_1000 });
    reserve(kx, "early_reserve_memory: kernel image", machine.kernel_image);
    if let Some(initrd) = machine.initrd {
        reserve(kx, "early_reserve_initrd", initrd);
    }
    for reserved in &machine.reserved {
        let name = crate::scenario::intern(&reserved.name).unwrap_or("firmware");
        reserve(kx, name, reserved.region);
    }
    for device in &machine.devices {
        if let Some(region) = device.restricted_pool {
            reserve(kx, "restricted-dma-pool", region);
        }
    }
    kx.k.mem.borrow_mut().memblock.allow_resize();
    early_params(kx);
    setup_static_pool(kx);
    // NODE_DATA and the memory map of struct pages come from the top of memory.
    let pages = max >> crate::mem::PAGE_SHIFT;
    let _ = alloc(kx, "alloc_node_data", "pg_data_t", 0x2_b000, 64);
    let _ = alloc(kx, "sparse_init", "memory map (struct page)", align_up(pages * 64, 2 << 20), 2 << 20);
    kx.free_area_init(PhysAddr(max));
    give_back(kx, FreedAt::SetupArch).await;
}

/// Gives the machine's reservations back that end at this point of the boot.
///
/// Source: such as `arch/x86/platform/efi/quirks.c: efi_free_boot_services()`.
pub(super) async fn give_back(kx: &Kx, at: FreedAt) {
    for reserved in &kx.k.scenario.machine.reserved {
        for freed in reserved.freed.iter().filter(|freed| freed.at == at) {
            let _frame = kx.enter(crate::scenario::intern(&reserved.name).unwrap_or("firmware"));
            let (base, size) = (PhysAddr(reserved.region.start), reserved.region.size);
            match freed.by {
                FreedBy::MemblockFree => kx.memblock_free(base, size).await,
                FreedBy::MemblockFreeLate => kx.memblock_free_late(base, size).await,
            }
        }
    }
}

fn early_params(kx: &Kx) {
    let line = &kx.k.scenario.command_line;
    let globals = &kx.k.globals;
    let force = if line.swiotlb.force {
        SwiotlbForce::Force
    } else if line.swiotlb.noforce {
        SwiotlbForce::NoForce
    } else {
        SwiotlbForce::Normal
    };
    globals.swiotlb_force.set(force);
    let slots = line.swiotlb.nslabs.unwrap_or(IO_TLB_DEFAULT_SLABS).max(1);
    globals.default_nslabs.set(slots.next_multiple_of(u64::from(IO_TLB_SEGSIZE)));
    globals.no_iommu.set(line.iommu.off);
    let config = &kx.k.profile().config;
    let default = config.iommu_default;
    let passthrough = default == crate::profile::IommuDefault::Passthrough;
    globals.default_passthrough.set(line.passthrough.unwrap_or(passthrough));
    // The driver's own option wins over `iommu.strict=0`, and speaks for its own hardware only.
    let driver_strict = match kx.k.scenario.machine.cpu_vendor {
        CpuVendor::Amd => line.amd_iommu.fullflush,
        CpuVendor::Arm => false,
        CpuVendor::Intel => line.intel_iommu.strict,
    };
    let strict = driver_strict || line.strict.unwrap_or(default == crate::profile::IommuDefault::DmaStrict);
    globals.iommu_dma_strict.set(strict);
    match kx.k.scenario.machine.mem_encrypt {
        MemEncrypt::None => {}
        MemEncrypt::Sme => globals.sme_active.set(line.mem_encrypt.unwrap_or(true)),
        MemEncrypt::Sev => {
            globals.sev_active.set(true);
            globals.swiotlb_force.set(SwiotlbForce::Force);
        }
        MemEncrypt::Pef => {
            // init_svm.
            globals.secure_guest.set(true);
            globals.swiotlb_any.set(true);
            globals.swiotlb_force.set(SwiotlbForce::Force);
        }
        MemEncrypt::Pv => globals.secure_guest.set(true),
    }
    if line.iommu.soft {
        globals.swiotlb.set(true);
    }
}

const fn kind_name(kind: E820Kind) -> &'static str {
    match kind {
        E820Kind::Usable => "usable",
        E820Kind::Reserved => "reserved",
        E820Kind::AcpiData => "ACPI data",
        E820Kind::AcpiNvs => "ACPI NVS",
        E820Kind::Unusable => "unusable",
        E820Kind::Pmem => "persistent (type 7)",
    }
}

fn reserve(kx: &Kx, who: &'static str, region: Region) {
    kx.memblock_reserve_for(who, PhysRange::new(PhysAddr(region.start), region.size));
    kx.note(|| {
        format!("memblock: [{:#x}-{:#x}] reserved by {who}", region.start, region.start + region.size - 1)
    });
}

fn alloc(kx: &Kx, who: &'static str, what: &'static str, size: u64, align: u64) -> Option<PhysAddr> {
    let _frame = kx.enter(who);
    kx.memblock_alloc(what, size, align, Bounds::ACCESSIBLE).ok().map(|(addr, _)| addr)
}

/// Lays out the per-CPU areas: eight CPUs to a chunk.
///
/// Source: `arch/x86/kernel/setup_percpu.c: setup_per_cpu_areas()`, `mm/percpu.c: pcpu_embed_first_chunk()`, v5.13.
pub(super) fn setup_per_cpu_areas(kx: &Kx) {
    let cpus = u64::from(kx.k.cpus());
    let size = align_up(cpus * PCPU_UNIT, PCPU_ATOM);
    let Some(base) = alloc(kx, "setup_per_cpu_areas", "per-CPU areas", size, PCPU_ATOM) else { return };
    *kx.k.globals.per_cpu_offset.borrow_mut() = (0..cpus).map(|cpu| base.virt() + cpu * PCPU_UNIT).collect();
}

/// The hash tables of the file system layer, sized by memory.
///
/// Source: `fs/dcache.c: vfs_caches_init_early()`, `mm/page_alloc.c: alloc_large_system_hash()`, v5.13.
pub(super) fn vfs_caches_init_early(kx: &Kx) {
    let _frame = kx.enter("vfs_caches_init_early");
    let ram = kx.k.mem.borrow().memblock.phys_mem_size();
    for (scale, name) in [(13, "Dentry cache hash table"), (14, "Inode-cache hash table")] {
        let entries = (ram >> scale).max(1).next_power_of_two() >> 1;
        let _ = alloc(kx, "alloc_large_system_hash", name, (entries * 8).max(PAGE_SIZE), PAGE_SIZE);
    }
}

/// Hands all that is not reserved to the page allocator.
///
/// Source: `mm/memblock.c: memblock_free_all()`, v5.13.
pub(super) async fn memblock_free_all(kx: &Kx) {
    let _frame = kx.enter("memblock_free_all");
    kx.step(sim::Kind::Free, kx.memory_label()).await;
    let pages = kx.hand_over(kx.k.globals.max_ram.get());
    let total = kx.k.mem.borrow().memblock.phys_mem_size() >> 10;
    kx.k.globals.phase.set(Phase::PageAllocator);
    kx.log(|| format!("Memory: {}K/{total}K available", pages * 4));
}
