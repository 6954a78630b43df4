//! The page tables against a naive twin: a map from each 4 KiB page to what it shows.

use std::collections::{BTreeMap, BTreeSet};

use models::iommu::pagetable::{
    AMD_IOMMU_PGSIZES_4K, Access, FaultKind, Format, FreedPage, PageTable, Prot, Unmapped,
};
use models::mem::{DmaAddr, PhysAddr};
use proptest::prelude::*;

const PAGE: u64 = 4096;
/// Bus pages that the tests map within: 4 GiB in the middle of the first AMD level's reach and beyond it.
const BASES: [u64; 3] = [0, 0x7f_c000_0000, 0xffff_c000_0000];

/// Hands out pages, and knows which ones are out.
#[derive(Default)]
struct Source {
    next: u64,
    out: BTreeSet<PhysAddr>,
}

impl Source {
    fn take(&mut self) -> PhysAddr {
        self.next += 1;
        let page = PhysAddr(0x10_0000_0000 + self.next * PAGE);
        self.out.insert(page);
        page
    }

    fn give_back(&mut self, freed: &[FreedPage]) {
        for table in freed {
            assert!(self.out.remove(&table.page), "{:?} was handed out and is freed once", table.page);
        }
    }
}

fn new_table(format: Format, levels: u32, source: &mut Source) -> PageTable {
    let mut take = || Some(source.take());
    let table = match format {
        Format::AmdV1 => PageTable::amd_v1(&mut take),
        Format::VtdSecondLevel => PageTable::vtd_second_level(levels, &mut take),
        Format::ArmLpaeS1 => PageTable::arm_lpae_s1(12 + 9 * levels, &mut take),
    };
    table.expect("there is a page for the root")
}

/// What a page of bus addresses shows.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shown {
    phys: u64,
    prot: Prot,
}

struct Bed {
    table: PageTable,
    source: Source,
    pages: BTreeMap<u64, Shown>,
    /// Legal mappings: iova and size.
    live: Vec<(u64, u64)>,
}

impl Bed {
    fn new(format: Format, levels: u32, small_pages_only: bool) -> Self {
        let mut source = Source::default();
        let mut table = new_table(format, levels, &mut source);
        if small_pages_only {
            table = table.with_pgsizes(AMD_IOMMU_PGSIZES_4K);
        }
        Self { table, source, pages: BTreeMap::new(), live: Vec::new() }
    }

    fn is_free(&self, iova: u64, size: u64) -> bool {
        self.pages.range(iova..iova + size).next().is_none()
    }

    fn map(&mut self, iova: u64, phys: u64, size: u64, prot: Prot) {
        let source = &mut self.source;
        let mapped = self
            .table
            .map(DmaAddr(iova), PhysAddr(phys), size, prot, &mut || Some(source.take()))
            .expect("legal and there is memory");
        assert_eq!(mapped.bytes, size);
        assert!(mapped.already_set.is_empty());
        self.source.give_back(&mapped.freed);
        for offset in (0..size).step_by(4096) {
            self.pages.insert(iova + offset, Shown { phys: phys + offset, prot });
        }
    }

    fn unmap(&mut self, iova: u64, size: u64) -> Unmapped {
        let source = &mut self.source;
        let unmapped = self.table.unmap_splitting(DmaAddr(iova), size, &mut || Some(source.take()));
        self.source.give_back(&unmapped.freed);
        let gone: Vec<_> = self.pages.range(iova..iova + unmapped.bytes).map(|(&page, _)| page).collect();
        for page in gone {
            self.pages.remove(&page);
        }
        unmapped
    }

    fn check_at(&self, iova: u64) {
        let shown = self.pages.get(&(iova & !(PAGE - 1)));
        for access in [Access::Read, Access::Write] {
            let got = self.table.translate(DmaAddr(iova), access);
            let allowed = |prot: Prot| match self.table.format() {
                Format::AmdV1 => prot.allows(access),
                // The driver makes everything readable; stage 1 knows nothing else.
                Format::VtdSecondLevel | Format::ArmLpaeS1 => access == Access::Read || prot.write,
            };
            match shown {
                Some(shown) if allowed(shown.prot) => {
                    assert_eq!(got, Ok(PhysAddr(shown.phys + iova % PAGE)), "at {iova:#x}");
                }
                Some(_) => assert_eq!(got.map_err(|fault| fault.kind), Err(FaultKind::Permission)),
                None => assert!(
                    matches!(got, Err(fault) if matches!(fault.kind, FaultKind::NotPresent | FaultKind::BeyondWidth)),
                    "at {iova:#x}: {got:?}"
                ),
            }
        }
    }

    fn check_tables(&self) {
        let pages: BTreeSet<_> = self.table.table_pages().map(|(page, _)| page).collect();
        assert_eq!(
            pages, self.source.out,
            "every page that was handed out is part of the table or given back"
        );
    }

    fn finish(mut self) {
        self.check_tables();
        self.source.give_back(&self.table.free_pgtable());
        assert!(self.source.out.is_empty(), "destroying the table gives everything back");
    }
}

fn formats() -> impl Strategy<Value = (Format, u32)> {
    prop_oneof![
        Just((Format::AmdV1, 3)),
        Just((Format::VtdSecondLevel, 4)),
        Just((Format::VtdSecondLevel, 5)),
        Just((Format::ArmLpaeS1, 4)),
    ]
}

fn prots() -> impl Strategy<Value = Prot> {
    prop_oneof![Just(Prot::READ), Just(Prot::WRITE), Just(Prot::READ_WRITE)]
}

/// Sizes in pages, with a liking for those that take large pages.
fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1_u64..9, 2 => 1_u64..1_200, 1 => Just(512), 1 => (1_u64..5).prop_map(|n| n * 512)]
}

#[derive(Clone, Debug)]
enum Op {
    Map { base: usize, page: u64, size: u64, phys: u64, align: u32, prot: Prot },
    Unmap { which: usize },
}

fn ops() -> impl Strategy<Value = Op> {
    let map = (0_usize..3, 0_u64..0x3000, sizes(), 0_u64..0x10_0000, 0_u32..11, prots())
        .prop_map(|(base, page, size, phys, align, prot)| Op::Map { base, page, size, phys, align, prot });
    prop_oneof![3 => map, 2 => any::<usize>().prop_map(|which| Op::Unmap { which })]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn legal_maps_and_unmaps_agree(
        (format, levels) in formats(),
        ops in prop::collection::vec(ops(), 1..40),
        probes in prop::collection::vec((0_usize..3, 0_u64..0x380_0000), 30),
    ) {
        let mut bed = Bed::new(format, levels, false);
        for op in ops {
            match op {
                Op::Map { base, page, size, phys, align, prot } => {
                    let round = |pfn: u64| (pfn >> align << align) * PAGE;
                    let (iova, phys, size) = (BASES[base] + round(page), round(phys), size * PAGE);
                    if bed.is_free(iova, size) {
                        bed.map(iova, phys, size, prot);
                        bed.live.push((iova, size));
                        bed.check_at(iova);
                        bed.check_at(iova + size - 1);
                    }
                }
                Op::Unmap { which } if !bed.live.is_empty() => {
                    let (iova, size) = bed.live.swap_remove(which % bed.live.len());
                    let unmapped = bed.unmap(iova, size);
                    prop_assert_eq!(unmapped.bytes, size);
                    prop_assert!(unmapped.data_walks.is_empty());
                    bed.check_at(iova);
                    bed.check_at(iova + size / 2);
                }
                Op::Unmap { .. } => {}
            }
            bed.check_tables();
        }
        for (base, offset) in probes {
            bed.check_at(BASES[base] + offset);
        }
        for &(iova, size) in &bed.live.clone() {
            for offset in [0, size / 2, size - 1, size] {
                bed.check_at(iova + offset);
            }
        }
        bed.finish();
    }

    #[test]
    fn amd_unmap_of_anything_stops_at_holes(
        ops in prop::collection::vec((any::<bool>(), 0_u64..0x900, 1_u64..40, 0_u64..0x1000), 1..60),
    ) {
        let mut bed = Bed::new(Format::AmdV1, 3, true);
        // Regions of 2 MiB that have a table of level 1: unmapping leaves it there.
        let mut regions = BTreeSet::new();
        for (map, page, pages, phys) in ops {
            let (iova, size) = (page * PAGE, pages * PAGE);
            if map {
                bed.map(iova, phys * PAGE, size, Prot::READ_WRITE);
                regions.extend((page..page + pages).map(|page| page / 512));
            } else {
                let expected = (page..page + pages).take_while(|page| regions.contains(&(page / 512))).count();
                let unmapped = bed.unmap(iova, size);
                prop_assert_eq!(unmapped.bytes, expected as u64 * PAGE);
            }
            bed.check_tables();
        }
        for page in 0..0xa00 {
            bed.check_at(page * PAGE);
        }
        bed.finish();
    }

    #[test]
    fn vtd_unmap_of_anything_clears_what_it_counts(
        ops in prop::collection::vec((any::<bool>(), 0_u64..0x900, 1_u64..40, 0_u64..0x1000), 1..60),
    ) {
        let mut bed = Bed::new(Format::VtdSecondLevel, 4, true);
        for (map, page, pages, phys) in ops {
            let (iova, size) = (page * PAGE, pages * PAGE);
            if map && bed.is_free(iova, size) {
                bed.map(iova, phys * PAGE, size, Prot::READ_WRITE);
            } else {
                let unmapped = bed.unmap(iova, size);
                prop_assert!(unmapped.bytes >= size && unmapped.data_walks.is_empty());
            }
            bed.check_tables();
        }
        for page in 0..0xa00 {
            bed.check_at(page * PAGE);
        }
        bed.finish();
    }

    #[test]
    fn arm_unmap_of_anything_stops_at_holes_and_splits_large_pages(
        ops in prop::collection::vec((any::<bool>(), 0_u64..0x900, 1_u64..40, 0_u64..0x1000), 1..60),
    ) {
        let mut bed = Bed::new(Format::ArmLpaeS1, 4, false);
        // Four large pages to begin with, and one of 1 GiB behind what is looked at.
        bed.map(0, 0x4000_0000, 4 * 512 * PAGE, Prot::READ_WRITE);
        bed.map(1 << 30, 1 << 30, 1 << 30, Prot::READ);
        for (map, page, pages, phys) in ops {
            let (iova, size) = (page * PAGE, pages * PAGE);
            if map && bed.is_free(iova, size) {
                bed.map(iova, phys * PAGE, size, Prot::READ_WRITE);
            } else {
                let mapped = (page..page + pages).take_while(|page| bed.pages.contains_key(&(page * PAGE)));
                let expected = mapped.count() as u64 * PAGE;
                let unmapped = bed.unmap(iova, size);
                prop_assert_eq!(unmapped.bytes, expected);
                prop_assert_eq!(unmapped.holes.is_empty(), expected == size);
                let asked: u64 = unmapped.gathered.iter().map(|part| part.pgsize * part.pages).sum();
                prop_assert_eq!(asked, expected);
            }
            bed.check_tables();
        }
        for page in 0..0xa00 {
            bed.check_at(page * PAGE);
        }
        let part = bed.unmap((1 << 30) + 0x1234 * PAGE, PAGE);
        prop_assert_eq!((part.bytes, part.split), (PAGE, 2));
        for page in 0x1230..0x1240 {
            bed.check_at((1 << 30) + page * PAGE);
        }
        bed.finish();
    }
}
