//! Arm's stage 1 tables: their bits, and what the driver does where a map from pages to memory would do otherwise.

use models::iommu::pagetable::{
    Access, Entry, Fault, FaultKind, Format, MapError, Mapped, PageTable, Prot, WalkFlush,
};
use models::mem::{DmaAddr, PhysAddr};

const KIB4: u64 = 1 << 12;
const MIB2: u64 = 1 << 21;
const GIB: u64 = 1 << 30;

/// Pages for tables, from 16 TiB upwards, as many as `left` says.
fn pages(mut left: usize) -> impl FnMut() -> Option<PhysAddr> {
    let mut next = 1 << 44;
    move || {
        left = left.checked_sub(1)?;
        next += KIB4;
        Some(PhysAddr(next))
    }
}

fn table(ias: u32, source: &mut impl FnMut() -> Option<PhysAddr>) -> PageTable {
    PageTable::arm_lpae_s1(ias, source).expect("a page for the root")
}

fn map(
    table: &mut PageTable,
    iova: u64,
    phys: u64,
    size: u64,
    source: &mut impl FnMut() -> Option<PhysAddr>,
) {
    let mapped = table.map(DmaAddr(iova), PhysAddr(phys), size, Prot::READ_WRITE, source).expect("legal");
    assert_eq!(mapped.bytes, size);
}

/// The bits of the entry of `level` for an address.
fn raw(table: &PageTable, iova: u64, level: u32) -> u64 {
    let mut page = table.root().expect("a root");
    for above in (level..=table.levels()).rev() {
        let (found, entries) = table.table_at(page).expect("a table");
        assert_eq!(found, above);
        let index = usize::try_from(iova >> (12 + 9 * (above - 1)) & 0x1ff).expect("few entries");
        if above == level {
            return entries[index];
        }
        let Entry::Table { page: next, .. } = Entry::decode(Format::ArmLpaeS1, above, entries[index]) else {
            panic!("no table on the way");
        };
        page = next;
    }
    unreachable!("the level is one of the table's")
}

#[test]
fn levels_follow_from_the_width() {
    for (ias, levels) in [(48, 4), (40, 4), (39, 3), (32, 3), (30, 2), (13, 1)] {
        assert_eq!(table(ias, &mut pages(1)).levels(), levels, "{ias}");
    }
    assert_eq!(PageTable::arm_lpae_s1(49, &mut pages(1)).unwrap_err(), MapError::Invalid);
    assert_eq!(PageTable::arm_lpae_s1(48, &mut pages(0)).unwrap_err(), MapError::NoMemory);
}

#[test]
fn nothing_is_mapped_beyond_the_width() {
    let source = &mut pages(9);
    let mut table = table(40, source);
    map(&mut table, (1 << 40) - KIB4, 0x5000, KIB4, source);
    let beyond = table.map(DmaAddr(1 << 40), PhysAddr(0x5000), KIB4, Prot::READ, source);
    assert_eq!(beyond.unwrap_err().error, MapError::BeyondWidth);
    let fault = Fault { kind: FaultKind::BeyondWidth, level: 4 };
    assert_eq!(table.translate(DmaAddr(1 << 40), Access::Read), Err(fault));
    let far = table.map(DmaAddr(0), PhysAddr(1 << 48), KIB4, Prot::READ, source);
    assert_eq!(far.unwrap_err().error, MapError::BeyondWidth, "memory of 48 bits");
}

#[test]
fn entries_have_the_bits_of_the_long_format() {
    let source = &mut pages(9);
    let mut table = table(48, source);
    map(&mut table, 0x1000, 0x1234_5000, KIB4, source);
    assert_eq!(raw(&table, 0x1000, 1), 0x1234_5f47);
    let read = table.map(DmaAddr(0x2000), PhysAddr(0x6000), KIB4, Prot::READ, source);
    assert_eq!(read.map(|mapped| mapped.bytes), Ok(KIB4));
    assert_eq!(raw(&table, 0x2000, 1), 0x6fc7);
    let write = table.map(DmaAddr(0x3000), PhysAddr(0x7000), KIB4, Prot::WRITE, source);
    assert_eq!(write.map(|mapped| mapped.bytes), Ok(KIB4));
    assert_eq!(raw(&table, 0x3000, 1), 0x7f47, "what can be written can be read");
    map(&mut table, MIB2, 4 * MIB2, MIB2, source);
    assert_eq!(raw(&table, MIB2, 2), (4 * MIB2) | 0xf45);
    map(&mut table, GIB, 2 * GIB, GIB, source);
    assert_eq!(raw(&table, GIB, 3), (2 * GIB) | 0xf45);
    assert_eq!(raw(&table, 0, 2) & 0xfff, 3, "a table");
}

#[test]
fn the_hardware_reads_all_bits() {
    let decode = |level, raw| Entry::decode(Format::ArmLpaeS1, level, raw);
    let leaf = |prot| Entry::Leaf { phys: PhysAddr(0x5000), size: KIB4, prot };
    assert_eq!(decode(1, 0x5f47), leaf(Prot::READ_WRITE));
    assert_eq!(decode(1, 0x5fc7), leaf(Prot::READ));
    assert_eq!(decode(1, 0x5f47 & !(1 << 10)), leaf(Prot::NONE), "never accessed");
    assert_eq!(decode(1, 0x5f47 & !(1 << 6)), leaf(Prot::NONE), "for privileged accesses");
    assert_eq!(decode(1, 0x5f46), Entry::Empty);
    assert_eq!(decode(1, 0x5f45), Entry::Reserved, "no large page at the lowest level");
    assert_eq!(decode(4, 0x5f45), Entry::Reserved, "none of 512 GiB");
    assert_eq!(decode(4, 0x5003), Entry::Table { page: PhysAddr(0x5000), prot: Prot::READ_WRITE });
}

#[test]
fn what_is_mapped_is_not_mapped_over() {
    let source = &mut pages(9);
    let mut table = table(48, source);
    map(&mut table, 0x5000, 0x9000, KIB4, source);
    map(&mut table, MIB2, MIB2, MIB2, source);
    for (iova, size, at) in [(0x4000, 3 * KIB4, 0x5000), (MIB2, MIB2, MIB2), (MIB2 + KIB4, KIB4, MIB2 + KIB4)]
    {
        let failure = table.map(DmaAddr(iova), PhysAddr(iova), size, Prot::READ_WRITE, source).unwrap_err();
        assert_eq!(failure.error, MapError::Exists(DmaAddr(at)));
        assert_eq!(failure.done.bytes, 0, "entries of one table are looked at before any is written");
    }
    assert_eq!(table.lookup(DmaAddr(0x5000)).map(|leaf| leaf.phys), Some(PhysAddr(0x9000)));
    assert!(table.lookup(DmaAddr(0x4000)).is_none());
}

#[test]
fn a_table_makes_way_for_a_large_page_and_goes_with_it() {
    let source = &mut pages(9);
    let mut table = table(48, source);
    map(&mut table, MIB2, 0x9000, KIB4, source);
    let taken = table.unmap(DmaAddr(MIB2), KIB4);
    assert_eq!((taken.bytes, taken.freed.len(), taken.walks.len()), (KIB4, 0, 0), "an empty table stays");
    let mapped = table.map(DmaAddr(MIB2), PhysAddr(MIB2), MIB2, Prot::READ, source).expect("legal");
    assert_eq!((mapped.freed.len(), mapped.freed[0].level), (1, 1));
    assert_eq!(mapped.walks, [WalkFlush { iova: DmaAddr(MIB2), size: MIB2 }]);
    // The same way out: what is mapped by pages and unmapped as a whole takes its table along.
    let mut other = self::table(48, source);
    for page in 0..512 {
        map(&mut other, MIB2 + page * KIB4, 0x10_0000 + 2 * page * KIB4, KIB4, source);
    }
    let unmapped = other.unmap(DmaAddr(MIB2), MIB2);
    assert_eq!((unmapped.bytes, unmapped.freed.len()), (MIB2, 1));
    assert_eq!(unmapped.walks, [WalkFlush { iova: DmaAddr(MIB2), size: MIB2 }]);
}

#[test]
fn of_two_who_miss_one_table_the_second_is_told_so() {
    let source = &mut pages(9);
    let mut table = table(39, source);
    let mut done = Mapped::default();
    let mut missing = |table: &mut PageTable, iova| {
        table.arm_try_map(DmaAddr(iova), PhysAddr(iova), KIB4, 1, Prot::READ_WRITE, &mut done).expect("legal")
    };
    let (one, other) = (missing(&mut table, 0x1000), missing(&mut table, 0x2000));
    let (one, other) = (one.expect("no table yet"), other.expect("no table yet"));
    assert_eq!(one, other, "both saw the same entry of the root");
    assert_eq!(table.arm_install_table(one, source().expect("a page")), Ok(true));
    assert_eq!(table.arm_install_table(other, source().expect("a page")), Ok(false));
    // They go on, and meet again one level below.
    let (one, other) = (missing(&mut table, 0x1000), missing(&mut table, 0x2000));
    let (one, other) = (one.expect("one level is missing"), other.expect("one level is missing"));
    assert_eq!(table.arm_install_table(other, source().expect("a page")), Ok(true));
    assert_eq!(missing(&mut table, 0x2000), None);
    assert_eq!(table.arm_install_table(one, source().expect("a page")), Ok(false));
    assert_eq!(missing(&mut table, 0x1000), None);
    assert!(table.lookup(DmaAddr(0x1000)).is_some() && table.lookup(DmaAddr(0x2000)).is_some());
    assert_eq!(table.table_count(), 3);
}

#[test]
fn a_part_of_a_large_page_needs_a_page_for_a_table() {
    let source = &mut pages(9);
    let mut table = table(48, source);
    map(&mut table, 0, 0, MIB2, source);
    assert_eq!(table.unmap(DmaAddr(0x3000), KIB4).bytes, 0, "there is none");
    assert!(table.lookup(DmaAddr(0x3000)).is_some());
    let unmapped = table.unmap_splitting(DmaAddr(0x3000), 2 * KIB4, source);
    assert_eq!((unmapped.bytes, unmapped.split), (2 * KIB4, 1));
    assert!(table.lookup(DmaAddr(0x3000)).is_none() && table.lookup(DmaAddr(0x4000)).is_none());
    assert_eq!(
        table.lookup(DmaAddr(0x5000)).map(|leaf| (leaf.phys, leaf.size)),
        Some((PhysAddr(0x5000), KIB4))
    );
    assert_eq!(raw(&table, 0x5000, 1), 0x5f47, "its parts have its attributes");
}
