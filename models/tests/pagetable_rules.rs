//! What the drivers' page tables answer where a map from pages to memory would answer otherwise.

use models::iommu::pagetable::{
    AMD_IOMMU_PGSIZES, Access, DataWalk, Entry, Fault, FaultKind, Format, MapError, PageTable, Prot,
    VTD_PGSIZES, iommu_pgsize,
};
use models::mem::{DmaAddr, PhysAddr};
use proptest::prelude::*;

const KIB4: u64 = 1 << 12;
const MIB2: u64 = 1 << 21;
const GIB: u64 = 1 << 30;

/// Pages for tables, from 1 TiB upwards, as many as `left` says.
fn pages(mut left: usize) -> impl FnMut() -> Option<PhysAddr> {
    let mut next = 1 << 40;
    move || {
        left = left.checked_sub(1)?;
        next += KIB4;
        Some(PhysAddr(next))
    }
}

fn amd(source: &mut impl FnMut() -> Option<PhysAddr>) -> PageTable {
    PageTable::amd_v1(source).expect("a page for the root")
}

fn vtd(source: &mut impl FnMut() -> Option<PhysAddr>) -> PageTable {
    PageTable::vtd_second_level(4, source).expect("a page for the root")
}

fn map(table: &mut PageTable, iova: u64, size: u64, source: &mut impl FnMut() -> Option<PhysAddr>) {
    let mapped = table.map(DmaAddr(iova), PhysAddr(iova), size, Prot::READ_WRITE, source).expect("legal");
    assert_eq!(mapped.bytes, size);
}

fn unmap(table: &mut PageTable, iova: u64, size: u64) -> u64 {
    table.unmap(DmaAddr(iova), size).bytes
}

fn is_mapped(table: &PageTable, iova: u64) -> bool {
    table.lookup(DmaAddr(iova)).is_some()
}

#[test]
fn amd_counts_an_empty_page_where_a_table_is() {
    let source = &mut pages(9);
    let mut table = amd(source);
    assert_eq!(unmap(&mut table, 0x1000_0000, KIB4), 0, "nothing was ever mapped there");
    map(&mut table, 0x1000_0000, KIB4, source);
    assert_eq!(unmap(&mut table, 0x1000_0000, KIB4), KIB4);
    assert_eq!(unmap(&mut table, 0x1000_0000, KIB4), KIB4, "the second time, too");
    assert_eq!(unmap(&mut table, 0x1000_0000 - KIB4, 2 * KIB4), 0, "but not before a hole of 2 MiB");
    assert_eq!(unmap(&mut table, 0x1000_0000 + MIB2 - KIB4, 2 * KIB4), KIB4, "and only up to one");
}

#[test]
fn vtd_counts_what_was_asked() {
    let source = &mut pages(9);
    let mut table = vtd(source);
    map(&mut table, 0x1000_0000, KIB4, source);
    for _ in 0..2 {
        assert_eq!(unmap(&mut table, 0x1000_0000, KIB4), KIB4);
    }
    assert_eq!(unmap(&mut table, 0x1000_0000, 2 * MIB2), 2 * MIB2);
}

#[test]
fn vtd_counts_a_larger_leaf_or_hole() {
    let source = &mut pages(9);
    let mut table = vtd(source);
    assert_eq!(unmap(&mut table, 0, KIB4), 1 << 39, "nothing below the root");
    map(&mut table, MIB2, MIB2, source);
    assert_eq!(unmap(&mut table, MIB2, KIB4), MIB2, "the leaf");
    assert_eq!(unmap(&mut table, MIB2, KIB4), MIB2, "the hole that it left");
    assert!(!is_mapped(&table, MIB2));
}

#[test]
fn vtd_takes_a_cut_large_page_for_a_table() {
    let source = &mut pages(9);
    let mut table = vtd(source);
    map(&mut table, MIB2, MIB2, source);
    let unmapped = table.unmap(DmaAddr(MIB2 + 16 * KIB4), KIB4);
    assert_eq!(unmapped.bytes, MIB2);
    let walk = DataWalk { page: PhysAddr(MIB2), level: 1, first: 16, last: 511 };
    assert_eq!(unmapped.data_walks, [walk], "the rest of the range lies in the next region");
    assert!(is_mapped(&table, MIB2), "the leaf stays");

    let failed = table.map(DmaAddr(MIB2), PhysAddr(0), KIB4, Prot::READ, source).expect_err("in use");
    assert_eq!(failed.error, MapError::DataAsTable { page: PhysAddr(MIB2), level: 1 });
}

#[test]
fn amd_unmaps_a_whole_leaf_and_replaces_it_whole() {
    let source = &mut pages(9);
    let mut table = amd(source);
    map(&mut table, MIB2, MIB2, source);
    assert_eq!(unmap(&mut table, MIB2 + 16 * KIB4, KIB4), MIB2);
    assert!(!is_mapped(&table, MIB2));

    map(&mut table, MIB2, MIB2, source);
    let small = table.map(DmaAddr(MIB2), PhysAddr(0), KIB4, Prot::READ, source).expect("no complaint");
    assert!(small.flushes && small.replaced == 1);
    assert!(!is_mapped(&table, MIB2 + KIB4), "what the leaf mapped besides is gone");
    let again = table.map(DmaAddr(MIB2), PhysAddr(GIB), KIB4, Prot::READ, source).expect("no complaint");
    assert!(!again.flushes && again.replaced == 1, "a leaf for a leaf goes unnoticed, and unflushed");
}

#[test]
fn amd_repeats_leaves_of_other_sizes() {
    let source = &mut pages(9);
    let mut table = amd(source);
    map(&mut table, 4 * MIB2, 2 * MIB2, source);
    let level_2 = table.table_pages().find(|&(_, level)| level == 2).map(|(page, _)| page);
    let (_, entries) = level_2.and_then(|page| table.table_at(page)).expect("a table of level 2");
    assert_eq!(entries[4], entries[5]);
    let leaf = Entry::Leaf { phys: PhysAddr(4 * MIB2), size: 2 * MIB2, prot: Prot::READ_WRITE };
    assert_eq!(Entry::decode(Format::AmdV1, 2, entries[5]), leaf);
    let looked_up = table.lookup(DmaAddr(5 * MIB2 + 7)).expect("in the second half");
    assert_eq!((looked_up.iova, looked_up.size), (DmaAddr(4 * MIB2), 2 * MIB2));

    // A table in the place of one repetition tears down all of them.
    let mapped = table.map(DmaAddr(5 * MIB2), PhysAddr(0), KIB4, Prot::READ, source).expect("no complaint");
    assert!(mapped.flushes);
    assert!(!is_mapped(&table, 4 * MIB2));
}

#[test]
fn amd_frees_tables_only_for_a_leaf_in_their_place() {
    let source = &mut pages(9);
    let mut table = amd(source);
    map(&mut table, 0, KIB4, source);
    let tables = table.table_count();
    assert!(table.unmap(DmaAddr(0), KIB4).freed.is_empty());
    assert_eq!(table.table_count(), tables);
    let mapped = table.map(DmaAddr(0), PhysAddr(0), GIB, Prot::READ, source).expect("legal");
    let levels: Vec<_> = mapped.freed.iter().map(|freed| freed.level).collect();
    assert_eq!(levels, [1, 2], "lower tables first");
    assert!(mapped.flushes);
}

#[test]
fn vtd_frees_tables_that_a_range_covers() {
    let source = &mut pages(9);
    let mut table = vtd(source);
    map(&mut table, 0, KIB4, source);
    let unmapped = table.unmap(DmaAddr(0), GIB);
    let levels: Vec<_> = unmapped.freed.iter().map(|freed| freed.level).collect();
    assert_eq!(levels, [2, 1], "upper tables first");
    assert_ne!(unmapped.freed[1].entries[0], 0, "what they held is still there for the hardware to walk");

    map(&mut table, 0, KIB4, source);
    let mapped = table.map(DmaAddr(0), PhysAddr(0), MIB2, Prot::READ, source).expect("legal");
    assert_eq!(mapped.freed.len(), 1);
    assert_eq!(mapped.freed[0].entries[0], 0, "cleared before it is freed");
}

#[test]
fn vtd_complains_of_what_is_mapped_already() {
    let source = &mut pages(9);
    let mut table = vtd(source);
    map(&mut table, KIB4, KIB4, source);
    let mapped =
        table.map(DmaAddr(0), PhysAddr(GIB), 2 * KIB4, Prot::READ, source).expect("a complaint only");
    assert_eq!(mapped.already_set, [DmaAddr(KIB4)]);
    let kept = table.translate(DmaAddr(KIB4), Access::Read);
    assert_eq!(kept, Ok(PhysAddr(KIB4)), "the old mapping stays");
}

#[test]
fn amd_grows_at_the_top() {
    let source = &mut pages(99);
    let mut table = amd(source);
    map(&mut table, 0, KIB4, source);
    for (bit, levels) in [(38, 3), (39, 4), (47, 4), (48, 5), (57, 6), (63, 6)] {
        let before = table.levels();
        let mapped = table.map(DmaAddr(1 << bit), PhysAddr(0), KIB4, Prot::READ, source).expect("legal");
        assert_eq!(table.levels(), levels);
        assert_eq!(mapped.root_changed, before != levels);
        assert!(is_mapped(&table, 0) && is_mapped(&table, 1 << bit));
    }
}

#[test]
fn a_failed_map_is_rolled_back_as_far_as_the_driver_reports() {
    let end_of_region = MIB2 - KIB4;
    let source = &mut pages(3);
    let mut table = amd(source);
    let failed = table.map(DmaAddr(end_of_region), PhysAddr(end_of_region), 3 * KIB4, Prot::READ, source);
    let failed = failed.expect_err("no page for the second table");
    assert_eq!((failed.error, failed.done.bytes, failed.unrolled.bytes), (MapError::NoMemory, KIB4, KIB4));
    assert!(!is_mapped(&table, end_of_region));

    let source = &mut pages(4);
    let mut table = vtd(source);
    let failed = table.map(DmaAddr(end_of_region), PhysAddr(0), 3 * KIB4, Prot::READ, source);
    let failed = failed.expect_err("no page for the second table");
    assert_eq!((failed.error, failed.done.bytes, failed.unrolled.bytes), (MapError::NoMemory, 0, 0));
    assert!(is_mapped(&table, end_of_region), "a call that fails half way leaves what it did");
}

#[test]
fn illegal_maps_are_refused() {
    let source = &mut pages(9);
    let mut table = vtd(source);
    let mut error_of = |iova: u64, phys: u64, size: u64, prot| {
        table.map(DmaAddr(iova), PhysAddr(phys), size, prot, source).expect_err("illegal").error
    };
    assert_eq!(error_of(1, 0, KIB4, Prot::READ), MapError::Invalid);
    assert_eq!(error_of(0, 1, KIB4, Prot::READ), MapError::Invalid);
    assert_eq!(error_of(0, 0, 1, Prot::READ), MapError::Invalid);
    assert_eq!(error_of(0, 0, KIB4, Prot::NONE), MapError::Invalid);
    assert_eq!(error_of(1 << 48, 0, KIB4, Prot::READ), MapError::BeyondWidth);

    let mut same = || Some(PhysAddr(KIB4));
    let mut table = vtd(&mut same);
    let failed =
        table.map(DmaAddr(0), PhysAddr(0), KIB4, Prot::READ, &mut same).expect_err("handed out twice");
    assert_eq!(failed.error, MapError::PageInUse(PhysAddr(KIB4)));
}

#[test]
fn faults_name_their_level() {
    let source = &mut pages(9);
    let mut table = vtd(source);
    let fault = |kind, level| Err(Fault { kind, level });
    assert_eq!(table.translate(DmaAddr(0), Access::Read), fault(FaultKind::NotPresent, 4));
    assert_eq!(table.translate(DmaAddr(1 << 48), Access::Read), fault(FaultKind::BeyondWidth, 4));
    let mapped = table.map(DmaAddr(0), PhysAddr(0), KIB4, Prot::READ, source);
    assert!(mapped.is_ok());
    assert_eq!(table.translate(DmaAddr(KIB4), Access::Read), fault(FaultKind::NotPresent, 1));
    assert_eq!(table.translate(DmaAddr(0), Access::Write), fault(FaultKind::Permission, 1));
}

#[test]
fn write_only_memory_can_be_read_with_vtd() {
    let source = &mut pages(9);
    for (mut table, readable) in [(amd(source), false), (vtd(source), true)] {
        assert!(table.map(DmaAddr(0), PhysAddr(0), KIB4, Prot::WRITE, source).is_ok());
        assert_eq!(table.translate(DmaAddr(0), Access::Read).is_ok(), readable);
    }
}

#[test]
fn vtd_frees_the_root_with_everything() {
    let source = &mut pages(9);
    let mut table = vtd(source);
    map(&mut table, 0, KIB4, source);
    let unmapped = table.unmap_pages(DmaAddr(0), KIB4, 1 << 36);
    assert_eq!(unmapped.freed.last().map(|freed| freed.level), Some(4));
    assert_eq!((table.root(), table.table_count()), (None, 0));
    let failed = table.map(DmaAddr(0), PhysAddr(0), KIB4, Prot::READ, source).expect_err("no root");
    assert_eq!(failed.error, MapError::NullRoot);
}

#[test]
fn a_range_is_cut_at_the_next_larger_page() {
    let cut = |sizes, iova, phys, size| iommu_pgsize(sizes, DmaAddr(iova), PhysAddr(phys), size);
    assert_eq!(cut(VTD_PGSIZES, 0, 0, GIB), Some((GIB, 1)));
    assert_eq!(cut(VTD_PGSIZES, 0, 0, GIB - KIB4), Some((MIB2, 511)));
    assert_eq!(cut(VTD_PGSIZES, KIB4, KIB4, 2 * MIB2), Some((KIB4, 511)));
    assert_eq!(cut(VTD_PGSIZES, KIB4, 0, 2 * MIB2), Some((KIB4, 1024)), "differently offset");
    assert_eq!(cut(AMD_IOMMU_PGSIZES, 0x3000, 0x7000, 0x10000), Some((KIB4, 1)));
    assert_eq!(cut(AMD_IOMMU_PGSIZES, 0, 0, 1 << 39), Some((1 << 38, 2)), "no pages of 512 GiB");
    assert_eq!(cut(VTD_PGSIZES, 1, 0, KIB4), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bits_can_be_read(raw in any::<u64>(), low in 0_u64..0x1000, level in 1_u32..7) {
        for bits in [raw, raw & !0xfff | low, u64::MAX, raw | 0x000f_ffff_ffff_fe00] {
            for format in [Format::AmdV1, Format::VtdSecondLevel, Format::ArmLpaeS1] {
                if let Entry::Leaf { phys, size, .. } = Entry::decode(format, level, bits) {
                    prop_assert!(size.is_power_of_two() && phys.0 % size == 0);
                }
            }
        }
    }
}

#[test]
fn two_roots_above_one_lose_what_the_first_one_reached() {
    const HIGH: u64 = 1 << 40;
    let source = &mut pages(20);
    let mut table = amd(source);
    map(&mut table, 0x1000_0000, KIB4, source);
    assert!(table.is_too_small_for(HIGH) && !table.is_too_small_for(HIGH / 2 - 1));
    let seen = table.root_seen().expect("a root");
    table.put_root_above(seen, source().expect("a page")).expect("room for a level");
    map(&mut table, HIGH, KIB4, source);
    assert!(is_mapped(&table, HIGH) && is_mapped(&table, 0x1000_0000));
    // Somebody who saw the first root, too, puts another above that.
    table.put_root_above(seen, source().expect("a page")).expect("room for a level");
    assert_eq!(table.levels(), 5);
    assert!(!is_mapped(&table, HIGH), "what was mapped through the first new root is lost");
    let failure = table.map(DmaAddr(HIGH), PhysAddr(HIGH), KIB4, Prot::READ_WRITE, source);
    assert!(failure.is_err(), "and the driver does not go through a table that skips a level");
}
