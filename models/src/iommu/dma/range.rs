//! Ranges of addresses: taken, translated, taken back.

use std::cell::Cell;

use super::depot::queue_depot_work;
use super::flush_queue::queue_iova;
use super::rules::{DmaIommuRules, IovaLimit, iommu_dma_alloc_iova};
use crate::device::Device;
use crate::iommu::core::IommuDomain;
pub(super) use crate::iommu::core_internal::with_cookie;
use crate::iommu::core_internal::{
    free_table_page, iotlb_flush_range, is_smmu, smmu_map, smmu_unmap, table_page,
};
use crate::iommu::iova::{Cpu, IovaPfn, Plenty};
use crate::iommu::pagetable::{Format, Prot, Unmapped};
use crate::kernel::{GfpFlags, Kx};
use crate::mem::{DmaAddr, Field, PAGE_SHIFT, PAGE_SIZE, PhysAddr, Ptr, align_up};
use crate::oracle::{check_flushed, check_iova, check_memory};
use crate::profile::Behaviour;
use crate::swiotlb::Direction;

/// What a device may do with a mapping of this direction (`dma_info_to_prot`).
const fn prot_of(dir: Direction) -> Prot {
    Prot { read: dir.reaches_device(), write: dir.reaches_cpu() }
}

/// Takes a range: below 4 GiB first, so that PCI devices need no dual-address cycle.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_dma_alloc_iova()`, v5.13, v6.1, v6.12.
pub(super) async fn alloc_iova(
    kx: &Kx,
    dev: Ptr<Device>,
    domain: Ptr<IommuDomain>,
    size: u64,
    mask: Field<Device, u64>,
) -> Option<DmaAddr> {
    let mask = kx.load(dev, mask).await;
    let bus_limit = kx.load(dev, Device::bus_dma_limit).await;
    let aperture_end = with_cookie(kx, domain, |cookie| cookie.aperture_end).flatten();
    let limit = IovaLimit { mask, bus: bus_limit, aperture_end, low_first: true };
    kx.step(sim::Kind::Atomic, kx.label(domain.id, 28)).await;
    let node = kx.k.node_of(dev);
    let rules = DmaIommuRules {
        rounds_size: !kx.k.has(Behaviour::IovaFastRounds),
        sac_given_up: kx.k.has(Behaviour::PciSacUntilFail),
        ..DmaIommuRules::of_version(kx.k.profile().version)
    };
    let given_up = rules.sac_given_up && node.as_ref().is_some_and(|node| node.dac.get());
    let forced = kx.k.scenario.command_line.forcedac == Some(true);
    let limit = IovaLimit { low_first: !given_up && !forced, ..limit };
    let cpu = Cpu(u32::from(kx.cpu()));
    if with_cookie(kx, domain, |cookie| cookie.initialised) == Some(false) {
        // iovad->rcaches is NULL: struct iova_rcache has its per-CPU pointer at 0x110.
        let _frame = kx.enter("alloc_iova_fast");
        kx.page_fault(0x110, "read").await;
        return None;
    }
    let taken = with_cookie(kx, domain, |cookie| {
        iommu_dma_alloc_iova(rules, &mut cookie.iovad, cpu, size, &limit, &mut Plenty)
    })?;
    if taken.low_failed
        && let Some(node) = node.filter(|_| rules.sac_given_up)
    {
        node.dac.set(true);
        let bits = u64::BITS - limit.last().leading_zeros();
        kx.log(|| format!("{}: Using {bits}-bit DMA addresses", kx.k.dev_string(dev)));
    }
    let start = with_cookie(kx, domain, |cookie| cookie.iovad.start_pfn());
    check_iova(kx, taken.addr, start.unwrap_or_default(), limit.last(), size);
    let addr = taken.addr.ok()?;
    kx.sim().mix(addr.0);
    Some(addr)
}

/// Gives a range back, at once or through the flush queue.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_dma_free_iova()`, v5.13.
pub(super) async fn free_iova(kx: &Kx, domain: Ptr<IommuDomain>, addr: DmaAddr, size: u64) {
    let lazy = with_cookie(kx, domain, |cookie| cookie.fq.is_some()).unwrap_or(false);
    if lazy {
        queue_iova(kx, domain, addr, size).await;
        return;
    }
    kx.step(sim::Kind::Atomic, kx.label(domain.id, 28)).await;
    // From here on anybody may have it.
    check_flushed(kx, domain, addr, size);
    let cpu = Cpu(u32::from(kx.cpu()));
    with_cookie(kx, domain, |cookie| {
        let _ =
            cookie.iovad.free_iova_fast(cpu, IovaPfn(addr.0 >> PAGE_SHIFT), size >> PAGE_SHIFT, &mut Plenty);
    });
    queue_depot_work(kx, domain).await;
}

/// Translates a range to memory. Of its bytes the first `own` are the caller's memory; what follows is padding.
pub(super) async fn map_range(
    kx: &Kx,
    domain: Ptr<IommuDomain>,
    addr: DmaAddr,
    phys: PhysAddr,
    (size, own): (u64, u64),
    dir: Direction,
) -> bool {
    if is_smmu(kx) {
        let gfp = GfpFlags { atomic: true, ..GfpFlags::ZEROED };
        let mapped = smmu_map(kx, domain, addr, phys, size, prot_of(dir), gfp).await;
        if mapped {
            check_memory(kx, phys, own);
        }
        return mapped;
    }
    if !super::grow::grow_for(kx, domain, addr.0.wrapping_add(size.max(1) - 1)).await {
        return false;
    }
    kx.step(sim::Kind::Write, kx.label(domain.id, 29)).await;
    let pages = Cell::new(0);
    let mapped = with_cookie(kx, domain, |cookie| {
        let mut source = || {
            pages.set(pages.get() + 1);
            table_page(kx)
        };
        (cookie.table.map(addr, phys, size, prot_of(dir), &mut source), cookie.table.format())
    });
    // VT-d's driver asked with GFP_ATOMIC always, whatever it was given.
    let by_flags = mapped.as_ref().is_some_and(|(_, format)| *format == Format::AmdV1);
    if pages.get() > 0 && by_flags && !kx.k.has(Behaviour::MapPassesGfp) {
        let _frame = kx.enter("alloc_pte");
        kx.might_sleep();
    }
    let mapped = mapped.map(|(mapped, _)| mapped);
    match mapped {
        Some(Ok(mapped)) => {
            check_memory(kx, phys, own);
            for page in mapped.freed {
                free_table_page(kx, page.page);
            }
            true
        }
        Some(Err(failure)) => {
            for page in failure.done.freed.into_iter().chain(failure.unrolled.freed) {
                free_table_page(kx, page.page);
            }
            false
        }
        None => false,
    }
}

/// Takes the translation of a range back that no device has used yet (`iommu_unmap`).
pub(super) async fn unmap_range(kx: &Kx, domain: Ptr<IommuDomain>, addr: DmaAddr, size: u64) {
    if is_smmu(kx) {
        smmu_unmap(kx, domain, addr, size, false).await;
        return;
    }
    kx.step(sim::Kind::Write, kx.label(domain.id, 29)).await;
    let freed = with_cookie(kx, domain, |cookie| cookie.table.unmap(addr, size).freed);
    iotlb_flush_range(kx, domain, addr, size).await;
    for page in freed.into_iter().flatten() {
        free_table_page(kx, page.page);
    }
}

/// Takes the translation of a range back, and the range itself.
///
/// Source: `drivers/iommu/dma-iommu.c: __iommu_dma_unmap()`, v5.13.
pub(super) async fn iommu_dma_unmap(kx: &Kx, domain: Ptr<IommuDomain>, addr: DmaAddr, size: u64) {
    let _frame = kx.enter("__iommu_dma_unmap");
    let offset = addr.0 & (PAGE_SIZE - 1);
    let start = DmaAddr(addr.0 - offset);
    let length = align_up(size + offset, PAGE_SIZE);
    if is_smmu(kx) {
        let Some(lazy) = with_cookie(kx, domain, |cookie| cookie.fq.is_some()) else { return };
        let bytes = smmu_unmap(kx, domain, start, length, lazy).await;
        complain(kx, start, length, bytes);
        if !lazy {
            check_flushed(kx, domain, start, length);
        }
        free_iova(kx, domain, start, length).await;
        return;
    }
    kx.step(sim::Kind::Write, kx.label(domain.id, 29)).await;
    let unmapped = with_cookie(kx, domain, |cookie| (cookie.table.unmap(start, length), cookie.fq.is_some()));
    let Some((Unmapped { bytes, freed, .. }, lazy)) = unmapped else { return };
    complain(kx, start, length, bytes);
    if !lazy {
        iotlb_flush_range(kx, domain, start, length).await;
        check_flushed(kx, domain, start, length);
    }
    for page in freed {
        free_table_page(kx, page.page);
    }
    free_iova(kx, domain, start, length).await;
}

/// The kernel says so if it unmapped something else than it was asked to.
fn complain(kx: &Kx, start: DmaAddr, length: u64, bytes: u64) {
    if bytes != length {
        kx.log(|| format!("WARNING: drivers/iommu/dma-iommu.c: __iommu_dma_unmap: unmapped {bytes:#x} of {length:#x} at {start:#x}"));
    }
}

/// Where an address of the domain leads (`iommu_iova_to_phys`).
pub(super) async fn iova_to_phys(kx: &Kx, domain: Ptr<IommuDomain>, addr: DmaAddr) -> Option<PhysAddr> {
    kx.step(sim::Kind::Read, kx.label(domain.id, 29)).await;
    with_cookie(kx, domain, |cookie| {
        cookie.table.lookup(addr).map(|leaf| PhysAddr(leaf.phys.0 + (addr.0 - leaf.iova.0)))
    })?
}
