//! What dma-iommu decides from numbers alone, by version.

use crate::dma::rules::{DMA_BIT_MASK_32, min_not_zero};
use crate::iommu::iova::{AllocError, Cpu, IOVA_RANGE_CACHE_MAX_SIZE, IovaDomain, IovaMemory, IovaPfn};
use crate::mem::{DmaAddr, PAGE_SIZE};
use crate::profile::Version;

/// The behaviours of one version in `drivers/iommu/dma-iommu.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaIommuRules {
    /// A device that once found no address below 4 GiB is not tried there again (v6.4).
    pub sac_given_up: bool,
    /// Pages are not mapped for a device whose `min_align_mask` exceeds the granule (v6.10).
    pub refuses_min_align: bool,
    /// The caller rounds small ranges up to a power of two, since `alloc_iova_fast()` does not (until v5.16).
    pub rounds_size: bool,
    /// Optimal sizes are told: what the caches can hold (v6.0).
    pub tells_opt_size: bool,
    /// `dev->dma_ops` points at dma-iommu's operations; later, a flag of the device says so (until v6.11).
    pub ops_pointer: bool,
}

impl DmaIommuRules {
    /// Those of a release.
    #[must_use]
    pub fn of_version(version: Version) -> Self {
        let version = version.base();
        Self {
            sac_given_up: version >= Version::V6_4,
            refuses_min_align: version >= Version::V6_10,
            rounds_size: version < Version::V5_17,
            tells_opt_size: version >= Version::V6_0,
            ops_pointer: version < Version::V6_12,
        }
    }

    /// Whether `__iommu_dma_map()` refuses every page of such a device, with a warning.
    #[must_use]
    pub const fn refuses(&self, min_align_mask: u32, granule: u64) -> bool {
        self.refuses_min_align && min_align_mask as u64 > granule - 1
    }

    /// The mapping size that the caches serve best, in bytes, or all ones where nothing is told.
    ///
    /// Source: `drivers/iommu/dma-iommu.c: iommu_dma_opt_mapping_size()`, v6.0 to v6.12.
    #[must_use]
    pub const fn opt_mapping_size(&self) -> u64 {
        if self.tells_opt_size { PAGE_SIZE << (IOVA_RANGE_CACHE_MAX_SIZE - 1) } else { u64::MAX }
    }
}

/// What limits the addresses of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IovaLimit {
    /// The device's mask, for streaming or coherent memory.
    pub mask: u64,
    /// `bus_dma_limit`; 0 is none.
    pub bus: u64,
    /// The domain's last address (`geometry.aperture_end`), where the domain insists on it.
    pub aperture_end: Option<u64>,
    /// Try below 4 GiB first: a PCI device, no `iommu.forcedac`, and not given up (`pci_32bit_workaround`).
    pub low_first: bool,
}

impl IovaLimit {
    /// The last address that may be handed out.
    #[must_use]
    pub fn last(&self) -> u64 {
        min_not_zero(self.mask, self.bus).min(self.aperture_end.unwrap_or(u64::MAX))
    }
}

/// What an allocation gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IovaTaken {
    /// The start, or why there is none.
    pub addr: Result<DmaAddr, AllocError>,
    /// It was tried below 4 GiB first, in vain.
    pub low_failed: bool,
}

/// Takes a range of `size` bytes, a multiple of the granule.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_dma_alloc_iova()`, v5.13 to v6.12.
pub fn iommu_dma_alloc_iova(
    rules: DmaIommuRules,
    iovad: &mut IovaDomain,
    cpu: Cpu,
    size: u64,
    limit: &IovaLimit,
    memory: &mut impl IovaMemory,
) -> IovaTaken {
    let shift = iovad.iova_shift();
    let mut pages = size >> shift;
    if rules.rounds_size && pages < 1 << (IOVA_RANGE_CACHE_MAX_SIZE - 1) {
        pages = pages.next_power_of_two();
    }
    let last = limit.last();
    let mut low_failed = false;
    if last > DMA_BIT_MASK_32 && limit.low_first {
        let low = IovaPfn(DMA_BIT_MASK_32 >> shift);
        if let Ok(pfn) = iovad.alloc_iova_fast(cpu, pages, low, false, memory) {
            return IovaTaken { addr: Ok(iovad.iova_dma_addr(pfn)), low_failed };
        }
        low_failed = true;
    }
    let pfn = iovad.alloc_iova_fast(cpu, pages, IovaPfn(last >> shift), true, memory);
    IovaTaken { addr: pfn.map(|pfn| iovad.iova_dma_addr(pfn)), low_failed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iommu::iova::{IovaRules, Plenty};

    #[test]
    fn below_4_gib_comes_first_and_the_aperture_last() {
        let rules = DmaIommuRules::of_version(Version::V6_12);
        let mut iovad =
            IovaDomain::init_iova_domain(IovaRules::v6_12(), PAGE_SIZE, IovaPfn(1)).expect("a domain");
        iovad.iova_domain_init_rcaches();
        let limit = IovaLimit { mask: u64::MAX, bus: 0, aperture_end: Some((1 << 39) - 1), low_first: true };
        let mut take = |size, limit: &IovaLimit| {
            iommu_dma_alloc_iova(rules, &mut iovad, Cpu(0), size, limit, &mut Plenty)
        };
        assert_eq!(take(PAGE_SIZE, &limit).addr, Ok(DmaAddr(0xffff_f000)));
        let large = take(1 << 33, &limit);
        assert!(large.low_failed);
        assert_eq!(large.addr, Ok(DmaAddr((1 << 39) - (1 << 33))));
        let high = take(PAGE_SIZE, &IovaLimit { low_first: false, ..limit });
        assert_eq!(
            high,
            IovaTaken { addr: Ok(DmaAddr((1 << 39) - (1 << 33) - PAGE_SIZE)), low_failed: false }
        );
    }

    #[test]
    fn alignment_is_refused_only_beyond_the_granule() {
        let new = DmaIommuRules::of_version(Version::V6_12);
        assert!(new.refuses(0xffff, PAGE_SIZE) && !new.refuses(0xfff, PAGE_SIZE));
        assert!(!DmaIommuRules::of_version(Version::V6_1).refuses(0xffff, PAGE_SIZE));
        assert_eq!(new.opt_mapping_size(), 0x2_0000);
    }
}
