//! Scatterlists: one range for the whole list, neighbours joined where the device allows it.

use super::map::{dma_domain, iommu_dma_map_page, iommu_dma_unmap_page};
use super::range::{alloc_iova, free_iova, iommu_dma_unmap, map_range, unmap_range};
use crate::device::{Device, DeviceDmaParameters};
use crate::dma::{Attrs, SgEntry};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PAGE_SIZE, PhysAddr, Ptr, align_up};
use crate::profile::Behaviour;
use crate::swiotlb::Direction;

/// Maps a list; the number of segments, 0 if it failed.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_dma_map_sg()`, `__finalise_sg()`, v5.13.
pub async fn iommu_dma_map_sg(
    kx: &Kx,
    dev: Ptr<Device>,
    list: &mut [SgEntry],
    dir: Direction,
    attrs: Attrs,
) -> usize {
    let _frame = kx.enter("iommu_dma_map_sg");
    if untrusted(kx, dev) {
        return map_sg_swiotlb(kx, dev, list, dir, attrs).await;
    }
    let Some(domain) = dma_domain(kx, dev).await else { return 0 };
    let parms = kx.load(dev, Device::dma_parms).await;
    let (max_segment, boundary) = if parms.is_null() {
        (65536, 0xffff_ffff)
    } else {
        let max = kx.load(parms, DeviceDmaParameters::max_segment_size).await;
        (u64::from(max), kx.load(parms, DeviceDmaParameters::segment_boundary_mask).await)
    };
    // Where each entry begins in the range; an entry that would cross the boundary is moved behind it.
    let mut total = 0_u64;
    let mut places = Vec::with_capacity(list.len());
    for entry in list.iter() {
        let length = align_up(entry.length + entry.phys.page_offset(), PAGE_SIZE);
        let pad = boundary.wrapping_sub(total).wrapping_add(1) & boundary;
        if pad != 0 && pad < length - 1 {
            total += pad;
        }
        places.push((total, length));
        total += length;
    }
    let Some(start) = alloc_iova(kx, dev, domain, total, Device::dma_mask).await else {
        if let Some(node) = kx.k.node_of(dev) {
            node.why_failed.set("no IO virtual address is left");
        }
        return 0;
    };
    for (n, (place, length)) in places.iter().enumerate() {
        let phys = PhysAddr(list[n].phys.0 - list[n].phys.page_offset());
        if !map_range(kx, domain, start.wrapping_add(*place), phys, *length, dir).await {
            // What was translated so far goes back too (`__iommu_map_sg`).
            for (place, length) in &places[..n] {
                unmap_range(kx, domain, start.wrapping_add(*place), *length).await;
            }
            free_iova(kx, domain, start, total).await;
            return 0;
        }
    }
    join(list, &places, start, max_segment, boundary)
}

fn untrusted(kx: &Kx, dev: Ptr<Device>) -> bool {
    kx.k.has(Behaviour::UntrustedBounce) && kx.k.node_of(dev).is_some_and(|node| node.spec(&kx.k).untrusted)
}

/// An untrusted device gets each entry by itself, so that partial pages are bounced.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_dma_map_sg_swiotlb()`, v5.13.
async fn map_sg_swiotlb(
    kx: &Kx,
    dev: Ptr<Device>,
    list: &mut [SgEntry],
    dir: Direction,
    attrs: Attrs,
) -> usize {
    let _frame = kx.enter("iommu_dma_map_sg_swiotlb");
    for n in 0..list.len() {
        let SgEntry { phys, length, .. } = list[n];
        let Some(dma) = iommu_dma_map_page(kx, dev, phys, length, dir, attrs).await else {
            for entry in &list[..n] {
                let attrs = attrs.with_skip_cpu_sync();
                iommu_dma_unmap_page(kx, dev, entry.dma, entry.dma_length, dir, attrs).await;
            }
            return 0;
        };
        list[n] = SgEntry { phys, length, dma, dma_length: length, at: dma };
    }
    list.len()
}

/// Joins entries into segments: the one before ended on a page's end and this one starts at a page's start, it does
/// not start on the boundary, and the segment does not become too long.
fn join(
    list: &mut [SgEntry],
    places: &[(u64, u64)],
    start: DmaAddr,
    max_segment: u64,
    boundary: u64,
) -> usize {
    let mut segments: Vec<(u64, u64)> = Vec::with_capacity(list.len());
    let mut whole = false;
    for (entry, (place, _)) in list.iter_mut().zip(places) {
        let addr = start.0 + place + entry.phys.page_offset();
        entry.at = DmaAddr(addr);
        match segments.last_mut() {
            Some((from, length))
                if whole
                    && entry.phys.page_offset() == 0
                    && *from + *length == addr
                    && addr & boundary != 0
                    && *length + entry.length <= max_segment =>
            {
                *length += entry.length;
            }
            _ => segments.push((addr, entry.length)),
        }
        whole = (entry.phys.page_offset() + entry.length) & (PAGE_SIZE - 1) == 0;
    }
    for (entry, (addr, length)) in list.iter_mut().zip(&segments) {
        entry.dma = DmaAddr(*addr);
        entry.dma_length = *length;
    }
    segments.len()
}

/// Undoes it: the list lies in one range, from the first segment's start to the last one's end.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_dma_unmap_sg()`, v5.13.
pub async fn iommu_dma_unmap_sg(
    kx: &Kx,
    dev: Ptr<Device>,
    list: &[SgEntry],
    segments: usize,
    dir: Direction,
    attrs: Attrs,
) {
    let _frame = kx.enter("iommu_dma_unmap_sg");
    if untrusted(kx, dev) {
        let _frame = kx.enter("iommu_dma_unmap_sg_swiotlb");
        for entry in list {
            iommu_dma_unmap_page(kx, dev, entry.dma, entry.dma_length, dir, attrs).await;
        }
        return;
    }
    let Some(domain) = dma_domain(kx, dev).await else { return };
    let (Some(first), Some(last)) = (list.first(), list.get(segments.saturating_sub(1))) else { return };
    let end = last.dma.0 + last.dma_length;
    iommu_dma_unmap(kx, domain, first.dma, end - first.dma.0).await;
}
