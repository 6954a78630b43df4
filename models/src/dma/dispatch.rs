//! Which implementation serves a device.

use crate::device::Device;
use crate::kernel::{Kx, Symbol};
use crate::mem::Ptr;
use crate::profile::Behaviour;

/// What `dev->dma_ops` leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ops {
    /// NULL, and no architecture's default: dma-direct.
    Direct,
    /// `iommu_dma_ops`.
    Iommu,
}

impl std::fmt::Display for Ops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Direct => "dma-direct",
            Self::Iommu => "dma-iommu",
        })
    }
}

/// Reads the device's operations. A pointer that is neither NULL nor a table of operations is followed as the CPU
/// would: into an oops.
///
/// With `dma-iommu-flag` a flag of the device is asked before the pointer is: what the flag says is not followed.
///
/// Source: `include/linux/dma-map-ops.h: get_dma_ops()`, `kernel/dma/mapping.c: dma_map_direct()`, v5.13, v6.1;
/// `dma_go_direct()`, `include/linux/iommu-dma.h: use_dma_iommu()`, v6.12.
pub async fn get_dma_ops(kx: &Kx, dev: Ptr<Device>) -> Ops {
    let ops = kx.load(dev, Device::dma_ops).await;
    if kx.k.has(Behaviour::DmaIommuFlag) && kx.load(dev, Device::dma_iommu).await {
        return Ops::Iommu;
    }
    if ops == 0 {
        return Ops::Direct;
    }
    if ops == Symbol::IommuDmaOps.addr() {
        return Ops::Iommu;
    }
    /// Offset of `map_page` in `struct dma_map_ops`.
    const MAP_PAGE: u64 = 0x30;
    let slot = ops.wrapping_add(MAP_PAGE);
    kx.note(|| format!("dev->dma_ops is {ops:#x}, which is no table of operations"));
    match kx.k.image.mapped(slot) {
        None => kx.page_fault(slot, "read").await,
        Some(phys) => {
            let target = kx.raw_read(phys, 8);
            kx.page_fault(target, "instruction fetch").await;
        }
    }
    Ops::Direct
}
