//! What the IOMMU core decides from numbers alone.

/// Whether a driver may attach a domain of its own to a device: only if the device is alone in its group
/// (else `-EINVAL`).
///
/// Source: `drivers/iommu/iommu.c: iommu_attach_device()`, v5.13 to v6.12.
#[must_use]
pub const fn iommu_attach_device_allowed(devices_in_group: usize) -> bool {
    devices_in_group == 1
}

/// What a VT-d unit can do with second-level tables, by its capability register: page sizes (one bit each) and address
/// bits, 0 if it has none.
///
/// Source: `drivers/iommu/intel/iommu.h: cap_super_page_val(), cap_sagaw()`, `drivers/iommu/intel/iommu.c:
/// domain_super_pgsize_bitmap(), __iommu_calculate_agaw()`, v6.12.
#[must_use]
pub const fn vtd_second_level_of(cap: u64) -> (u64, u32) {
    let superpages = cap >> 34 & 3;
    let pgsizes = 1 << 12 | (superpages & 1) << 21 | (superpages & 2) << 29;
    // Bit n stands for 30 + 9n address bits; 39, 48 and 57 have tables.
    let widths = cap >> 8 & 0b1110;
    let width = if widths == 0 { 0 } else { 30 + 9 * widths.ilog2() };
    (pgsizes, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capability_register_tells_sizes_and_width() {
        assert_eq!(vtd_second_level_of(0x00d2_008c_2226_0206), (0x4020_1000, 39));
        assert_eq!(vtd_second_level_of(0x00d2_0080_2226_0606), (0x1000, 48));
        assert_eq!(vtd_second_level_of(0), (0x1000, 0));
    }
}
