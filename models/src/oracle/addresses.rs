//! Bus addresses and translations when everything has settled: each belongs to a mapping, or waits for its flush.

use sim::Draft;

use crate::iommu::core::{Cookie, IommuDomain, IommuGroup, msi_window};
use crate::iommu::dma::FlushQueue;
use crate::iommu::iova::{Cpu, IOVA_RANGE_CACHE_MAX_SIZE, IovaRange};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PAGE_SHIFT, Ptr};

/// Looks at the domains of all groups.
pub(super) fn check_addresses(kx: &Kx) {
    let groups = kx.k.iommu.groups.borrow().clone();
    for group in groups {
        let members = {
            let mem = kx.k.mem.borrow();
            let Ok(object) = mem.heap.get_ref(group) else { continue };
            object.members.borrow().clone()
        };
        let domain = kx.peek(group, IommuGroup::default_domain).unwrap_or_default();
        if let Ok(object) = kx.k.mem.borrow().heap.get(domain)
            && let Some(cookie) = object.cookie.borrow().as_ref()
        {
            check_window(kx, domain, cookie);
            check_ranges(kx, domain, cookie, &members);
            check_translations(kx, domain, cookie, &members);
        }
    }
}

/// The addresses of interrupt messages are taken for good: a device that is given one of them for its data sends interrupts.
///
/// Source: `drivers/iommu/dma-iommu.c: iova_reserve_iommu_regions()`, v5.13 to v6.12.
fn check_window(kx: &Kx, domain: Ptr<IommuDomain>, cookie: &Cookie) {
    let Some((first, last)) = msi_window(kx) else { return };
    if !cookie.iovad.ranges().any(|range| range.lo <= first && last <= range.hi) {
        let title = format!(
            "the window of interrupt messages, {:#x}-{:#x}, can be had for mappings in a domain",
            first.0 << PAGE_SHIFT,
            ((last.0 + 1) << PAGE_SHIFT) - 1
        );
        let name = kx.k.mem.borrow().heap.record(domain.id).map_or("", |record| record.type_name);
        let draft = Draft::warning("iova-out-of-range", title).object(name);
        kx.report(draft.discriminator("in the window of interrupt messages"), Vec::new);
    }
}

/// A range that is taken belongs to a mapping, lies in a cache, or waits in a queue whose timer will fire.
fn check_ranges(kx: &Kx, domain: Ptr<IommuDomain>, cookie: &Cookie, members: &[usize]) {
    let spare = spare(kx, cookie);
    let taken =
        |range: &IovaRange| !cookie.is_reserved(range.lo) && spare.binary_search(&range.lo.0).is_err();
    for range in cookie.iovad.ranges().filter(taken) {
        let (start, pages) = (DmaAddr(range.lo.0 << PAGE_SHIFT), range.hi.0 - range.lo.0 + 1);
        if !kx.k.ledger.covers(members, start, pages << PAGE_SHIFT) {
            let title = format!(
                "{pages} pages of bus addresses at {start} are taken in a domain, and no mapping has them"
            );
            report(kx, "lost-iova", title, domain);
        }
    }
    if let Some(pfn) = spare.windows(2).find(|two| two[0] == two[1]).map(|two| two[0]) {
        let title =
            format!("the bus address {:#x} was given back twice, and can be had twice", pfn << PAGE_SHIFT);
        report(kx, "double-free", title, domain);
    }
}

/// First page frames of the ranges that lie in magazines or wait for a flush, in order.
fn spare(kx: &Kx, cookie: &Cookie) -> Vec<u64> {
    let mut spare = cookie.fq.as_ref().map(FlushQueue::waiting).unwrap_or_default();
    for class in 0..IOVA_RANGE_CACHE_MAX_SIZE {
        let view = cookie.iovad.rcache(class);
        for cpu in 0..u32::from(kx.k.cpus()) {
            spare.extend(view.loaded(Cpu(cpu)).iter().chain(view.prev(Cpu(cpu))).map(|pfn| pfn.0));
        }
        spare.extend(view.depot().flatten().map(|pfn| pfn.0));
    }
    spare.sort_unstable();
    spare
}

/// A page that is translated belongs to a mapping.
fn check_translations(kx: &Kx, domain: Ptr<IommuDomain>, cookie: &Cookie, members: &[usize]) {
    let left = |leaf: &crate::iommu::pagetable::Leaf| !kx.k.ledger.covers(members, leaf.iova, leaf.size);
    if let Some(leaf) = cookie.table.leaves().into_iter().find(left) {
        let title = format!(
            "{} bytes at {} are translated to {} still, and no mapping has them",
            leaf.size, leaf.iova, leaf.phys
        );
        report(kx, "left-translation", title, domain);
    }
}

fn report(kx: &Kx, kind: &'static str, title: String, domain: Ptr<IommuDomain>) {
    let name = kx.k.mem.borrow().heap.record(domain.id).map_or("", |record| record.type_name);
    kx.report(Draft::warning(kind, title).object(name), Vec::new);
}
