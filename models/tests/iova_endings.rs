//! How the kernel itself would end, and what it would warn of.

use models::iommu::iova::{
    AllocError, CachedNode, Cpu, InitBug, IovaDomain, IovaPfn, IovaRules, IovaWarning, NullPointer, Plenty,
};

fn domain(rules: IovaRules, start: u64) -> IovaDomain {
    IovaDomain::init_iova_domain(rules, 4096, IovaPfn(start)).expect("a legal granule")
}

#[test]
fn a_bad_granule_is_a_bug() {
    for granule in [0, 3000, 8192] {
        let made = IovaDomain::init_iova_domain(IovaRules::v6_12(), granule, IovaPfn(1));
        assert_eq!(made.err(), Some(InitBug::Granule(granule)));
    }
}

#[test]
fn caches_must_exist_before_they_are_used() {
    let mut bare = domain(IovaRules::v6_12(), 1);
    let limit = IovaPfn(0xf_ffff);
    let got = bare.alloc_iova_fast(Cpu(0), 32, limit, false, &mut Plenty);
    assert_eq!(got, Err(AllocError::NullPointer));
    assert_eq!(bare.free_iova_fast(Cpu(0), IovaPfn(1), 1, &mut Plenty), Err(NullPointer));
    assert!(bare.alloc_iova_fast(Cpu(0), 33, limit, false, &mut Plenty).is_ok(), "too large to be cached");
}

#[test]
fn freeing_the_sentinel_is_fatal_later() {
    let mut broken = domain(IovaRules::v6_12(), 1);
    assert!(broken.find_iova(IovaPfn(u64::MAX)).is_some());
    assert!(broken.free_iova(IovaPfn(u64::MAX)).is_ok());
    assert_eq!(broken.cached_node(), CachedNode::Null);
    let got = broken.alloc_iova(1, IovaPfn(100), false, &mut Plenty);
    assert_eq!(got, Err(AllocError::NullPointer));
}

#[test]
fn until_6_1_the_second_pass_could_go_below_the_start() {
    let fill = |rules| {
        let mut full = domain(rules, 16);
        (0..).map_while(|_| full.alloc_iova(1, IovaPfn(19), false, &mut Plenty).ok()).count()
    };
    assert_eq!(fill(IovaRules::v6_12()), 4);
    // The sentinel is the remembered node: one past its end is page 0, and that bounds the second pass.
    let mut old = domain(IovaRules::v5_13(), 16);
    let got = old.alloc_iova(10, IovaPfn(19), false, &mut Plenty).map(|range| range.lo.0);
    assert_eq!(got, Ok(10), "below the start");
    let mut new = domain(IovaRules::v6_1(), 16);
    assert_eq!(new.alloc_iova(10, IovaPfn(19), false, &mut Plenty), Err(AllocError::NoSpace));
}

#[test]
fn a_second_pass_like_the_first_never_ends() {
    let mut endless = domain(IovaRules::v5_13(), 0);
    let got = endless.alloc_iova(200, IovaPfn(99), false, &mut Plenty);
    assert_eq!(got, Err(AllocError::Endless));
}

#[test]
fn page_zero_is_taken_for_a_failure() {
    let mut low = domain(IovaRules::v6_12(), 0);
    low.iova_domain_init_rcaches();
    let got = low.alloc_iova_fast(Cpu(0), 1, IovaPfn(0), false, &mut Plenty);
    assert!(matches!(got, Err(AllocError::PageZero(range)) if range.lo.0 == 0));
    assert_eq!(low.range_count(), 1, "and stays allocated");
}

#[test]
fn a_page_frame_cached_twice_is_warned_of_when_the_cache_is_emptied() {
    let mut twice = domain(IovaRules::v6_12(), 1);
    twice.iova_domain_init_rcaches();
    let pfn = twice.alloc_iova_fast(Cpu(0), 1, IovaPfn(99), false, &mut Plenty).expect("an empty domain");
    for _ in 0..2 {
        assert!(twice.free_iova_fast(Cpu(0), pfn, 1, &mut Plenty).is_ok());
    }
    assert!(twice.iova_cpuhp_dead(Cpu(0)).is_ok());
    assert_eq!(twice.take_warnings(), [IovaWarning::StrayCached(pfn)]);
}
