//! The order of a boot on x86.
//!
//! Source: `init/main.c: start_kernel()`, `kernel_init_freeable()`, v5.13.

use super::early::{
    give_back, mem_init_print_info, memblock_free_all, parse_args, reserve_at, setup_arch,
    setup_per_cpu_areas, tells_memory_late, vfs_caches_init_early,
};
use super::initcalls::do_basic_setup;
use super::iommu_init::pci_iommu_alloc;
use crate::kernel::Kx;
use crate::mem::PcpLimits;
use crate::scenario::schema::{FreedAt, ReservedAt};
use crate::swiotlb::kernel::swiotlb_update_mem_attributes;

/// One millisecond.
pub(super) const MS: u64 = 1_000_000;

/// Boots the machine; user space and modules go on in contexts of their own.
pub async fn boot(kx: &Kx) {
    let free_pages;
    {
        let _frame = kx.enter("start_kernel");
        kx.log(|| format!("Linux version {} (dmasim)", kx.k.scenario.kernel.version));
        kx.log(|| format!("Command line: {}", kx.k.scenario.cmdline));
        setup_arch(kx).await;
        setup_per_cpu_areas(kx);
        parse_args(kx);
        vfs_caches_init_early(kx);
        let _frame = kx.enter("mm_init");
        let _inner = kx.enter("mem_init");
        pci_iommu_alloc(kx).await;
        free_pages = memblock_free_all(kx).await;
        reserve_at(kx, ReservedAt::StartKernel);
        swiotlb_update_mem_attributes(kx);
        give_back(kx, FreedAt::StartKernel).await;
    }
    let _frame = kx.enter("kernel_init");
    // setup_per_cpu_pageset: from here on CPUs keep pages of their own.
    kx.k.mem.borrow_mut().set_pcp_limits(PcpLimits::USUAL);
    kx.delay(340 * MS).await;
    kx.log(|| {
        let (nodes, cpus) = (kx.k.scenario.machine.nodes.len().max(1), kx.k.cpus());
        let plural = |count: bool| if count { "s" } else { "" };
        format!("smp: Brought up {nodes} node{}, {cpus} CPU{}", plural(nodes > 1), plural(cpus > 1))
    });
    let late_pages = kx.page_alloc_init_late().await;
    if tells_memory_late(kx) {
        mem_init_print_info(kx, free_pages + late_pages);
    }
    kx.delay(60 * MS).await;
    do_basic_setup(kx).await;
}
