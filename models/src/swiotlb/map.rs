//! From what a caller wants mapped to what the slot search is asked.

use super::search::{DmaLimits, Request, SearchRules, SizeRule};
use super::sizing::{IO_TLB_SHIFT, IO_TLB_SIZE, low32};
use crate::mem::{PAGE_SIZE, PhysAddr};

/// The arguments of `swiotlb_tbl_map_single()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    /// The buffer.
    pub orig_addr: PhysAddr,
    /// Bytes to map.
    pub mapping_size: u64,
    /// Bytes to allocate; since v6.10 there is no such argument, and it is not looked at.
    pub alloc_size: u64,
    /// Address bits that should be zero at the start of the run.
    pub alloc_align_mask: u32,
}

impl MapRequest {
    /// A plain mapping of `size` bytes, as `swiotlb_map()` makes it.
    #[must_use]
    pub const fn plain(orig_addr: PhysAddr, size: u64) -> Self {
        Self { orig_addr, mapping_size: size, alloc_size: size, alloc_align_mask: 0 }
    }
}

/// A mapping that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Where the device finds the first byte.
    pub tlb_addr: PhysAddr,
    /// First slot taken, padding included.
    pub slot: u32,
    /// Slots taken, padding included.
    pub nslots: u32,
    /// Whole slots of padding in front.
    pub pad: u16,
}

/// What `swiotlb_tbl_map_single()` computes before it searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The request to the slot search.
    pub request: Request,
    /// Whole slots of padding in front.
    pub pad: u16,
    /// Bytes from the first slot behind the padding to the first byte of the mapping.
    pub offset: u32,
    /// The kernel warns that such an alignment may never be had (v6.10).
    pub warns_of_alignment: bool,
}

impl Prepared {
    /// Computes offset, padding and total; `None` when the sizes contradict each other, of which the
    /// kernel warns.
    ///
    /// Source: the head of `kernel/dma/swiotlb.c: swiotlb_tbl_map_single()`, by version.
    #[must_use]
    #[inline]
    pub fn new(rules: SearchRules, limits: DmaLimits, map: &MapRequest) -> Option<Self> {
        let align = map.alloc_align_mask;
        let lead = if rules.pad_slots {
            limits.align_offset_in(align, map.orig_addr)
        } else {
            limits.align_offset(map.orig_addr)
        };
        let total = match rules.size_rule {
            SizeRule::Caller if map.mapping_size > map.alloc_size => return None,
            SizeRule::Caller => map.alloc_size.wrapping_add(u64::from(lead)),
            SizeRule::Inside => {
                // ALIGN() to a mask plus one, which need be no power of two and wraps at 32 bits.
                let mask = u64::from(align.wrapping_add(1)).wrapping_sub(1);
                map.mapping_size.wrapping_add(u64::from(lead)).wrapping_add(mask) & !mask
            }
        };
        Some(Self {
            request: Request { orig_addr: map.orig_addr, alloc_size: total, alloc_align_mask: align },
            pad: u16::try_from(lead >> IO_TLB_SHIFT & 0xffff).unwrap_or(u16::MAX),
            offset: lead & (low32(IO_TLB_SIZE) - 1),
            warns_of_alignment: rules.size_rule == SizeRule::Inside && u64::from(align) > PAGE_SIZE - 1,
        })
    }
}
