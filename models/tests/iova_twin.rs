//! The allocator against a naive twin: one ordered list, sentinel included, walked node by node as the kernel's
//! loops do, with no short cuts.

use models::iommu::iova::{
    AllocError, CachedNode, Cpu, DepotRule, DepotTrim, IOVA_RANGE_CACHE_MAX_SIZE, IovaDomain, IovaMemory,
    IovaPfn, IovaRules, Max32Reset, Plenty, Reserved, RetryFrom,
};
use proptest::prelude::*;

const TOP: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Entry {
    lo: u64,
    hi: u64,
    /// Identity, so that remembered nodes survive a change of `lo`.
    id: usize,
}

/// The naive twin.
struct Twin {
    rules: IovaRules,
    start: u64,
    four_gib: u64,
    list: Vec<Entry>,
    cached: usize,
    cached32: usize,
    max32: u64,
    next_id: usize,
    /// By class and CPU: loaded, prev.
    magazines: Vec<Vec<[Vec<u64>; 2]>>,
    depots: Vec<Vec<Vec<u64>>>,
}

impl Twin {
    fn new(rules: IovaRules, shift: u32, start: u64, cpus: usize) -> Self {
        Self {
            rules,
            start,
            four_gib: 1 << (32 - shift),
            list: vec![Entry { lo: TOP, hi: TOP, id: 0 }],
            cached: 0,
            cached32: 0,
            max32: 1 << (32 - shift),
            next_id: 1,
            magazines: vec![vec![[vec![], vec![]]; cpus]; IOVA_RANGE_CACHE_MAX_SIZE],
            depots: vec![vec![]; IOVA_RANGE_CACHE_MAX_SIZE],
        }
    }

    fn position(&self, id: usize) -> usize {
        self.list.iter().position(|entry| entry.id == id).expect("remembered nodes are linked")
    }

    fn alloc(&mut self, size: u64, limit: u64, aligned: bool) -> Result<(u64, u64), AllocError> {
        let limit = limit + 1;
        let low32 = limit <= self.four_gib;
        if low32 && size >= self.max32 {
            return Err(AllocError::NoSpace);
        }
        let align = if aligned { size.next_power_of_two() } else { 1 };
        let mut at = self.position(if low32 { self.cached32 } else { self.cached });
        let end = self.list[at].hi;
        let mut low = self.start;
        for _pass in 0..3 {
            let mut high = limit;
            let mut place;
            let mut below = Some(at);
            loop {
                let node = below.expect("the walk goes on only while there is a node");
                high = high.min(self.list[node].lo);
                place = i128::from(high) - i128::from(size);
                if place >= 0 {
                    place -= place % i128::from(align);
                }
                below = node.checked_sub(1);
                // A negative place counts as a huge one.
                let over = |hi: u64| place < 0 || place > i128::from(hi);
                let under = place >= 0 && place < i128::from(low);
                match below {
                    Some(next) if !over(self.list[next].hi) && !under => {}
                    _ => break,
                }
            }
            if place >= i128::from(low) {
                let lo = u64::try_from(place).expect("checked against low");
                let entry = Entry { lo, hi: lo + size - 1, id: self.next_id };
                self.next_id += 1;
                let slot = self.list.iter().position(|other| other.lo > lo).expect("the sentinel is above");
                self.list.insert(slot, entry);
                if entry.hi < self.four_gib {
                    self.cached32 = entry.id;
                } else {
                    self.cached = entry.id;
                }
                return Ok((entry.lo, entry.hi));
            }
            let retry = match self.rules.retry_from {
                RetryFrom::CheckedEnd if end < limit => Some(end + 1),
                RetryFrom::WrappingEnd if end.wrapping_add(1) < limit => Some(end.wrapping_add(1)),
                _ => None,
            };
            // The kernel, too, knows its first pass by the lower bound alone.
            let (true, Some(from)) = (low == self.start, retry) else {
                self.max32 = size;
                return Err(AllocError::NoSpace);
            };
            low = from;
            at = if low32 {
                self.list.iter().position(|entry| entry.lo >= limit).expect("the sentinel is above")
            } else {
                self.list.len() - 1
            };
        }
        Err(AllocError::Endless)
    }

    fn find(&self, pfn: u64) -> Option<usize> {
        self.list.iter().position(|entry| entry.lo <= pfn && pfn <= entry.hi)
    }

    fn free(&mut self, pfn: u64) {
        let Some(at) = self.find(pfn) else { return };
        let entry = self.list[at];
        let lo_of =
            |list: &[Entry], id: usize| list.iter().find(|entry| entry.id == id).map_or(0, |node| node.lo);
        let moves32 = entry.id == self.cached32
            || (entry.hi < self.four_gib && entry.lo >= lo_of(&self.list, self.cached32));
        let moves = entry.lo >= lo_of(&self.list, self.cached);
        if moves32 {
            self.cached32 = self.list[at + 1].id;
        }
        let resets = match self.rules.max32_reset {
            Max32Reset::WithCachedNode => moves32,
            // Not so when the remembered node lies above 4 GiB.
            Max32Reset::AnyFree => entry.lo < self.four_gib,
        };
        if resets {
            self.max32 = self.four_gib;
        }
        if moves {
            self.cached = self.list[at + 1].id;
        }
        self.list.remove(at);
    }

    fn reserve(&mut self, mut lo: u64, hi: u64) -> (u64, u64) {
        let mut overlapped = false;
        for entry in &mut self.list {
            if lo <= entry.hi && hi >= entry.lo {
                entry.lo = entry.lo.min(lo);
                if hi > entry.hi {
                    lo = entry.hi + 1;
                }
                if lo >= entry.lo && hi <= entry.hi {
                    return (entry.lo, entry.hi);
                }
                overlapped = true;
            } else if overlapped {
                break;
            }
        }
        let slot = self.list.iter().position(|other| other.lo > lo).expect("the sentinel is above");
        self.list.insert(slot, Entry { lo, hi, id: self.next_id });
        self.next_id += 1;
        (lo, hi)
    }

    fn empty(&mut self, magazine: Vec<u64>) {
        for pfn in magazine {
            self.free(pfn);
        }
    }

    fn dead(&mut self, cpu: usize) {
        for class in 0..IOVA_RANGE_CACHE_MAX_SIZE {
            for which in 0..2 {
                let magazine = std::mem::take(&mut self.magazines[class][cpu][which]);
                self.empty(magazine);
            }
        }
    }

    fn class(size: u64) -> usize {
        (0..64).find(|class| (1_u64 << class) >= size).expect("sizes are small")
    }

    fn alloc_fast(&mut self, cpu: usize, size: u64, limit: u64, flush: bool) -> Result<u64, AllocError> {
        let size = if self.rules.fast_rounds_size && size < 32 { size.next_power_of_two() } else { size };
        let class = Self::class(size);
        if class < IOVA_RANGE_CACHE_MAX_SIZE {
            let own = &mut self.magazines[class][cpu];
            if own[0].is_empty() {
                own.swap(0, 1);
            }
            if own[0].is_empty()
                && let Some(newest) = self.depots[class].pop()
            {
                own[0] = newest;
            }
            let fits = |pfn: &u64| *pfn <= (limit + 1).wrapping_sub(size);
            if let Some(found) = own[0].iter().rposition(fits) {
                let newest = own[0].pop().expect("not empty");
                if found == own[0].len() {
                    return Ok(newest);
                }
                return Ok(std::mem::replace(&mut own[0][found], newest));
            }
        }
        let mut got = self.alloc(size, limit, true);
        if got == Err(AllocError::NoSpace) && flush {
            for cpu in 0..self.magazines[0].len() {
                self.dead(cpu);
            }
            for class in 0..IOVA_RANGE_CACHE_MAX_SIZE {
                let mut depot = std::mem::take(&mut self.depots[class]);
                if self.rules.depot == DepotRule::Trimmed {
                    depot.reverse();
                }
                depot.into_iter().for_each(|magazine| self.empty(magazine));
            }
            got = self.alloc(size, limit, true);
        }
        got.map(|(lo, _)| lo)
    }

    fn free_fast(&mut self, cpu: usize, pfn: u64, size: u64, has_memory: bool) {
        let class = Self::class(size);
        if class >= IOVA_RANGE_CACHE_MAX_SIZE {
            self.free(pfn);
            return;
        }
        let full = self.rules.magazine_size;
        let own = &mut self.magazines[class][cpu];
        if own[0].len() == full && own[1].len() < full {
            own.swap(0, 1);
        }
        if own[0].len() < full {
            own[0].push(pfn);
        } else if has_memory {
            let loaded = std::mem::replace(&mut own[0], vec![pfn]);
            match self.rules.depot {
                DepotRule::Bounded(most) if self.depots[class].len() == most => self.empty(loaded),
                _ => self.depots[class].push(loaded),
            }
        } else {
            self.free(pfn);
        }
    }
}

/// Memory that lacks room for magazines on request.
struct Scarce(bool);

impl IovaMemory for Scarce {
    fn iova_magazine_alloc(&mut self) -> bool {
        self.0
    }
}

#[derive(Clone, Debug)]
enum Op {
    Alloc { size: u64, limit: u64, aligned: bool },
    AllocFast { cpu: u32, size: u64, limit: u64, flush: bool },
    Free { which: usize },
    FreeFast { cpu: u32, which: usize, memory: bool },
    Reserve { lo: u64, pages: u64 },
    Find { pfn: u64 },
    Dead { cpu: u32 },
    Trim { class: usize, online: usize },
}

fn limits(shift: u32) -> impl Strategy<Value = u64> {
    let four_gib = 1_u64 << (32 - shift);
    prop_oneof![
        4 => Just(four_gib - 1),
        2 => 0_u64..300,
        1 => (four_gib - 100)..(four_gib + 100),
        2 => Just((1_u64 << 36) - 1),
        1 => Just((1_u64 << 48) - 1),
    ]
}

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 1_u64..9, 3 => 1_u64..80, 1 => 1_u64..5_000, 1 => (1_u64 << 18)..(1 << 21)]
}

fn ops(shift: u32) -> impl Strategy<Value = Op> {
    let four_gib = 1_u64 << (32 - shift);
    let places = prop_oneof![0_u64..400, (four_gib - 400)..(four_gib + 400)];
    prop_oneof![
        5 => (sizes(), limits(shift), any::<bool>())
            .prop_map(|(size, limit, aligned)| Op::Alloc { size, limit, aligned }),
        9 => (0_u32..2, sizes(), limits(shift), any::<bool>())
            .prop_map(|(cpu, size, limit, flush)| Op::AllocFast { cpu, size, limit, flush }),
        4 => any::<usize>().prop_map(|which| Op::Free { which }),
        8 => (0_u32..2, any::<usize>(), prop::bool::weighted(0.9))
            .prop_map(|(cpu, which, memory)| Op::FreeFast { cpu, which, memory }),
        1 => (places.clone(), 1_u64..200).prop_map(|(lo, pages)| Op::Reserve { lo, pages }),
        1 => places.prop_map(|pfn| Op::Find { pfn }),
        1 => (0_u32..2).prop_map(|cpu| Op::Dead { cpu }),
        1 => (0_usize..6, 0_usize..3).prop_map(|(class, online)| Op::Trim { class, online }),
    ]
}

fn take<T>(held: &mut Vec<T>, which: usize) -> Option<T> {
    let len = held.len();
    (len > 0).then(|| held.swap_remove(which % len))
}

fn check_state(domain: &IovaDomain, twin: &Twin) {
    let ranges: Vec<_> = domain.ranges().map(|range| (range.lo.0, range.hi.0)).collect();
    let expected: Vec<_> =
        twin.list.iter().filter(|entry| entry.id != 0).map(|entry| (entry.lo, entry.hi)).collect();
    assert_eq!(ranges, expected);
    let lo = |node| match node {
        CachedNode::Anchor => TOP,
        CachedNode::Range(lo) => lo.0,
        CachedNode::Null => 0,
    };
    assert_eq!(lo(domain.cached_node()), twin.list[twin.position(twin.cached)].lo);
    assert_eq!(lo(domain.cached32_node()), twin.list[twin.position(twin.cached32)].lo);
    assert_eq!(domain.max32_alloc_size(), twin.max32);
    let plain = |pfns: &[IovaPfn]| pfns.iter().map(|pfn| pfn.0).collect::<Vec<_>>();
    for class in 0..IOVA_RANGE_CACHE_MAX_SIZE {
        let view = domain.rcache(class);
        for cpu in 0..2 {
            let own = &twin.magazines[class][cpu as usize];
            assert_eq!(plain(view.loaded(Cpu(cpu))), own[0]);
            assert_eq!(plain(view.prev(Cpu(cpu))), own[1]);
        }
        let depot: Vec<_> = view.depot().map(plain).collect();
        assert!(depot.iter().eq(twin.depots[class].iter().rev()), "depot of class {class}");
    }
}

fn run(rules: IovaRules, shift: u32, start: u64, ops: Vec<Op>) {
    let mut domain =
        IovaDomain::init_iova_domain(rules, 1 << shift, IovaPfn(start)).expect("a legal granule");
    domain.iova_domain_init_rcaches();
    let mut twin = Twin::new(rules, shift, start, 2);
    let (mut slow, mut fast) = (Vec::new(), Vec::new());
    for op in ops {
        match op {
            Op::Alloc { size, limit, aligned } => {
                let got = domain.alloc_iova(size, IovaPfn(limit), aligned, &mut Plenty);
                let got = got.map(|range| (range.lo.0, range.hi.0));
                assert_eq!(got, twin.alloc(size, limit, aligned));
                if got == Err(AllocError::Endless) {
                    return;
                }
                slow.extend(got.map(|(lo, _)| lo));
            }
            Op::AllocFast { cpu, size, limit, flush } => {
                let got = domain.alloc_iova_fast(Cpu(cpu), size, IovaPfn(limit), flush, &mut Plenty);
                let expected = twin.alloc_fast(cpu as usize, size, limit, flush);
                match got {
                    // Only the rule that wraps lets a search go below the domain's start, as far as page 0.
                    Err(AllocError::PageZero(range)) => {
                        assert_eq!(rules.retry_from, RetryFrom::WrappingEnd);
                        assert_eq!(expected, Ok(range.lo.0));
                    }
                    got => {
                        assert_eq!(got.map(|pfn| pfn.0), expected);
                        if expected == Err(AllocError::Endless) {
                            return;
                        }
                        fast.extend(expected.map(|lo| (lo, size)));
                    }
                }
            }
            Op::Free { which } => {
                if let Some(lo) = take(&mut slow, which) {
                    assert!(domain.free_iova(IovaPfn(lo)).is_ok());
                    twin.free(lo);
                }
            }
            Op::FreeFast { cpu, which, memory } => {
                if let Some((lo, size)) = take(&mut fast, which) {
                    let freed = domain.free_iova_fast(Cpu(cpu), IovaPfn(lo), size, &mut Scarce(memory));
                    assert!(freed.is_ok());
                    twin.free_fast(cpu as usize, lo, size, memory);
                }
            }
            Op::Reserve { lo, pages } => {
                let hi = lo + pages - 1;
                let (low, high) = twin.reserve(lo, hi);
                let got = domain.reserve_iova(IovaPfn(lo), IovaPfn(hi), &mut Plenty);
                assert!(matches!(got, Reserved::Range(range) if (range.lo.0, range.hi.0) == (low, high)));
            }
            Op::Find { pfn } => {
                let found = domain.find_iova(IovaPfn(pfn)).map(|range| (range.lo.0, range.hi.0));
                assert_eq!(found, twin.find(pfn).map(|at| (twin.list[at].lo, twin.list[at].hi)));
            }
            Op::Dead { cpu } => {
                assert!(domain.iova_cpuhp_dead(Cpu(cpu)).is_ok());
                twin.dead(cpu as usize);
            }
            Op::Trim { class, online } => {
                let trim = domain.iova_depot_work_func(class, online).expect("the sentinel is there");
                if matches!(trim, DepotTrim::Freed { .. }) {
                    assert!(twin.depots[class].len() > online);
                    let newest = twin.depots[class].pop().expect("longer than the CPU count");
                    twin.empty(newest);
                }
            }
        }
        check_state(&domain, &twin);
    }
}

fn rules() -> impl Strategy<Value = IovaRules> {
    let base = prop_oneof![Just(IovaRules::v5_13()), Just(IovaRules::v6_1()), Just(IovaRules::v6_12())];
    // Small magazines and depots, so that short sequences overflow them.
    (base, 1_usize..4, 0_usize..3).prop_map(|(base, magazine_size, most)| {
        let depot = match base.depot {
            DepotRule::Bounded(_) => DepotRule::Bounded(most),
            DepotRule::Trimmed => DepotRule::Trimmed,
        };
        IovaRules { magazine_size, depot, ..base }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_list(
        rules in rules(),
        start in prop_oneof![Just(1_u64), Just(16), Just(256)],
        (shift, ops) in prop_oneof![Just(12_u32), Just(10)]
            .prop_flat_map(|shift| (Just(shift), prop::collection::vec(ops(shift), 1..250))),
    ) {
        run(rules, shift, start, ops);
    }

    #[test]
    fn agrees_with_the_list_when_space_is_tight(
        rules in rules(),
        ops in prop::collection::vec((0_u32..2, 1_u64..12, 20_u64..90, any::<bool>(), any::<usize>(), 0_u8..9), 1..300),
    ) {
        let ops = ops.into_iter().map(|(cpu, size, limit, flag, which, kind)| match kind {
            0 => Op::Alloc { size, limit, aligned: flag },
            1..=4 => Op::AllocFast { cpu, size, limit, flush: flag },
            5 => Op::Free { which },
            _ => Op::FreeFast { cpu, which, memory: true },
        });
        run(rules, 12, 1, ops.collect());
    }
}
