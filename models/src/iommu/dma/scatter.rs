//! Scatterlists: one range for the whole list, neighbours joined where the device allows it.

use super::layout::{SgLayout, SgPlace};
use super::map::{dma_domain, iommu_dma_map_page, iommu_dma_unmap_page};
use super::range::{alloc_iova, free_iova, iommu_dma_unmap, map_range, unmap_range};
use crate::device::{Device, DeviceDmaParameters};
use crate::dma::rules::{DEFAULT_MAX_SEGMENT, DMA_BIT_MASK_32};
use crate::dma::{Attrs, SgEntry};
use crate::iommu::core::iommu_deferred_attach;
use crate::kernel::Kx;
use crate::mem::{PAGE_SIZE, PhysAddr, Ptr, align_up};
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
    iommu_deferred_attach(kx, dev, domain).await;
    let parms = kx.load(dev, Device::dma_parms).await;
    let (max_segment, boundary) = if parms.is_null() {
        (DEFAULT_MAX_SEGMENT, DMA_BIT_MASK_32)
    } else {
        let max = kx.load(parms, DeviceDmaParameters::max_segment_size).await;
        // dma_get_max_seg_size: 0 says nothing.
        let max = if max == 0 { DEFAULT_MAX_SEGMENT } else { max };
        (max, kx.load(parms, DeviceDmaParameters::segment_boundary_mask).await)
    };
    let entries: Vec<_> =
        list.iter().map(|entry| (entry.phys, u32::try_from(entry.length).unwrap_or(u32::MAX))).collect();
    let layout = SgLayout::of(&entries, boundary);
    let total = layout.total;
    let Some(start) = alloc_iova(kx, dev, domain, total, Device::dma_mask).await else {
        if let Some(node) = kx.k.node_of(dev) {
            node.why_failed.set("no IO virtual address is left");
        }
        return 0;
    };
    for (n, SgPlace { start: place, length }) in layout.places.iter().enumerate() {
        let phys = PhysAddr(list[n].phys.0 - list[n].phys.page_offset());
        let own = align_up(list[n].phys.page_offset() + list[n].length, PAGE_SIZE);
        if !map_range(kx, domain, start.wrapping_add(*place), phys, (*length, own), dir).await {
            // What was translated so far goes back too (`__iommu_map_sg`).
            for SgPlace { start: place, length } in &layout.places[..n] {
                unmap_range(kx, domain, start.wrapping_add(*place), *length).await;
            }
            free_iova(kx, domain, start, total).await;
            return 0;
        }
    }
    for (entry, place) in list.iter_mut().zip(&layout.places) {
        entry.at = start.wrapping_add(place.start + entry.phys.page_offset());
    }
    let segments = layout.finalise(&entries, start, max_segment, boundary);
    for (entry, segment) in list.iter_mut().zip(&segments) {
        entry.dma = segment.dma;
        entry.dma_length = u64::from(segment.length);
    }
    segments.len()
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
    // The end may be that of the address space.
    let end = last.dma.0.wrapping_add(last.dma_length);
    iommu_dma_unmap(kx, domain, first.dma, end.wrapping_sub(first.dma.0)).await;
}
