//! The DMA API: masks, mapping, coherent memory, and the choice between dma-direct and dma-iommu.
//!
//! Sources: `kernel/dma/mapping.c`, `kernel/dma/direct.c`, `kernel/dma/direct.h`, v5.13.

pub mod atomic_pool;
mod attrs;
mod coherent;
mod declared;
mod direct;
mod dispatch;
mod gen_pool;
mod mapping;
mod masks;
pub mod pool;
pub mod rules;
mod scatter;

pub use attrs::Attrs;
pub use coherent::{Coherent, dma_alloc_attrs, dma_free_attrs};
pub use declared::{DmaCoherentMem, dma_declare_coherent_memory, dma_release_coherent_memory};
pub use direct::{dma_capable, dma_direct_map_page, dma_direct_unmap_page, phys_to_dma};
pub use dispatch::{Ops, get_dma_ops};
pub use gen_pool::GenPool;
pub use mapping::{dma_map_page_attrs, dma_max_mapping_size, dma_sync_single, dma_unmap_page_attrs};
pub use masks::{dma_set_coherent_mask, dma_set_mask, dma_set_parms};
pub use scatter::{SgEntry, dma_map_sg_attrs, dma_sync_sg, dma_unmap_sg_attrs};

/// `DMA_MAPPING_ERROR`.
pub const DMA_MAPPING_ERROR: u64 = u64::MAX;
