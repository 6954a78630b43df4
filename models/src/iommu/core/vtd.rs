//! Intel VT-d.

use std::rc::Rc;

use super::copied::take_over;
use super::domain::{free_table_page, new_cookie, table_page};
use super::down::{flush_all, translate_again};
use super::{DomainType, IommuDomain, IommuDriver, bus_set_iommu};
use crate::iommu::pagetable::{Mapped, Prot};
use crate::kernel::{GfpFlags, Kx, NoMemory};
use crate::mem::{DmaAddr, PAGE_SIZE, PhysAddr, PhysRange, align_up};
use crate::oracle::check_memory;
use crate::profile::Behaviour;
use crate::scenario::schema::{E820Kind, Iommu};

/// Looks for the IOMMU in the firmware's tables, and whether it is to be used.
///
/// Source: `drivers/iommu/intel/dmar.c: detect_intel_iommu()`, v5.13.
#[must_use]
pub fn detect_intel_iommu(kx: &Kx) -> bool {
    let globals = &kx.k.globals;
    let Iommu::Vtd { platform_opt_in, .. } = kx.k.scenario.machine.iommu else { return false };
    let config = &kx.k.profile().config;
    if globals.no_iommu.get() || globals.iommu_detected.get() || !config.intel_iommu {
        return false;
    }
    let enabled = kx.k.scenario.command_line.intel_iommu.enable;
    let on = enabled.unwrap_or(config.intel_iommu_default_on || platform_opt_in);
    if !on {
        return false;
    }
    globals.iommu_detected.set(true);
    kx.k.iommu.detected.set(Some(IommuDriver::Intel));
    true
}

/// Turns the IOMMU on and hands it all devices. Up to 5.10 it also gave bounce buffers up.
///
/// Source: `drivers/iommu/intel/iommu.c: intel_iommu_init()`, v5.13.
pub async fn intel_iommu_init(kx: &Kx) {
    let _frame = kx.enter("intel_iommu_init");
    take_over(kx, IommuDriver::Intel).await;
    kx.delay(20_000_000).await;
    if kx.k.has(Behaviour::IntelIommuSwiotlbVeto) {
        let untrusted = kx.k.scenario.machine.devices.iter().any(|device| device.untrusted);
        kx.k.globals.swiotlb.set(untrusted);
        kx.decide(
            "swiotlb",
            if untrusted {
                "swiotlb = 1: there are untrusted devices"
            } else {
                "swiotlb = 0: no device is untrusted"
            },
        );
    }
    // An emulated unit has to be told of every mapping: what batching saves is lost.
    if matches!(kx.k.scenario.machine.iommu, Iommu::Vtd { caching_mode: true, .. }) {
        kx.log(|| "DMAR: IOMMU batching disallowed due to virtualization".to_owned());
        kx.k.globals.iommu_dma_strict.set(true);
    }
    if si_domain_init(kx).await.is_err() {
        kx.log(|| "DMAR: Initialization failed".to_owned());
        return;
    }
    let _ = bus_set_iommu(kx, IommuDriver::Intel).await;
    kx.log(|| "DMAR: Intel(R) Virtualization Technology for Directed I/O".to_owned());
}

/// Where the hardware cannot pass addresses through: a domain that maps all memory to itself, node after node, with pages as
/// large as fit.
///
/// Source: `drivers/iommu/intel/iommu.c: si_domain_init()`, `iommu_domain_identity_map()`, v5.13, v6.1.
async fn si_domain_init(kx: &Kx) -> Result<(), NoMemory> {
    let Iommu::Vtd { pass_through: false, .. } = kx.k.scenario.machine.iommu else { return Ok(()) };
    let _frame = kx.enter("si_domain_init");
    let object = Rc::new(IommuDomain::default());
    let domain = kx.kzalloc(0x50, Rc::clone(&object)).await?;
    object.type_.set(DomainType::Identity.number());
    *object.cookie.borrow_mut() = Some(new_cookie(kx, DomainType::Dma, true).await?);
    for range in memory_by_node(kx) {
        let _frame = kx.enter("iommu_domain_identity_map");
        kx.step(sim::Kind::Write, kx.label(domain.id, 29)).await;
        let freed = {
            let mut cookie = object.cookie.borrow_mut();
            let Some(cookie) = cookie.as_mut() else { return Err(NoMemory) };
            let (iova, mut pages) = (DmaAddr(range.start.0), range.size() / PAGE_SIZE);
            let mut cleared = Vec::new();
            if !kx.k.has(Behaviour::IdentityEndsWithMemory) {
                // What the range before had too much is cleared first (`dma_pte_clear_range`).
                cleared.extend(cookie.table.unmap(iova, PAGE_SIZE).freed);
                pages += u64::from(cookie.table.lookup(DmaAddr(range.end.0)).is_none());
            }
            let mut done = Mapped::default();
            let mapped = cookie.table.map_pages(
                iova,
                range.start,
                PAGE_SIZE,
                pages,
                Prot::READ_WRITE,
                &mut || table_page(kx),
                &mut done,
            );
            mapped.map_err(|_| NoMemory)?;
            check_memory(kx, range.start, pages * PAGE_SIZE);
            cleared.extend(done.freed);
            cleared
        };
        for page in freed {
            free_table_page(kx, page.page);
        }
    }
    kx.k.iommu.si_domain.set(Some(domain));
    Ok(())
}

/// The memory that keeps a unit's registers while the machine sleeps: where it is and its heap id; `None` if it is part of
/// the unit's structure.
type SavedState = Option<(PhysAddr, u32)>;

/// Drops what the unit has cached, turns translation off, and saves the unit's registers before the machine sleeps. One CPU is
/// left, and its interrupts are off.
///
/// Source: `drivers/iommu/intel/iommu.c: iommu_suspend()`, v6.1, v6.12.
///
/// # Errors
/// No memory for them.
pub async fn iommu_suspend(kx: &Kx) -> Result<SavedState, NoMemory> {
    /// `MAX_SR_DMAR_REGS` words.
    const REGISTERS: u64 = 4 * 4;
    let _frame = kx.enter("iommu_suspend");
    let state = if kx.k.has(Behaviour::IommuStatePreallocated) {
        None
    } else {
        Some(kx.kmalloc("iommu->iommu_state", REGISTERS, GfpFlags { zero: true, ..GfpFlags::KERNEL }).await?)
    };
    flush_all(kx);
    kx.step(sim::Kind::Io, kx.memory_label()).await;
    kx.k.iommu.translation_off.set(true);
    Ok(state)
}

/// Sets the unit up again with the tables that it had, and puts the registers back.
///
/// Source: `drivers/iommu/intel/iommu.c: iommu_resume(), init_iommu_hw()`, v6.1, v6.12.
pub async fn iommu_resume(kx: &Kx, state: SavedState) {
    let _frame = kx.enter("iommu_resume");
    translate_again(kx).await;
    if let Some((addr, id)) = state {
        kx.kfree(addr, id).await;
    }
}

/// The usable memory of each node (`for_each_mem_pfn_range`).
fn memory_by_node(kx: &Kx) -> Vec<PhysRange> {
    let machine = &kx.k.scenario.machine;
    let usable: Vec<(u64, u64)> = machine
        .e820
        .iter()
        .filter(|entry| entry.kind == E820Kind::Usable)
        .map(|entry| (align_up(entry.start, PAGE_SIZE), entry.end.saturating_add(1) & !(PAGE_SIZE - 1)))
        .collect();
    let mut nodes: Vec<_> = machine.nodes.iter().collect();
    nodes.sort_by_key(|node| node.id);
    let mut claims: Vec<(u64, u64)> = nodes
        .iter()
        .flat_map(|node| &node.ranges)
        .map(|range| (range.start, range.end.saturating_add(1)))
        .collect();
    if claims.is_empty() {
        claims.push((0, u64::MAX));
    }
    let overlap = |claim: &(u64, u64)| {
        let (from, to) = *claim;
        usable.iter().map(move |(start, end)| (from.max(*start), to.min(*end))).collect::<Vec<_>>()
    };
    let ranges = claims.iter().flat_map(overlap).filter(|(start, end)| start < end);
    ranges.map(|(start, end)| PhysRange { start: PhysAddr(start), end: PhysAddr(end) }).collect()
}
