//! What an SMMU has cached of its walks: which table of the lowest level the addresses of a region lead to.

use crate::iommu::pagetable::{Access, Entry, Format, PageTable};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PAGE_SHIFT, PhysAddr};

/// Walks that are cached for one domain, at most.
const WALKS: usize = 16;

/// Address bits below those of a region: what one table of the lowest level leads to.
const REGION_SHIFT: u32 = 21;

/// A cached walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    region: u64,
    /// The table's page.
    table: PhysAddr,
}

/// The cached walks of one domain.
#[derive(Clone, Debug, Default)]
pub struct WalkCache {
    walks: Vec<Walk>,
    next: usize,
}

impl WalkCache {
    /// Where a page leads for which there is no translation in the cache: through the table that a cached walk names, if
    /// there is one, or from the root. `None`: nowhere.
    ///
    /// A table that is no part of `table` any more was freed, and what lies there now is read.
    pub(crate) fn translate(
        &mut self,
        kx: &Kx,
        table: &PageTable,
        addr: DmaAddr,
        access: Access,
    ) -> Option<PhysAddr> {
        let region = addr.0 >> REGION_SHIFT;
        let lowest = table.lowest_table(addr);
        let cached = self.walks.iter().find(|walk| walk.region == region).map(|walk| walk.table);
        if let Some(cached) = cached.filter(|cached| lowest != Some(*cached)) {
            let index = addr.0 >> PAGE_SHIFT & 0x1ff;
            let raw = match table.table_at(cached) {
                Some((_, entries)) => entries[usize::try_from(index).unwrap_or(0)],
                None => kx.raw_read(cached.wrapping_add(index * 8), 8),
            };
            return match Entry::decode(Format::ArmLpaeS1, 1, raw) {
                Entry::Leaf { phys, prot, .. } if prot.allows(access) => {
                    Some(phys.wrapping_add(addr.page_offset()))
                }
                _ => None,
            };
        }
        let phys = table.translate(addr, access).ok()?;
        if let Some(lowest) = lowest.filter(|_| cached.is_none()) {
            let walk = Walk { region, table: lowest };
            if self.walks.len() < WALKS {
                self.walks.push(walk);
            } else {
                self.next %= WALKS;
                self.walks[self.next] = walk;
                self.next += 1;
            }
        }
        Some(phys)
    }

    /// Forgets the walks to these pages, both ends included.
    pub(super) fn forget(&mut self, first_page: u64, last_page: u64) {
        let shift = REGION_SHIFT - PAGE_SHIFT;
        let gone = first_page >> shift..=last_page >> shift;
        self.walks.retain(|walk| !gone.contains(&walk.region));
    }

    /// Whether a cached walk leads through the table in `page`.
    #[must_use]
    pub fn leads_through(&self, page: PhysAddr) -> bool {
        self.walks.iter().any(|walk| walk.table == page)
    }
}
