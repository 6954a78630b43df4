//! The cache of translations: after an invalidation nothing of what was unmapped may be left in it.

use sim::Draft;

use crate::iommu::core::IommuDomain;
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PAGE_SHIFT, Ptr};

/// Checks a range whose unmap, or whose flush, has just been declared done: the hardware must not translate any of its pages
/// from its cache that the page table does not translate now.
pub fn check_flushed(kx: &Kx, domain: Ptr<IommuDomain>, addr: DmaAddr, size: u64) {
    let (first, last) = (addr.0 >> PAGE_SHIFT, addr.0.wrapping_add(size.max(1) - 1) >> PAGE_SHIFT);
    let object = kx.k.mem.object(domain);
    let Ok(object) = object else { return };
    let cookie = object.cookie.borrow();
    let Some(cookie) = cookie.as_ref() else { return };
    let stale = cookie.iotlb.iter().find(|entry| {
        first <= entry.page
            && entry.page <= last
            && cookie.table.lookup(DmaAddr(entry.page << PAGE_SHIFT)).map(|leaf| leaf.phys.0 >> PAGE_SHIFT)
                != Some(entry.frame)
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
