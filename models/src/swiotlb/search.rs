//! What a search for slots asks for, and the rules by which a kernel version answers.

use super::sizing::{IO_TLB_SHIFT, IO_TLB_SIZE, low32, nr_slots};
use crate::mem::{PAGE_SHIFT, PAGE_SIZE, PhysAddr};

/// How the walk over the slots of an area comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopEnd {
    /// It ends when it meets the index it began with, which it may never do. Source:
    /// `kernel/dma/swiotlb.c: swiotlb_do_find_slots()`, v5.10.38 to v6.2.
    Wrap,
    /// It counts what it passed and always ends. Source: the same function since v6.3.
    Counted,
}

/// Which address bits of a slot are compared, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlignTest {
    /// `min_align_mask` above the slot bits against the original; a mapping of a page or more doubles
    /// the stride, and `alloc_align_mask` widens it without being tested. v5.10.38 to v6.2.
    MinAlign,
    /// As [`Self::MinAlign`], less the bits that `alloc_align_mask` covers. v6.1.y.
    MinAlignOutsideAlloc,
    /// Both masks, and the page bits for a page or more, all against the original. v6.3 to v6.8.
    Combined,
    /// `alloc_align_mask` must be zero in the slot's address, `min_align_mask` outside it must agree with
    /// the original; a page or more without any mask is page aligned. Since v6.9-rc1.
    Separate,
}

/// Who rounds the size up to the wanted alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeRule {
    /// The caller passes an allocation size of its own. Up to v6.9.
    Caller,
    /// Rounded in `swiotlb_tbl_map_single()` after the offset was added. Since v6.10.
    Inside,
}

/// The named behaviours of one kernel version in `kernel/dma/swiotlb.c`'s slot search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchRules {
    /// When the walk gives up.
    pub loop_end: LoopEnd,
    /// Which slots are suitable at all.
    pub align_test: AlignTest,
    /// An original address of 0 means "none" and skips the comparison with it (restricted pools, v5.15).
    pub zero_orig_matches: bool,
    /// Free counters of a new pool stop at its end (v6.7, v6.6.3); before, they ran to the end of the segment.
    pub list_clamped: bool,
    /// Offsets of a slot and more become whole slots of padding in front (v6.9-rc4).
    pub pad_slots: bool,
    /// Who rounds the size.
    pub size_rule: SizeRule,
    /// Allocations from restricted pools ask for, and insist on, whole aligned pages (v6.9-rc1).
    pub alloc_page_aligned: bool,
    /// A page or more begins a page where no mask asks for anything (v6.9-rc1; only [`AlignTest::Separate`] looks).
    pub large_page_aligned: bool,
    /// Addresses of slots are computed in 64 bits (v6.0); before, in 32.
    pub wide_slot_addr: bool,
}

impl SearchRules {
    /// One pool with one lock. Source: `kernel/dma/swiotlb.c: find_slots()`, v5.10.38 to v5.14. Earlier
    /// v5.10 searches alike for a device whose `min_align_mask` is 0, which is all that it knows.
    #[must_use]
    pub const fn v5_13() -> Self {
        Self {
            loop_end: LoopEnd::Wrap,
            align_test: AlignTest::MinAlign,
            zero_orig_matches: false,
            list_clamped: false,
            pad_slots: false,
            size_rule: SizeRule::Caller,
            alloc_page_aligned: false,
            large_page_aligned: false,
            wide_slot_addr: false,
        }
    }

    /// With restricted pools. Source: `kernel/dma/swiotlb.c: swiotlb_find_slots()`, v5.15.
    #[must_use]
    pub const fn v5_15() -> Self {
        Self { zero_orig_matches: true, ..Self::v5_13() }
    }

    /// With `alloc_align_mask`, which only widens the stride. Source: `kernel/dma/swiotlb.c:
    /// swiotlb_find_slots()`, later `swiotlb_do_find_slots()`, v5.16 to v6.2.
    #[must_use]
    pub const fn v5_16() -> Self {
        Self::v5_15()
    }

    /// With areas, and slots beyond 4 GiB. Source: `kernel/dma/swiotlb.c: slot_addr()`, v6.0 to v6.2.
    #[must_use]
    pub const fn v6_0() -> Self {
        Self { wide_slot_addr: true, ..Self::v5_16() }
    }

    /// The long-term branch, with part of the later repair. Source: `swiotlb_do_find_slots()`, v6.1.192.
    #[must_use]
    pub const fn v6_1_192() -> Self {
        Self { align_test: AlignTest::MinAlignOutsideAlloc, ..Self::v6_0() }
    }

    /// Counted loop, one combined mask. Source: `kernel/dma/swiotlb.c: swiotlb_do_find_slots()`, v6.3 to v6.8.
    #[must_use]
    pub const fn v6_3() -> Self {
        Self { loop_end: LoopEnd::Counted, align_test: AlignTest::Combined, ..Self::v6_0() }
    }

    /// With counters that stop at the end of the pool. Source: `kernel/dma/swiotlb.c:
    /// swiotlb_init_io_tlb_pool()`, v6.7 and v6.8.
    #[must_use]
    pub const fn v6_7() -> Self {
        Self { list_clamped: true, ..Self::v6_3() }
    }

    /// The two masks apart again. Source: `kernel/dma/swiotlb.c: swiotlb_search_pool_area()`, v6.9-rc1.
    #[must_use]
    pub const fn v6_9_rc1() -> Self {
        Self {
            align_test: AlignTest::Separate,
            list_clamped: true,
            alloc_page_aligned: true,
            large_page_aligned: true,
            ..Self::v6_3()
        }
    }

    /// With padding slots. Source: `kernel/dma/swiotlb.c: swiotlb_tbl_map_single()`, v6.9-rc4.
    #[must_use]
    pub const fn v6_9_rc4() -> Self {
        Self { pad_slots: true, ..Self::v6_9_rc1() }
    }

    /// The size is rounded inside. Source: `kernel/dma/swiotlb.c: swiotlb_tbl_map_single()`, v6.10 to v6.12.
    #[must_use]
    pub const fn v6_12() -> Self {
        Self { size_rule: SizeRule::Inside, ..Self::v6_9_rc4() }
    }

    /// Every set of rules that a version ever had, oldest first, for tests that must cover them all.
    #[must_use]
    pub const fn all() -> [(&'static str, Self); 9] {
        [
            ("5.13", Self::v5_13()),
            ("5.15", Self::v5_15()),
            ("5.16", Self::v5_16()),
            ("6.1.192", Self::v6_1_192()),
            ("6.3", Self::v6_3()),
            ("6.7", Self::v6_7()),
            ("6.9-rc1", Self::v6_9_rc1()),
            ("6.9-rc4", Self::v6_9_rc4()),
            ("6.12", Self::v6_12()),
        ]
    }
}

/// What a device demands of the addresses it is given (`struct device_dma_parameters`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaLimits {
    /// Low bits that must be the same in the original and in the bounce address (`min_align_mask`).
    pub min_align_mask: u32,
    /// No mapping may cross a multiple of this plus one (`segment_boundary_mask`); all ones: no limit.
    pub seg_boundary_mask: u64,
}

impl Default for DmaLimits {
    /// What a PCI device has whose driver sets nothing: mappings do not cross 4 GiB. Source: `drivers/pci/probe.c:
    /// pci_device_add()`, all versions.
    fn default() -> Self {
        Self { min_align_mask: 0, seg_boundary_mask: 0xffff_ffff }
    }
}

impl DmaLimits {
    /// Bytes by which a bounce buffer starts inside its first slot.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_align_offset()`, up to v6.9-rc3, and later with a zero mask.
    #[must_use]
    #[inline]
    pub fn align_offset(self, addr: PhysAddr) -> u32 {
        low32(addr.0) & self.min_align_mask & (low32(IO_TLB_SIZE) - 1)
    }

    /// As [`Self::align_offset`], counting the bits that the wanted alignment turns into padding.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_align_offset()`, v6.12.
    #[must_use]
    #[inline]
    pub fn align_offset_in(self, align_mask: u32, addr: PhysAddr) -> u32 {
        low32(addr.0) & self.min_align_mask & (align_mask | (low32(IO_TLB_SIZE) - 1))
    }
}

/// One request to the slot search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The buffer to be bounced; 0 when there is none (allocation from a restricted pool).
    pub orig_addr: PhysAddr,
    /// Bytes wanted, the offset into the first slot included.
    pub alloc_size: u64,
    /// Address bits that should be zero at the start of the run (`alloc_align_mask`).
    pub alloc_align_mask: u32,
}

/// A request worked out for one pool: the numbers that the kernel computes before it takes the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchPlan {
    /// When the walk gives up.
    pub loop_end: LoopEnd,
    /// Slots wanted; 0 is the kernel's `BUG_ON(!nslots)`.
    pub nslots: u32,
    /// Step from one suitable slot to the next.
    pub stride: u32,
    /// Address of the pool within the boundary window (`tbl_dma_addr`).
    pub tbl_dma_addr: u64,
    /// Bits that must be zero in a slot's address.
    pub zero_mask: u64,
    /// Bits that are compared with the original.
    pub match_mask: u64,
    /// What those bits must be.
    pub match_bits: u64,
    /// Slots in a boundary window (`max_slots`).
    pub max_slots: u64,
    /// Bytes recorded for the first slot of the run (`alloc_size` less the offset, wrapping).
    pub first_alloc_size: u64,
}

impl SearchPlan {
    /// Works `request` out for a pool at `start`.
    ///
    /// Source: the head of `kernel/dma/swiotlb.c: swiotlb_search_pool_area()` (v6.12) and of its
    /// predecessors, by `rules`.
    #[must_use]
    #[inline]
    pub fn new(rules: SearchRules, limits: DmaLimits, start: PhysAddr, request: &Request) -> Self {
        let slot_bits = low32(IO_TLB_SIZE) - 1;
        let orig = request.orig_addr.0;
        let total = request.alloc_size;
        let min_align = limits.min_align_mask;
        let mut align = request.alloc_align_mask;
        let (zero_mask, match_mask, stride) = match rules.align_test {
            AlignTest::MinAlign | AlignTest::MinAlignOutsideAlloc => {
                let covered = match rules.align_test {
                    AlignTest::MinAlignOutsideAlloc => align | slot_bits,
                    AlignTest::MinAlign | AlignTest::Combined | AlignTest::Separate => slot_bits,
                };
                let tested = min_align & !covered;
                let mut stride = (tested >> IO_TLB_SHIFT) + 1;
                if total >= PAGE_SIZE {
                    stride = stride.max(stride << (PAGE_SHIFT - IO_TLB_SHIFT));
                }
                (0, tested, stride.max((align >> IO_TLB_SHIFT) + 1))
            }
            AlignTest::Combined => {
                let page = if total >= PAGE_SIZE { low32(PAGE_SIZE) - 1 } else { 0 };
                let tested = (min_align | align | page) & !slot_bits;
                (0, tested, (tested >> IO_TLB_SHIFT) + 1)
            }
            AlignTest::Separate => {
                if rules.large_page_aligned && align == 0 && min_align == 0 && total >= PAGE_SIZE {
                    align = low32(PAGE_SIZE) - 1;
                }
                align |= slot_bits;
                let tested = min_align & !align;
                (align, tested, (align.max(tested) >> IO_TLB_SHIFT) + 1)
            }
        };
        let compared = !(rules.zero_orig_matches && orig == 0);
        let match_mask = if compared { u64::from(match_mask) } else { 0 };
        let offset = u64::from(limits.align_offset(request.orig_addr));
        Self {
            loop_end: rules.loop_end,
            nslots: low32(nr_slots(total)),
            stride,
            tbl_dma_addr: start.0 & limits.seg_boundary_mask,
            zero_mask: u64::from(zero_mask),
            match_mask,
            match_bits: orig & match_mask,
            max_slots: (limits.seg_boundary_mask >> IO_TLB_SHIFT) + 1,
            first_alloc_size: total.wrapping_sub(offset),
        }
    }

    /// The same plan for slots that are counted from slot `first` of the pool.
    #[must_use]
    #[inline]
    pub const fn counted_from(&self, first: u32) -> Self {
        let tbl_dma_addr = self.tbl_dma_addr.wrapping_add((first as u64) << IO_TLB_SHIFT);
        Self { tbl_dma_addr, ..*self }
    }

    /// Whether the address of `slot` has the bits that the request asks for.
    #[must_use]
    pub const fn suits(&self, slot: u32) -> bool {
        let addr = self.tbl_dma_addr.wrapping_add((slot as u64) << IO_TLB_SHIFT);
        addr & self.zero_mask == 0 && addr & self.match_mask == self.match_bits
    }

    /// Whether a run from `slot` would cross the device's boundary; `None` where the kernel stops, as a
    /// window is not a power of two.
    ///
    /// Source: `include/linux/iommu-helper.h: iommu_is_span_boundary()`, all versions.
    #[must_use]
    #[inline]
    pub const fn spans_boundary(&self, slot: u32) -> Option<bool> {
        if !self.max_slots.is_power_of_two() {
            return None;
        }
        let shift = nr_slots(self.tbl_dma_addr).wrapping_add(slot as u64) & (self.max_slots - 1);
        Some(shift.wrapping_add(self.nslots as u64) > self.max_slots)
    }

    /// Where a walk begins that last ended at `index`, before it is wrapped to the area.
    #[must_use]
    pub const fn first_index(&self, index: u32) -> u32 {
        match self.loop_end {
            // ALIGN() of the kernel, which with a stride that is no power of two does not align.
            LoopEnd::Wrap => index.wrapping_add(self.stride - 1) & !(self.stride - 1),
            LoopEnd::Counted => index,
        }
    }
}
