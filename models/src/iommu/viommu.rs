//! A domain of the paravirtual IOMMU: no page table, but a list of the mappings that were asked for.

use std::collections::BTreeMap;

use crate::mem::{DmaAddr, PAGE_SIZE, PhysAddr};

use super::pagetable::{MapError, iommu_pgsize};

/// The mappings of one domain.
///
/// Source: `drivers/iommu/virtio-iommu.c: struct viommu_domain`, v5.13 to v6.12.
#[derive(Clone, Debug)]
pub struct ViommuDomain {
    pgsize_bitmap: u64,
    /// First address, to the last one and where the first leads.
    mappings: BTreeMap<u64, (u64, PhysAddr)>,
}

impl ViommuDomain {
    /// An empty domain for pages of these sizes; 4 KiB pages always are among them.
    #[must_use]
    pub const fn new(pgsize_bitmap: u64) -> Self {
        Self { pgsize_bitmap: pgsize_bitmap | PAGE_SIZE, mappings: BTreeMap::new() }
    }

    /// How many mappings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mappings.len()
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mappings.is_empty()
    }

    const fn unaligned(&self, bits: u64) -> bool {
        bits & ((1 << self.pgsize_bitmap.trailing_zeros()) - 1) != 0
    }

    /// The first mapping that overlaps a range, both ends included.
    fn overlapping(&self, first: u64, last: u64) -> Option<u64> {
        let reaches = |(start, (end, _)): (&u64, &(u64, PhysAddr))| (*end >= first).then_some(*start);
        let before = self.mappings.range(..=first).next_back().and_then(reaches);
        before.or_else(|| self.mappings.range(first..=last).next().map(|(start, _)| *start))
    }

    /// Maps `size` bytes. The core cuts the range; each piece is one mapping, which the device refuses if it overlaps
    /// another.
    ///
    /// Source: `drivers/iommu/iommu.c: __iommu_map()`, `drivers/iommu/virtio-iommu.c: viommu_map_pages()`, v6.12.
    ///
    /// # Errors
    ///
    /// [`MapError::Invalid`]; what was mapped of the range is unmapped again.
    pub fn map(&mut self, iova: DmaAddr, phys: PhysAddr, size: u64) -> Result<(), MapError> {
        if self.unaligned(iova.0 | phys.0 | size) {
            return Err(MapError::Invalid);
        }
        let mut done = 0;
        while done < size {
            let (at, to) = (iova.wrapping_add(done), phys.wrapping_add(done));
            let (pgsize, count) =
                iommu_pgsize(self.pgsize_bitmap, at, to, size - done).ok_or(MapError::Invalid)?;
            let last = at.0.wrapping_add(pgsize * count - 1);
            if last < at.0 || self.overlapping(at.0, last).is_some() {
                self.unmap(iova, done);
                return Err(MapError::Invalid);
            }
            self.mappings.insert(at.0, (last, to));
            done += pgsize * count;
        }
        Ok(())
    }

    /// Unmaps `size` bytes, and the bytes that the kernel counts. Mappings go as a whole: one that begins in the range
    /// takes what lies behind the range with it; one that began before ends the work. A piece of which less was mapped
    /// than asked counts for nothing, although its mappings are forgotten.
    ///
    /// Source: `drivers/iommu/iommu.c: __iommu_unmap()`, `drivers/iommu/virtio-iommu.c: viommu_unmap_pages()`, v6.12.
    pub fn unmap(&mut self, iova: DmaAddr, size: u64) -> u64 {
        if self.unaligned(iova.0 | size) {
            return 0;
        }
        let mut done = 0;
        while done < size {
            let at = iova.wrapping_add(done);
            let cut = iommu_pgsize(self.pgsize_bitmap, at, PhysAddr(at.0), size - done);
            let Some((pgsize, count)) = cut else { break };
            let unmapped = self.del_mappings(at.0, at.0.wrapping_add(pgsize * count - 1));
            if unmapped < pgsize * count {
                break;
            }
            done += unmapped;
        }
        done
    }

    /// Source: `drivers/iommu/virtio-iommu.c: viommu_del_mappings()`, v6.12.
    fn del_mappings(&mut self, first: u64, last: u64) -> u64 {
        let mut unmapped = 0;
        while let Some(start) = self.overlapping(first, last) {
            if start < first {
                break;
            }
            if let Some((end, _)) = self.mappings.remove(&start) {
                unmapped += end - start + 1;
            }
        }
        unmapped
    }

    /// Where an address leads.
    ///
    /// Source: `drivers/iommu/virtio-iommu.c: viommu_iova_to_phys()`, v6.12.
    #[must_use]
    pub fn iova_to_phys(&self, iova: DmaAddr) -> Option<PhysAddr> {
        let start = self.overlapping(iova.0, iova.0)?;
        let (_, phys) = self.mappings.get(&start)?;
        Some(phys.wrapping_add(iova.0 - start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL_SIZES: u64 = !(PAGE_SIZE - 1);

    #[test]
    fn a_head_takes_its_whole_mapping_and_a_tail_nothing() {
        let mut domain = ViommuDomain::new(ALL_SIZES);
        // Not congruent modulo 8 KiB: one mapping of three pages.
        domain.map(DmaAddr(0x1000_1000), PhysAddr(0x2000_0000), 0x3000).expect("room");
        assert_eq!(domain.len(), 1);
        assert_eq!(domain.iova_to_phys(DmaAddr(0x1000_2123)), Some(PhysAddr(0x2000_1123)));
        assert_eq!(domain.unmap(DmaAddr(0x1000_2000), 0x2000), 0);
        assert_eq!(domain.unmap(DmaAddr(0x1000_1000), 0x1000), 0x3000);
        assert!(domain.is_empty());
        assert_eq!(domain.unmap(DmaAddr(0x1000_1000), 0x1000), 0);
    }

    #[test]
    fn what_is_less_than_asked_counts_for_nothing() {
        let mut domain = ViommuDomain::new(ALL_SIZES);
        domain.map(DmaAddr(0x20_0000), PhysAddr(0x40_0000), 0x1000).expect("room");
        assert_eq!(domain.unmap(DmaAddr(0x20_0000), 0x2000), 0);
        assert!(domain.is_empty());
    }

    #[test]
    fn overlaps_and_unaligned_ranges_are_refused() {
        let mut domain = ViommuDomain::new(ALL_SIZES);
        domain.map(DmaAddr(0x4000), PhysAddr(0), 0x2000).expect("room");
        assert_eq!(domain.map(DmaAddr(0x2000), PhysAddr(0x1_0000), 0x4000), Err(MapError::Invalid));
        assert_eq!(domain.map(DmaAddr(0x800), PhysAddr(0), 0x1000), Err(MapError::Invalid));
        assert_eq!(domain.iova_to_phys(DmaAddr(0x2000)), None);
        assert_eq!(domain.len(), 1);
    }
}
