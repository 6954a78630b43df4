//! What drivers tell the DMA layer about their devices and no trace shows.

use models::swiotlb::DmaLimits;

/// What a driver sets with `dma_set_min_align_mask()`, `dma_set_seg_boundary()` and `dma_set_max_seg_size()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    /// Alignment and boundary.
    pub(super) limits: DmaLimits,
    /// The longest segment, in bytes.
    pub(super) max_segment: u64,
}

/// A device whose driver sets nothing. Source: `include/linux/dma-mapping.h: dma_get_max_seg_size()`, all versions.
const DEFAULT: Parameters = Parameters {
    limits: DmaLimits { min_align_mask: 0, seg_boundary_mask: 0xffff_ffff },
    max_segment: 65536,
};

const fn aligned(mask: u32, max_segment: u64) -> Parameters {
    Parameters { limits: DmaLimits { min_align_mask: mask, seg_boundary_mask: 0xffff_ffff }, max_segment }
}

const fn bounded(mask: u64) -> Parameters {
    Parameters { limits: DmaLimits { min_align_mask: 0, seg_boundary_mask: mask }, max_segment: 65536 }
}

/// By the driver's name in sysfs; as of v6.1 and v6.12, which agree. A driver that is not here sets nothing.
///
/// Sources: `drivers/nvme/host/pci.c` (`NVME_CTRL_PAGE_SIZE - 1`), `drivers/scsi/storvsc_drv.c` and
/// `drivers/net/hyperv/netvsc_drv.c` (`HV_HYP_PAGE_SIZE - 1`), `drivers/usb/host/xhci-pci.c`,
/// `drivers/block/mtip32xx/mtip32xx.c`; the boundary of SCSI hosts is handed on by `drivers/scsi/scsi_lib.c` and is
/// `ATA_DMA_BOUNDARY` for ATA hosts that do not say otherwise (`include/linux/libata.h`).
const DRIVERS: &[(&str, Parameters)] = &[
    ("ata_generic", bounded(0xffff)),
    ("ata_piix", bounded(0xffff)),
    ("hv_netvsc", aligned(0xfff, 65536)),
    ("hv_storvsc", aligned(0xfff, 65536)),
    ("mtip32xx", aligned(0, 0x40_0000)),
    ("nvme", aligned(0xfff, 0xffff_ffff)),
    ("pata_acpi", bounded(0xffff)),
    ("sata_mv", bounded(0xffff)),
    ("sata_promise", bounded(0xffff)),
    ("sata_sil", bounded(0x7fff_ffff)),
    ("sata_sil24", bounded(0xffff)),
    ("xhci_hcd", aligned(0, 0xffff_ffff)),
];

/// What the driver of this name sets.
#[must_use]
pub(super) fn parameters(driver: &str) -> Parameters {
    DRIVERS.iter().find(|(name, _)| *name == driver).map_or(DEFAULT, |(_, parameters)| *parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_without_doubles() {
        assert!(DRIVERS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn nvme_keeps_the_offset_within_its_page() {
        assert_eq!(parameters("nvme").limits.min_align_mask, 0xfff);
        assert_eq!(parameters("e1000e"), DEFAULT);
    }
}
