//! Before the page allocator: the memory map, the per-CPU areas, early tables, and the hand-over.

use crate::kernel::{Kx, Phase, SwiotlbForce};
use crate::mem::{PAGE_SIZE, PhysAddr, PhysRange, align_up};
use crate::memblock::Bounds;
use crate::profile::{Behaviour, IommuDefault, Version};
use crate::scenario::schema::{CpuVendor, Freed, FreedAt, FreedBy, MemEncrypt, Region, ReservedAt};
use crate::swiotlb::kernel::{setup_io_tlb_npages, setup_static_pool, swiotlb_adjust_size};
use crate::swiotlb::{IO_TLB_DEFAULT_SLABS, IO_TLB_SEGSIZE, encrypted_guest_bytes};

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
    let (firmware, later) = kx.k.scenario.map.log();
    firmware.iter().for_each(|line| kx.log(|| line.clone()));
    early_params(kx);
    later.iter().for_each(|line| kx.log(|| line.clone()));
    let mut max = 0;
    for range in kx.k.scenario.map.usable() {
        let _ = kx.k.mem.borrow_mut().memblock.add(range.start, range.size());
        max = max.max(range.end.0);
    }
    kx.k.globals.max_ram.set(PhysAddr(max));
    sev_setup_arch(kx);
    reserve(kx, "reserve_real_mode", Region { start: 0, size: 0x1_0000 });
    reserve(kx, "reserve_bios_regions", Region { start: 0x9_f000, size: 0x6_1000 });
    reserve(kx, "early_reserve_memory: kernel image", machine.kernel_image);
    if let Some(initrd) = machine.initrd {
        reserve(kx, "early_reserve_initrd", initrd);
    }
    reserve_at(kx, ReservedAt::SetupArch);
    efi_tpm_eventlog_init(kx);
    for device in &machine.devices {
        if let Some(region) = device.restricted_pool {
            reserve(kx, "restricted-dma-pool", region);
        }
    }
    kx.k.mem.borrow_mut().memblock.allow_resize();
    setup_static_pool(kx);
    log_nodes(kx);
    if machine.early.is_none() {
        // NODE_DATA and the memory map of struct pages come from the top of memory.
        let pages = max >> crate::mem::PAGE_SHIFT;
        let _ = alloc(kx, "alloc_node_data", "pg_data_t", 0x2_b000, 64);
        let _ = alloc(kx, "sparse_init", "memory map (struct page)", align_up(pages * 64, 2 << 20), 2 << 20);
    }
    kx.free_area_init(PhysAddr(max));
    give_back(kx, FreedAt::SetupArch).await;
}

/// A guest with encrypted memory bounces everything, and gets a larger pool.
///
/// Source: `arch/x86/mm/mem_encrypt_amd.c: sev_setup_arch()`, v6.1 (`mem_encrypt.c` in v5.13);
/// `arch/x86/mm/mem_encrypt.c: mem_encrypt_setup_arch()`, v6.12.
fn sev_setup_arch(kx: &Kx) {
    if kx.k.globals.sev_active.get() {
        let total = kx.k.mem.borrow().memblock.phys_mem_size();
        swiotlb_adjust_size(kx, encrypted_guest_bytes(total));
    }
}

/// Makes the machine's reservations of this point of the boot.
pub(super) fn reserve_at(kx: &Kx, at: ReservedAt) {
    for reserved in kx.k.scenario.machine.reserved.iter().filter(|reserved| reserved.at == at) {
        let name = crate::scenario::intern(&reserved.name).unwrap_or("firmware");
        reserved.regions().for_each(|region| reserve(kx, name, region));
    }
}

/// Where the fixed mappings of early boot lie (kernel virtual), from which `early_memremap()` takes its windows.
const FIX_BTMAP: u64 = 0xffff_ffff_ff20_0000;

/// Keeps the log of what the TPM has measured, which firmware has left in RAM. Before
/// `tpm-log-by-physical-address` what is kept is the window through which it is read.
///
/// Source: `drivers/firmware/efi/tpm.c: efi_tpm_eventlog_init()`, v5.13, v6.1, v6.12.
fn efi_tpm_eventlog_init(kx: &Kx) {
    let Some(log) = kx.k.scenario.machine.tpm_log else { return };
    let _frame = kx.enter("efi_tpm_eventlog_init");
    let by_physical = kx.k.has(Behaviour::TpmLogByPhysicalAddress);
    let start = if by_physical { log.start } else { FIX_BTMAP | log.start & (PAGE_SIZE - 1) };
    reserve(kx, "efi_tpm_eventlog_init", Region { start, size: log.size });
}

/// Gives the machine's reservations back that end at this point of the boot. What EFI's boot services used is freed when
/// all pages have their structures, with `boot-services-freed-late`.
///
/// Source: such as `arch/x86/platform/efi/quirks.c: efi_free_boot_services()`.
pub(super) async fn give_back(kx: &Kx, at: FreedAt) {
    let waits = |freed: &Freed| {
        let from_efi = (freed.by, freed.at) == (FreedBy::MemblockFreeLate, FreedAt::StartKernel);
        from_efi && kx.k.has(Behaviour::BootServicesFreedLate)
    };
    let when = |freed: &Freed| if waits(freed) { FreedAt::Initcalls } else { freed.at };
    for reserved in &kx.k.scenario.machine.reserved {
        for freed in reserved.freed.iter().filter(|freed| when(freed) == at) {
            let _frame = kx.enter(crate::scenario::intern(&reserved.name).unwrap_or("firmware"));
            for Region { start, size } in reserved.regions() {
                match freed.by {
                    FreedBy::MemblockFree => kx.memblock_free(PhysAddr(start), size).await,
                    FreedBy::MemblockFreeLate => kx.memblock_free_late(PhysAddr(start), size).await,
                }
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
    globals.default_passthrough.set(line.passthrough.unwrap_or(default == IommuDefault::Passthrough));
    // A driver's own option wins over `iommu.strict=0`. Each spoke for its own hardware until the core took over.
    let (amd, intel) = (line.amd_iommu.fullflush, line.intel_iommu.strict);
    let driver_strict = match kx.k.scenario.machine.cpu_vendor {
        _ if kx.k.has(Behaviour::DmaFqDomainType) => amd || intel,
        CpuVendor::Amd => amd,
        CpuVendor::Arm => false,
        CpuVendor::Intel => intel,
    };
    let strict = driver_strict || line.strict.unwrap_or(default == IommuDefault::DmaStrict);
    globals.iommu_dma_strict.set(strict);
    match kx.k.scenario.machine.mem_encrypt {
        MemEncrypt::None => {}
        MemEncrypt::Sme => globals.sme_active.set(line.mem_encrypt.unwrap_or(true)),
        MemEncrypt::Sev | MemEncrypt::Realm => {
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
    if line.swiotlb.areas.is_some() {
        setup_io_tlb_npages(kx);
    }
}

/// Reads the parameters that are not early ones, as far as somebody says something.
///
/// Source: `drivers/iommu/intel/iommu.c: intel_iommu_setup()`, v5.13, v6.1, v6.12.
pub(super) fn parse_args(kx: &Kx) {
    let asked = kx.k.scenario.command_line.intel_iommu.enable == Some(true);
    if asked && kx.k.profile().config.intel_iommu {
        kx.log(|| "DMAR: IOMMU enabled".to_owned());
    }
}

/// The end of RAM, or of what the firmware's tables say may become RAM (`max_possible_pfn`).
///
/// Source: `drivers/acpi/numa/srat.c: acpi_numa_memory_affinity_init()`, v6.1, v6.12.
pub(super) fn max_possible(kx: &Kx) -> PhysAddr {
    let ranges = kx.k.scenario.machine.nodes.iter().flat_map(|node| &node.ranges);
    let end = ranges.map(|range| PhysAddr(range.end.saturating_add(1))).max().unwrap_or_default();
    end.max(kx.k.globals.max_ram.get())
}

/// Which node each piece of memory belongs to. Nothing else depends on it here.
///
/// Source: `mm/mm_init.c: free_area_init()`, `arch/x86/mm/numa.c: dummy_numa_init()`, v6.1, v6.12.
fn log_nodes(kx: &Kx) {
    let nodes = &kx.k.scenario.machine.nodes;
    let ram: Vec<PhysRange> = kx.k.scenario.map.usable().collect();
    if nodes.is_empty() {
        kx.log(|| "No NUMA configuration found".to_owned());
        kx.log(|| {
            let last = kx.k.globals.max_ram.get().0.saturating_sub(1);
            format!("Faking a node at [mem {:#018x}-{last:#018x}]", 0)
        });
    }
    kx.log(|| "Early memory node ranges".to_owned());
    for range in ram {
        let mut pieces: Vec<(u32, u64, u64)> = Vec::new();
        for node in nodes {
            for part in &node.ranges {
                let (start, end) = (part.start.max(range.start.0), part.end.min(range.end.0 - 1));
                if start <= end {
                    pieces.push((node.id, start, end));
                }
            }
        }
        if nodes.is_empty() {
            pieces.push((0, range.start.0, range.end.0 - 1));
        }
        pieces.sort_by_key(|piece| piece.1);
        pieces.dedup_by(|next, before| {
            let joins = before.0 == next.0 && before.2 + 1 == next.1;
            if joins {
                before.2 = next.2;
            }
            joins
        });
        for (node, start, end) in pieces {
            kx.log(|| format!("  node {node:3}: [mem {start:#018x}-{end:#018x}]"));
        }
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
    if let Some(early) = kx.k.scenario.machine.early {
        let area = |cpu| PhysAddr(early.per_cpu).virt() + cpu * early.per_cpu_unit;
        *kx.k.globals.per_cpu_offset.borrow_mut() = (0..cpus).map(area).collect();
        return;
    }
    let size = align_up(cpus * PCPU_UNIT, PCPU_ATOM);
    let Some(base) = alloc(kx, "setup_per_cpu_areas", "per-CPU areas", size, PCPU_ATOM) else { return };
    *kx.k.globals.per_cpu_offset.borrow_mut() = (0..cpus).map(|cpu| base.virt() + cpu * PCPU_UNIT).collect();
}

/// The hash tables of the file system layer, sized by memory.
///
/// Source: `fs/dcache.c: vfs_caches_init_early()`, `mm/page_alloc.c: alloc_large_system_hash()`, v5.13.
pub(super) fn vfs_caches_init_early(kx: &Kx) {
    if kx.k.scenario.machine.early.is_some() {
        return;
    }
    let _frame = kx.enter("vfs_caches_init_early");
    let ram = kx.k.mem.borrow().memblock.phys_mem_size();
    for (scale, name) in [(13, "Dentry cache hash table"), (14, "Inode-cache hash table")] {
        let entries = (ram >> scale).max(1).next_power_of_two() >> 1;
        let _ = alloc(kx, "alloc_large_system_hash", name, (entries * 8).max(PAGE_SIZE), PAGE_SIZE);
    }
}

/// Hands all that is not reserved to the page allocator; returns how many pages.
///
/// Source: `mm/memblock.c: memblock_free_all()`, v5.13.
pub(super) async fn memblock_free_all(kx: &Kx) -> u64 {
    let _frame = kx.enter("memblock_free_all");
    kx.step(sim::Kind::Free, kx.memory_label()).await;
    let pages = kx.hand_over(kx.k.globals.max_ram.get());
    kx.k.globals.phase.set(Phase::PageAllocator);
    if !kx.k.has(Behaviour::MemblockDiscardedLate) {
        kx.discard_grown_arrays().await;
    }
    if !tells_memory_late(kx) {
        mem_init_print_info(kx, pages);
    }
    pages
}

/// Whether the line `Memory:` waits until all page structures are initialised.
///
/// Source: `mm/mm_init.c: page_alloc_init_late()`, v6.11.
pub(super) fn tells_memory_late(kx: &Kx) -> bool {
    kx.k.profile().version.base() >= Version::V6_11
}

/// Source: `mm/mm_init.c: mem_init_print_info()`, v6.1, v6.12.
pub(super) fn mem_init_print_info(kx: &Kx, pages: u64) {
    let total: u64 = kx.k.scenario.map.usable().map(PhysRange::size).sum();
    kx.log(|| {
        let (free, total) = (pages * 4, total >> 10);
        format!("Memory: {free}K/{total}K available ({}K reserved)", total.saturating_sub(free))
    });
}
