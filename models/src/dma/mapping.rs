//! Streaming mappings of single buffers.

use sim::Draft;

use super::direct::dma_to_phys;
use super::rules::{dma_direct_required_mask, min_not_zero};
use super::{Attrs, Ops, dma_direct_map_page, dma_direct_unmap_page, get_dma_ops};
use crate::device::Device;
use crate::iommu::dma::{iommu_dma_map_page, iommu_dma_sync_single, iommu_dma_unmap_page};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PhysAddr, Ptr};
use crate::oracle::{Before, MapKind, NewMapping, Synced, Unmapped};
use crate::profile::Behaviour;
use crate::swiotlb::Direction;
use crate::swiotlb::kernel::{
    dma_limits, is_swiotlb_active, is_swiotlb_force_bounce, swiotlb_max_mapping_size, swiotlb_sync_if_bounced,
};

/// Maps a buffer for a device; `None` is `DMA_MAPPING_ERROR`.
///
/// Source: `kernel/dma/mapping.c: dma_map_page_attrs()`, v5.13, v6.1, v6.12.
pub async fn dma_map_page_attrs(
    kx: &Kx,
    dev: Ptr<Device>,
    phys: PhysAddr,
    size: u64,
    dir: Direction,
    attrs: Attrs,
) -> Option<DmaAddr> {
    let _frame = kx.enter("dma_map_page_attrs");
    if refuses_without_mask(kx, dev) {
        return None;
    }
    let ops = get_dma_ops(kx, dev).await;
    let mut before = if attrs.skip_cpu_sync { Before::default() } else { Before::of(kx, [(phys, size)]) };
    let addr = match ops {
        Ops::Direct => dma_direct_map_page(kx, dev, phys, size, dir, attrs).await,
        Ops::Iommu => iommu_dma_map_page(kx, dev, phys, size, dir, attrs).await,
    };
    if addr.is_none() {
        tell_mask(kx, dev, ops).await;
    }
    note_path(kx, dev, ops, addr.is_none());
    if let Some(dma) = addr {
        let given = !attrs.skip_cpu_sync;
        let new = NewMapping { dma, size, phys, dir, kind: MapKind::Single, ops, given, entries: 0 };
        kx.k.ledger.mapped(kx, dev, &new, &[(dma, phys, size)], &mut before);
    }
    addr
}

/// Whether a device has no mask (`dev->dma_mask` is NULL), as its bus never set it up.
pub(super) fn has_no_mask(kx: &Kx, dev: Ptr<Device>) -> bool {
    kx.k.node_of(dev).is_some_and(|node| node.spec(&kx.k).no_dma_mask)
}

/// With `map-needs-mask` a device without a mask is warned of, and nothing is mapped for it.
///
/// Source: `kernel/dma/mapping.c: dma_map_page_attrs(), dma_map_sg_attrs()`, v5.13, v6.1, v6.12.
pub(super) fn refuses_without_mask(kx: &Kx, dev: Ptr<Device>) -> bool {
    let refuses = kx.k.has(Behaviour::MapNeedsMask) && has_no_mask(kx, dev);
    if refuses {
        let title = format!("WARNING: in {}: {} has no DMA mask", kx.function(), kx.k.dev_string(dev));
        kx.report(Draft::warning("warn-on", title).discriminator("no DMA mask"), Vec::new);
    }
    refuses
}

/// dma-direct can reach nothing for a device without a mask, and says so; the message tells the mask.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_map()`, `kernel/dma/direct.h: dma_direct_map_page()`, v5.9.
pub(super) async fn tell_mask(kx: &Kx, dev: Ptr<Device>, ops: Ops) {
    if ops == Ops::Direct && has_no_mask(kx, dev) {
        let _frame = kx.enter("swiotlb_map");
        kx.page_fault(0, "read").await;
    }
}

/// For facts: how the device's mappings are made, and how many.
pub(super) fn note_path(kx: &Kx, dev: Ptr<Device>, ops: Ops, failed: bool) {
    if let Some(node) = kx.k.node_of(dev) {
        node.path.set(match ops {
            Ops::Direct => "dma-direct",
            Ops::Iommu => "iommu-dma",
        });
        node.count(false, failed);
    }
}

/// Undoes a mapping.
///
/// Source: `kernel/dma/mapping.c: dma_unmap_page_attrs()`, v5.13, v6.1, v6.12.
pub async fn dma_unmap_page_attrs(
    kx: &Kx,
    dev: Ptr<Device>,
    addr: DmaAddr,
    size: u64,
    dir: Direction,
    attrs: Attrs,
) {
    let _frame = kx.enter("dma_unmap_page_attrs");
    let ops = get_dma_ops(kx, dev).await;
    let kind = MapKind::Single;
    let unmap = Unmapped { dma: addr, size, dir, kind, ops, phys: None, entries: 0 };
    let leaving = kx.k.ledger.unmapping(kx, dev, &unmap);
    match ops {
        Ops::Direct => dma_direct_unmap_page(kx, dev, addr, size, dir, attrs).await,
        Ops::Iommu => iommu_dma_unmap_page(kx, dev, addr, size, dir, attrs).await,
    }
    kx.k.ledger.unmapped(kx, dev, leaving, attrs);
}

/// The most bytes that one mapping of a device may have; all ones where there is no limit.
///
/// Source: `kernel/dma/mapping.c: dma_max_mapping_size()`, `kernel/dma/direct.c: dma_direct_max_mapping_size()`,
/// `drivers/iommu/dma-iommu.c: iommu_dma_max_mapping_size()`, v5.13, v6.1, v6.12.
pub async fn dma_max_mapping_size(kx: &Kx, dev: Ptr<Device>) -> u64 {
    let _frame = kx.enter("dma_max_mapping_size");
    let bounces = match get_dma_ops(kx, dev).await {
        Ops::Direct => {
            let mask = kx.load(dev, Device::dma_mask).await;
            let limit = kx.load(dev, Device::bus_dma_limit).await;
            let limited = min_not_zero(mask, limit) < dma_direct_required_mask(kx.k.globals.max_ram.get());
            is_swiotlb_active(kx, dev).await && (limited || is_swiotlb_force_bounce(kx, dev).await)
        }
        Ops::Iommu => {
            let untrusted = kx.k.node_of(dev).is_some_and(|node| node.spec(&kx.k).untrusted);
            untrusted && kx.k.has(Behaviour::IommuMaxMappingSize)
        }
    };
    if bounces { swiotlb_max_mapping_size(kx, dma_limits(kx, dev).await) } else { u64::MAX }
}

/// Hands a mapped buffer, or a part of it, to the CPU or back to the device.
///
/// With `dma-skip-sync` a device whose mappings need none returns at once (`dma_dev_need_sync`).
///
/// Source: `kernel/dma/mapping.c: dma_sync_single_for_cpu()`, `dma_sync_single_for_device()`, v5.13, v6.1;
/// `include/linux/dma-mapping.h`, `__dma_sync_single_for_cpu()`, v6.12.
pub async fn dma_sync_single(
    kx: &Kx,
    dev: Ptr<Device>,
    addr: DmaAddr,
    size: u64,
    dir: Direction,
    for_cpu: bool,
) {
    let skips = kx.k.has(Behaviour::DmaSkipSync);
    let _frame = kx.enter(match (skips, for_cpu) {
        (false, true) => "dma_sync_single_for_cpu",
        (false, false) => "dma_sync_single_for_device",
        (true, true) => "__dma_sync_single_for_cpu",
        (true, false) => "__dma_sync_single_for_device",
    });
    let sync = Synced { dma: addr, size, dir, for_cpu, entries: 0 };
    kx.k.ledger.syncing(kx, dev, &sync);
    if !(skips && kx.load(dev, Device::dma_skip_sync).await) {
        let ops = get_dma_ops(kx, dev).await;
        sync_part(kx, dev, &sync, ops).await;
    }
    kx.k.ledger.synced(kx, dev, &sync);
}

/// Syncs one piece through the implementation that serves the device.
pub(super) async fn sync_part(kx: &Kx, dev: Ptr<Device>, sync: &Synced, ops: Ops) {
    let Synced { dma, size, dir, for_cpu, .. } = *sync;
    match ops {
        Ops::Direct => swiotlb_sync_if_bounced(kx, dev, dma_to_phys(dma), size, dir, for_cpu).await,
        Ops::Iommu => iommu_dma_sync_single(kx, dev, dma, size, dir, for_cpu).await,
    }
}
