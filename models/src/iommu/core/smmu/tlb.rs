//! Invalidation of translations: what the drivers ask for, and what the hardware drops.

use sim::Kind;

use super::cmdq::{BATCH, Command, issue_cmdlist};
use super::v3;
use crate::iommu::core::IommuDomain;
use crate::iommu::core::flush::{Scope, invalidate};
use crate::iommu::core::objects::with_cookie;
use crate::iommu::pagetable::Gathered;
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PAGE_SHIFT, Ptr};

/// How many times a power of two one command for a range can drop, at most (`CMDQ_TLBI_RANGE_NUM_MAX`).
const RANGE_NUM_MAX: u64 = 31;

/// The SMMU that a domain's devices are behind.
fn smmu_of(kx: &Kx, domain: Ptr<IommuDomain>) -> usize {
    kx.k.mem.object(domain).map_or(0, |object| object.smmu.get())
}

/// Drops all translations of a domain, and waits until that is done.
///
/// Source: `drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c: arm_smmu_tlb_inv_context()`,
/// `drivers/iommu/arm/arm-smmu/arm-smmu.c: arm_smmu_tlb_inv_context_s1()`, v6.1, v6.12.
pub(in super::super) async fn tlb_inv_context(kx: &Kx, domain: Ptr<IommuDomain>) {
    if v3(kx).is_some() {
        let _frame = kx.enter("arm_smmu_tlb_inv_context");
        issue_cmdlist(kx, smmu_of(kx, domain), &[Command::TlbiAsid(domain)], true).await;
        return;
    }
    let _frame = kx.enter("arm_smmu_tlb_inv_context_s1");
    kx.step(Kind::Io, kx.label(domain.id, 30)).await;
    drop_all(kx, domain);
    tlb_sync(kx, domain).await;
}

/// SMMUv2: what was asked for is done. Source: `drivers/iommu/arm/arm-smmu/arm-smmu.c: arm_smmu_tlb_sync_context()`.
pub(super) async fn tlb_sync(kx: &Kx, domain: Ptr<IommuDomain>) {
    kx.step(Kind::Io, kx.label(domain.id, 30)).await;
}

/// SMMUv2: asks for pages to be dropped, one register write after the other.
///
/// Source: `drivers/iommu/arm/arm-smmu/arm-smmu.c: arm_smmu_tlb_inv_range_s1()`, v6.1, v6.12.
pub(super) async fn tlb_write(kx: &Kx, domain: Ptr<IommuDomain>, addr: DmaAddr, size: u64, leaf: bool) {
    kx.step(Kind::Io, kx.label(domain.id, 30)).await;
    drop_pages(kx, domain, pages_of(addr.0, size), leaf);
}

/// Tables are out of the tree: no walk may lead through them any more.
///
/// Source: `arm_smmu_tlb_inv_walk()`, `arm_smmu_tlb_inv_walk_s1()`, v6.1, v6.12.
pub(super) async fn tlb_inv_walk(kx: &Kx, domain: Ptr<IommuDomain>, addr: DmaAddr, size: u64) {
    if v3(kx).is_some() {
        let _frame = kx.enter("arm_smmu_tlb_inv_walk");
        tlb_inv_range(kx, domain, addr, size, 1 << PAGE_SHIFT, false).await;
        return;
    }
    let _frame = kx.enter("arm_smmu_tlb_inv_walk_s1");
    tlb_write(kx, domain, addr, size, false).await;
    tlb_sync(kx, domain).await;
}

/// SMMUv3: drops the translations of a range that has pages of `granule` bytes, and waits until that is done.
///
/// Source: `drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c: arm_smmu_tlb_inv_range_domain()`, `arm_smmu_cmdq_batch_add()`,
/// v6.1, v6.12.
pub(super) async fn tlb_inv_range(
    kx: &Kx,
    domain: Ptr<IommuDomain>,
    addr: DmaAddr,
    size: u64,
    granule: u64,
    leaf: bool,
) {
    let _frame = kx.enter("arm_smmu_tlb_inv_range_domain");
    let by_range = v3(kx).is_some_and(|v3| v3.range_invalidation);
    let parts = invalidations(addr.0, size, granule, leaf, by_range);
    let commands: Vec<_> =
        parts.into_iter().map(|(first, last)| Command::TlbiVa { domain, first, last, leaf }).collect();
    let smmu = smmu_of(kx, domain);
    let mut batches = commands.chunks(BATCH).peekable();
    while let Some(batch) = batches.next() {
        issue_cmdlist(kx, smmu, batch, batches.peek().is_none()).await;
    }
}

/// First and last page of a range of bytes.
const fn pages_of(addr: u64, size: u64) -> (u64, u64) {
    (addr >> PAGE_SHIFT, addr.wrapping_add(size.saturating_sub(1)) >> PAGE_SHIFT)
}

/// The commands that drop a range, each by its first and last page: one for each page of `granule` bytes, or for as many pages
/// as a number of five bits times a power of two can say.
///
/// Source: `drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c: __arm_smmu_tlb_inv_range()`, v6.1, v6.12.
fn invalidations(addr: u64, size: u64, granule: u64, leaf: bool, by_range: bool) -> Vec<(u64, u64)> {
    let end = addr.wrapping_add(size);
    let mut at = addr;
    let mut parts = Vec::new();
    let mut pages = size >> PAGE_SHIFT;
    if by_range && !leaf && pages & RANGE_NUM_MAX == 1 {
        pages += 1;
    }
    while at < end {
        let mut bytes = granule;
        if by_range {
            let scale = pages.trailing_zeros();
            let number = pages >> scale & RANGE_NUM_MAX;
            bytes = number << (scale + PAGE_SHIFT);
            pages -= number << scale;
        }
        parts.push(pages_of(at, bytes));
        at = at.wrapping_add(bytes);
    }
    parts
}

/// The hardware drops all that it has cached for a domain.
pub(super) fn drop_all(kx: &Kx, domain: Ptr<IommuDomain>) {
    invalidate(kx, domain, Scope::Domain);
    with_cookie(kx, domain, |cookie| cookie.walks.forget(0, u64::MAX));
}

/// It drops the translations of pages, and without `leaf` the walks to them.
pub(super) fn drop_pages(kx: &Kx, domain: Ptr<IommuDomain>, (first, last): (u64, u64), leaf: bool) {
    invalidate(kx, domain, Scope::Pages(first, last));
    if !leaf {
        with_cookie(kx, domain, |cookie| cookie.walks.forget(first, last));
    }
}

/// Pages that are unmapped and not invalidated yet: one range of pages of one size.
///
/// Source: `include/linux/iommu.h: struct iommu_iotlb_gather`, v6.12.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gather {
    range: Option<(u64, u64)>,
    pgsize: u64,
}

impl Gather {
    /// Adds pages; what was gathered before if it cannot be told in one with them.
    ///
    /// Source: `include/linux/iommu.h: iommu_iotlb_gather_add_page()`, v6.1, v6.12.
    #[must_use]
    pub(super) fn add(&mut self, pages: Gathered) -> Option<Self> {
        let (start, end) = (pages.iova.0, pages.iova.0.wrapping_add(pages.pgsize * pages.pages - 1));
        let before = *self;
        if let Some((first, last)) = self.range
            && self.pgsize == pages.pgsize
            && start <= last.saturating_add(1)
            && first <= end.saturating_add(1)
        {
            self.range = Some((first.min(start), last.max(end)));
            return None;
        }
        *self = Self { range: Some((start, end)), pgsize: pages.pgsize };
        before.range.map(|_| before)
    }

    /// SMMUv3: what was gathered is dropped. Source: `arm_smmu_iotlb_sync()`, v6.1, v6.12.
    pub(super) async fn sync(self, kx: &Kx, domain: Ptr<IommuDomain>) {
        if let Some((first, last)) = self.range {
            let _frame = kx.enter("arm_smmu_iotlb_sync");
            tlb_inv_range(kx, domain, DmaAddr(first), last - first + 1, self.pgsize, true).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KIB4: u64 = 1 << 12;
    const MIB2: u64 = 1 << 21;

    #[test]
    fn one_command_a_page_or_a_few_for_all() {
        assert_eq!(invalidations(0x5000, 3 * KIB4, KIB4, true, false), [(5, 5), (6, 6), (7, 7)]);
        assert_eq!(invalidations(MIB2, 2 * MIB2, MIB2, true, false), [(512, 1023), (1024, 1535)]);
        assert_eq!(invalidations(0x5000, 3 * KIB4, KIB4, true, true), [(5, 7)]);
        // 0b1000_0000_0001 pages: five bits at a time, from the lowest that is set.
        assert_eq!(invalidations(0, 0x801 * KIB4, KIB4, true, true), [(0, 0), (1, 0x800)]);
        assert_eq!(
            invalidations(0x5000, KIB4, KIB4, false, true),
            [(5, 6)],
            "one page of a walk is told as two"
        );
    }

    #[test]
    fn what_is_apart_or_of_another_size_is_not_gathered() {
        let pages = |iova, pgsize, pages| Gathered { iova: DmaAddr(iova), pgsize, pages };
        let mut gather = Gather::default();
        assert_eq!(gather.add(pages(0x5000, KIB4, 2)), None);
        assert_eq!(gather.add(pages(0x7000, KIB4, 1)), None);
        assert_eq!(gather.range, Some((0x5000, 0x7fff)));
        let before = gather;
        assert_eq!(gather.add(pages(0x9000, KIB4, 1)), Some(before), "a hole");
        let before = gather;
        assert_eq!(gather.add(pages(0xa000, MIB2, 1)), Some(before), "another size");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn commands_cover_the_range(page in 0_u64..1 << 20, pages in 1_u64..1 << 14, leaf: bool, by_range: bool) {
            let parts = invalidations(page * KIB4, pages * KIB4, KIB4, leaf, by_range);
            let mut next = page;
            for (first, last) in &parts {
                prop_assert_eq!(*first, next);
                next = last + 1;
            }
            prop_assert!(next >= page + pages && next <= page + pages + 1);
            prop_assert!(!by_range || parts.len() <= 4);
        }
    }
}
