//! dma-direct.

use super::Attrs;
use super::rules::{DirectWay, dma_direct_way, dma_reaches};
use crate::device::Device;
use crate::kernel::{Kx, SwiotlbForce};
use crate::mem::{DmaAddr, PhysAddr, Ptr};
use crate::profile::Behaviour;
use crate::swiotlb::Direction;
use crate::swiotlb::kernel::{
    is_swiotlb_active, is_swiotlb_force_bounce, swiotlb_map, swiotlb_sync_if_bounced,
    swiotlb_unmap_if_bounced,
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
/// Source: `kernel/dma/direct.h: dma_direct_map_page()`, v5.13; with per-pool force flag, next of June 2021; v6.1, v6.12.
pub async fn dma_direct_map_page(
    kx: &Kx,
    dev: Ptr<Device>,
    phys: PhysAddr,
    size: u64,
    dir: Direction,
    attrs: Attrs,
) -> Option<DmaAddr> {
    let dma_addr = phys_to_dma(kx, phys, false);
    let force = is_swiotlb_force_bounce(kx, dev).await;
    // What an earlier answer decides alone is not asked.
    let reaches = !force && dma_capable(kx, dev, dma_addr, size).await;
    let active = !force && !reaches && can_bounce(kx, dev).await;
    match dma_direct_way(force, active, reaches, dma_addr) {
        DirectWay::Direct(addr) => Some(addr),
        DirectWay::Bounce => swiotlb_map(kx, dev, phys, size, dir, attrs).await,
        DirectWay::Overflow => {
            overflow(kx, dev, dma_addr, size);
            None
        }
    }
}

/// Whether a buffer that the device does not reach may go through the pool: with `bounce-needs-pool` if there is one
/// with slots, before if the command line does not forbid it.
async fn can_bounce(kx: &Kx, dev: Ptr<Device>) -> bool {
    if kx.k.has(Behaviour::BounceNeedsPool) {
        is_swiotlb_active(kx, dev).await
    } else {
        kx.k.globals.swiotlb_force.get() != SwiotlbForce::NoForce
    }
}

fn overflow(kx: &Kx, dev: Ptr<Device>, dma_addr: DmaAddr, size: u64) {
    if let Some(node) = kx.k.node_of(dev) {
        node.why_failed.set(if kx.k.has(Behaviour::BounceNeedsPool) {
            "the device cannot reach the memory, and there is no bounce pool"
        } else {
            "the device cannot reach the memory, and bouncing is switched off"
        });
    }
    if kx.k.globals.once("DMA addr overflow") {
        let mask = kx.peek(dev, Device::dma_mask).unwrap_or(0);
        let limit = kx.peek(dev, Device::bus_dma_limit).unwrap_or(0);
        kx.log(|| format!("DMA addr {dma_addr:#018x}+{size} overflow (mask {mask:x}, bus limit {limit:x})."));
    }
}

/// Undoes it. What the device wrote is copied back by a sync, before the slots are given up.
///
/// Source: `kernel/dma/direct.h: dma_direct_unmap_page()`, v5.13, v6.1, v6.12.
pub async fn dma_direct_unmap_page(
    kx: &Kx,
    dev: Ptr<Device>,
    addr: DmaAddr,
    size: u64,
    dir: Direction,
    attrs: Attrs,
) {
    let phys = dma_to_phys(addr);
    if !kx.k.has(Behaviour::SwiotlbAreas) {
        swiotlb_unmap_if_bounced(kx, dev, phys, size, dir, attrs).await;
        return;
    }
    if !attrs.skip_cpu_sync {
        swiotlb_sync_if_bounced(kx, dev, phys, size, dir, true).await;
    }
    swiotlb_unmap_if_bounced(kx, dev, phys, size, dir, attrs.with_skip_cpu_sync()).await;
}
