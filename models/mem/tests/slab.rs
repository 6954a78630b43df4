//! The slab allocator against a twin that only knows which bytes are taken, and its order of reuse.

use std::collections::BTreeMap;

use mem::{
    CacheId, Gfp, KMALLOC_SIZES, PAGE_SIZE, PageAllocator, PcpLimits, PhysAddr, PhysRange, Placement,
    SlabAllocator, SlabContext, SlabError, ZoneKind,
};
use proptest::prelude::*;

const SPAN: PhysRange = PhysRange { start: PhysAddr(0), end: PhysAddr(16 << 20) };
const CPU: SlabContext = SlabContext { cpu: 0, gfp: Gfp::Kernel, node: 0 };

fn machine() -> (PageAllocator, SlabAllocator) {
    let mut pages = PageAllocator::new(&[SPAN], 2);
    pages.free_boot_range(SPAN, Placement::Tail).unwrap();
    pages.set_pcp_limits(PcpLimits::USUAL);
    (pages, SlabAllocator::new(2))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn objects_never_overlap_and_pages_come_back(
        ops in prop::collection::vec((0..10u8, 1..20_000u64, 0..2u32, any::<prop::sample::Index>()), 1..600),
        small in any::<bool>(),
    ) {
        let (mut pages, mut slabs) = machine();
        let named = slabs.create_cache("task_struct", 300, 64);
        let mut live: BTreeMap<u64, u64> = BTreeMap::new();
        // What the calls said of pages taken and given back.
        let mut held: BTreeMap<u64, u64> = BTreeMap::new();
        for (kind, size, cpu, index) in ops {
            let context = SlabContext { cpu, ..CPU };
            let size = if small { size % 700 + 1 } else { size };
            if kind < 6 {
                let object = if kind == 0 {
                    slabs.cache_alloc(&mut pages, named, context)
                } else {
                    slabs.kmalloc(&mut pages, size, context)
                };
                let Ok(object) = object else { continue };
                let (start, end) = (object.addr.0, object.addr.0 + object.size);
                prop_assert!(kind == 0 || object.size >= size);
                prop_assert!(!object.size.is_power_of_two() || start % object.size.min(PAGE_SIZE) == 0);
                if let Some(slab) = object.new_slab {
                    let clash = held.range(..slab.end.0).next_back().is_some_and(|(_, &end)| end > slab.start.0);
                    prop_assert!(!clash, "pages handed out twice");
                    held.insert(slab.start.0, slab.end.0);
                }
                if object.size > 8192 {
                    held.insert(start, end);
                }
                let clash = live.range(..end).next_back().is_some_and(|(_, &other)| other > start);
                prop_assert!(!clash, "two objects overlap");
                prop_assert!(held.range(..=start).next_back().is_some_and(|(_, &other)| end <= other));
                live.insert(start, end);
            } else if kind == 9 && size % 16 == 0 {
                // Everything at once, so that slabs empty and go back.
                for addr in std::mem::take(&mut live).into_keys() {
                    let freed = slabs.kfree(&mut pages, PhysAddr(addr), cpu).unwrap();
                    if let Some(gone) = freed.released {
                        prop_assert_eq!(held.remove(&gone.start.0), Some(gone.end.0));
                    }
                }
            } else if !live.is_empty() {
                let addr = *index.get(&live.keys().copied().collect::<Vec<_>>());
                let end = live.remove(&addr).unwrap();
                let freed = slabs.kfree(&mut pages, PhysAddr(addr), cpu).unwrap();
                prop_assert_eq!(freed.range, PhysRange { start: PhysAddr(addr), end: PhysAddr(end) });
                if let Some(gone) = freed.released {
                    prop_assert_eq!(held.remove(&gone.start.0), Some(gone.end.0));
                    prop_assert!(live.range(gone.start.0..gone.end.0).next().is_none());
                }
                prop_assert!(slabs.kfree(&mut pages, PhysAddr(addr), cpu).is_err(), "a double free");
            }
        }
        let in_use: u64 = (0..27).map(|cache| slabs.in_use(CacheId(cache))).sum();
        prop_assert_eq!(in_use, live.values().zip(live.keys()).filter(|(end, start)| *end - *start <= 8192).count() as u64);
        pages.drain_cpu(0).unwrap();
        pages.drain_cpu(1).unwrap();
        let taken: u64 = held.iter().map(|(start, end)| (end - start) / PAGE_SIZE).sum();
        prop_assert_eq!(pages.free_page_count(0, ZoneKind::Dma), 4096 - taken);
    }
}

#[test]
fn the_object_freed_last_is_handed_out_first() {
    let (mut pages, mut slabs) = machine();
    let mut take = |slabs: &mut SlabAllocator| slabs.kmalloc(&mut pages, 60, CPU).unwrap().addr.0;
    let objects: Vec<_> = (0..4).map(|_| take(&mut slabs)).collect();
    assert_eq!(objects.iter().map(|addr| addr - objects[0]).collect::<Vec<_>>(), [0, 64, 128, 192]);
    let (mut other, _) = machine();
    slabs.kfree(&mut other, PhysAddr(objects[1]), 0).unwrap();
    slabs.kfree(&mut other, PhysAddr(objects[3]), 1).unwrap();
    assert_eq!([take(&mut slabs), take(&mut slabs)], [objects[3], objects[1]]);
}

#[test]
fn an_empty_slab_goes_back_once_six_wait() {
    let (mut pages, mut slabs) = machine();
    // Four objects of 8 KiB to a slab; eight slabs, of which the last is active.
    let objects: Vec<_> = (0..32).map(|_| slabs.kmalloc(&mut pages, 8192, CPU).unwrap().addr).collect();
    let released: Vec<_> =
        objects.iter().map(|&addr| slabs.kfree(&mut pages, addr, 0).unwrap().released.is_some()).collect();
    let when: Vec<_> = (0..32).filter(|&index| released[index]).collect();
    assert_eq!(when, [23, 27], "the sixth and seventh slab; the eighth is active");
    let before = pages.free_page_count(0, ZoneKind::Dma);
    let again: Vec<_> = (0..32).map(|_| slabs.kmalloc(&mut pages, 8192, CPU).unwrap()).collect();
    assert_eq!(pages.free_page_count(0, ZoneKind::Dma), before - 16, "two new slabs");
    assert_eq!(again.iter().filter(|object| object.new_slab.is_some()).count(), 2);
}

#[test]
fn bad_requests_are_values() {
    let (mut pages, mut slabs) = machine();
    let object = slabs.kmalloc(&mut pages, 100, CPU).unwrap();
    assert_eq!(object.size, 128);
    let inside = PhysAddr(object.addr.0 + 8);
    assert_eq!(slabs.kfree(&mut pages, inside, 0), Err(SlabError::NotAnObject { addr: inside }));
    let never = PhysAddr(object.addr.0 + 128);
    assert_eq!(slabs.kfree(&mut pages, never, 0), Err(SlabError::DoubleFree { addr: never }));
    let outside = PhysAddr(0x80_0000);
    assert_eq!(slabs.kfree(&mut pages, outside, 0), Err(SlabError::NotSlab { addr: outside }));
    assert_eq!(slabs.kmalloc(&mut pages, 0, CPU), Err(SlabError::ZeroSize));
    let size = (4 << 20) + 1;
    assert_eq!(slabs.kmalloc(&mut pages, size, CPU), Err(SlabError::TooLarge { size }));
    assert!(slabs.kmalloc(&mut pages, 8, SlabContext { cpu: 9, ..CPU }).is_err());
    let cache = CacheId(99);
    assert_eq!(slabs.cache_alloc(&mut pages, cache, CPU), Err(SlabError::NoCache { cache }));
    while slabs.kmalloc(&mut pages, 4 << 20, CPU).is_ok() {}
    while slabs.kmalloc(&mut pages, 8192, CPU).is_ok() {}
    assert_eq!(slabs.kmalloc(&mut pages, 8192, CPU), Err(SlabError::NoMemory));
}

#[test]
fn a_reset_is_as_good_as_new() {
    let (mut pages, mut slabs) = machine();
    let run = |pages: &mut PageAllocator, slabs: &mut SlabAllocator| {
        KMALLOC_SIZES.map(|size| slabs.kmalloc(pages, size.into(), CPU).unwrap().addr)
    };
    let first = run(&mut pages, &mut slabs);
    slabs.create_cache("named", 8, 8);
    pages.reset();
    slabs.reset();
    pages.free_boot_range(SPAN, Placement::Tail).unwrap();
    pages.set_pcp_limits(PcpLimits::USUAL);
    assert_eq!(run(&mut pages, &mut slabs), first);
}
