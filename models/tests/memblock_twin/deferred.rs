//! Deferred page structures, and a twin that goes from page to page.

use models::mem::{Pfn, PhysAddr};
use models::memblock::{DeferredInit, Memblock, MemblockFlags, MemblockRules, NodeId, Owner, SECTION_PAGES};
use proptest::prelude::*;

use crate::runner;

const NODE: NodeId = NodeId(0);
/// The node's last zone begins with its second section.
const ZONE: u64 = SECTION_PAGES;
const END: u64 = 8 * SECTION_PAGES;

/// Borders near those of sections and of blocks, and anywhere.
fn border() -> impl Strategy<Value = u64> {
    let near = |unit: u64| {
        (0..END / unit, 0..3_u64).prop_map(move |(count, off)| (count * unit + off).saturating_sub(1))
    };
    prop_oneof![3 => near(SECTION_PAGES), 2 => near(1024), 1 => 0..END]
}

fn ranges(most: usize) -> impl Strategy<Value = Vec<(u64, u64)>> {
    let range = (border(), border()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    prop::collection::vec(range, 0..most)
}

/// For each page of the zone, in order: whether it is memory, and whether it is free.
fn pages(mb: &Memblock) -> impl Iterator<Item = (u64, bool, bool)> {
    (ZONE..END).map(|pfn| {
        let addr = PhysAddr(pfn << 12);
        (pfn, mb.is_memory(addr), mb.is_memory(addr) && !mb.is_reserved(addr))
    })
}

fn naive_first(mb: &Memblock) -> Option<u64> {
    let mut seen = 0;
    pages(mb).filter(|(_, memory, _)| *memory).map(|(pfn, ..)| pfn).find(|pfn| {
        seen += 1;
        seen > SECTION_PAGES && pfn.is_multiple_of(SECTION_PAGES)
    })
}

#[test]
fn the_same_pages_come_late() {
    let machine = (ranges(5), ranges(6), any::<bool>());
    let agreed = runner(120).run(&machine, |(memory, reserved, new)| {
        let rules = if new { MemblockRules::v6_12() } else { MemblockRules::v6_1() };
        let mut mb = Memblock::new(rules);
        for (start, end) in memory {
            let (base, size) = (PhysAddr(start << 12), (end - start) << 12);
            prop_assert_eq!(mb.add_node(base, size, NODE, MemblockFlags::NONE), Ok(()));
        }
        for (start, end) in reserved {
            let (base, size) = (PhysAddr(start << 12), (end - start) << 12);
            prop_assert_eq!(mb.reserve(base, size, Owner::new("twin", 0)), Ok(()));
        }
        let mut deferred = DeferredInit::new(&mb, NODE, Pfn(ZONE), Pfn(END));
        let first = naive_first(&mb);
        prop_assert_eq!(deferred.first(), first.map(Pfn));
        let late: Vec<_> = pages(&mb)
            .filter(|(pfn, _, free)| *free && first.is_some_and(|first| *pfn >= first))
            .map(|(pfn, ..)| pfn)
            .collect();
        // What memory cuts out at the hand-over is what comes late.
        let at_once: Vec<_> = mb.free_memory_ranges(Pfn(END)).collect();
        let passed_over: Vec<_> =
            at_once.into_iter().flat_map(|run| deferred.cut(run).end.0.max(run.start.0)..run.end.0).collect();
        prop_assert_eq!(&passed_over, &late);
        // Growing step by step, and then the rest, gives the same pages in the same order, none across a block.
        let mut pieces = deferred.grow(&mb, 0);
        let grown: u64 = pieces.iter().map(|run| run.pages()).sum();
        prop_assert!(deferred.first().is_none() || grown >= SECTION_PAGES);
        pieces.extend(deferred.finish(&mb));
        prop_assert!(pieces.iter().all(|run| run.start.0 / 1024 == (run.end.0 - 1) / 1024));
        let got: Vec<_> = pieces.into_iter().flat_map(|run| run.start.0..run.end.0).collect();
        prop_assert_eq!(got, late);
        Ok(())
    });
    agreed.unwrap_or_else(|difference| panic!("{difference}"));
}
