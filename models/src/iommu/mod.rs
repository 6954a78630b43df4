//! The modelled IOMMU: the allocator of bus addresses and the hardware's page tables.

pub mod iova;
pub mod pagetable;
