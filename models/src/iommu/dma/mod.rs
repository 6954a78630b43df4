//! The DMA API on top of translated domains.
//!
//! Source: `drivers/iommu/dma-iommu.c`, `drivers/iommu/iova.c`, v5.13.

mod depot;
mod flush_queue;
mod grow;
mod layout;
mod map;
mod range;
mod rings;
mod rules;
mod scatter;

pub use depot::DepotWork;
pub(crate) use depot::cancel_depot_work;
pub use flush_queue::FlushQueue;
pub(crate) use flush_queue::free_flush_queue;
pub use layout::{SgLayout, SgPlace, SgSegment};
pub use map::{
    iommu_dma_map_coherent, iommu_dma_map_page, iommu_dma_sync_single, iommu_dma_unmap_coherent,
    iommu_dma_unmap_page,
};
pub use rings::{FqEntry, FqRings, IOVA_FQ_SIZE, IOVA_FQ_TIMEOUT, fq_timer_ticks};
pub use rules::{DmaIommuRules, IovaLimit, IovaTaken, iommu_dma_alloc_iova};
pub use scatter::{iommu_dma_map_sg, iommu_dma_unmap_sg};
