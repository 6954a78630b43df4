//! The cache of translations: after an invalidation nothing of what was unmapped may be left in it.

use sim::Draft;

use super::ledger::{MapKind, Mapping};
use crate::device::DeviceNode;
use crate::dma::Ops;
use crate::iommu::core::{DeviceEntry, IommuDomain};
use crate::iommu::dma::{FlushQueue, FqEntry};
use crate::iommu::pagetable::FreedPage;
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PAGE_SHIFT, PAGE_SIZE, Ptr};

/// Checks a range whose unmap, or whose flush, has just been declared done: the hardware must not translate any of its pages
/// from its cache that the page table does not translate now.
pub fn check_flushed(kx: &Kx, domain: Ptr<IommuDomain>, addr: DmaAddr, size: u64) {
    check_left(kx, domain, addr, size, |_| true);
}

/// The same, of those pages of the range of which `ours` is true.
fn check_left(kx: &Kx, domain: Ptr<IommuDomain>, addr: DmaAddr, size: u64, ours: impl Fn(DmaAddr) -> bool) {
    let (first, last) = (addr.0 >> PAGE_SHIFT, addr.0.wrapping_add(size.max(1) - 1) >> PAGE_SHIFT);
    let object = kx.k.mem.object(domain);
    let Ok(object) = object else { return };
    let cookie = object.cookie.borrow();
    let Some(cookie) = cookie.as_ref() else { return };
    let frame_of = |page: DmaAddr| {
        // A large page translates many addresses, and has the frame of the first.
        let leaf = cookie.table.lookup(page)?;
        Some(leaf.phys.wrapping_add(page.0 - leaf.iova.0).0 >> PAGE_SHIFT)
    };
    let stale = cookie.iotlb.iter().find(|entry| {
        let page = DmaAddr(entry.page << PAGE_SHIFT);
        let inside = first <= entry.page && entry.page <= last;
        inside && ours(page) && frame_of(page) != Some(entry.frame)
    });
    let Some(stale) = stale.copied() else { return };
    let title = format!(
        "{:#x}-{:#x} is unmapped and flushed, and the IOMMU still translates {:#x} to {:#x} from its cache",
        addr.0,
        addr.0.wrapping_add(size.max(1) - 1),
        stale.page << PAGE_SHIFT,
        stale.frame << PAGE_SHIFT
    );
    kx.report(Draft::warning("stale-iotlb", title).object("struct iommu_domain"), Vec::new);
}

/// Pages of tables are about to be freed: the hardware may have no cached walk that leads through one of them.
pub fn check_tables_forgotten(kx: &Kx, domain: Ptr<IommuDomain>, tables: &[FreedPage]) {
    let object = kx.k.mem.object(domain);
    let Ok(object) = object else { return };
    let cookie = object.cookie.borrow();
    let Some(cookie) = cookie.as_ref() else { return };
    let Some(table) = tables.iter().find(|table| cookie.walks.leads_through(table.page)) else { return };
    let title = format!(
        "the page of a translation table at {} is freed, and the IOMMU still finds its way through it from its cache",
        table.page
    );
    let draft = Draft::warning("stale-iotlb", title).object("struct iommu_domain");
    kx.report(draft.discriminator("walk"), Vec::new);
}

/// A flush of a domain's queue has just been counted as done: of what the queue would give back now, the hardware may have
/// nothing in its cache.
pub fn check_flush_counted(kx: &Kx, domain: Ptr<IommuDomain>) {
    let stale = {
        let Ok(object) = kx.k.mem.object(domain) else { return };
        let cookie = object.cookie.borrow();
        let Some(cookie) = cookie.as_ref() else { return };
        let Some(rings) = cookie.fq.as_ref().map(FlushQueue::rings) else { return };
        if cookie.iotlb.is_empty() {
            return;
        }
        let mut pages: Vec<u64> = cookie.iotlb.iter().map(|entry| entry.page).collect();
        pages.sort_unstable();
        let covered = (0..rings.cpus()).flat_map(|cpu| rings.entries(cpu)).filter(|(_, flushed)| *flushed);
        let cached = |entry: &FqEntry| {
            let next = pages.partition_point(|page| *page < entry.pfn.0);
            pages.get(next).is_some_and(|page| *page < entry.pfn.0 + entry.pages)
        };
        covered.map(|(entry, _)| entry).filter(cached).collect::<Vec<_>>()
    };
    for entry in stale {
        check_flushed(kx, domain, DmaAddr(entry.pfn.0 << PAGE_SHIFT), entry.pages << PAGE_SHIFT);
    }
}

/// The timer's function of a domain's flush queue ends: what no flush has covered must wait for a timer that is armed.
/// While another flush is on its way, or the domain goes, nothing is asked.
pub fn check_armed(kx: &Kx, domain: Ptr<IommuDomain>) {
    let waits = {
        let Ok(object) = kx.k.mem.object(domain) else { return };
        let cookie = object.cookie.borrow();
        let Some(fq) = cookie.as_ref().and_then(|cookie| cookie.fq.as_ref()) else { return };
        let rings = fq.rings();
        let mut entries = (0..rings.cpus()).flat_map(|cpu| rings.entries(cpu));
        let forgotten = !rings.is_flushing() && !fq.fires() && !fq.is_going();
        forgotten.then(|| entries.find(|(_, flushed)| !flushed)).flatten()
    };
    let Some((entry, _)) = waits else { return };
    let title = format!(
        "{} pages of bus addresses at {:#x} wait for a flush, and no timer is armed",
        entry.pages,
        entry.pfn.0 << PAGE_SHIFT
    );
    let draft = Draft::warning("lost-iova", title).object("struct iommu_domain");
    kx.report(draft.discriminator("no timer"), Vec::new);
}

/// An untrusted device's unmap is over: whatever the mode, the hardware must not lead the device there any more.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_dma_init_domain()`, v5.13; `drivers/iommu/iommu.c:
/// iommu_get_default_domain_type()`, v6.12: no flush queue for who is not trusted.
pub(super) fn check_strict(kx: &Kx, node: &DeviceNode, mapping: &Mapping) {
    let new = &mapping.new;
    if new.ops != Ops::Iommu || new.kind == MapKind::User || !node.spec(&kx.k).untrusted {
        return;
    }
    // A group that had its domain before the untrusted device came keeps it, with its queue, also when the others have left.
    let group = node.group.get();
    if kx.k.mem.object(group).is_ok_and(|group| group.was_shared.get()) {
        return;
    }
    if let DeviceEntry::Domain(domain) = kx.k.iommu.entry(node.index) {
        // What was given back may be others' by now, whose own unmap may be on its way. Where a queue holds the range it is
        // nobody's.
        let ours = |page| !kx.k.ledger.covers(&[node.index], page, PAGE_SIZE);
        check_left(kx, domain, new.dma, new.size, ours);
    }
}

/// Checks the commands with which the driver has one range dropped, each by its first and last page: a page that is dropped
/// already need not be dropped once more. Each command of an emulated unit costs an exit to its host.
pub fn check_flushes(kx: &Kx, commands: &[(u64, u64)]) {
    let twice = commands.iter().enumerate().find(|(nth, (first, last))| {
        commands[..*nth].iter().any(|(start, end)| start <= last && first <= end)
    });
    let Some((_, (page, _))) = twice else { return };
    let title = format!(
        "{} commands for one range: the IOMMU is told more than once to drop the translation of {:#x}",
        commands.len(),
        page << PAGE_SHIFT
    );
    kx.report(Draft::warning("redundant-flush", title).object("struct iommu_domain"), Vec::new);
}
