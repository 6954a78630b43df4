//! Where `ZONE_MOVABLE` begins in each node.

use std::collections::BTreeMap;

use super::numa::NumaRules;
use super::zones::FOUR_GIB_PFN;
use crate::mem::Pfn;
use crate::memblock::{Memblock, MemblockFlags, MemblockType, NodeId};

/// Pages in the largest block of the page allocator. Source: `include/linux/mmzone.h: MAX_ORDER_NR_PAGES` on x86.
const MAX_ORDER_NR_PAGES: u64 = 1024;

/// A size on the command line: `512M`, or `30%` of all memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreSize {
    /// Pages.
    Pages(u64),
    /// Percent of all pages.
    Percent(u64),
}

impl CoreSize {
    fn pages(self, total: u64) -> u64 {
        match self {
            Self::Pages(pages) => pages,
            Self::Percent(percent) => total.wrapping_mul(100).wrapping_mul(percent) / 10_000,
        }
    }
}

/// What the command line says of movable memory.
///
/// Source: `mm/mm_init.c: cmdline_parse_kernelcore(), cmdline_parse_movablecore()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MovableRequest {
    /// `kernelcore=` with a size.
    pub kernelcore: Option<CoreSize>,
    /// `movablecore=`.
    pub movablecore: Option<CoreSize>,
    /// `kernelcore=mirror`.
    pub mirror: bool,
    /// `movable_node`.
    pub movable_node: bool,
}

type Starts = BTreeMap<NodeId, u64>;

/// The first movable page of each node that has one.
///
/// Source: `mm/mm_init.c: find_zone_movable_pfns_for_nodes()`; `mm/page_alloc.c`, v6.1.
#[must_use]
pub fn movable_starts(
    memblock: &Memblock,
    request: &MovableRequest,
    normal_from: Pfn,
    rules: NumaRules,
) -> BTreeMap<NodeId, Pfn> {
    let mut starts = Starts::new();
    if request.movable_node {
        for region in memblock.regions(MemblockType::Memory) {
            if region.flags.intersects(MemblockFlags::HOTPLUG) {
                // v6.1 rounds down here; the lists hold whole pages, so it makes no difference.
                lower(&mut starts, region.nid, region.base.pfn().0);
            }
        }
    } else if request.mirror {
        if rules.trims_below_memory && !memblock.has_mirror() {
            return BTreeMap::new();
        }
        for region in memblock.regions(MemblockType::Memory) {
            let pfn = region.base.pfn().0;
            if !region.flags.intersects(MemblockFlags::MIRROR) && pfn >= FOUR_GIB_PFN {
                lower(&mut starts, region.nid, pfn);
            }
        }
    } else {
        let total: u64 = memblock.pfn_ranges(NodeId::MAX_NUMNODES).map(|run| run.end.0 - run.start.0).sum();
        let mut required = request.kernelcore.map_or(0, |size| size.pages(total));
        let movable = request.movablecore.map_or(0, |size| size.pages(total));
        if movable != 0 {
            let movable = movable.checked_next_multiple_of(MAX_ORDER_NR_PAGES).unwrap_or(0).min(total);
            required = required.max(total - movable);
        }
        if required == 0 || required >= total {
            return BTreeMap::new();
        }
        spread(memblock, &mut starts, required, normal_from.0);
    }
    // A start that does not lie inside its node, once it is rounded up, is none.
    starts
        .into_iter()
        .filter_map(|(nid, pfn)| {
            let pfn = pfn.checked_next_multiple_of(MAX_ORDER_NR_PAGES)?;
            let end = memblock.pfn_ranges(nid).map(|run| run.end.0).max().unwrap_or(0);
            (pfn != 0 && pfn < end).then_some((nid, Pfn(pfn)))
        })
        .collect()
}

fn lower(starts: &mut Starts, nid: NodeId, pfn: u64) {
    let start = starts.entry(nid).or_insert(0);
    *start = if *start == 0 { pfn } else { (*start).min(pfn) };
}

/// Shares `required` pages of kernel memory among the nodes; whatever lies above is movable.
fn spread(memblock: &Memblock, starts: &mut Starts, mut required: u64, normal_from: u64) {
    let mut nodes: Vec<NodeId> = memblock.pfn_ranges(NodeId::MAX_NUMNODES).map(|run| run.nid).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let mut usable = nodes.len() as u64;
    while usable > 0 {
        let mut share = required / usable;
        for nid in &nodes {
            if required < share {
                share = required / usable;
            }
            let start = starts.entry(*nid).or_insert(0);
            take(memblock, *nid, start, share, &mut required, normal_from);
        }
        usable -= 1;
        if required <= usable {
            break;
        }
    }
}

fn take(
    memblock: &Memblock,
    nid: NodeId,
    movable: &mut u64,
    share: u64,
    required: &mut u64,
    normal_from: u64,
) {
    let mut left = share;
    for run in memblock.pfn_ranges(nid) {
        let (mut start, end) = (run.start.0.max(*movable), run.end.0);
        if start >= end {
            continue;
        }
        if start < normal_from {
            let low = end.min(normal_from) - start;
            left -= low.min(left);
            *required -= low.min(*required);
            if end <= normal_from {
                *movable = end;
                continue;
            }
            start = normal_from;
        }
        let size = (end - start).min(left);
        *movable = start + size;
        *required -= size.min(*required);
        left -= size;
        if left == 0 {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{CoreSize, MovableRequest, NumaRules, movable_starts};
    use crate::mem::{Pfn, PhysAddr};
    use crate::memblock::{Memblock, MemblockFlags, MemblockRules, NodeId};

    const GIB: u64 = 1 << 30;

    /// Node 0 lies below 4 GiB, node 1 above; the last GiB can be unplugged.
    fn starts(request: MovableRequest) -> BTreeMap<i32, u64> {
        let mut memblock = Memblock::new(MemblockRules::v6_12());
        for (nid, start, end, flags) in [
            (0, 0, 4, MemblockFlags::NONE),
            (1, 4, 7, MemblockFlags::NONE),
            (1, 7, 8, MemblockFlags::HOTPLUG),
        ] {
            let size = (end - start) * GIB;
            memblock.add_node(PhysAddr(start * GIB), size, NodeId(nid), flags).expect("there is room");
        }
        let found = movable_starts(&memblock, &request, Pfn(1 << 20), NumaRules::v6_12());
        found.into_iter().map(|(nid, pfn)| (nid.0, pfn.0)).collect()
    }

    fn kernelcore(size: CoreSize) -> MovableRequest {
        MovableRequest { kernelcore: Some(size), ..MovableRequest::default() }
    }

    #[test]
    fn kernel_memory_is_shared_among_nodes_and_what_lies_below_4_gib_counts_first() {
        assert_eq!(starts(kernelcore(CoreSize::Pages(0x8_0000))), BTreeMap::from([(1, 0x10_0000)]));
        // 6 GiB: all of node 0, half of node 1's share in the first round, the rest in the second.
        assert_eq!(starts(kernelcore(CoreSize::Pages(0x18_0000))), BTreeMap::from([(1, 0x18_0000)]));
        assert_eq!(starts(kernelcore(CoreSize::Percent(75))), BTreeMap::from([(1, 0x18_0000)]));
        assert_eq!(starts(kernelcore(CoreSize::Pages(0x20_0000))), BTreeMap::new());
        assert_eq!(starts(MovableRequest::default()), BTreeMap::new());
    }

    #[test]
    fn movablecore_is_what_kernelcore_leaves() {
        let request =
            MovableRequest { movablecore: Some(CoreSize::Percent(25)), ..MovableRequest::default() };
        assert_eq!(starts(request), starts(kernelcore(CoreSize::Percent(75))));
    }

    #[test]
    fn memory_that_can_be_unplugged_is_movable_if_asked_for() {
        let request = MovableRequest { movable_node: true, ..kernelcore(CoreSize::Pages(0x8_0000)) };
        assert_eq!(starts(request), BTreeMap::from([(1, 0x1c_0000)]));
    }

    #[test]
    fn without_mirrored_memory_nothing_is_movable_since_v6_12() {
        let request = MovableRequest { mirror: true, ..MovableRequest::default() };
        assert_eq!(starts(request), BTreeMap::new());
    }
}
