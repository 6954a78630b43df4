//! What the DMA API decides from numbers alone: who is capable of what, and which way a mapping goes.
//!
//! Pure functions, so that code paths and recordings are served by the same rules.

use crate::mem::{DmaAddr, PAGE_SHIFT, PhysAddr};
use crate::swiotlb::{DmaLimits, Pool};

/// What a device can address by default, and what `DMA_BIT_MASK(32)` is.
pub const DMA_BIT_MASK_32: u64 = 0xffff_ffff;

/// The longest segment of a scatterlist for a device that names none, in bytes.
///
/// Source: `include/linux/dma-mapping.h: dma_get_max_seg_size()`, all versions.
pub const DEFAULT_MAX_SEGMENT: u32 = 0x1_0000;

/// The lowest `n` bits. Source: `include/linux/dma-mapping.h: DMA_BIT_MASK()`.
#[must_use]
pub const fn dma_bit_mask(bits: u32) -> u64 {
    if bits >= u64::BITS { u64::MAX } else { (1 << bits) - 1 }
}

/// The smaller of a mask and a bus limit, where a limit of 0 is none.
///
/// Source: `min_not_zero()` in `include/linux/dma-direct.h: dma_capable()`; a mask of 0 counts as none there, too.
#[must_use]
pub const fn min_not_zero(mask: u64, bus_dma_limit: u64) -> u64 {
    match (mask, bus_dma_limit) {
        (0, limit) => limit,
        (mask, 0) => mask,
        (mask, limit) => {
            if mask < limit {
                mask
            } else {
                limit
            }
        }
    }
}

/// Whether a device can drive every address of `size` bytes from `addr`.
///
/// Source: `include/linux/dma-direct.h: dma_capable()`, v5.13 to v6.12, where addresses have 64 bits.
#[must_use]
pub const fn dma_reaches(mask: u64, bus_dma_limit: u64, addr: DmaAddr, size: u64) -> bool {
    let end = addr.0.wrapping_add(size).wrapping_sub(1);
    mask != 0 && end <= min_not_zero(mask, bus_dma_limit)
}

/// The way a mapping goes for a device without an IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectWay {
    /// The device sees the memory itself.
    Direct(DmaAddr),
    /// Through the bounce-buffer pool.
    Bounce,
    /// It cannot be mapped: the device does not reach it, and there is no pool.
    Overflow,
}

/// Chooses the way.
///
/// `force` is the pool's flag or the command line's, `active` whether there is a pool with slots. Before v5.19 a
/// device that does not reach its buffer was sent to the pool without asking whether there is one; callers for such
/// versions pass `true`.
///
/// Source: `kernel/dma/direct.h: dma_direct_map_page()`, v5.15 to v6.12.
#[must_use]
pub const fn dma_direct_way(force: bool, active: bool, reaches: bool, addr: DmaAddr) -> DirectWay {
    if force {
        DirectWay::Bounce
    } else if reaches {
        DirectWay::Direct(addr)
    } else if active {
        DirectWay::Bounce
    } else {
        DirectWay::Overflow
    }
}

/// The smallest mask that reaches all memory, where `end` is one past the last byte of it.
///
/// Source: `kernel/dma/direct.c: dma_direct_get_required_mask()`, v5.13 to v6.12.
#[must_use]
pub const fn dma_direct_required_mask(end: PhysAddr) -> u64 {
    let last_page = (end.0 >> PAGE_SHIFT).wrapping_sub(1) << PAGE_SHIFT;
    match last_page {
        0 => 0,
        address => u64::MAX >> address.leading_zeros(),
    }
}

/// Whether dma-direct accepts a mask; `end` is one past the last byte of memory, `zone_dma_limit` the last byte of
/// ZONE_DMA, if the kernel has one.
///
/// Source: `kernel/dma/direct.c: dma_direct_supported()`, v5.13 to v6.12.
#[must_use]
pub const fn dma_direct_supported(mask: u64, end: PhysAddr, zone_dma_limit: Option<u64>) -> bool {
    if mask >= DMA_BIT_MASK_32 {
        return true;
    }
    let last_page = (end.0 >> PAGE_SHIFT).wrapping_sub(1) << PAGE_SHIFT;
    let least = match zone_dma_limit {
        Some(limit) if limit < last_page => limit,
        Some(_) | None => last_page,
    };
    mask >= least
}

/// The largest mapping that dma-direct promises, in bytes.
///
/// Source: `kernel/dma/direct.c: dma_direct_max_mapping_size()`, v5.15 to v6.12.
#[must_use]
pub const fn dma_direct_max_mapping_size(
    force: bool,
    active: bool,
    limit: u64,
    required: u64,
    limits: DmaLimits,
) -> u64 {
    if active && (force || limit < required) { Pool::max_mapping_size(limits) } else { u64::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_reaches_what_its_mask_and_its_bus_cover() {
        assert!(dma_reaches(0xffff_ffff, 0, DmaAddr(0xffff_f000), 0x1000));
        assert!(!dma_reaches(0xffff_ffff, 0, DmaAddr(0xffff_f000), 0x1001));
        assert!(!dma_reaches(u64::MAX, 0xff_ffff, DmaAddr(0x100_0000), 1));
        assert!(!dma_reaches(0, u64::MAX, DmaAddr(0), 1));
    }

    #[test]
    fn force_comes_before_reach_and_a_missing_pool_is_an_error() {
        let addr = DmaAddr(0x1000);
        assert_eq!(dma_direct_way(true, true, true, addr), DirectWay::Bounce);
        assert_eq!(dma_direct_way(false, true, true, addr), DirectWay::Direct(addr));
        assert_eq!(dma_direct_way(false, true, false, addr), DirectWay::Bounce);
        assert_eq!(dma_direct_way(false, false, false, addr), DirectWay::Overflow);
    }

    #[test]
    fn required_mask_covers_the_last_page() {
        assert_eq!(dma_direct_required_mask(PhysAddr(0x1_c000_0000)), 0x1_ffff_ffff);
        assert_eq!(dma_direct_required_mask(PhysAddr(0x8000_0000)), 0x7fff_ffff);
        assert_eq!(dma_direct_required_mask(PhysAddr(0x1_0000_1000)), 0x1_ffff_ffff);
    }

    #[test]
    fn masks_below_the_dma_zone_are_refused() {
        let end = PhysAddr(0x1_c000_0000);
        assert!(dma_direct_supported(0xff_ffff, end, Some(0xff_ffff)));
        assert!(!dma_direct_supported(0x7f_ffff, end, Some(0xff_ffff)));
        assert!(!dma_direct_supported(0x7fff_ffff, end, None));
        assert!(dma_direct_supported(0x7fff_ffff, PhysAddr(0x4000_0000), None));
    }

    #[test]
    fn the_pool_limits_only_devices_that_may_need_it() {
        let limits = DmaLimits { min_align_mask: 0xfff, ..DmaLimits::default() };
        let size =
            |force, active, limit| dma_direct_max_mapping_size(force, active, limit, 0x1_ffff_ffff, limits);
        assert_eq!(size(false, true, u64::MAX), u64::MAX);
        assert_eq!(size(false, true, 0xffff_ffff), 0x3f000);
        assert_eq!(size(true, true, u64::MAX), 0x3f000);
        assert_eq!(size(true, false, 0), u64::MAX);
    }
}
