//! Invalidation of cached translations: what the driver asks for, and what the hardware drops.

use super::queue;
use super::recorded::forgot_translation;
use super::{IommuDomain, IommuDriver, smmu};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PAGE_SHIFT, Ptr};
use crate::oracle::check_flushes;
use crate::profile::Behaviour;
use crate::scenario::schema::Iommu;

/// The largest mask of a page-selective invalidation (`cap_max_amask_val`): 2^18 pages on usual units.
const MAX_AMASK: u32 = 18;

/// What an invalidation drops of a domain's translations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of them.
    Domain,
    /// Those of these pages, both ends included.
    Pages(u64, u64),
}

/// The hardware drops translations.
pub(super) fn invalidate(kx: &Kx, domain: Ptr<IommuDomain>, scope: Scope) {
    if let Ok(object) = kx.k.mem.object(domain)
        && let Some(cookie) = object.cookie.borrow_mut().as_mut()
    {
        let id = object.id.get();
        let (first, last) = match scope {
            Scope::Domain => (0, u64::MAX),
            Scope::Pages(first, last) => (first, last),
        };
        cookie.iotlb.retain(|entry| {
            let goes = first <= entry.page && entry.page <= last;
            if goes {
                forgot_translation(kx, id, entry.page);
            }
            !goes
        });
    }
}

/// Drops all cached translations of a domain, and waits until that is done (`iommu_flush_iotlb_all`).
pub async fn iotlb_flush_domain(kx: &Kx, domain: Ptr<IommuDomain>) {
    if smmu::is_smmu(kx) {
        smmu::tlb_inv_context(kx, domain).await;
        return;
    }
    if queue::takes_time(kx) {
        queue::flush(kx, domain, &[Scope::Domain]).await;
        return;
    }
    kx.step(sim::Kind::Io, kx.label(domain.id, 30)).await;
    invalidate(kx, domain, Scope::Domain);
}

/// Drops cached translations of a range, and waits until that is done (`iommu_iotlb_sync`).
pub(crate) async fn iotlb_flush_range(kx: &Kx, domain: Ptr<IommuDomain>, addr: DmaAddr, size: u64) {
    let (first, last) = (addr.0 >> PAGE_SHIFT, addr.0.wrapping_add(size.max(1) - 1) >> PAGE_SHIFT);
    let scopes = match kx.k.iommu.registered.get() {
        Some(IommuDriver::Intel) => {
            vec![page_selective(first, last - first + 1, kx.k.has(Behaviour::FlushMaskCoversRange))]
        }
        Some(IommuDriver::Amd) if splits(kx) => {
            // The range ends with its last byte: who takes that for its end loses it.
            let lost = u64::from(!kx.k.has(Behaviour::FlushSizeWithEnd));
            let pieces = aligned_pieces(first << PAGE_SHIFT, ((last - first + 1) << PAGE_SHIFT) - lost);
            check_flushes(kx, &pieces);
            pieces.into_iter().map(|(first, last)| Scope::Pages(first, last)).collect()
        }
        _ => vec![Scope::Pages(first, last)],
    };
    if queue::takes_time(kx) {
        queue::flush(kx, domain, &scopes).await;
        return;
    }
    for scope in scopes {
        kx.step(sim::Kind::Io, kx.label(domain.id, 30)).await;
        invalidate(kx, domain, scope);
    }
}

/// Whether this machine's IOMMU is an emulated one, to which a range is told in pieces: its host would drop more than asked
/// for otherwise.
fn splits(kx: &Kx) -> bool {
    let emulated = matches!(kx.k.scenario.machine.iommu, Iommu::AmdVi { np_cache: true, .. });
    emulated && kx.k.has(Behaviour::VirtualFlushSplit)
}

/// Cuts a range of bytes into pieces that are powers of two and aligned to their size; each by its first and last page.
///
/// Source: `drivers/iommu/amd/iommu.c: domain_flush_pages()`, v6.1; `amd_iommu_domain_flush_pages()`, v6.12.
fn aligned_pieces(mut addr: u64, mut size: u64) -> Vec<(u64, u64)> {
    let mut pieces = Vec::new();
    while size > 0 {
        let alignment = if addr == 0 { size.ilog2() } else { addr.trailing_zeros().min(size.ilog2()) };
        let piece = 1 << alignment;
        pieces.push((addr >> PAGE_SHIFT, addr.wrapping_add(piece - 1) >> PAGE_SHIFT));
        addr = addr.wrapping_add(piece);
        size -= piece;
    }
    pieces
}

/// What VT-d's hardware drops when its driver asks for these pages: it is given an address and a mask, and ignores the bits
/// of the address that the mask covers. With `covering` the mask grows until it covers first and last page of a range that is
/// not aligned to its size.
///
/// Source: `drivers/iommu/intel/iommu.c: iommu_flush_iotlb_psi()`, v5.13, v6.1.
pub(super) fn page_selective(pfn: u64, pages: u64, covering: bool) -> Scope {
    let aligned = pages.max(1).next_power_of_two();
    let mut mask = aligned.ilog2();
    let low = aligned - 1;
    if covering && pfn & low != 0 {
        let end = pfn + pages.max(1) - 1;
        let shared = !(pfn ^ end) & !low;
        mask = if shared == 0 { u64::BITS } else { shared.trailing_zeros() };
    }
    if mask > MAX_AMASK {
        return Scope::Domain;
    }
    let first = pfn >> mask << mask;
    Scope::Pages(first, first + ((1 << mask) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_that_follows_from_the_size_alone_misses_the_end_of_an_unaligned_range() {
        assert_eq!(page_selective(0x17f, 3, false), Scope::Pages(0x17c, 0x17f));
        assert_eq!(page_selective(0x17f, 3, true), Scope::Pages(0x100, 0x1ff));
        assert_eq!(page_selective(0x180, 4, false), page_selective(0x180, 4, true));
        assert_eq!(page_selective(0x3_ffff, 2, true), Scope::Domain);
    }

    #[test]
    fn a_byte_that_is_missing_makes_many_pieces_of_one_page() {
        assert_eq!(aligned_pieces(0x3000, 0x1000), [(3, 3)]);
        assert_eq!(aligned_pieces(0x3000, 0x3000), [(3, 3), (4, 5)]);
        let pieces = aligned_pieces(0x3000, 0xfff);
        assert_eq!(pieces.len(), 12);
        assert!(pieces.iter().all(|piece| *piece == (3, 3)));
    }

    #[test]
    fn the_covering_mask_covers() {
        for pfn in 0..130 {
            for pages in 1..70 {
                if let Scope::Pages(first, last) = page_selective(pfn, pages, true) {
                    assert!(first <= pfn && pfn + pages - 1 <= last, "{pfn:#x} {pages}");
                }
            }
        }
    }
}
