//! Slots in use over all areas, and the most there ever were, without a lock.

use super::SharedWord;
use crate::swiotlb::pool::Usage;

/// The counters `total_used` and `used_hiwater`, for many callers.
///
/// Source: `include/linux/swiotlb.h: struct io_tlb_mem`, v6.12 with `CONFIG_DEBUG_FS`.
#[derive(Debug)]
pub struct SharedUsage<W> {
    total_used: W,
    used_hiwater: W,
}

impl<W: SharedWord> Default for SharedUsage<W> {
    fn default() -> Self {
        Self { total_used: W::new(0), used_hiwater: W::new(0) }
    }
}

impl<W: SharedWord> SharedUsage<W> {
    /// Counts `nslots` as taken.
    ///
    /// Source: `kernel/dma/swiotlb.c: inc_used_and_hiwater()`, v6.12.
    pub fn add(&self, nslots: u32) {
        let used = self.total_used.add_return(u64::from(nslots));
        let mut hiwater = self.used_hiwater.read_once();
        while used > hiwater {
            match self.used_hiwater.try_cmpxchg(hiwater, used) {
                Ok(()) => return,
                Err(higher) => hiwater = higher,
            }
        }
    }

    /// Counts `nslots` (an `int`) as given back.
    ///
    /// Source: `kernel/dma/swiotlb.c: dec_used()`, v6.12.
    pub fn sub(&self, nslots: i64) {
        self.total_used.add_return(nslots.wrapping_neg().cast_unsigned());
    }

    /// Both counters, each read by itself.
    #[must_use]
    pub fn get(&self) -> Usage {
        Usage { total_used: self.total_used.read_once(), used_hiwater: self.used_hiwater.read_once() }
    }

    /// Sets the mark back to zero, as a write to `io_tlb_used_hiwater` does.
    ///
    /// Source: `kernel/dma/swiotlb.c: io_tlb_hiwater_set()`, v6.12.
    pub fn reset_hiwater(&self) {
        self.used_hiwater.write_once(0);
    }
}
