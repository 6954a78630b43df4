//! The fast pool against the literal one: same slots, same counters, same records, for every version.

use std::sync::Mutex;

use models::mem::PhysAddr;
use models::swiotlb::literal::Walk;
use models::swiotlb::{
    AlignTest, AreaState, AreasShareSegment, BounceRules, DmaLimits, INVALID_PHYS_ADDR, LiteralPool, LoopEnd,
    MapRequest, Pool, PoolSize, Prepared, Search, SearchPlan, SearchRules, SlotAllocator, Violation,
};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

#[derive(Clone, Debug)]
enum Op {
    Map {
        limits: DmaLimits,
        map: MapRequest,
        cpu: u32,
    },
    /// Unmaps a live mapping, as its owner does.
    Unmap {
        pick: usize,
    },
    /// Unmaps an address that may be no mapping's start, with another device's limits.
    Wild {
        limits: DmaLimits,
        pick: usize,
        shift: u64,
    },
}

fn limits() -> impl Strategy<Value = DmaLimits> {
    let min_align_mask = prop_oneof![
        4 => Just(0u32),
        3 => Just(0xfff),
        1 => Just(0x7ff),
        1 => Just(0xffff),
        1 => Just(0x3_ffff),
        1 => Just(0x1000),
        1 => Just(0x2800),
        1 => 0u32..0x8000,
    ];
    let seg_boundary_mask = prop_oneof![
        5 => Just(0xffff_ffff),
        3 => Just(u64::MAX),
        2 => (11u32..20).prop_map(|bits| (1u64 << bits) - 1),
        1 => Just(0x2fff),
    ];
    (min_align_mask, seg_boundary_mask)
        .prop_map(|(min_align_mask, seg_boundary_mask)| DmaLimits { min_align_mask, seg_boundary_mask })
}

fn map_request() -> impl Strategy<Value = MapRequest> {
    let size = prop_oneof![4 => 1u64..6000, 2 => 1u64..70_000, 1 => 1u64..300_000, 1 => Just(4096u64)];
    let align = prop_oneof![
        5 => Just(0u32),
        2 => Just(0xfff),
        1 => Just(0x3fff),
        1 => Just(0xffff),
        1 => Just(0x17ff),
        1 => Just(0x7ff),
    ];
    let orig =
        prop_oneof![1 => Just(0u64), 9 => 1u64..0x40_0000, 2 => (1u64..0x400).prop_map(|page| page << 12)];
    (orig, size, align, 0u64..5000).prop_map(|(orig, mapping_size, alloc_align_mask, more)| MapRequest {
        orig_addr: PhysAddr(orig),
        mapping_size,
        alloc_size: mapping_size + more / 4096 * more,
        alloc_align_mask,
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (limits(), map_request(), 0u32..8).prop_map(|(limits, map, cpu)| Op::Map { limits, map, cpu }),
        8 => any::<usize>().prop_map(|pick| Op::Unmap { pick }),
        1 => (limits(), any::<usize>(), 0u64..20_000)
            .prop_map(|(limits, pick, shift)| Op::Wild { limits, pick, shift }),
    ]
}

fn size() -> impl Strategy<Value = PoolSize> {
    prop_oneof![
        (1u32..5, 0u32..3)
            .prop_map(|(segments, areas)| PoolSize { nslabs: segments * 512, nareas: 1 << areas }),
        // Areas smaller than a segment, and last segments that are not whole.
        (100u32..700, 0u32..5).prop_map(|(nslabs, areas)| PoolSize { nslabs, nareas: 1 << areas }),
    ]
}

/// Both pools side by side.
struct Pair {
    twin_rules: SearchRules,
    fast: Pool,
    twin: LiteralPool,
    live: Vec<(DmaLimits, PhysAddr)>,
    /// Nobody has unmapped what is not his.
    orderly: bool,
}

impl Pair {
    fn new(rules: SearchRules, start: PhysAddr, size: PoolSize) -> Self {
        Self::of((rules, rules), start, size)
    }

    /// With a twin by other rules, to see whether the comparison notices.
    fn of((rules, twin_rules): (SearchRules, SearchRules), start: PhysAddr, size: PoolSize) -> Self {
        let fast = Pool::new(rules, BounceRules::v5_18(), start, size);
        Self {
            twin_rules,
            fast,
            twin: LiteralPool::new(twin_rules, start, size),
            live: Vec::new(),
            orderly: true,
        }
    }

    fn map(&mut self, limits: DmaLimits, map: &MapRequest, cpu: u32) -> Result<(), TestCaseError> {
        let Some(prepared) = Prepared::new(self.fast.search_rules(), limits, map) else {
            return Ok(());
        };
        let start = self.fast.start();
        let plan = SearchPlan::new(self.fast.search_rules(), limits, start, &prepared.request);
        let twin_plan = SearchPlan::new(self.twin_rules, limits, start, &prepared.request);
        for area in self.fast.area_order(cpu) {
            let got = self.fast.search_area(area, &plan);
            let want = match self.twin.find_slots(area, &twin_plan) {
                Walk::Found(index) => {
                    let slot = area * self.fast.size().area_nslabs() + index;
                    Search::Found { slot, nslots: plan.nslots }
                }
                Walk::Full => Search::Full,
                Walk::Bug => Search::Bug,
                Walk::Budget => Search::Hang,
            };
            prop_assert_eq!(got, want, "area {} of {:?}, {:?}", area, self.fast.size(), plan);
            if let Search::Found { slot, nslots } = got {
                let mapping = self.fast.record(&prepared, slot, nslots);
                self.twin.record(slot, nslots, prepared.pad, map.orig_addr);
                self.live.push((limits, mapping.tlb_addr));
                break;
            }
        }
        Ok(())
    }

    fn release(&mut self, limits: DmaLimits, tlb_addr: PhysAddr) -> Result<(), TestCaseError> {
        let want = self.twin.release_slots(self.twin_rules, limits, tlb_addr);
        prop_assert_eq!(self.fast.release_slots(limits, tlb_addr), want, "release of {}", tlb_addr);
        Ok(())
    }

    fn run(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match op {
            Op::Map { limits, map, cpu } => self.map(*limits, map, *cpu)?,
            Op::Unmap { pick } if !self.live.is_empty() => {
                let (limits, tlb_addr) = self.live.swap_remove(pick % self.live.len());
                self.release(limits, tlb_addr)?;
            }
            Op::Wild { limits, pick, shift } if !self.live.is_empty() => {
                let (_, tlb_addr) = self.live[pick % self.live.len()];
                let wild = tlb_addr.wrapping_add(*shift);
                if self.fast.contains(wild) {
                    self.orderly = false;
                    self.release(*limits, wild)?;
                }
            }
            Op::Unmap { .. } | Op::Wild { .. } => {}
        }
        self.compare()
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        match self.fast.violation() {
            None => {}
            Some(
                Violation::UsedDiffers { .. }
                | Violation::ListBroken { .. }
                | Violation::RecordOfFree { .. }
                | Violation::StrayWrites { .. },
            ) if !self.orderly => {}
            Some(violation) => prop_assert!(false, "{:?}", violation),
        }
        for (area, twin) in self.fast.areas().iter().zip(self.twin.areas()) {
            prop_assert_eq!((area.used(), area.index()), *twin);
        }
        let slots = self.fast.slots();
        for slot in 0..slots.nslabs() {
            let twin = self.twin.slot(slot);
            prop_assert_eq!(slots.list(slot), twin.list, "list of {}", slot);
            prop_assert_eq!(slots.alloc_size(slot), twin.alloc_size, "alloc_size of {}", slot);
            let orig = slots.orig_addr(slot).map_or(INVALID_PHYS_ADDR, |addr| addr.0);
            prop_assert_eq!(orig, twin.orig_addr, "orig_addr of {}", slot);
            prop_assert_eq!(slots.pad_slots(slot), twin.pad_slots, "pad_slots of {}", slot);
        }
        Ok(())
    }
}

fn start() -> impl Strategy<Value = PhysAddr> {
    prop_oneof![
        3 => (1u64..0x1000).prop_map(|pages| PhysAddr(0x400_0000 + (pages << 12))),
        1 => Just(PhysAddr(0xffff_8000)),
        1 => Just(PhysAddr(0x400_0800)),
    ]
}

/// A comparison that never fails proves nothing: each single behaviour, wrong in the twin, must be noticed.
#[test]
fn one_planted_difference_in_any_behaviour_is_noticed() {
    let (v5, v61, v612) = (SearchRules::v5_16(), SearchRules::v6_1_192(), SearchRules::v6_12());
    let planted = [
        ("loop end, 6.12", v612, SearchRules { loop_end: LoopEnd::Wrap, ..v612 }),
        ("loop end, 5.16", v5, SearchRules { loop_end: LoopEnd::Counted, ..v5 }),
        ("alignment test, 6.1", v61, SearchRules { align_test: AlignTest::MinAlign, ..v61 }),
        ("alignment test, 6.12", v612, SearchRules { align_test: AlignTest::Combined, ..v612 }),
        ("address 0", v5, SearchRules { zero_orig_matches: false, ..v5 }),
        ("end of the pool", v612, SearchRules { list_clamped: false, ..v612 }),
        ("padding", v612, SearchRules { pad_slots: false, ..v612 }),
    ];
    for (name, rules, twin_rules) in planted {
        let config = ProptestConfig {
            cases: 400,
            max_shrink_iters: 0,
            failure_persistence: None,
            ..Default::default()
        };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let inputs = (size(), start(), prop::collection::vec(op(), 1..60));
        let outcome = runner.run(&inputs, |(size, start, ops)| {
            let mut pair = Pair::of((rules, twin_rules), start, size);
            ops.iter().try_for_each(|op| pair.run(op))
        });
        assert!(outcome.is_err(), "{name}: not noticed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_version_chooses_the_literal_slots(
        size in size(),
        start in start(),
        ops in prop::collection::vec(op(), 1..60),
    ) {
        for (version, rules) in SearchRules::all() {
            let mut pair = Pair::new(rules, start, size);
            for (at, op) in ops.iter().enumerate() {
                let outcome = pair.run(op);
                prop_assert!(outcome.is_ok(), "{} at {}: {:?}: {}", version, at, op, outcome.unwrap_err());
            }
        }
    }

    /// One device, nearly full: where the search must go round and the cut-off of the second pass counts.
    #[test]
    fn a_nearly_full_pool_is_searched_to_the_literal_end(
        size in size(),
        start in start(),
        limits in limits(),
        maps in prop::collection::vec((map_request(), 0u32..4, any::<usize>()), 40..160),
    ) {
        for (version, rules) in SearchRules::all() {
            let mut pair = Pair::new(rules, start, size);
            for (at, (map, cpu, pick)) in maps.iter().enumerate() {
                let mut outcome = pair.map(limits, map, *cpu);
                if outcome.is_ok() && pick % 3 == 0 && !pair.live.is_empty() {
                    let (limits, tlb_addr) = pair.live.swap_remove(pick % pair.live.len());
                    outcome = pair.release(limits, tlb_addr);
                }
                prop_assert!(outcome.is_ok(), "{} at {}: {}", version, at, outcome.unwrap_err());
            }
            let same = pair.compare();
            prop_assert!(same.is_ok(), "{}: {}", version, same.unwrap_err());
        }
    }
    /// Areas behind locks, each counting its slots from its own start, choose what the pool chooses.
    #[test]
    fn areas_behind_locks_choose_the_same_slots(
        size in (1u32..4, 0u32..3).prop_map(|(segments, areas)| PoolSize {
            nslabs: segments * 512,
            nareas: 1 << areas,
        }),
        start in start(),
        limits in limits(),
        maps in prop::collection::vec((map_request(), 0u32..8, any::<usize>()), 1..80),
    ) {
        for (version, rules) in SearchRules::all() {
            let mut pool = Pool::new(rules, BounceRules::v5_18(), start, size);
            let locked = SlotAllocator::<Mutex<AreaState>>::new(size, rules.list_clamped).unwrap();
            let mut live = Vec::new();
            for (map, cpu, pick) in &maps {
                let Some(prepared) = Prepared::new(rules, limits, map) else {
                    continue;
                };
                let plan = SearchPlan::new(rules, limits, start, &prepared.request);
                let got = pool.find_slots(*cpu, limits, &prepared.request);
                prop_assert_eq!(locked.find_slots(*cpu as usize, &plan), got, "{}", version);
                if let Search::Found { slot, nslots } = got {
                    live.push((slot, nslots, pool.record(&prepared, slot, nslots).tlb_addr));
                }
                if pick % 3 == 0 && !live.is_empty() {
                    let (slot, nslots, tlb_addr) = live.swap_remove(pick % live.len());
                    pool.release_slots(limits, tlb_addr);
                    prop_assert!(locked.release(slot, nslots));
                }
                prop_assert_eq!(locked.used(), pool.used());
            }
        }
    }
}

#[test]
fn areas_that_share_a_segment_get_no_locks_of_their_own() {
    let make = |nslabs, nareas| SlotAllocator::<Mutex<AreaState>>::new(PoolSize { nslabs, nareas }, true);
    assert_eq!(make(512, 8).err(), Some(AreasShareSegment));
    assert!(make(512, 4).is_ok() && make(100, 1).is_ok());
}
