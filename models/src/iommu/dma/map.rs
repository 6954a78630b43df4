//! Mapping, unmapping and syncing of single buffers.

use sim::Draft;

use super::range::{alloc_iova, iommu_dma_unmap, iova_to_phys, map_range};
use crate::device::Device;
use crate::dma::Attrs;
use crate::iommu::core::{IommuDomain, iommu_deferred_attach, iommu_get_dma_domain};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, Field, PAGE_SIZE, PhysAddr, Ptr, Source, align_up};
use crate::profile::Behaviour;
use crate::swiotlb::kernel::{
    is_swiotlb_active, swiotlb_sync_if_bounced, swiotlb_tbl_map_single, swiotlb_unmap_if_bounced,
};
use crate::swiotlb::{Direction, MapRequest};

/// Maps a buffer; an untrusted device's partial pages are bounced.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_dma_map_page()`, v5.13, v6.1, v6.12.
pub async fn iommu_dma_map_page(
    kx: &Kx,
    dev: Ptr<Device>,
    phys: PhysAddr,
    size: u64,
    dir: Direction,
    attrs: Attrs,
) -> Option<DmaAddr> {
    let _frame = kx.enter("iommu_dma_map_page");
    let domain = dma_domain(kx, dev).await?;
    let (mut phys, mut mapped) = (phys, size);
    let untrusted = kx.k.node_of(dev).is_some_and(|node| node.spec(&kx.k).untrusted);
    if untrusted && kx.k.has(Behaviour::UntrustedBounce) && (phys.0 | size) & (PAGE_SIZE - 1) != 0 {
        (phys, mapped) = bounce(kx, dev, phys, size, dir, attrs).await?;
    }
    let addr = map(kx, dev, domain, phys, mapped, dir, Device::dma_mask).await;
    if addr.is_none() {
        swiotlb_unmap_if_bounced(kx, dev, phys, size, dir, attrs).await;
    }
    addr
}

/// Bounces an untrusted device's buffer, so that it shares no granule with anything else. Where it lies then, and how
/// much of it is to be translated.
///
/// With `alloc-align-mask` the slots are aligned to the granule; with `one-mapping-size` they are rounded to it by the
/// search and padded by it.
///
/// Source: `drivers/iommu/dma-iommu.c: __iommu_dma_map_swiotlb()`, v5.13; `iommu_dma_map_page()`, v6.1, v6.12.
async fn bounce(
    kx: &Kx,
    dev: Ptr<Device>,
    phys: PhysAddr,
    size: u64,
    dir: Direction,
    attrs: Attrs,
) -> Option<(PhysAddr, u64)> {
    let aligned = align_up(size, PAGE_SIZE);
    let mut request =
        MapRequest { orig_addr: phys, mapping_size: size, alloc_size: aligned, alloc_align_mask: 0 };
    if !kx.k.has(Behaviour::AllocAlignMask) {
        let _frame = kx.enter("__iommu_dma_map_swiotlb");
        let bounced = swiotlb_tbl_map_single(kx, dev, &request, dir, attrs).await?;
        clear_padding(kx, bounced, size, dir, attrs);
        return Some((bounced, aligned));
    }
    if !is_swiotlb_active(kx, dev).await {
        if let Some(node) = kx.k.node_of(dev) {
            node.why_failed.set("DMA bounce buffers are inactive");
        }
        if kx.k.globals.once("DMA bounce buffers are inactive") {
            kx.log(|| {
                let name = kx.k.dev_string(dev);
                format!("{name}: DMA bounce buffers are inactive, unable to map unaligned transaction.")
            });
        }
        return None;
    }
    request.alloc_align_mask = u32::try_from(PAGE_SIZE - 1).unwrap_or(0);
    let bounced = swiotlb_tbl_map_single(kx, dev, &request, dir, attrs).await?;
    kx.step(sim::Kind::Write, kx.memory_label()).await;
    clear_padding(kx, bounced, size, dir, attrs);
    Some((bounced, size))
}

/// Whatever the device can reach beside the mapping is cleared; where the mapping itself is not the device's to read,
/// older kernels clear that too.
///
/// Source: `drivers/iommu/dma-iommu.c: __iommu_dma_map_swiotlb()`, v5.13; `iommu_dma_map_page()`, v6.1, v6.12.
fn clear_padding(kx: &Kx, bounced: PhysAddr, size: u64, dir: Direction, attrs: Attrs) {
    let clear = |from: PhysAddr, bytes: u64| {
        if bytes > 0 {
            let _ = kx.k.mem.borrow_mut().heap.write_at(from, bytes, Source::Zero, 0);
        }
    };
    let end = bounced.wrapping_add(size);
    if kx.k.has(Behaviour::PaddingZeroedAround) {
        let head = bounced.page_offset();
        clear(PhysAddr(bounced.0 - head), head);
        clear(end, align_up(end.0, PAGE_SIZE) - end.0);
        return;
    }
    // The size is rounded up from the first byte, wherever in its granule that lies.
    let aligned = align_up(size, PAGE_SIZE);
    if !attrs.skip_cpu_sync && dir.reaches_device() {
        clear(end, aligned - size);
    } else {
        clear(bounced, aligned);
    }
}

/// Takes a range and translates it.
///
/// Source: `drivers/iommu/dma-iommu.c: __iommu_dma_map()`, v5.13.
async fn map(
    kx: &Kx,
    dev: Ptr<Device>,
    domain: Ptr<IommuDomain>,
    phys: PhysAddr,
    size: u64,
    dir: Direction,
    mask: Field<Device, u64>,
) -> Option<DmaAddr> {
    let _frame = kx.enter("__iommu_dma_map");
    iommu_deferred_attach(kx, dev, domain).await;
    let offset = phys.page_offset();
    let length = align_up(size + offset, PAGE_SIZE);
    let Some(addr) = alloc_iova(kx, dev, domain, length, mask).await else {
        if let Some(node) = kx.k.node_of(dev) {
            node.why_failed.set("no IO virtual address is left");
        }
        return None;
    };
    if !map_range(kx, domain, addr, PhysAddr(phys.0 - offset), (length, length), dir).await {
        super::range::free_iova(kx, domain, addr, length).await;
        return None;
    }
    Some(addr.wrapping_add(offset))
}

/// The device's domain; a device without one is a misuse that ends in an oops.
pub(super) async fn dma_domain(kx: &Kx, dev: Ptr<Device>) -> Option<Ptr<IommuDomain>> {
    let domain = iommu_get_dma_domain(kx, dev).await;
    if domain.is_null() {
        kx.page_fault(0x40, "read").await;
        return None;
    }
    // The load tells whether it lives.
    kx.load(domain, IommuDomain::iova_cookie).await;
    Some(domain)
}

/// Undoes it. The look-up in the bounce pool comes last: it reads the pool's descriptor on every unmap.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_dma_unmap_page()`, `__iommu_dma_unmap_swiotlb()`, v5.13; v6.1,
/// v6.12.
pub async fn iommu_dma_unmap_page(
    kx: &Kx,
    dev: Ptr<Device>,
    addr: DmaAddr,
    size: u64,
    dir: Direction,
    attrs: Attrs,
) {
    let _frame = kx.enter("iommu_dma_unmap_page");
    let folded = kx.k.has(Behaviour::AllocAlignMask);
    let _inner = (!folded).then(|| kx.enter("__iommu_dma_unmap_swiotlb"));
    let Some(domain) = dma_domain(kx, dev).await else { return };
    let Some(phys) = iova_to_phys(kx, domain, addr).await else {
        let title = format!("WARNING: in {}: {addr:#x} is not mapped (WARN_ON(!phys))", kx.function());
        kx.report(Draft::warning("warn-on", title), Vec::new);
        return;
    };
    iommu_dma_unmap(kx, domain, addr, size).await;
    swiotlb_unmap_if_bounced(kx, dev, phys, size, dir, attrs).await;
}

/// Hands a mapped buffer over: only a bounced one needs anything on a coherent machine.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_dma_sync_single_for_cpu()`, v5.13.
pub async fn iommu_dma_sync_single(
    kx: &Kx,
    dev: Ptr<Device>,
    addr: DmaAddr,
    size: u64,
    dir: Direction,
    for_cpu: bool,
) {
    // A coherent and trusted device returns at once (`dev_is_dma_coherent(dev) && !dev_is_untrusted(dev)`).
    if !kx.k.node_of(dev).is_some_and(|node| node.spec(&kx.k).untrusted) {
        return;
    }
    let _frame =
        kx.enter(if for_cpu { "iommu_dma_sync_single_for_cpu" } else { "iommu_dma_sync_single_for_device" });
    let Some(domain) = dma_domain(kx, dev).await else { return };
    let Some(phys) = iova_to_phys(kx, domain, addr).await else { return };
    swiotlb_sync_if_bounced(kx, dev, phys, size, dir, for_cpu).await;
}

/// Translates coherent memory.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_dma_alloc()`, v5.13.
pub async fn iommu_dma_map_coherent(kx: &Kx, dev: Ptr<Device>, phys: PhysAddr, size: u64) -> Option<DmaAddr> {
    let _frame = kx.enter("iommu_dma_alloc");
    let domain = dma_domain(kx, dev).await?;
    map(kx, dev, domain, phys, size, Direction::Bidirectional, Device::coherent_dma_mask).await
}

/// Takes the translation of coherent memory back.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_dma_free()`, v5.13.
pub async fn iommu_dma_unmap_coherent(kx: &Kx, dev: Ptr<Device>, addr: DmaAddr, size: u64) {
    let _frame = kx.enter("iommu_dma_free");
    if let Some(domain) = dma_domain(kx, dev).await {
        iommu_dma_unmap(kx, domain, addr, size).await;
    }
}
