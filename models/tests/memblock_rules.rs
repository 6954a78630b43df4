//! What memblock does where the recordings do not reach or do not explain: the ways in which the kernel stops,
//! the differences between versions one by one, growth, owners, and the hand-over.

use models::mem::{Pfn, PhysAddr, PhysRange};
use models::memblock::{
    Bounds, Fatal, Memblock, MemblockError, MemblockFlags, MemblockRules, MemblockType, NodeId, Owner,
};

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
        assert_eq!(mb.owned_ranges().count(), 2);
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
