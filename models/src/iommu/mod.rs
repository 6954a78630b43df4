//! The modelled IOMMU: the allocator of bus addresses and the hardware's page tables.

pub mod core;
pub mod dma;
pub mod iova;
pub mod pagetable;
pub mod rules;
pub mod viommu;

/// What dma-iommu needs of the core beyond its public face.
pub(crate) mod core_internal {
    pub(crate) use super::core::internal::{
        DOMAIN_LOCK, free_table_page, iotlb_flush_range, is_smmu, peek_translation, smmu_map, smmu_unmap,
        table_page, with_cookie,
    };
}
