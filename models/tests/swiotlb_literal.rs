//! The literal walks over a freed pool descriptor: whatever lies there, they end.

use models::mem::PhysAddr;
use models::swiotlb::literal::{PoolView, Release, SlotView, Walk, find_slots, record_origin, release_slots};
use models::swiotlb::{DmaLimits, Request, SearchPlan, SearchRules};
use proptest::prelude::*;

/// A place that is no memory.
#[derive(Debug, PartialEq, Eq)]
struct WildAccess;

/// Reads return anything, stores are forgotten, and now and then an access goes nowhere.
#[derive(Debug)]
struct Junk {
    state: u64,
    mask: u64,
    /// Accesses until one is wild.
    wild_in: u64,
    /// The areas, or none as before v6.0.
    areas: bool,
    stores: u64,
}

impl Junk {
    fn read(&mut self) -> Result<u64, WildAccess> {
        self.store()?;
        self.stores -= 1;
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        Ok(self.state & self.mask)
    }

    fn read32(&mut self) -> Result<u32, WildAccess> {
        Ok(u32::try_from(self.read()? & 0xffff_ffff).unwrap())
    }

    fn store(&mut self) -> Result<(), WildAccess> {
        self.stores += 1;
        self.wild_in = self.wild_in.checked_sub(1).ok_or(WildAccess)?;
        Ok(())
    }
}

impl SlotView for Junk {
    type Error = WildAccess;

    fn list(&mut self, _slot: i64) -> Result<u32, WildAccess> {
        self.read32()
    }

    fn set_list(&mut self, _slot: i64, _list: u32) -> Result<(), WildAccess> {
        self.store()
    }

    fn alloc_size(&mut self, _slot: i64) -> Result<u64, WildAccess> {
        self.read()
    }

    fn set_alloc_size(&mut self, _slot: i64, _bytes: u64) -> Result<(), WildAccess> {
        self.store()
    }

    fn orig_addr(&mut self, _slot: i64) -> Result<u64, WildAccess> {
        self.read()
    }

    fn set_orig_addr(&mut self, _slot: i64, _addr: u64) -> Result<(), WildAccess> {
        self.store()
    }

    fn pad_slots(&mut self, _slot: i64) -> Result<u16, WildAccess> {
        Ok(u16::try_from(self.read()? & 0xffff).unwrap())
    }

    fn set_pad_slots(&mut self, _slot: i64, _pad: u16) -> Result<(), WildAccess> {
        self.store()
    }
}

impl PoolView for Junk {
    fn start(&mut self) -> Result<u64, WildAccess> {
        self.read()
    }

    fn nareas(&mut self) -> Result<Option<u32>, WildAccess> {
        if self.areas { self.read32().map(Some) } else { Ok(None) }
    }

    fn area_nslabs(&mut self) -> Result<u64, WildAccess> {
        self.read()
    }

    fn used(&mut self, _area: u32) -> Result<u64, WildAccess> {
        self.read()
    }

    fn set_used(&mut self, _area: u32, _used: u64) -> Result<(), WildAccess> {
        self.store()
    }

    fn index(&mut self, _area: u32) -> Result<u32, WildAccess> {
        self.read32()
    }

    fn set_index(&mut self, _area: u32, _index: u32) -> Result<(), WildAccess> {
        self.store()
    }
}

const BUDGET: u64 = 20_000;

fn junk() -> impl Strategy<Value = Junk> {
    let mask = prop_oneof![
        3 => Just(u64::MAX),
        2 => (0u32..64).prop_map(|bits| (1u64 << bits) - 1),
        1 => Just(0),
    ];
    let wild_in = prop_oneof![2 => Just(u64::MAX), 1 => 0u64..200];
    (any::<u64>(), mask, wild_in, any::<bool>()).prop_map(|(state, mask, wild_in, areas)| Junk {
        state: state | 1,
        mask,
        wild_in,
        areas,
        stores: 0,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_over_junk_ends_within_its_budget(
        mut junk in junk(),
        start in any::<u64>(),
        orig in any::<u64>(),
        size in 0u64..0x4_0000,
        limits in (any::<u32>(), any::<u64>()),
    ) {
        let limits = DmaLimits { min_align_mask: limits.0, seg_boundary_mask: limits.1 };
        let request = Request { orig_addr: PhysAddr(orig), alloc_size: size, alloc_align_mask: 0 };
        for (_, rules) in SearchRules::all() {
            let plan = SearchPlan::new(rules, limits, PhysAddr(start), &request);
            let mut budget = BUDGET;
            let walk = find_slots(&mut junk, &plan, 0, &mut budget);
            prop_assert!(budget > 0 || walk != Ok(Walk::Full));
            if walk.is_err() {
                prop_assert_eq!(junk.wild_in, 0);
                return Ok(());
            }
            if let Ok(Walk::Found(index)) = walk
                && record_origin(&mut junk, i64::from(index), plan.nslots, 0, PhysAddr(orig)).is_err()
            {
                return Ok(());
            }
        }
    }

    #[test]
    fn a_release_over_junk_ends_within_its_budget(
        mut junk in junk(),
        tlb_addr in any::<u64>(),
        min_align_mask in any::<u32>(),
    ) {
        let limits = DmaLimits { min_align_mask, ..DmaLimits::default() };
        for (_, rules) in SearchRules::all() {
            let (mut budget, before) = (BUDGET, junk.stores);
            let release = release_slots(&mut junk, rules, limits, PhysAddr(tlb_addr), &mut budget);
            // Four stores a slot, and a segment's worth of counters below.
            prop_assert!(junk.stores - before <= 4 * BUDGET + 200);
            match release {
                Err(WildAccess) => return Ok(()),
                Ok(Release::Budget) => prop_assert_eq!(budget, 0),
                Ok(Release::Done { .. } | Release::Bug | Release::DivideByZero) => {}
            }
        }
    }
}

/// A page of zeroes, the likeliest content of a recycled page: nothing to divide by, nothing to search.
#[test]
fn zeroes_are_an_empty_pool() {
    let zeroes = |areas| Junk { state: 1, mask: 0, wild_in: u64::MAX, areas, stores: 0 };
    let limits = DmaLimits::default();
    let request = Request { orig_addr: PhysAddr(0x1000), alloc_size: 4096, alloc_align_mask: 0 };
    let plan = SearchPlan::new(SearchRules::v5_13(), limits, PhysAddr(0), &request);
    assert_eq!(find_slots(&mut zeroes(false), &plan, 0, &mut 10), Ok(Walk::Full));
    assert_eq!(find_slots(&mut zeroes(true), &plan, 0, &mut 10), Ok(Walk::Bug));
    let release = release_slots(&mut zeroes(false), SearchRules::v5_13(), limits, PhysAddr(0x800), &mut 10);
    assert_eq!(release, Ok(Release::Done { first: 1, nslots: 0, area: 0 }));
}
