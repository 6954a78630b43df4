//! The page allocator against a twin made of plain lists, and the behaviour that the models rely on.

use std::collections::{BTreeMap, VecDeque};

use mem::{
    BuddyError, Gfp, MAX_PAGE_ORDER, PAGE_SIZE, PageAllocator, PageState, PcpLimits, Pfn, PhysAddr,
    PhysRange, Placement, ZoneKind,
};
use proptest::prelude::*;

/// Three nodes: the first two meet at no round address, the third has 4 GiB in its middle.
const NODES: [(u64, u64); 3] = [(0, 6000), (6000, 6 << 10), ((1 << 20) - (2 << 10), (1 << 20) + 3000)];
const ZONES: [(u32, ZoneKind, u64, u64); 5] = [
    (0, ZoneKind::Dma, 0, 4 << 10),
    (0, ZoneKind::Dma32, 4 << 10, 6000),
    (1, ZoneKind::Dma32, 6000, 6 << 10),
    (2, ZoneKind::Dma32, (1 << 20) - (2 << 10), 1 << 20),
    (2, ZoneKind::Normal, 1 << 20, (1 << 20) + 3000),
];

fn frames(start: u64, end: u64) -> PhysRange {
    PhysRange { start: Pfn(start).phys(), end: Pfn(end).phys() }
}

fn allocator() -> PageAllocator {
    PageAllocator::new(&NODES.map(|(start, end)| frames(start, end)), 2)
}

/// The naive twin: a list of block frames per zone and order, head first.
#[derive(Default)]
struct Twin {
    lists: [[VecDeque<u64>; 11]; 5],
    pcp: [[VecDeque<u64>; 2]; 5],
    factor: [[u32; 2]; 5],
    live: BTreeMap<u64, u8>,
}

fn zone_of(pfn: u64) -> usize {
    ZONES.iter().position(|&(_, _, start, end)| start <= pfn && pfn < end).unwrap()
}

impl Twin {
    fn is_free(&self, pfn: u64, order: usize) -> bool {
        ZONES
            .iter()
            .zip(&self.lists)
            .any(|(zone, lists)| zone.2 <= pfn && pfn < zone.3 && order < 11 && lists[order].contains(&pfn))
    }

    fn put(&mut self, mut pfn: u64, mut order: usize, placement: Placement) {
        let zone = zone_of(pfn);
        loop {
            let buddy = pfn ^ (1 << order);
            let here = order < 10 && ZONES[zone].2 <= buddy && buddy < ZONES[zone].3;
            if !here || !self.is_free(buddy, order) {
                break;
            }
            self.lists[zone][order].retain(|&other| other != buddy);
            pfn = pfn.min(buddy);
            order += 1;
        }
        let next = (pfn & !(1 << order)) ^ (2 << order);
        let same_zone = ZONES[zone].2 <= next && next < ZONES[zone].3;
        let likely = order <= 8 && same_zone && self.is_free(next, order + 1);
        if placement == Placement::Tail || placement == Placement::Usual && likely {
            self.lists[zone][order].push_back(pfn);
        } else {
            self.lists[zone][order].push_front(pfn);
        }
    }

    fn boot(&mut self, start: u64, end: u64, placement: Placement) {
        let mut pfn = start;
        while pfn < end {
            let mut order = if pfn == 0 { 10 } else { pfn.trailing_zeros().min(10) as usize };
            // A block ends with its node at the latest.
            while pfn + (1 << order) > end.min(ZONES[zone_of(pfn)].3) {
                order -= 1;
            }
            self.put(pfn, order, placement);
            pfn += 1 << order;
        }
    }

    fn take(&mut self, zone: usize, order: usize) -> Option<u64> {
        let found = (order..11).find(|&found| !self.lists[zone][found].is_empty())?;
        let pfn = self.lists[zone][found].pop_front()?;
        for half in (order..found).rev() {
            self.lists[zone][half].push_front(pfn + (1 << half));
        }
        Some(pfn)
    }

    fn zones(gfp: Gfp, node: u32) -> Vec<usize> {
        let kinds: &[ZoneKind] = match gfp {
            Gfp::Kernel => &[ZoneKind::Normal, ZoneKind::Dma32, ZoneKind::Dma],
            Gfp::Dma32 => &[ZoneKind::Dma32, ZoneKind::Dma],
            Gfp::Dma => &[ZoneKind::Dma],
        };
        let nodes = [[0, 1, 2], [1, 2, 0], [2, 1, 0]][node as usize];
        nodes
            .iter()
            .flat_map(|&node| kinds.iter().map(move |&kind| (node, kind)))
            .filter_map(|(node, kind)| ZONES.iter().position(|zone| zone.0 == node && zone.1 == kind))
            .collect()
    }

    fn alloc(&mut self, order: u8, gfp: Gfp, node: u32) -> Option<u64> {
        let pfn = Self::zones(gfp, node).into_iter().find_map(|zone| self.take(zone, order.into()))?;
        self.live.insert(pfn, order);
        Some(pfn)
    }

    fn alloc_cpu(&mut self, cpu: usize, gfp: Gfp, node: u32, limits: PcpLimits) -> Option<u64> {
        let pfn = Self::zones(gfp, node).into_iter().find_map(|zone| {
            self.factor[zone][cpu] /= 2;
            if self.pcp[zone][cpu].is_empty() {
                for _ in 0..limits.batch {
                    let Some(pfn) = self.take(zone, 0) else { break };
                    self.pcp[zone][cpu].push_back(pfn);
                }
            }
            self.pcp[zone][cpu].pop_front()
        })?;
        self.live.insert(pfn, 0);
        Some(pfn)
    }

    fn free_cpu(&mut self, cpu: usize, pfn: u64, limits: PcpLimits) {
        let zone = zone_of(pfn);
        self.live.remove(&pfn);
        self.pcp[zone][cpu].push_front(pfn);
        if self.pcp[zone][cpu].len() < limits.high as usize {
            return;
        }
        let mut count = 1;
        if limits.high >= limits.batch {
            count = limits.batch << self.factor[zone][cpu];
            if count < limits.high - limits.batch && self.factor[zone][cpu] < 5 {
                self.factor[zone][cpu] += 1;
            }
            count = count.clamp(limits.batch, limits.high - limits.batch);
        }
        for _ in 0..count {
            let Some(pfn) = self.pcp[zone][cpu].pop_back() else { break };
            self.put(pfn, 0, Placement::Usual);
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Alloc(u8, Gfp, u32),
    Free(prop::sample::Index, Placement),
    AllocPage(u32, Gfp, u32),
    FreePage(u32, prop::sample::Index),
    Late(u64, u64),
    Limits(PcpLimits),
}

fn placement() -> impl Strategy<Value = Placement> {
    prop_oneof![Just(Placement::Head), Just(Placement::Tail), Just(Placement::Usual)]
}

fn op() -> impl Strategy<Value = Op> {
    let gfp = || prop_oneof![Just(Gfp::Kernel), Just(Gfp::Dma32), Just(Gfp::Dma)];
    let order = prop_oneof![4 => 0..4u8, 1 => 0..=MAX_PAGE_ORDER];
    let index = any::<prop::sample::Index>;
    let limits = [PcpLimits::BOOT, PcpLimits { batch: 7, high: 28 }, PcpLimits { batch: 2, high: 14 }];
    prop_oneof![
        4 => (order, gfp(), 0..3u32).prop_map(|(order, gfp, node)| Op::Alloc(order, gfp, node)),
        4 => (index(), placement()).prop_map(|(index, placement)| Op::Free(index, placement)),
        8 => (0..2u32, gfp(), 0..3u32).prop_map(|(cpu, gfp, node)| Op::AllocPage(cpu, gfp, node)),
        8 => (0..2u32, index()).prop_map(|(cpu, index)| Op::FreePage(cpu, index)),
        1 => (0..6144u64, 0..200u64).prop_map(|(start, len)| Op::Late(start, len)),
        1 => (0..3usize).prop_map(move |index| Op::Limits(limits[index])),
    ]
}

fn compare(pages: &PageAllocator, twin: &Twin) -> Result<(), TestCaseError> {
    for (zone, lists) in ZONES.iter().zip(&twin.lists) {
        for (order, list) in (0u8..).zip(lists) {
            let found: VecDeque<_> =
                pages.free_blocks(zone.0, zone.1, order).map(|addr| addr.pfn().0).collect();
            prop_assert_eq!(&found, list, "{:?} of node {}, order {}", zone.1, zone.0, order);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn lists_equal_those_of_the_twin(
        borders in prop::collection::btree_set(0..6144u64, 2..10),
        placement in placement(),
        ops in prop::collection::vec(op(), 1..400),
        again in any::<bool>(),
    ) {
        let (mut pages, mut twin) = (allocator(), Twin::default());
        if again {
            pages.free_boot_range(frames(3, 5000), Placement::Tail).unwrap();
            for cpu in 0..2 {
                pages.alloc_page(cpu, Gfp::Kernel, 0).unwrap();
            }
            pages.alloc_pages(3, Gfp::Kernel, 0).unwrap();
            pages.reset();
        }
        let mut managed = vec![false; 6144];
        let borders: Vec<_> = borders.into_iter().collect();
        let high = ((1 << 20) - 1030, (1 << 20) + 2999);
        let ranges = borders.chunks_exact(2).map(|pair| (pair[0], pair[1])).chain([high]);
        for (start, end) in ranges {
            let count = pages.free_boot_range(frames(start, end), placement);
            prop_assert_eq!(count, Ok(end - start));
            twin.boot(start, end, placement);
            (start..end.min(6144)).for_each(|pfn| managed[usize::try_from(pfn).unwrap()] = true);
        }
        compare(&pages, &twin)?;
        let mut limits = PcpLimits::BOOT;
        for op in ops {
            let pick = |index: prop::sample::Index, twin: &Twin| {
                (!twin.live.is_empty()).then(|| *index.get(&twin.live.keys().copied().collect::<Vec<_>>()))
            };
            match op {
                Op::Alloc(order, gfp, node) => {
                    let found = pages.alloc_pages(order, gfp, node).map(|addr| addr.pfn().0);
                    prop_assert_eq!(found, twin.alloc(order, gfp, node));
                }
                Op::AllocPage(cpu, gfp, node) => {
                    let found = pages.alloc_page(cpu, gfp, node).unwrap().map(|addr| addr.pfn().0);
                    prop_assert_eq!(found, twin.alloc_cpu(cpu as usize, gfp, node, limits));
                }
                Op::Free(index, placement) => {
                    let Some(pfn) = pick(index, &twin) else { continue };
                    let order = twin.live.remove(&pfn).unwrap();
                    let addr = Pfn(pfn).phys();
                    let other = order ^ 1;
                    if pfn.trailing_zeros() >= u32::from(other) && other <= MAX_PAGE_ORDER {
                        let wrong = BuddyError::WrongOrder { addr, allocated: order, freed: other };
                        prop_assert_eq!(pages.free_pages(addr, other, placement), Err(wrong));
                    }
                    prop_assert_eq!(pages.free_pages(addr, order, placement), Ok(()));
                    let again = pages.free_pages(addr, order, placement);
                    prop_assert_eq!(again, Err(BuddyError::DoubleFree { addr }));
                    twin.put(pfn, order.into(), placement);
                }
                Op::FreePage(cpu, index) => {
                    let Some(pfn) = pick(index, &twin) else { continue };
                    let addr = Pfn(pfn).phys();
                    if twin.live[&pfn] == 0 {
                        prop_assert_eq!(pages.free_page(cpu, addr), Ok(()));
                        twin.free_cpu(cpu as usize, pfn, limits);
                        prop_assert_eq!(pages.free_page(cpu, addr), Err(BuddyError::DoubleFree { addr }));
                    } else {
                        let inside = PhysAddr(addr.0 + PAGE_SIZE);
                        let error = BuddyError::InsideAllocation { addr: inside };
                        prop_assert_eq!(pages.free_page(cpu, inside), Err(error));
                    }
                }
                Op::Late(start, len) => {
                    let end = (start + len).min(6144);
                    let taken = &mut managed[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
                    let result = pages.free_late(frames(start, end), Placement::Tail);
                    if taken.iter().any(|&taken| taken) {
                        let range = frames(start, end);
                        prop_assert_eq!(result, Err(BuddyError::AlreadyManaged { range }));
                    } else {
                        prop_assert_eq!(result, Ok(end - start));
                        taken.fill(true);
                        (start..end).for_each(|pfn| twin.put(pfn, 0, Placement::Tail));
                    }
                }
                Op::Limits(new) => {
                    limits = new;
                    pages.set_pcp_limits(new);
                }
            }
        }
        compare(&pages, &twin)?;
    }
}

/// The pages of the pool descriptor of 2021: freed late, at the tail, so reuse takes its time; freed to the head,
/// they are the very next.
#[test]
fn late_pages_wait_at_the_tail() {
    for (placement, next) in [(Placement::Tail, false), (Placement::Head, true)] {
        let mut pages = allocator();
        pages.free_boot_range(frames(16, 1000), Placement::Tail).unwrap();
        pages.free_boot_range(frames(1001, 4096), Placement::Tail).unwrap();
        pages.free_boot_range(frames(4097, 4100), Placement::Tail).unwrap();
        assert_eq!(pages.free_late(frames(1000, 1001), placement), Ok(1));
        // 1000 merges upwards with what surrounds it; 4096 with its buddy 4097 and 4098.
        assert_eq!(pages.page_state(Pfn(1000).phys()), PageState::Free);
        pages.free_late(frames(4096, 4097), placement).unwrap();
        pages.free_boot_range(frames(5121, 5122), Placement::Tail).unwrap();
        pages.free_late(frames(5130, 5131), placement).unwrap();
        let addr = pages.alloc_pages(0, Gfp::Dma32, 0).unwrap();
        assert_eq!(addr.pfn().0 == 5130, next);
    }
}

#[test]
fn a_large_machine_is_a_handful_of_runs() {
    let mut pages = PageAllocator::new(&[frames(0, 4 << 20)], 4);
    assert_eq!(pages.free_boot_range(frames(1, 1 << 19), Placement::Tail), Ok((1 << 19) - 1));
    assert_eq!(pages.free_boot_range(frames(1 << 20, 4 << 20), Placement::Tail), Ok(3 << 20));
    assert_eq!(pages.free_page_count(0, ZoneKind::Normal), 3 << 20);
    assert_eq!(pages.free_blocks(0, ZoneKind::Normal, 10).count(), 3 << 10);
    assert_eq!(pages.alloc_pages(0, Gfp::Kernel, 0), Some(PhysAddr(4 << 30)));
    assert_eq!(pages.alloc_pages(10, Gfp::Kernel, 0), Some(PhysAddr((4 << 30) + (4 << 20))));
    assert_eq!(pages.alloc_pages(0, Gfp::Dma, 0), Some(PhysAddr(0x1000)));
}

#[test]
fn bad_requests_are_values() {
    let mut pages = allocator();
    pages.free_boot_range(frames(16, 1000), Placement::Tail).unwrap();
    let free =
        |pages: &mut PageAllocator, addr, order| pages.free_pages(PhysAddr(addr), order, Placement::Usual);
    let addr = PhysAddr(0x1000);
    assert_eq!(free(&mut pages, 0x1000, 0), Err(BuddyError::NeverAllocated { addr }));
    assert_eq!(free(&mut pages, 0x1000, 11), Err(BuddyError::BadOrder { order: 11 }));
    assert_eq!(free(&mut pages, 0x1000, 1), Err(BuddyError::Misaligned { addr, order: 1 }));
    assert!(free(&mut pages, !0xfff, 0).is_err());
    assert_eq!(pages.alloc_page(2, Gfp::Kernel, 0), Err(BuddyError::NoCpu { cpu: 2 }));
    let range = frames(6000, 7000);
    assert_eq!(pages.free_boot_range(range, Placement::Tail), Err(BuddyError::NoZone { range }));
    let range = PhysRange::new(PhysAddr(0x3e_8001), 0x1ffe);
    assert_eq!(pages.free_late(range, Placement::Tail), Ok(0), "no whole page");
    assert_eq!(pages.alloc_pages(11, Gfp::Kernel, 0), None);
}

#[test]
fn a_cpu_gets_back_first_what_it_freed_last() {
    let mut pages = allocator();
    pages.free_boot_range(frames(16, 4096), Placement::Tail).unwrap();
    pages.set_pcp_limits(PcpLimits::USUAL);
    let mut take = |cpu| pages.alloc_page(cpu, Gfp::Kernel, 0).unwrap().unwrap().pfn().0;
    let own: Vec<_> = (0..3).map(|_| take(0)).collect();
    assert_eq!(own, [16, 17, 18], "a batch comes in the order of addresses");
    let other = take(1);
    assert!(other >= 16 + 63, "the first batch is the other CPU's");
    pages.free_page(0, Pfn(17).phys()).unwrap();
    pages.free_page(0, Pfn(other).phys()).unwrap();
    let mut take = |cpu| pages.alloc_page(cpu, Gfp::Kernel, 0).unwrap().unwrap().pfn().0;
    assert_eq!([take(0), take(0), take(0)], [other, 17, 19]);
    let before = pages.free_page_count(0, ZoneKind::Dma);
    pages.drain_cpu(0).unwrap();
    assert_eq!(pages.free_page_count(0, ZoneKind::Dma), before + 63 - 4);
}

/// The longer a CPU only frees, the more it gives back at a time; an allocation halves that again.
#[test]
fn a_cpu_that_only_frees_gives_back_more_and_more() {
    let mut pages = allocator();
    pages.free_boot_range(frames(16, 4096), Placement::Tail).unwrap();
    pages.set_pcp_limits(PcpLimits { batch: 4, high: 16 });
    let mut own: Vec<_> = (0..60).map(|_| pages.alloc_page(0, Gfp::Kernel, 0).unwrap().unwrap()).collect();
    let mut given_back = |pages: &mut PageAllocator, frees: usize| {
        let before = pages.free_page_count(0, ZoneKind::Dma);
        for addr in own.drain(..frees) {
            pages.free_page(0, addr).unwrap();
        }
        pages.free_page_count(0, ZoneKind::Dma) - before
    };
    assert_eq!([15, 1, 3, 1].map(|frees| given_back(&mut pages, frees)), [0, 4, 0, 8]);
    assert_eq!(
        [7, 1, 11, 1].map(|frees| given_back(&mut pages, frees)),
        [0, 12, 0, 12],
        "at most high - batch"
    );
    pages.alloc_page(0, Gfp::Kernel, 0).unwrap();
    assert_eq!([12, 1].map(|frees| given_back(&mut pages, frees)), [0, 8]);
}
