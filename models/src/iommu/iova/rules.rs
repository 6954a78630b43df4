//! What differs between kernel versions, one named switch for each difference.

use super::rcache::IOVA_RANGE_CACHE_MAX_SIZE;

/// What becomes of a full magazine when both of a CPU's magazines are full.
///
/// Source: `drivers/iommu/iova.c: __iova_rcache_insert()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepotRule {
    /// The depot holds at most this many magazines of a size class; the next one is emptied into the ranges
    /// (until v6.6, 32 magazines).
    Bounded(usize),
    /// The depot has no limit, and delayed work trims it while it holds more magazines than CPUs are online
    /// (v6.7 and later).
    Trimmed,
}

/// When freeing a range forgets the size that is known not to fit below 4 GiB.
///
/// Source: `drivers/iommu/iova.c: __cached_rbnode_delete_update()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Max32Reset {
    /// Only when the remembered 32-bit node moves up (until v5.17): a free far below it goes unnoticed.
    WithCachedNode,
    /// Whenever any range below 4 GiB is freed (v5.18 and later, and stable trees that took the change).
    AnyFree,
}

/// The lower end of the second search pass.
///
/// Source: `drivers/iommu/iova.c: __alloc_and_insert_iova_range()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryFrom {
    /// One past the remembered node's last page, computed before the comparison. For the top sentinel this
    /// wraps to page 0, so the second pass runs and may go below the domain's start (v5.11 to v6.1).
    WrappingEnd,
    /// Compared before one is added, so that the sentinel never starts a second pass (v6.2, v6.1.5 and later).
    CheckedEnd,
}

/// The behaviour of one kernel version. All fields are independent, so that a profile can flip one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IovaRules {
    /// Entries in a magazine (`IOVA_MAG_SIZE`): 128, or 127 since v6.1 so that one fills a power of two bytes.
    pub magazine_size: usize,
    /// Where full magazines go.
    pub depot: DepotRule,
    /// Whether an allocation that fails empties the depots as well as the magazines of all CPUs (v5.11 and later).
    pub flushes_depot: bool,
    /// When the hint for the 32-bit space is reset.
    pub max32_reset: Max32Reset,
    /// How the second search pass is bounded.
    pub retry_from: RetryFrom,
    /// Whether `alloc_iova_fast` itself rounds small sizes up to a power of two (v5.17 and later); before, its
    /// caller `iommu_dma_alloc_iova` did.
    pub fast_rounds_size: bool,
}

impl IovaRules {
    /// Linux v5.13: the kernel of the year-2021 reports.
    #[must_use]
    pub const fn v5_13() -> Self {
        Self {
            magazine_size: 128,
            depot: DepotRule::Bounded(32),
            flushes_depot: true,
            max32_reset: Max32Reset::WithCachedNode,
            retry_from: RetryFrom::WrappingEnd,
            fast_rounds_size: false,
        }
    }

    /// Linux v6.1 with its stable fixes.
    #[must_use]
    pub const fn v6_1() -> Self {
        Self {
            magazine_size: 127,
            depot: DepotRule::Bounded(32),
            flushes_depot: true,
            max32_reset: Max32Reset::AnyFree,
            retry_from: RetryFrom::CheckedEnd,
            fast_rounds_size: true,
        }
    }

    /// Linux v6.12.
    #[must_use]
    pub const fn v6_12() -> Self {
        Self { depot: DepotRule::Trimmed, ..Self::v6_1() }
    }
}

impl IovaRules {
    /// Pages that an allocation of `pages` really takes: small sizes are rounded up, by the allocator or its caller.
    ///
    /// Source: `drivers/iommu/iova.c: alloc_iova_fast()`, v6.12; `drivers/iommu/dma-iommu.c: iommu_dma_alloc_iova()`,
    /// v5.13.
    #[must_use]
    pub const fn range_pages(pages: u64) -> u64 {
        if pages < 1 << (IOVA_RANGE_CACHE_MAX_SIZE - 1) { pages.next_power_of_two() } else { pages }
    }
}

impl Default for IovaRules {
    fn default() -> Self {
        Self::v6_12()
    }
}
