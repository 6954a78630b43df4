//! A virtual machine that is given devices: what VFIO does on its behalf.
//!
//! Source: `drivers/vfio/vfio_iommu_type1.c`, v5.15, v6.1.

use super::items::{Buffer, Home};
use crate::device::Device;
use crate::dma::{Attrs, Ops};
use crate::iommu::core::{
    IommuDomain, IommuGroup, iommu_attach_group, iommu_detach_group, iommu_group_claim_dma_owner,
    iommu_group_release_dma_owner, user_domain_alloc, user_domain_free, user_map, user_unmap,
};
use crate::kernel::{GfpFlags, Kx};
use crate::mem::{DmaAddr, PAGE_SIZE, Ptr};
use crate::oracle::{Before, MapKind, NewMapping, device_dma};
use crate::swiotlb::Direction;

/// An open group, its domain, and what is mapped there.
#[derive(Debug)]
pub(super) struct Container {
    group: Ptr<IommuGroup>,
    domain: Ptr<IommuDomain>,
    device: usize,
    /// Bus address of each page, ascending, and the page.
    pages: Vec<(u64, Buffer)>,
}

/// Opens the group of a device.
///
/// Source: `vfio_iommu_type1_attach_group()`; `drivers/vfio/group.c: vfio_group_set_container()`, `vfio_create_group()`.
pub(super) async fn attach(kx: &Kx, device: usize) -> Option<Container> {
    let _frame = kx.enter("vfio_iommu_type1_attach_group");
    // There is a file to open once vfio-pci is bound to the device, and nothing is bound before all is added.
    let node = kx.find_device(device).filter(|node| node.ready.get())?;
    let group = kx.load(node.ptr.get(), Device::iommu_group).await;
    if group.is_null() {
        return None;
    }
    iommu_group_claim_dma_owner(kx, group).await.ok()?;
    let domain = user_domain_alloc(kx).await.ok();
    if let Some(domain) = domain {
        match iommu_attach_group(kx, domain, group).await {
            Ok(()) => return Some(Container { group, domain, device, pages: Vec::new() }),
            Err(errno) => {
                kx.log(|| format!("vfio-pci {}: failed to setup container for group: -{errno}", node.bdf));
                user_domain_free(kx, domain).await;
            }
        }
    }
    iommu_group_release_dma_owner(kx, group).await;
    None
}

/// Pins pages of the process and maps them one by one.
///
/// Source: `vfio_pin_map_dma()`, `vfio_iommu_map()`.
pub(super) async fn map(kx: &Kx, container: &mut Container, iova: u64, pages: u32) {
    let _frame = kx.enter("vfio_pin_map_dma");
    let Some(node) = kx.k.node(container.device) else { return };
    for n in 0..u64::from(pages) {
        let at = iova + n * PAGE_SIZE;
        if container.pages.iter().any(|(other, _)| *other == at) {
            continue;
        }
        let Ok((phys, id)) = kx.alloc_pages("guest memory", 0, GfpFlags::KERNEL).await else { return };
        let buffer = Buffer { phys, size: PAGE_SIZE, id, home: Home::Pages(0) };
        if !user_map(kx, container.domain, DmaAddr(at), phys, PAGE_SIZE).await {
            kx.free_pages(phys, 0, id).await;
            return;
        }
        let new = NewMapping {
            dma: DmaAddr(at),
            size: PAGE_SIZE,
            phys,
            dir: Direction::Bidirectional,
            kind: MapKind::User,
            ops: Ops::Iommu,
            given: false,
            entries: 0,
        };
        kx.k.ledger.mapped(
            kx,
            node.ptr.get(),
            &new,
            &[(DmaAddr(at), phys, PAGE_SIZE)],
            &mut Before::default(),
        );
        let place = container.pages.partition_point(|(other, _)| *other < at);
        container.pages.insert(place, (at, buffer));
    }
}

/// Unmaps what is mapped of a range, a stretch that is in one piece in memory at a time, and then unpins it.
///
/// Source: `vfio_unmap_unpin()`.
pub(super) async fn unmap(kx: &Kx, container: &mut Container, iova: u64, pages: u32) {
    let _frame = kx.enter("vfio_unmap_unpin");
    let end = iova + u64::from(pages) * PAGE_SIZE;
    let first = container.pages.partition_point(|(at, _)| *at < iova);
    let last = container.pages.partition_point(|(at, _)| *at < end);
    let gone: Vec<(u64, Buffer)> = container.pages.drain(first..last).collect();
    let mut rest = gone.as_slice();
    while let Some((start, buffer)) = rest.first() {
        let joined = |n: usize| {
            let bytes = n as u64 * PAGE_SIZE;
            rest[n].0 == start + bytes && rest[n].1.phys.0 == buffer.phys.0 + bytes
        };
        let count = (1..rest.len()).find(|n| !joined(*n)).unwrap_or(rest.len());
        let size = count as u64 * PAGE_SIZE;
        let dev = kx.k.node(container.device).map(|node| node.ptr.get());
        let leaving =
            |(at, _): &(u64, Buffer)| dev.and_then(|dev| kx.k.ledger.leaving(kx, dev, DmaAddr(*at)));
        let leaving: Vec<_> = rest[..count].iter().map(leaving).collect();
        user_unmap(kx, container.domain, DmaAddr(*start), size).await;
        if let Some(node) = kx.k.node(container.device) {
            for id in leaving {
                let attrs = Attrs { skip_cpu_sync: true, no_warn: false };
                kx.k.ledger.unmapped(kx, node.ptr.get(), id, attrs);
            }
        }
        for (_, buffer) in &rest[..count] {
            kx.free_pages(buffer.phys, 0, buffer.id).await;
        }
        rest = &rest[count..];
    }
}

/// The device writes guest memory, page by page.
pub(super) async fn dma(kx: &Kx, device: usize, iova: u64, pages: u32) {
    let Some(node) = kx.k.node(device) else { return };
    for n in 0..u64::from(pages) {
        let at = DmaAddr(iova + n * PAGE_SIZE);
        device_dma(kx, &node, at, PAGE_SIZE, true, kx.k.next_tag()).await;
    }
}

/// Closes the group.
///
/// Source: `vfio_iommu_type1_detach_group()`.
pub(super) async fn detach(kx: &Kx, mut container: Container) {
    let _frame = kx.enter("vfio_iommu_type1_detach_group");
    if let Some((first, _)) = container.pages.first().copied() {
        let last = container.pages.last().map_or(first, |(at, _)| *at);
        let pages = u32::try_from((last - first) / PAGE_SIZE + 1).unwrap_or(u32::MAX);
        unmap(kx, &mut container, first, pages).await;
    }
    iommu_detach_group(kx, container.group).await;
    user_domain_free(kx, container.domain).await;
    iommu_group_release_dma_owner(kx, container.group).await;
}
