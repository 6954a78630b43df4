//! Single behaviours, each with the smallest case that shows it.

use models::mem::PhysAddr;
use models::swiotlb::literal::Release;
use models::swiotlb::{
    BounceRules, Copy, Direction, DmaLimits, MapError, MapRequest, OffsetRule, Pool, PoolDefaults, PoolSize,
    SearchRules, SizingRules, Warning, Way,
};

const START: PhysAddr = PhysAddr(0x400_0000);
const NVME: DmaLimits = DmaLimits { min_align_mask: 0xfff, seg_boundary_mask: 0xffff_ffff };

fn pool(rules: SearchRules, nslabs: u32) -> Pool {
    Pool::new(rules, BounceRules::v5_18(), START, PoolSize { nslabs, nareas: 1 })
}

/// Every second slot busy and the cursor off zero: no room for two slots in a row.
fn holey(rules: SearchRules) -> Pool {
    let mut pool = pool(rules, 128);
    let plain = DmaLimits::default();
    let small = MapRequest::plain(PhysAddr(0x1_0000), 100);
    let maps: Vec<_> = (0..128).map(|_| pool.map(0, plain, &small).unwrap()).collect();
    for map in maps.iter().step_by(2) {
        assert!(matches!(pool.release_slots(plain, map.tlb_addr), Release::Done { nslots: 1, .. }));
    }
    assert_eq!(pool.map(0, plain, &small).unwrap().slot, 0);
    assert_eq!(pool.areas()[0].index(), 1);
    pool
}

#[test]
fn a_strided_walk_that_misses_its_start_never_ends_before_6_3() {
    let even = MapRequest::plain(PhysAddr(0x2_0000), 4096);
    let odd = MapRequest::plain(PhysAddr(0x2_0800), 4096);
    for (version, rules) in SearchRules::all() {
        let wraps = ["5.13", "5.15", "5.16", "6.1.192"].contains(&version);
        let want = if wraps { MapError::Hang } else { MapError::Full };
        let mut pool = holey(rules);
        assert_eq!(pool.map(0, NVME, &even), Err(MapError::Full), "{version}");
        assert_eq!(pool.map(0, NVME, &odd), Err(want), "{version}");
        assert_eq!(pool.used(), 65, "{version}: a failure takes nothing");
    }
}

#[test]
fn counters_of_a_pool_that_ends_within_a_segment_reached_past_it() {
    let request = MapRequest::plain(PhysAddr(0x2_0000), 100 * 2048);
    let mapped = |rules| {
        let mut pool = pool(rules, 160);
        pool.map(0, DmaLimits::default(), &request).unwrap();
        pool.map(
            0,
            DmaLimits { min_align_mask: 0, seg_boundary_mask: u64::MAX },
            &MapRequest::plain(PhysAddr(0x2_0000), 60 * 2048),
        )
    };
    let past = mapped(SearchRules::v5_15()).unwrap();
    assert!(past.slot + past.nslots > 160, "slots that the pool does not have");
    assert_eq!(mapped(SearchRules::v6_12()), Err(MapError::Full));
}

#[test]
fn an_unmap_with_foreign_limits_spoils_the_counters_for_good() {
    let mut pool = pool(SearchRules::v6_12(), 256);
    let plain = DmaLimits::default();
    let full = MapRequest::plain(PhysAddr(0x2_0000), 128 * 2048);
    let first = pool.map(0, plain, &full).unwrap();
    pool.map(0, plain, &full).unwrap();
    // One byte into the first slot: another device takes that byte for alignment, and frees a slot more.
    let release = pool.release_slots(NVME, first.tlb_addr.wrapping_add(1));
    assert_eq!(release, Release::Done { first: 0, nslots: 129, area: 0 });
    assert!(pool.slots().is_detailed());
    assert_eq!(pool.slots().list(0), 129, "a run across the edge of a segment");
    pool.reset(START, PoolSize { nslabs: 256, nareas: 1 });
    assert!(!pool.slots().is_detailed());
    assert_eq!(pool.slots().list(0), 128);
}

#[test]
fn padding_slots_are_counted_back_at_release() {
    let mut pool = pool(SearchRules::v6_12(), 256);
    let orig = PhysAddr(0x2_1a00);
    let map = MapRequest { alloc_align_mask: 0xffff, ..MapRequest::plain(orig, 512) };
    let limits = DmaLimits { min_align_mask: 0xffff, ..NVME };
    let mapping = pool.map(0, limits, &map).unwrap();
    assert_eq!((mapping.slot, mapping.pad, mapping.nslots), (0, 3, 32));
    assert_eq!(mapping.tlb_addr, START.wrapping_add(0x1a00));
    assert_eq!((pool.slots().orig_addr(2), pool.slots().orig_addr(3)), (None, Some(orig)));
    assert_eq!(pool.release_slots(limits, mapping.tlb_addr), Release::Done { first: 0, nslots: 32, area: 0 });
    assert_eq!(pool.slots().list(0), 128);
}

#[test]
fn a_bounce_is_clipped_by_version() {
    let limits = NVME;
    let orig = PhysAddr(0x2_0300);
    let bounce = |rules: BounceRules, at: u64, size: u64| {
        let mut pool = Pool::new(SearchRules::v5_16(), rules, START, PoolSize { nslabs: 128, nareas: 1 });
        pool.map(0, limits, &MapRequest::plain(orig, 3000)).unwrap();
        pool.bounce(limits, START.wrapping_add(at), size, Way::ToOriginal)
    };
    let copy = |orig, slot_off, len| Some(Copy { orig: PhysAddr(orig), slot_off, len, way: Way::ToOriginal });
    // In the first slot, inside.
    let inside = bounce(BounceRules::v5_18(), 0x400, 16);
    assert_eq!((inside.copy, inside.warning), (copy(0x2_0400, 0x400, 16), None));
    // The offset was lost.
    let lost = bounce(BounceRules::v5_12(), 0x400, 16);
    assert_eq!((lost.copy, lost.warning), (copy(0x2_0300, 0x400, 16), None));
    // In the first bytes of the second slot, which belong to the first slot's part of the original.
    let early = bounce(BounceRules::v5_18(), 0x900, 16);
    assert_eq!((early.copy, early.warning), (None, Some(Warning::BeforeStart)));
    let early = bounce(BounceRules::v6_9_rc4(), 0x900, 16);
    assert_eq!((early.copy, early.warning), (copy(0x2_0900, 0x900, 16), None));
    // Too long.
    let long = bounce(BounceRules::v6_9_rc4(), 0x400, 4000);
    assert_eq!((long.copy, long.warning), (copy(0x2_0400, 0x400, 3000 - 0x100), Some(Warning::Overflow)));
    assert_eq!(BounceRules::v5_10().offset, OffsetRule::Unchecked);
}

#[test]
fn what_is_copied_by_direction_and_version() {
    use Direction::{Bidirectional, FromDevice, None as Nobody, ToDevice};
    let prefills = |rules: BounceRules, dir| rules.copies_on_map(dir, true);
    assert!(!prefills(BounceRules::v5_13(), FromDevice));
    assert!(!prefills(BounceRules::v5_17_rc6(), FromDevice));
    assert!(BounceRules::v5_17_rc6().copies_on_map(FromDevice, false));
    assert!(prefills(BounceRules::v5_18(), FromDevice));
    assert_eq!(BounceRules::v5_17().copies_for_device(FromDevice), Some(true));
    assert_eq!(BounceRules::v5_18().copies_for_device(FromDevice), Some(false));
    assert_eq!(BounceRules::v5_18().copies_for_device(Nobody), None);
    assert_eq!(BounceRules::copies_for_cpu(ToDevice), Some(false));
    assert_eq!(BounceRules::copies_for_cpu(Nobody), None);
    assert!(BounceRules::copies_on_unmap(Bidirectional, false));
    assert!(!BounceRules::copies_on_unmap(Bidirectional, true));
}

fn parsed(rules: SizingRules, value: &str) -> PoolDefaults {
    let mut defaults = PoolDefaults::new(rules);
    defaults.parse(value);
    defaults
}

#[test]
fn the_command_line_sets_slots_and_areas() {
    let new = |value| {
        let defaults = parsed(SizingRules::v6_5(), value);
        (defaults.nslabs, defaults.nareas, defaults.force_bounce, defaults.force_disable)
    };
    assert_eq!(new("1000"), (1024, 0, false, false));
    assert_eq!(new("0x401,force"), (1152, 0, true, false));
    assert_eq!(new("1000,3"), (1024, 4, false, false));
    assert_eq!(new("130,5,noforce"), (1024, 8, false, true));
    assert_eq!(new("force"), (32768, 0, true, false));
    assert_eq!(new(",0"), (32768, 1, false, false));
    let old = parsed(SizingRules::v5_10(), "1000,noforce");
    assert_eq!((old.nslabs, old.nareas, old.force_disable), (1024, 0, true));
}

#[test]
fn a_shrunk_pool_of_6_1_has_areas_smaller_than_a_segment() {
    let shrink = |rules| {
        let mut defaults = PoolDefaults::new(rules);
        let first = defaults.boot_nslabs(64);
        let last = std::iter::successors(Some(first), |&nslabs| defaults.boot_retry(nslabs)).last().unwrap();
        defaults.boot_pool(last)
    };
    assert_eq!(shrink(SizingRules::v6_1_192()), PoolSize { nslabs: 512, nareas: 64 });
    assert_eq!(shrink(SizingRules::v6_5()), PoolSize { nslabs: 512, nareas: 4 });
    // Before v6.2 nothing shrinks.
    assert_eq!(shrink(SizingRules::v6_0()), PoolSize { nslabs: 32768, nareas: 64 });
    assert_eq!(shrink(SizingRules::v5_10()), PoolSize { nslabs: 32768, nareas: 1 });
}

#[test]
fn the_largest_mapping_leaves_room_for_alignment() {
    let max = |min_align_mask| Pool::max_mapping_size(DmaLimits { min_align_mask, ..NVME });
    assert_eq!([max(0), max(0x7ff), max(0xfff), max(0xffff)], [262_144, 260_096, 258_048, 196_608]);
}

#[test]
fn addresses_of_slots_beyond_two_gigabytes_before_6_0() {
    let size = PoolSize { nslabs: 1 << 22, nareas: 1 };
    let large = |rules| Pool::new(rules, BounceRules::v5_13(), PhysAddr(1 << 36), size);
    let (narrow, wide) = (large(SearchRules::v5_16()), large(SearchRules::v6_0()));
    for slot in [0, 1, (1 << 20) - 1] {
        assert_eq!(narrow.slot_addr(slot), wide.slot_addr(slot), "slot {slot}");
    }
    // From 2 GiB on the sign is wrong, from 4 GiB on the first slots come again.
    assert_eq!(narrow.slot_addr(1 << 20), PhysAddr((1 << 36) - (1 << 31)));
    assert_eq!(narrow.slot_addr(1 << 21), PhysAddr(1 << 36));
    assert_eq!(wide.slot_addr(1 << 21), PhysAddr((1 << 36) + (1 << 32)));
}

#[test]
fn a_page_or_more_begins_a_page_by_stride_or_by_rule() {
    let second = |rules| {
        let mut pool = pool(rules, 128);
        pool.map(0, DmaLimits::default(), &MapRequest::plain(PhysAddr(0x1_0000), 100)).unwrap();
        pool.map(0, DmaLimits::default(), &MapRequest::plain(PhysAddr(0x2_0000), 8192)).unwrap().slot
    };
    assert_eq!(second(SearchRules::v5_13()), 2);
    assert_eq!(second(SearchRules::v6_12()), 2);
    assert_eq!(second(SearchRules { large_page_aligned: false, ..SearchRules::v6_12() }), 1);
}
