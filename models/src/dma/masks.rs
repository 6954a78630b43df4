//! Masks and parameters.

use super::rules::{dma_bit_mask, dma_direct_supported};
use super::{Ops, get_dma_ops};
use crate::device::{Device, DeviceDmaParameters};
use crate::kernel::Kx;
use crate::mem::Ptr;
use crate::profile::Behaviour;
use crate::scenario::schema::CpuVendor;
use crate::swiotlb::{ZONE_DMA_LIMIT, ZONE_DMA32_LIMIT};

/// Whether the device's operations take this mask: dma-direct those that reach the lowest zone or all memory, dma-iommu
/// any. The lowest zone ends at 16 MiB on x86, and at 4 GiB elsewhere.
///
/// Source: `kernel/dma/mapping.c: dma_supported()`, `kernel/dma/direct.c: dma_direct_supported()`, v5.13, v6.1, v6.12.
async fn dma_supported(kx: &Kx, dev: Ptr<Device>, mask: u64) -> bool {
    if get_dma_ops(kx, dev).await != Ops::Direct {
        return true;
    }
    let zone_dma = match kx.k.scenario.machine.cpu_vendor {
        CpuVendor::Arm => ZONE_DMA32_LIMIT,
        CpuVendor::Amd | CpuVendor::Intel => ZONE_DMA_LIMIT,
    };
    dma_direct_supported(mask, kx.k.globals.max_ram.get(), Some(zone_dma))
}

/// Sets what the device can address for streaming mappings.
///
/// Source: `kernel/dma/mapping.c: dma_set_mask()`, `dma_setup_need_sync()`, v5.13, v6.1, v6.12.
///
/// # Errors
/// `-EIO`.
pub async fn dma_set_mask(kx: &Kx, dev: Ptr<Device>, bits: u32) -> Result<(), u32> {
    let _frame = kx.enter("dma_set_mask");
    let mask = dma_bit_mask(bits);
    if super::mapping::has_no_mask(kx, dev) || !dma_supported(kx, dev, mask).await {
        return Err(5);
    }
    kx.store(dev, Device::dma_mask, mask).await;
    if kx.k.has(Behaviour::DmaSkipSync) {
        // dma_setup_need_sync: x86 is coherent, and both implementations need no sync then, until something bounces.
        let _ops = get_dma_ops(kx, dev).await;
        kx.store(dev, Device::dma_skip_sync, true).await;
    }
    Ok(())
}

/// The same for coherent memory.
///
/// # Errors
/// `-EIO`.
pub async fn dma_set_coherent_mask(kx: &Kx, dev: Ptr<Device>, bits: u32) -> Result<(), u32> {
    let _frame = kx.enter("dma_set_coherent_mask");
    let mask = dma_bit_mask(bits);
    if !dma_supported(kx, dev, mask).await {
        return Err(5);
    }
    kx.store(dev, Device::coherent_dma_mask, mask).await;
    Ok(())
}

/// Sets some of the device's demands (`dma_set_min_align_mask`, `dma_set_max_seg_size`, `dma_set_seg_boundary`).
///
/// Source: `include/linux/dma-mapping.h`, v5.13.
///
/// # Errors
/// `-EIO` for a device without parameters.
pub async fn dma_set_parms(
    kx: &Kx,
    dev: Ptr<Device>,
    min_align_mask: Option<u32>,
    max_segment_size: Option<u32>,
    boundary: Option<u64>,
) -> Result<(), u32> {
    let parms = kx.load(dev, Device::dma_parms).await;
    if parms.is_null() {
        return Err(5);
    }
    if let Some(mask) = min_align_mask {
        kx.store(parms, DeviceDmaParameters::min_align_mask, mask).await;
    }
    if let Some(size) = max_segment_size {
        kx.store(parms, DeviceDmaParameters::max_segment_size, size).await;
    }
    if let Some(mask) = boundary {
        kx.store(parms, DeviceDmaParameters::segment_boundary_mask, mask).await;
    }
    Ok(())
}
