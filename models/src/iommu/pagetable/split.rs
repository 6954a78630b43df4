//! How a range is cut into pages: the core's part of mapping and unmapping.

use crate::mem::{DmaAddr, PAGE_SIZE, PhysAddr};

use super::entry::Prot;
use super::outcome::{MapError, MapFailure, Mapped, Unmapped};
use super::table::PageTable;

/// Page sizes of AMD's version 1 tables: all powers of two from 4 KiB to 2 PiB but 512 GiB.
///
/// Source: `drivers/iommu/amd/amd_iommu_types.h: AMD_IOMMU_PGSIZES`, v6.12.
pub const AMD_IOMMU_PGSIZES: u64 = (((1 << 52) - 1) & !(PAGE_SIZE - 1)) ^ (1 << 39);
/// Page sizes with `amd_iommu=nohugepages`: 4 KiB only.
///
/// Source: `drivers/iommu/amd/amd_iommu_types.h: AMD_IOMMU_PGSIZES_4K`, v6.12.
pub const AMD_IOMMU_PGSIZES_4K: u64 = PAGE_SIZE;
/// Page sizes of VT-d with all superpage capabilities: 4 KiB, 2 MiB, 1 GiB.
pub const VTD_PGSIZES: u64 = PAGE_SIZE | (1 << 21) | (1 << 30);

/// Page sizes of Arm's tables with a granule of 4 KiB: 4 KiB, 2 MiB, 1 GiB.
///
/// Source: `drivers/iommu/io-pgtable-arm.c: arm_lpae_restrict_pgsizes()`, v6.12.
pub const ARM_PGSIZES: u64 = PAGE_SIZE | (1 << 21) | (1 << 30);

/// The largest page size that fits at `iova` and `phys`, and how many such pages to map at once.
///
/// `size` is in bytes, not 0, and like the addresses a multiple of the smallest page size.
/// Source: `drivers/iommu/iommu.c: iommu_pgsize()`, v6.12.
///
/// Returns `None` where the kernel would stop with a `BUG`: no page size fits.
#[must_use]
pub fn iommu_pgsize(pgsize_bitmap: u64, iova: DmaAddr, phys: PhysAddr, size: u64) -> Option<(u64, u64)> {
    let merged = iova.0 | phys.0;
    let at_most_size = u64::MAX >> size.checked_ilog2().map_or(63, |log| 63 - log);
    // No alignment restricts address 0.
    let at_most_aligned = if merged == 0 { u64::MAX } else { merged ^ (merged - 1) };
    let fitting = pgsize_bitmap & at_most_size & at_most_aligned;
    let log = fitting.checked_ilog2()?;
    let pgsize = 1_u64 << log;

    let larger = pgsize_bitmap & !(pgsize | (pgsize - 1));
    let mut size = size;
    if larger != 0 {
        let next = 1_u64 << larger.trailing_zeros();
        if (iova.0 ^ phys.0) & (next - 1) == 0 {
            let offset = next - (merged & (next - 1));
            let end = offset.checked_add(next);
            if end.is_some_and(|end| end <= size) {
                size = offset;
            }
        }
    }
    Some((pgsize, size >> log))
}

impl PageTable {
    /// Maps `size` bytes at `iova` to `phys`, cut into the largest pages that fit.
    ///
    /// `source` hands out pages for new tables. Source: `drivers/iommu/iommu.c: __iommu_map()`, v6.12.
    ///
    /// # Errors
    ///
    /// [`MapFailure`], after what was mapped has been unmapped again as the core does it.
    pub fn map(
        &mut self,
        iova: DmaAddr,
        phys: PhysAddr,
        size: u64,
        prot: Prot,
        source: &mut impl FnMut() -> Option<PhysAddr>,
    ) -> Result<Mapped, Box<MapFailure>> {
        let min_pagesz = 1 << self.pgsize_bitmap().trailing_zeros();
        let mut done = Mapped::default();
        if (iova.0 | phys.0 | size) & (min_pagesz - 1) != 0 {
            return Err(Box::new(MapFailure {
                error: MapError::Invalid,
                done,
                unrolled: Unmapped::default(),
            }));
        }
        while done.bytes < size {
            let (at, to) = (iova.wrapping_add(done.bytes), phys.wrapping_add(done.bytes));
            let cut = iommu_pgsize(self.pgsize_bitmap(), at, to, size - done.bytes);
            let result = match cut {
                Some((pgsize, count)) => self.map_pages(at, to, pgsize, count, prot, source, &mut done),
                None => Err(MapError::Invalid),
            };
            if let Err(error) = result {
                let unrolled = self.unmap(iova, done.bytes);
                return Err(Box::new(MapFailure { error, done, unrolled }));
            }
        }
        Ok(done)
    }

    /// Unmaps `size` bytes at `iova`, and more where larger pages lie; stops where the driver finds nothing.
    ///
    /// Arm's driver needs a page for a part of a large page, and unmaps nothing there without one: see
    /// [`Self::unmap_splitting`].
    ///
    /// Source: `drivers/iommu/iommu.c: __iommu_unmap()`, v6.12.
    pub fn unmap(&mut self, iova: DmaAddr, size: u64) -> Unmapped {
        self.unmap_splitting(iova, size, &mut || None)
    }

    /// [`Self::unmap`], with pages for tables that take the place of large pages.
    pub fn unmap_splitting(
        &mut self,
        iova: DmaAddr,
        size: u64,
        source: &mut impl FnMut() -> Option<PhysAddr>,
    ) -> Unmapped {
        let min_pagesz = 1 << self.pgsize_bitmap().trailing_zeros();
        let mut unmapped = Unmapped::default();
        if (iova.0 | size) & (min_pagesz - 1) != 0 {
            return unmapped;
        }
        while unmapped.bytes < size {
            let at = iova.wrapping_add(unmapped.bytes);
            let cut = iommu_pgsize(self.pgsize_bitmap(), at, PhysAddr(at.0), size - unmapped.bytes);
            let Some((pgsize, count)) = cut else { break };
            if self.unmap_into(at, (pgsize, count), source, &mut unmapped) == 0 {
                break;
            }
        }
        unmapped
    }
}
