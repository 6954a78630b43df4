//! How many pages are free when the kernel first counts them.

use std::collections::BTreeMap;

use super::zones::{MAX_DMA_PFN, PAGES_PER_SECTION, ZoneMap};
use crate::mem::{PAGE_SHIFT, PAGE_SIZE, Pfn};
use crate::memblock::{Memblock, MemblockFlags, NodeId, PfnRange};

/// `sizeof(struct page)`.
const PAGE_STRUCT: u64 = 64;

/// The first page of each node whose structure is set up only after all CPUs run; nodes that have none are absent.
/// Until then such pages are not with the page allocator.
///
/// Source: `mm/page_alloc.c: defer_init(), memmap_init()`, v6.1, with `CONFIG_DEFERRED_STRUCT_PAGE_INIT`.
#[must_use]
pub fn deferred_from(memblock: &Memblock, map: &ZoneMap) -> BTreeMap<NodeId, Pfn> {
    let mut first: BTreeMap<NodeId, Pfn> = BTreeMap::new();
    // The counter is one for all nodes and zones, and starts again where the end of the zone is another.
    let (mut zone_end, mut initialised) = (0, 0);
    for run in memblock.pfn_ranges(NodeId::MAX_NUMNODES) {
        let Some(node) = map.node(run.nid) else { continue };
        for size in node.zones.iter().filter(|size| size.present > 0) {
            let (low, high) = (size.span.start.0, size.span.end.0);
            let (start, end) = (run.start.0.clamp(low, high), run.end.0.clamp(low, high));
            if start >= end {
                continue;
            }
            if zone_end != high {
                (zone_end, initialised) = (high, 0);
            }
            // Only the zone that reaches to the end of the node has deferred pages.
            if size.span.end < node.span.end || first.contains_key(&run.nid) {
                continue;
            }
            // The page at `start + n` is the `initialised + n + 1`-th.
            let earliest = start + PAGES_PER_SECTION.saturating_sub(initialised);
            let candidate = earliest.next_multiple_of(PAGES_PER_SECTION);
            if candidate < end {
                initialised += candidate - start + 1;
                first.insert(run.nid, Pfn(candidate));
            } else {
                initialised += end - start;
            }
        }
    }
    first
}

/// How many pages of `free` the page allocator has before deferred ones are set up.
///
/// Source: `mm/memblock.c: __free_pages_memory()`, `mm/mm_init.c: memblock_free_pages()`.
#[must_use]
pub fn free_before_deferred(memblock: &Memblock, free: &[PfnRange], deferred: &BTreeMap<NodeId, Pfn>) -> u64 {
    let mut pages = 0;
    for run in memblock.pfn_ranges(NodeId::MAX_NUMNODES) {
        let end = deferred.get(&run.nid).map_or(run.end, |first| run.end.min(*first));
        let inside = |range: &PfnRange| end.min(range.end).0.saturating_sub(run.start.max(range.start).0);
        pages += free.iter().map(inside).sum::<u64>();
    }
    pages
}

/// Pages below 16 MiB that are memory and not wholly free.
///
/// Source: `arch/x86/mm/init.c: memblock_find_dma_reserve()`, v6.1.
#[must_use]
pub fn dma_reserve(memblock: &Memblock) -> u64 {
    let below = |start: u64, end: u64| end.min(MAX_DMA_PFN).saturating_sub(start.min(MAX_DMA_PFN));
    let all: u64 = memblock.pfn_ranges(NodeId::MAX_NUMNODES).map(|run| below(run.start.0, run.end.0)).sum();
    let free = memblock.free_ranges(NodeId::NO_NODE, MemblockFlags::NONE);
    let free: u64 =
        free.map(|free| below(free.range.start.0.div_ceil(PAGE_SIZE), free.range.end.0 >> PAGE_SHIFT)).sum();
    all.saturating_sub(free)
}

/// What v6.1 takes for the pages of a zone before any is free: those present, without the map of the zone itself, and
/// in the first zone without `dma_reserve`.
///
/// Source: `mm/page_alloc.c: free_area_init_core(), calc_memmap_size()`, v6.1.
#[must_use]
pub fn estimated_pages(map: &ZoneMap, dma_reserve: u64) -> u64 {
    let mut sum = 0;
    for node in &map.nodes {
        for (index, zone) in node.zones.iter().enumerate() {
            let (spanned, present) = (zone.span.pages(), zone.present);
            let mapped = if spanned > present + (present >> 4) { present } else { spanned };
            let memmap = (mapped * PAGE_STRUCT).div_ceil(PAGE_SIZE);
            let mut pages = if present >= memmap { present - memmap } else { present };
            if index == 0 && pages > dma_reserve {
                pages -= dma_reserve;
            }
            sum += pages;
        }
    }
    sum
}

/// Pages with memory behind them, in all zones.
#[must_use]
pub fn present_pages(map: &ZoneMap) -> u64 {
    map.nodes.iter().flat_map(|node| &node.zones).map(|zone| zone.present).sum()
}

#[cfg(test)]
mod tests {
    use super::{deferred_from, free_before_deferred, present_pages};
    use crate::bootmem::{MovableRequest, NumaRules, Unavailable, Zone, ZoneMap};
    use crate::mem::{Pfn, PhysAddr};
    use crate::memblock::{Memblock, MemblockFlags, MemblockRules, NodeId, Owner};

    /// A machine with a hole below 4 GiB: 2 GiB below (without the last 4 MiB), 3 GiB above.
    fn machine() -> (Memblock, ZoneMap) {
        let mut memblock = Memblock::new(MemblockRules::v6_1());
        for (start, end) in [(0x1000, 0x7fc0_0000), (1 << 32, 7 << 30)] {
            let flags = MemblockFlags::NONE;
            memblock.add_node(PhysAddr(start), end - start, NodeId(0), flags).expect("there is room");
        }
        let map = ZoneMap::new(&memblock, Pfn(7 << 18), &MovableRequest::default(), NumaRules::v6_1());
        (memblock, map)
    }

    #[test]
    fn the_highest_zone_is_set_up_by_one_section_and_the_rest_later() {
        let (mut memblock, map) = machine();
        let deferred = deferred_from(&memblock, &map);
        assert_eq!(deferred.into_iter().collect::<Vec<_>>(), [(NodeId(0), Pfn(0x10_8000))]);
        memblock.reserve(PhysAddr(1 << 32), 0x1000, Owner::new("test", 0)).expect("there is room");
        let free = memblock.free_all(Pfn(u64::MAX)).expect("the lists have room");
        let early = free_before_deferred(&memblock, &free, &deferred_from(&memblock, &map));
        assert_eq!(early, (0x7_fc00 - 1) + (0x8000 - 1));
        assert_eq!(present_pages(&map), (0x7_fc00 - 1) + 0xc_0000);
    }

    #[test]
    fn pages_without_memory_are_charged_to_the_zone_above() {
        let (_, map) = machine();
        let hole = |zone, pages| Unavailable { nid: NodeId(0), zone, pages };
        assert_eq!(map.unavailable, [hole(Zone::Dma, 1), hole(Zone::Normal, 0x400)]);
    }
}
