//! dma-direct.

use super::Attrs;
use super::rules::dma_reaches;
use crate::device::Device;
use crate::kernel::{Kx, SwiotlbForce};
use crate::mem::{DmaAddr, PhysAddr, Ptr};
use crate::swiotlb::Direction;
use crate::swiotlb::kernel::{
    is_swiotlb_buffer, is_swiotlb_force_bounce, swiotlb_map, swiotlb_tbl_unmap_single,
};

/// The bit that marks encrypted memory with AMD's memory encryption (`sme_me_mask`).
const ENCRYPTED: u64 = 1 << 47;

/// A physical address as a device sees it without an IOMMU.
///
/// Source: `include/linux/dma-direct.h: phys_to_dma()`, `phys_to_dma_unencrypted()`, v5.13.
#[must_use]
pub fn phys_to_dma(kx: &Kx, phys: PhysAddr, unencrypted: bool) -> DmaAddr {
    let encrypt = !unencrypted && (kx.k.globals.sme_active.get() || kx.k.globals.sev_active.get());
    DmaAddr(if encrypt { phys.0 | ENCRYPTED } else { phys.0 })
}

/// The way back.
#[must_use]
pub(super) const fn dma_to_phys(addr: DmaAddr) -> PhysAddr {
    PhysAddr(addr.0 & !ENCRYPTED)
}

/// Whether a device can drive all addresses of a range.
///
/// Source: `include/linux/dma-direct.h: dma_capable()`, v5.13.
pub async fn dma_capable(kx: &Kx, dev: Ptr<Device>, addr: DmaAddr, size: u64) -> bool {
    let mask = kx.load(dev, Device::dma_mask).await;
    if mask == 0 {
        return false;
    }
    let limit = kx.load(dev, Device::bus_dma_limit).await;
    dma_reaches(mask, limit, addr, size)
}

/// Maps a buffer for a device that sees physical addresses. Inlined into its caller: it stands on no call stack.
///
/// Source: `kernel/dma/direct.h: dma_direct_map_page()`, v5.13; with per-pool force flag, next of June 2021.
pub async fn dma_direct_map_page(
    kx: &Kx,
    dev: Ptr<Device>,
    phys: PhysAddr,
    size: u64,
    dir: Direction,
    attrs: Attrs,
) -> Option<DmaAddr> {
    let dma_addr = phys_to_dma(kx, phys, false);
    if is_swiotlb_force_bounce(kx, dev).await {
        return swiotlb_map(kx, dev, phys, size, dir, attrs).await;
    }
    if !dma_capable(kx, dev, dma_addr, size).await {
        // Whether there is a pool is asked only from 5.19 on; before, only `swiotlb=noforce` keeps it from being tried.
        if kx.k.globals.swiotlb_force.get() != SwiotlbForce::NoForce {
            return swiotlb_map(kx, dev, phys, size, dir, attrs).await;
        }
        if let Some(node) = kx.k.node_of(dev) {
            node.why_failed.set("the device cannot reach the memory, and bouncing is switched off");
        }
        if kx.k.globals.once("DMA addr overflow") {
            let mask = kx.peek(dev, Device::dma_mask).unwrap_or(0);
            let limit = kx.peek(dev, Device::bus_dma_limit).unwrap_or(0);
            kx.log(|| {
                format!("DMA addr {dma_addr:#018x}+{size} overflow (mask {mask:x}, bus limit {limit:x}).")
            });
        }
        return None;
    }
    Some(dma_addr)
}

/// Undoes it.
///
/// Source: `kernel/dma/direct.h: dma_direct_unmap_page()`, v5.13.
pub async fn dma_direct_unmap_page(
    kx: &Kx,
    dev: Ptr<Device>,
    addr: DmaAddr,
    size: u64,
    dir: Direction,
    attrs: Attrs,
) {
    let phys = dma_to_phys(addr);
    if is_swiotlb_buffer(kx, dev, phys).await {
        swiotlb_tbl_unmap_single(kx, dev, phys, size, dir, attrs).await;
    }
}
