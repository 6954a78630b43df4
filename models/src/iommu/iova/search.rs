//! The search for a gap, downwards from a remembered node.

use super::domain::IovaDomain;
use super::ranges::Node;
use super::rules::RetryFrom;
use super::types::{AllocError, IovaRange};

/// One downward pass, and what it found.
struct Pass {
    /// Upper bound (exclusive) of the gap looked at last.
    high: u64,
    /// First page frame of the candidate in that gap, modulo 2^64 as the kernel computes it.
    candidate: u64,
}

/// Mask that aligns a candidate: naturally for the next power of two, or not at all.
const fn align_mask(size: u64, size_aligned: bool) -> u64 {
    if !size_aligned {
        return u64::MAX;
    }
    let order = u64::BITS - (size - 1).leading_zeros();
    // An order of 64 would need a size above 2^63 pages; x86 then shifts by 0.
    u64::MAX << (order % u64::BITS)
}

impl IovaDomain {
    /// Walks down from `start` until a candidate fits above the next lower range, or none can fit any more.
    ///
    /// Arithmetic is modulo 2^64: a gap smaller than `size` near page 0 gives a huge candidate, which the caller
    /// rejects since `high < size`.
    fn walk_down(&self, start: Node, limit: u64, low: u64, size: u64, mask: u64) -> Pass {
        let mut high = limit.min(start.lo);
        let mut candidate = high.wrapping_sub(size) & mask;
        for lower in self.ranges.below(start.lo) {
            if candidate > lower.hi || candidate < low {
                break;
            }
            high = high.min(lower.lo);
            candidate = high.wrapping_sub(size) & mask;
        }
        Pass { high, candidate }
    }

    /// Finds the highest fitting gap at or below the remembered node and links a range there.
    ///
    /// `limit` is exclusive. Source: `drivers/iommu/iova.c: __alloc_and_insert_iova_range()`, v6.12.
    ///
    /// # Errors
    ///
    /// As for [`IovaDomain::alloc_iova`].
    pub(super) fn alloc_and_insert_iova_range(
        &mut self,
        size: u64,
        limit: u64,
        size_aligned: bool,
    ) -> Result<IovaRange, AllocError> {
        if size == 0 {
            return Err(AllocError::ZeroSize);
        }
        let in_32bit = limit <= self.dma_32bit_pfn();
        if in_32bit && size >= self.max32_alloc_size {
            return Err(AllocError::NoSpace);
        }
        let mask = align_mask(size, size_aligned);
        let cached = if in_32bit { self.cached32 } else { self.cached };
        let Some(start) = cached else {
            return Err(AllocError::NullPointer);
        };

        let mut low = self.start_pfn().0;
        let mut pass = self.walk_down(start, limit, low, size, mask);
        if pass.high < size || pass.candidate < low {
            low = self.second_pass_low(start, limit).ok_or_else(|| self.exhausted(size))?;
            let again = if in_32bit { self.ranges.first_from(limit) } else { self.ranges.anchor() };
            let again = again.ok_or(AllocError::NullPointer)?;
            pass = self.walk_down(again, limit, low, size, mask);
            if pass.high < size || pass.candidate < low {
                // The kernel knows its second pass by a lower bound other than the domain's start.
                if low == self.start_pfn().0 {
                    return Err(AllocError::Endless);
                }
                return Err(self.exhausted(size));
            }
        }

        let new = Node { lo: pass.candidate, hi: pass.candidate + (size - 1) };
        let linked = self.ranges.insert(new);
        debug_assert!(linked, "a gap holds no range that begins in it");
        if new.hi < self.dma_32bit_pfn() {
            self.cached32 = Some(new);
        } else {
            self.cached = Some(new);
        }
        Ok(new.range())
    }

    /// Lower bound of the second pass, or `None` if the first one already saw everything below `limit`.
    fn second_pass_low(&self, start: Node, limit: u64) -> Option<u64> {
        match self.rules().retry_from {
            RetryFrom::CheckedEnd => (start.hi < limit).then(|| start.hi + 1),
            RetryFrom::WrappingEnd => {
                let after = start.hi.wrapping_add(1);
                (after < limit).then_some(after)
            }
        }
    }

    /// Remembers that `size` does not fit. The kernel does so for limits above 4 GiB, too.
    const fn exhausted(&mut self, size: u64) -> AllocError {
        self.max32_alloc_size = size;
        AllocError::NoSpace
    }
}
