//! What memblock does where the recordings do not reach or do not explain: the ways in which the kernel stops,
//! the differences between versions one by one, growth, owners, and the hand-over.

use models::mem::{Pfn, PhysAddr, PhysRange};
use models::memblock::{
    Bounds, DeferredInit, DiscardedArray, Fatal, Memblock, MemblockError, MemblockFlags, MemblockRules,
    MemblockType, Misuse, NodeId, Owner, Request, SECTION_PAGES, Stage,
};
use models::profile::Version;

const MEMORY: MemblockType = MemblockType::Memory;
const RESERVED: MemblockType = MemblockType::Reserved;
const OWNER: Owner = Owner::new("caller", 5);
/// In the last page, and in its last 2 KiB: rounding up from here wraps.
const LAST: PhysAddr = PhysAddr(u64::MAX - 0x700);

fn both() -> [MemblockRules; 2] {
    [MemblockRules::v6_1().with_resize(), MemblockRules::v6_12().with_resize()]
}

/// Memory of `ranges`, given as base and size.
fn with_memory(rules: MemblockRules, ranges: &[(u64, u64)]) -> Memblock {
    let mut mb = Memblock::new(rules);
    for (base, size) in ranges {
        assert_eq!(mb.add(PhysAddr(*base), *size), Ok(()));
    }
    mb
}

fn bases(mb: &Memblock, kind: MemblockType) -> Vec<(u64, u64)> {
    mb.regions(kind).iter().map(|region| (region.base.0, region.end().0)).collect()
}

#[test]
fn a_full_list_that_may_not_grow_fails_or_panics() {
    for (rules, outcome) in [
        (MemblockRules::v6_1(), MemblockError::NoMemory),
        (MemblockRules::v6_12(), MemblockError::Fatal(Fatal::CannotResize(RESERVED))),
    ] {
        let mut mb = with_memory(rules, &[(0, 1 << 30)]);
        for index in 0..128 {
            assert_eq!(mb.reserve(PhysAddr(index * 0x2000), 0x1000, OWNER), Ok(()));
        }
        assert_eq!(mb.reserve(PhysAddr(0x20_0000), 0x1000, OWNER), Err(outcome));
    }
}

#[test]
fn trimming_the_last_page_breaks_the_order_and_then_merging() {
    for rules in both() {
        let mut mb = with_memory(rules, &[(0x1000, 0x1000), (LAST.0, 0x700)]);
        mb.trim_memory(0x1000);
        assert_eq!(bases(&mb, MEMORY), [(0x1000, 0x2000), (0, !0xfff)]);
        assert_eq!(mb.check(), Ok(()));
        let overlap = Fatal::NeighboursOverlap { list: MEMORY, base: PhysAddr(0x1000) };
        assert_eq!(mb.mark_hotplug(PhysAddr(0x1000), 0x1000), Err(overlap.into()));
    }
}

#[test]
fn out_of_order_more_regions_can_be_split_than_there_is_room_for() {
    for rules in both() {
        let rules = MemblockRules { init_memory_regions: 4, ..rules };
        let mut mb = with_memory(rules, &[(0x1000, 0x2800), (LAST.0, 0x700)]);
        mb.trim_memory(0x800);
        // One border cuts the first region, both cut the one that trimming made overlap it.
        assert_eq!(bases(&mb, MEMORY), [(0x1000, 0x3800), (0, !0x7ff)]);
        let full = Fatal::InsertIntoFullList(MEMORY);
        assert_eq!(mb.remove(PhysAddr(0x3000), 0x1000), Err(full.into()));
    }
}

#[test]
fn a_grown_list_whose_own_memory_cannot_be_reserved_stops_the_kernel() {
    for rules in both() {
        let rules = MemblockRules { init_memory_regions: 1, init_reserved_regions: 2, ..rules };
        let mut mb = with_memory(rules, &[(0x1000, 0x1000)]);
        for base in [0x10_0000, 0x20_0000] {
            assert_eq!(mb.reserve(PhysAddr(base), 0x1000, OWNER), Ok(()));
        }
        // The only free page goes to the memory list. Reserving it needs a second one for the reserved list.
        let stop = Fatal::GrownListNotReserved(MEMORY);
        assert_eq!(mb.add(PhysAddr(0x8000), 0x1000), Err(stop.into()));
    }
}

#[test]
fn splits_left_behind_survive_a_distant_change_only_on_6_12() {
    let pieces = both().map(|rules| {
        let mut mb = with_memory(rules, &[(0x10_0000, 0x10_0000), (0x80_0000, 0x10_0000)]);
        assert_eq!(mb.mark_nomap(PhysAddr(0x10_0000), 0x10_0000), Ok(()));
        // Memory that is not mapped stays on both sides of the new border.
        assert_eq!(mb.cap_memory_range(PhysAddr(0x18_0000), 0x78_0000), Ok(()));
        assert_eq!(mb.regions(MEMORY).len(), 3);
        assert_eq!(mb.add(PhysAddr(0xa0_0000), 0x1000), Ok(()));
        mb.regions(MEMORY).len()
    });
    assert_eq!(pieces, [3, 4]);
}

#[test]
fn an_empty_list_shows_its_dummy_on_6_1() {
    let [old, new] = both().map(Memblock::new);
    assert_eq!(old.mem_ranges().collect::<Vec<_>>(), [PhysRange::default()]);
    assert_eq!(old.dram_range(), Some(PhysRange::default()));
    assert_eq!(new.mem_ranges().count(), 0);
    assert_eq!(new.dram_range(), None);
}

#[test]
fn a_node_out_of_range_is_no_node_on_6_1_and_any_node_on_6_12() {
    let found = both().map(|rules| {
        let mb = with_memory(rules, &[(0x1000, 0x1000)]);
        [-1, 1024, 2000].map(|nid| mb.free_ranges(NodeId(nid), MemblockFlags::NONE).count())
    });
    assert_eq!(found, [[1, 1, 0], [1, 1, 1]]);
}

#[test]
fn noinit_marks_exist_on_6_12_only() {
    let [mut old, mut new] = both().map(Memblock::new);
    assert_eq!(old.reserved_mark_noinit(PhysAddr(0), 0x1000), Err(MemblockError::NotInThisKernel));
    assert_eq!(new.reserve(PhysAddr(0), 0x2000, OWNER), Ok(()));
    assert_eq!(new.reserved_mark_noinit(PhysAddr(0), 0x1000), Ok(()));
    assert_eq!(new.regions(RESERVED)[0].flags, MemblockFlags::RSRV_NOINIT);
}

#[test]
fn a_grown_list_lies_in_memory_and_says_so() {
    for rules in both() {
        let mut mb = with_memory(rules, &[(0, 1 << 30)]);
        for index in 0..129 {
            assert_eq!(mb.reserve(PhysAddr(index * 0x2000), 0x1000, Owner::new("caller", index)), Ok(()));
        }
        // 256 entries of 24 bytes are two pages, found from the top.
        assert_eq!(mb.capacity(RESERVED), 256);
        let array = PhysAddr((1 << 30) - 0x2000);
        let grown = Owner::new("memblock_double_array", 128).tagged(256);
        assert_eq!(mb.owner_of(array), Some(grown));
        assert_eq!(mb.owner_of(PhysAddr(128 * 0x2000)), Some(Owner::new("caller", 128)));

        for index in 129..257 {
            assert_eq!(mb.reserve(PhysAddr(index * 0x2000), 0x1000, Owner::new("caller", index)), Ok(()));
        }
        // The next array takes three pages below the old one, which is given back.
        assert_eq!(mb.capacity(RESERVED), 512);
        assert_eq!(mb.owner_of(array), None);
        assert_eq!(mb.owner_of(PhysAddr(array.0 - 1)).map(|owner| owner.tag), Some(512));
        assert_eq!(mb.check(), Ok(()));
    }
}

#[test]
fn merged_reservations_keep_their_owners() {
    let pool = Owner::new("swiotlb_memblock_alloc", 410_000_000);
    let slots = Owner::new("swiotlb_init_io_tlb_mem", 410_000_100).tagged(1);
    for rules in both() {
        let mut mb = with_memory(rules, &[(0, 1 << 30)]);
        let below = Bounds::below(PhysAddr(1 << 30));
        let pool_at = mb.phys_alloc_range(64 << 20, 0x1000, below, pool);
        assert_eq!(pool_at, Ok(PhysAddr((1 << 30) - (64 << 20))));
        let slots_at = mb.alloc_try_nid(0x1000, 64, Bounds::ACCESSIBLE, NodeId::NO_NODE, slots);
        assert_eq!(slots_at, Ok(PhysAddr((1 << 30) - (64 << 20) - 0x1000)));
        assert_eq!(mb.regions(RESERVED).len(), 1);
        assert_eq!(mb.owner_of(PhysAddr((1 << 30) - 1)), Some(pool));
        assert_eq!(mb.owner_of(PhysAddr((1 << 30) - (64 << 20) - 1)), Some(slots));
        assert_eq!(mb.owned_ranges().len(), 2);
    }
}

#[test]
fn the_hand_over_gives_whole_free_pages() {
    for rules in both() {
        let rules = MemblockRules { movable_node: true, ..rules };
        let mut mb = with_memory(rules, &[(0x1000, 0x9_e800), (0x10_0000, 0x30_0000)]);
        assert_eq!(mb.set_node(PhysAddr(0), u64::MAX, MEMORY, NodeId(0)), Ok(()));
        assert_eq!(mb.mark_hotplug(PhysAddr(0x20_0800), 0x20_0000), Ok(()));
        assert_eq!(mb.reserve(PhysAddr(0x10_0000), 0x1_0800, OWNER), Ok(()));
        // Until the hand-over hotpluggable memory is kept apart, and its border cuts a page in two.
        let runs = |mb: &Memblock| {
            mb.free_memory_ranges(Pfn(0x300)).map(|run| (run.start.0, run.end.0)).collect::<Vec<_>>()
        };
        assert_eq!(runs(&mb), [(0x1, 0x9f), (0x111, 0x200)]);
        let handed_over = mb.free_all(Pfn(0x300)).map(|runs| runs.iter().map(|run| run.pages()).sum());
        assert_eq!(runs(&mb), [(0x1, 0x9f), (0x111, 0x300)]);
        assert_eq!(handed_over, Ok(0x9e + 0x1ef_u64));
        let nid = if rules.handover_sets_reserved_nodes { NodeId(0) } else { NodeId::MAX_NUMNODES };
        assert_eq!(mb.regions(RESERVED)[0].nid, nid);
    }
}

#[test]
fn the_dump_reads_as_in_a_boot_log() {
    let mut mb = with_memory(MemblockRules::v6_12(), &[(0x1000, 0x9e000)]);
    assert_eq!(mb.set_node(PhysAddr(0), u64::MAX, MEMORY, NodeId(0)), Ok(()));
    assert_eq!(mb.reserve(PhysAddr(0), 0x1_0000, OWNER), Ok(()));
    let expected = "MEMBLOCK configuration:\n \
        memory size = 0x000000000009e000 reserved size = 0x0000000000010000\n \
        memory.cnt  = 0x1\n \
        memory[0x0]\t[0x0000000000001000-0x000000000009efff], 0x000000000009e000 bytes on node 0 flags: 0x0\n \
        reserved.cnt  = 0x1\n \
        reserved[0x0]\t[0x0000000000000000-0x000000000000ffff], 0x0000000000010000 bytes flags: 0x0\n";
    assert_eq!(mb.dump().to_string(), expected);
}

/// 4 GiB to 5 GiB is the node's last zone; sections have 128 MiB.
#[test]
fn page_structures_of_the_last_zone_come_later() {
    let gib = 1 << 30;
    let mut mb = with_memory(MemblockRules::v6_12(), &[(0x10_0000, gib), (4 * gib, gib)]);
    assert_eq!(mb.set_node(PhysAddr(0), u64::MAX, MEMORY, NodeId(0)), Ok(()));
    assert_eq!(mb.reserve(PhysAddr(4 * gib + 0x1000_0000), 0x80_3000, OWNER), Ok(()));
    let zone = (Pfn(1 << 20), Pfn(5 << 18));
    let mut deferred = DeferredInit::new(&mb, NodeId(0), zone.0, zone.1);
    // A whole section is initialised; the next border is where it stops.
    let first = (1 << 20) + SECTION_PAGES;
    assert_eq!(deferred.first(), Some(Pfn(first)));
    assert!(deferred.is_initialised(Pfn(first - 1)) && !deferred.is_initialised(Pfn(first)));
    let now: Vec<_> =
        mb.free_all(zone.1).expect("it is there").into_iter().map(|run| deferred.cut(run)).collect();
    assert_eq!(now.iter().map(|run| run.pages()).sum::<u64>(), (gib >> 12) + SECTION_PAGES);
    // One section is enough for a block of any order; the reservation at its end is no part of it.
    let grown = deferred.grow(&mb, 10);
    assert_eq!(
        (grown[0].start, grown.last().map(|run| run.end)),
        (Pfn(first), Some(Pfn(first + SECTION_PAGES)))
    );
    assert!(grown.iter().all(|run| run.pages() == 1024));
    let after = first + SECTION_PAGES + 0x803;
    assert_eq!(deferred.first(), Some(Pfn(after)));
    let rest = deferred.finish(&mb);
    assert_eq!((rest[0].start, rest[0].pages()), (Pfn(after), 1024 - 3));
    assert_eq!(rest.iter().map(|run| run.pages()).sum::<u64>(), (5 << 18) - after);
    assert_eq!((deferred.first(), deferred.finish(&mb)), (None, vec![]));
}

#[test]
fn small_memory_is_initialised_at_once() {
    // One section, and then one page more, which lies on the border.
    for (pages, first) in [(SECTION_PAGES, None), (SECTION_PAGES + 1, Some(Pfn((1 << 20) + SECTION_PAGES)))] {
        let mb = with_memory(MemblockRules::v6_12(), &[(4 << 30, pages << 12)]);
        let deferred = DeferredInit::new(&mb, NodeId::NO_NODE, Pfn(1 << 20), Pfn(u64::MAX >> 12));
        assert_eq!(deferred.first(), first);
    }
    // Memory that begins inside a section counts from where it begins.
    let mb = with_memory(MemblockRules::v6_12(), &[((4 << 30) + 0x10_0000, 1 << 30)]);
    let deferred = DeferredInit::new(&mb, NodeId::NO_NODE, Pfn(1 << 20), Pfn(u64::MAX >> 12));
    assert_eq!(deferred.first(), Some(Pfn((1 << 20) + 2 * SECTION_PAGES)));
}

#[test]
fn grown_arrays_are_discarded_where_they_came_from() {
    for rules in both() {
        let rules = MemblockRules { init_memory_regions: 4, init_reserved_regions: 8, ..rules };
        let mut mb = with_memory(rules, &[(0, 1 << 30)]);
        assert_eq!(mb.clone().discard(), Ok(vec![]));
        for index in 0..16 {
            assert_eq!(mb.reserve(PhysAddr(index * 0x2000), 0x1000, OWNER), Ok(()));
        }
        let array = mb.owned_ranges().into_iter().find(|owned| owned.owner.site == "memblock_double_array");
        let array = array.expect("the list has grown").range;
        let keeps = MemblockRules { keep_memblock: true, ..rules };
        assert_eq!(Memblock::new(keeps).discard(), Err(MemblockError::NotInThisKernel));
        let gone = mb.clone().discard().expect("this kernel discards");
        assert_eq!(gone, [DiscardedArray { list: RESERVED, at: Some(array.start), bytes: array.size() }]);
        // Once there is slab the array comes from there, and the old one is reserved no more.
        mb.set_slab_available();
        let capacity = mb.capacity(RESERVED);
        for index in 16..=capacity {
            assert_eq!(mb.reserve(PhysAddr(index * 0x2000), 0x1000, OWNER), Ok(()));
        }
        assert_eq!((mb.capacity(RESERVED), mb.owner_of(array.start)), (2 * capacity, None));
        let gone = mb.discard().expect("this kernel discards");
        assert_eq!(gone, [DiscardedArray { list: RESERVED, at: None, bytes: 0x1000 }]);
        assert_eq!(mb.stage(), Stage::Discarded);
    }
}

/// Each request in each stage.
#[test]
fn what_is_legal_when() {
    let pool = Owner::new("swiotlb_init", 1);
    let mut mb = with_memory(MemblockRules::v6_12(), &[(0x10_0000, 1 << 30)]);
    assert_eq!(mb.reserve(PhysAddr(0x10_0000), 0x1000, OWNER), Ok(()));
    assert_eq!(mb.alloc_from(0x2000, 0x1000, PhysAddr(0), pool), Ok(PhysAddr((1 << 30) + 0xf_e000)));
    let range = |start, size| PhysRange::new(PhysAddr(start), size);
    let (kept, taken) = (range(0x10_0000, 0x1000), range((1 << 30) + 0xf_e000, 0x2000));
    let (free, edge) = (range(0x20_0000, 0x1000), range((1 << 30) + 0xf_d000, 0x2000));
    let at_pool = Misuse::Taken(taken.start, pool);
    let ask = |mb: &Memblock, requests: [Request; 11]| requests.map(|request| mb.misuse(request));
    let requests = [
        Request::Query,
        Request::Change,
        Request::Alloc,
        Request::Reserve(free),
        Request::Reserve(kept),
        Request::Reserve(edge),
        Request::Free(kept),
        Request::Free(range(taken.start.0, 0x1000)),
        Request::Free(edge),
        Request::FreeLate(kept),
        Request::FreeLate(free),
    ];
    let early =
        [None, None, None, None, None, Some(at_pool), None, None, Some(Misuse::NotReserved(edge.start))];
    assert_eq!(ask(&mb, requests)[..9], early);
    assert_eq!(ask(&mb, requests)[9..], [Some(Misuse::TooEarly); 2]);
    assert!(mb.free_all(Pfn(u64::MAX)).is_ok());
    let late = Some(Misuse::TooLate);
    let handed_over =
        [None, late, late, late, None, late, late, late, late, None, Some(Misuse::NotReserved(free.start))];
    assert_eq!(ask(&mb, requests), handed_over);
    let keeps = MemblockRules { keep_memblock: true, ..*mb.rules() };
    let mut kept_for_ever = Memblock::new(keeps);
    assert!(kept_for_ever.free_all(Pfn(u64::MAX)).is_ok());
    assert_eq!(kept_for_ever.misuse(Request::Change), None);
    assert!(mb.discard().is_ok());
    assert_eq!(ask(&mb, requests)[..9], [Some(Misuse::Gone); 9]);
    assert_eq!(ask(&mb, requests)[9..], [None, Some(Misuse::NotReserved(free.start))]);
}

#[test]
fn two_owners_in_one_free() {
    let other = Owner::new("other", 2);
    let mut mb = with_memory(MemblockRules::v6_12(), &[(0x10_0000, 1 << 30)]);
    for (base, owner) in [(0x10_0000, OWNER), (0x10_1000, OWNER), (0x10_2000, other)] {
        assert_eq!(mb.reserve(PhysAddr(base), 0x1000, owner), Ok(()));
    }
    let free = |size| mb.misuse(Request::Free(PhysRange::new(PhysAddr(0x10_0000), size)));
    assert_eq!(free(0x2000), None);
    assert_eq!(free(0x2800), Some(Misuse::TwoOwners(PhysAddr(0x10_2000), other)));
}

#[test]
fn versions_between_the_recorded_ones_change_one_by_one() {
    let switches = |version: &str| {
        let version = Version::from_name(version).expect("a version");
        let rules = MemblockRules::of_version(version);
        [
            rules.merge_whole_list,
            rules.handover_sets_reserved_nodes,
            rules.resize_panics,
            rules.noinit_flag,
            rules.empty_dummy_region,
            rules.invalid_nid_is_any,
            rules.phys_alloc_sees_slab,
        ]
    };
    for old in ["5.10", "5.13", "next-2021-06", "5.15", "6.1", "6.2"] {
        assert_eq!(switches(old), [true, false, false, false, true, false, false], "{old}");
    }
    assert_eq!(switches("6.5"), [false, false, false, false, true, false, false]);
    assert_eq!(switches("6.6"), [false, true, false, false, true, false, false]);
    assert_eq!(switches("6.9"), [false, true, true, true, true, false, false]);
    assert_eq!(switches("6.10"), [false, true, true, true, false, true, false]);
    assert_eq!(MemblockRules::of_version(Version::V6_1), MemblockRules::v6_1());
    assert_eq!(MemblockRules::of_version(Version::V6_12), MemblockRules::v6_12());
}

#[test]
fn small_queries_and_helpers() {
    let mut mb = with_memory(MemblockRules::v6_1(), &[(0x10_0000, 1 << 33)]);
    assert_eq!(mb.reserved_ranges().collect::<Vec<_>>(), [PhysRange::default()]);
    assert_eq!(mb.alloc_low(0x1000, 0x1000, OWNER), Ok(PhysAddr(0xffff_e000)));
    assert_eq!(mb.alloc(0x1000, 64, OWNER), Ok(PhysAddr((1 << 33) + 0xf_f000)));
    assert_eq!(mb.phys_alloc(0x1000, 64, OWNER), Ok(PhysAddr((1 << 33) + 0xf_e000)));
    assert_eq!(mb.alloc_node(0x1000, 64, NodeId(3), OWNER), Ok(PhysAddr((1 << 33) + 0xf_d000)));
    assert_eq!(mb.reserved_ranges().count(), 2);
    assert_eq!(mb.estimated_nr_free_pages(), (1 << 21) - 4);
    assert!(mb.validate_numa_coverage(1 << 33) && !mb.validate_numa_coverage((1 << 33) - 1));
}
