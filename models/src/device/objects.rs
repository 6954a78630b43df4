//! The structures, as they lie in memory.

use super::BusDmaRegion;
use crate::dma::DmaCoherentMem;
use crate::iommu::core::{DevIommu, IommuGroup};
use crate::mem::Ptr;
use crate::swiotlb::IoTlbMem;

mem::kobject! {
    /// `struct device`, as far as DMA is concerned. The offsets are those of a usual x86-64 configuration of 5.13, to
    /// within what options move.
    ///
    /// Source: `include/linux/device.h: struct device`, v5.13 with the restricted-DMA series.
    pub struct Device = "struct device" {
        /// Reference count (`kobj.kref`).
        kref: u32 = 0x38,
        /// The bound driver; 0 for none.
        driver: u64 = 0x68,
        /// Operations for DMA; 0 for direct mapping.
        dma_ops: u64 = 0x248,
        /// Which addresses the device can drive (`*dma_mask`).
        dma_mask: u64 = 0x250,
        /// The same for coherent memory.
        coherent_dma_mask: u64 = 0x258,
        /// The highest address that the bus above carries; 0 for no limit.
        bus_dma_limit: u64 = 0x260,
        /// What the device demands of mappings.
        dma_parms: Ptr<DeviceDmaParameters> = 0x270,
        /// The bounce pool.
        dma_io_tlb_mem: Ptr<IoTlbMem> = 0x290,
        /// The IOMMU group.
        iommu_group: Ptr<IommuGroup> = 0x2d8,
        /// Whether dma-iommu serves it (6.12; a bit field there).
        dma_iommu: bool = 0x2e8,
        /// Whether its mappings need no sync (6.10; a bit field there).
        dma_skip_sync: bool = 0x2e9,
        /// What the IOMMU core keeps of it.
        iommu: Ptr<DevIommu> = 0x2e0,
        /// What the bus above reaches.
        dma_range_map: Ptr<BusDmaRegion> = 0x268,
        /// Coherent memory of its own.
        dma_mem: Ptr<DmaCoherentMem> = 0x288,
    }
    beside {
        /// Place in the driver core's list.
        place: sim::cell::Cell<usize>,
        /// Its bounce buffers, where pools grow (`dma_io_tlb_pools`, `dma_io_tlb_lock`, `dma_uses_io_tlb`).
        io_tlb: crate::swiotlb::kernel::DeviceIoTlb,
    }
    size 0x2f0;
}

mem::kobject! {
    /// Demands of a device on its mappings.
    ///
    /// Source: `include/linux/device.h: struct device_dma_parameters`, v5.13.
    pub struct DeviceDmaParameters = "struct device_dma_parameters" {
        /// Longest segment of a scatterlist.
        max_segment_size: u32 = 0x0,
        /// Low address bits that a bounce buffer keeps.
        min_align_mask: u32 = 0x4,
        /// A mapping may not cross a multiple of this plus one; 0 for the default.
        segment_boundary_mask: u64 = 0x8,
    }
    size 0x10;
}
