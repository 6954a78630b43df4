//! What a device demands, and how a mapping fails.

use std::fmt;

use models::dma::rules::{DEFAULT_MAX_SEGMENT, DMA_BIT_MASK_32, min_not_zero};
use models::iommu::iova;
use models::swiotlb::{DmaLimits, MapError};

/// A device's masks and demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaParams {
    /// For streaming mappings (`*dev->dma_mask`).
    pub mask: u64,
    /// For coherent memory (`coherent_dma_mask`).
    pub coherent_mask: u64,
    /// `bus_dma_limit`, 0 for none.
    pub bus_limit: u64,
    /// `min_align_mask`.
    pub min_align_mask: u32,
    /// `max_segment_size`, in bytes.
    pub max_segment: u32,
    /// `segment_boundary_mask`.
    pub boundary: u64,
}

impl Default for DmaParams {
    /// Those of a PCI device without a driver.
    fn default() -> Self {
        Self {
            mask: DMA_BIT_MASK_32,
            coherent_mask: DMA_BIT_MASK_32,
            bus_limit: 0,
            min_align_mask: 0,
            max_segment: DEFAULT_MAX_SEGMENT,
            boundary: DMA_BIT_MASK_32,
        }
    }
}

impl DmaParams {
    /// What the slot search is told.
    #[must_use]
    pub const fn limits(&self) -> DmaLimits {
        DmaLimits { min_align_mask: self.min_align_mask, seg_boundary_mask: self.boundary }
    }

    /// The last address that streaming mappings may have.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        min_not_zero(self.mask, self.bus_limit)
    }
}

/// Why a mapping failed: what stands behind `DMA_MAPPING_ERROR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapFailed {
    /// The device does not reach the buffer, and there is no pool.
    Overflow,
    /// The pool did not serve.
    Pool(MapError),
    /// The device does not reach the slots that it was given; they are free again.
    SlotsOverflow,
    /// The device's `min_align_mask` exceeds the granule.
    MinAlign,
    /// No bus address is left.
    Iova(iova::AllocError),
    /// The page table refused.
    Table,
}

impl fmt::Display for MapFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overflow => {
                f.write_str("ERROR (the device does not reach the buffer, and there is no pool)")
            }
            Self::Pool(MapError::Full) => f.write_str("ERROR (the pool has no place)"),
            Self::Pool(MapError::Hang) => f.write_str("a search that never ends"),
            Self::Pool(other) => write!(f, "ERROR (the pool: {other:?})"),
            Self::SlotsOverflow => f.write_str("ERROR (the device does not reach the slots)"),
            Self::MinAlign => f.write_str("ERROR (min_align_mask exceeds the granule)"),
            Self::Iova(error) => write!(f, "ERROR ({error})"),
            Self::Table => f.write_str("ERROR (the page table refused)"),
        }
    }
}
