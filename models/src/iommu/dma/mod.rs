//! The DMA API on top of translated domains.
//!
//! Source: `drivers/iommu/dma-iommu.c`, `drivers/iommu/iova.c`, v5.13.

mod flush_queue;
mod map;
mod range;
mod scatter;

pub use flush_queue::FlushQueue;
pub use map::{
    iommu_dma_map_coherent, iommu_dma_map_page, iommu_dma_sync_single, iommu_dma_unmap_coherent,
    iommu_dma_unmap_page,
};
pub use scatter::{iommu_dma_map_sg, iommu_dma_unmap_sg};
