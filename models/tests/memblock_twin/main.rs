//! Random operations on the model and on its naive twin: same answers, same lists, same owners, for every mix of
//! behaviours, and with lists small enough to grow all the time.

mod deferred;
mod requests;
mod twin;

use std::cell::Cell;

use models::mem::{Pfn, PhysAddr};
use models::memblock::{
    Bounds, Memblock, MemblockError, MemblockFlags, MemblockRules, MemblockType, NodeId, Owner,
};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use requests::Request;
use twin::{MEMORY, RESERVED, Reg, Stop, Twin};

/// One change to the lists.
#[derive(Clone, Debug)]
enum Op {
    AddNode(u64, u64, i32, u32),
    Remove(u64, u64),
    Reserve(u64, u64),
    Free(u64, u64),
    /// Flag, and whether it is set.
    Mark(u64, u64, u32, bool),
    MarkMirror(u64, u64),
    MarkNoinit(u64, u64),
    SetNode(u64, u64, bool, i32),
    /// Through `alloc_range_nid` (false) or through `alloc_try_nid` and `alloc_exact_nid` (true).
    Alloc {
        size: u64,
        align: u64,
        bounds: (u64, u64),
        nid: i32,
        exact: bool,
        capped: bool,
    },
    Cap(u64, u64),
    Enforce(u64),
    RemoveMap(u64),
    Trim(u64),
    Limit(u64),
    BottomUp(bool),
    FreeAll(u64),
    /// From now on there is a slab allocator.
    SlabUp,
}

fn addr() -> impl Strategy<Value = u64> {
    prop_oneof![
        12 => (0..96_u64).prop_map(|page| page * 0x1000),
        4 => 0..0x60000_u64,
        1 => (0..12_u64).prop_map(|step| u64::MAX - step * 0x800),
        1 => Just(1 << 63),
    ]
}

fn size() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => (1..12_u64).prop_map(|pages| pages * 0x1000),
        1 => (1..100_u64).prop_map(|pages| pages * 0x1000),
        4 => 1..0x2000_u64,
        1 => Just(0),
        1 => Just(u64::MAX),
        1 => Just(1 << 63),
    ]
}

fn align() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![0, 1, 2, 8, 64, 0x800, 0x1000, 0x1000, 0x4000, 1 << 63])
}

fn nid() -> impl Strategy<Value = i32> {
    prop::sample::select(vec![-1, 0, 0, 1, 1, 2, 1024, 1500])
}

fn alloc() -> impl Strategy<Value = Op> {
    let bounds = (prop_oneof![Just(0), addr()], prop_oneof![Just(0), Just(1), Just(u64::MAX), addr()]);
    (size(), align(), bounds, nid(), any::<bool>(), any::<bool>()).prop_map(
        |(size, align, bounds, nid, exact, capped)| Op::Alloc { size, align, bounds, nid, exact, capped },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let flag = prop::sample::select(vec![1_u32, 4]);
    prop_oneof![
        6 => (addr(), size(), nid(), prop_oneof![3 => Just(0), 1 => 0..16_u32])
            .prop_map(|(base, size, nid, flags)| Op::AddNode(base, size, nid, flags)),
        2 => (addr(), size()).prop_map(|(base, size)| Op::Remove(base, size)),
        10 => (addr(), size()).prop_map(|(base, size)| Op::Reserve(base, size)),
        6 => (addr(), size()).prop_map(|(base, size)| Op::Free(base, size)),
        3 => (addr(), size(), flag, any::<bool>())
            .prop_map(|(base, size, flag, set)| Op::Mark(base, size, flag, set)),
        1 => (addr(), size()).prop_map(|(base, size)| Op::MarkMirror(base, size)),
        1 => (addr(), size()).prop_map(|(base, size)| Op::MarkNoinit(base, size)),
        3 => (addr(), size(), any::<bool>(), nid())
            .prop_map(|(base, size, reserved, nid)| Op::SetNode(base, size, reserved, nid)),
        10 => alloc(),
        1 => (addr(), size()).prop_map(|(base, size)| Op::Cap(base, size)),
        1 => size().prop_map(Op::Enforce),
        1 => size().prop_map(Op::RemoveMap),
        1 => prop::sample::select(vec![1, 0x800, 0x1000, 0x4000, 1 << 63]).prop_map(Op::Trim),
        1 => prop_oneof![2 => Just(u64::MAX), 1 => addr()].prop_map(Op::Limit),
        1 => any::<bool>().prop_map(Op::BottomUp),
        1 => prop_oneof![1 => 0..96_u64, 2 => Just(u64::MAX)].prop_map(Op::FreeAll),
        1 => prop::bool::weighted(0.2).prop_map(|up| if up { Op::SlabUp } else { Op::BottomUp(false) }),
    ]
}

/// Operations on a machine that, mostly, has some memory from the start, and sometimes memory at the very end of
/// the address space, where trimming breaks the order of regions.
fn ops(longest: usize) -> impl Strategy<Value = Vec<Op>> {
    let low = prop::option::weighted(0.8, Just(Op::AddNode(0x1000, 0x5_f000, 0, 0)));
    let last = (1..0x3000_u64).prop_map(|bytes| Op::AddNode(u64::MAX - bytes, bytes, 1, 0));
    let high = prop::option::weighted(0.2, last);
    (low, high, prop::collection::vec(op(), 1..longest))
        .prop_map(|(low, high, ops)| low.into_iter().chain(high).chain(ops).collect())
}

/// Either kernel, or any mix of their behaviours.
fn rules() -> impl Strategy<Value = MemblockRules> {
    let mixed = any::<[bool; 7]>().prop_map(|on| MemblockRules {
        merge_whole_list: on[0],
        empty_dummy_region: on[1],
        resize_panics: on[2],
        invalid_nid_is_any: on[3],
        noinit_flag: on[4],
        handover_sets_reserved_nodes: on[5],
        handover_repeats_after_growth: on[6],
        ..MemblockRules::v6_1()
    });
    let base = prop_oneof![Just(MemblockRules::v6_1()), Just(MemblockRules::v6_12()), mixed];
    let first_capacity = || prop_oneof![2 => 1..10_u32, 1 => Just(128)];
    let modes = (prop::bool::weighted(0.8), prop::bool::weighted(0.3), any::<bool>());
    (base, modes, first_capacity(), first_capacity()).prop_map(|(base, modes, memory, reserved)| {
        MemblockRules {
            can_resize: modes.0,
            movable_node: modes.1,
            mirrored_kernelcore: modes.2,
            init_memory_regions: memory,
            init_reserved_regions: reserved,
            ..base
        }
    })
}

fn stop(error: MemblockError) -> Stop {
    match error {
        MemblockError::NoMemory => Stop::NoMemory,
        MemblockError::Fatal(fatal) if fatal.is_panic() => Stop::Panic,
        MemblockError::Fatal(_) => Stop::Bug,
        MemblockError::NotInThisKernel => panic!("the operations are those of the kernel"),
    }
}

/// What both sides answer: nothing, an address, or page runs.
type Answer = Result<Vec<(u64, u64)>, Stop>;

fn nothing<E>(result: Result<(), E>, stop: impl Fn(E) -> Stop) -> Answer {
    result.map(|()| vec![]).map_err(stop)
}

fn on_model(mb: &mut Memblock, op: &Op, owner: Owner) -> Answer {
    let done = |result| nothing(result, stop);
    let fatal = |result: Result<(), _>| nothing(result, |fatal| stop(MemblockError::Fatal(fatal)));
    match *op {
        Op::AddNode(base, size, nid, flags) => {
            done(mb.add_node(PhysAddr(base), size, NodeId(nid), MemblockFlags(flags)))
        }
        Op::Remove(base, size) => done(mb.remove(PhysAddr(base), size)),
        Op::Reserve(base, size) => done(mb.reserve(PhysAddr(base), size, owner)),
        Op::Free(base, size) => done(mb.free(PhysAddr(base), size)),
        Op::Mark(base, size, 1, true) => done(mb.mark_hotplug(PhysAddr(base), size)),
        Op::Mark(base, size, 1, false) => done(mb.clear_hotplug(PhysAddr(base), size)),
        Op::Mark(base, size, _, true) => done(mb.mark_nomap(PhysAddr(base), size)),
        Op::Mark(base, size, _, false) => done(mb.clear_nomap(PhysAddr(base), size)),
        Op::MarkMirror(base, size) => done(mb.mark_mirror(PhysAddr(base), size)),
        Op::MarkNoinit(base, size) if mb.rules().noinit_flag => {
            done(mb.reserved_mark_noinit(PhysAddr(base), size))
        }
        Op::MarkNoinit(base, size) => {
            assert_eq!(mb.reserved_mark_noinit(PhysAddr(base), size), Err(MemblockError::NotInThisKernel));
            Ok(vec![])
        }
        Op::SetNode(base, size, reserved, nid) => {
            let kind = if reserved { MemblockType::Reserved } else { MemblockType::Memory };
            done(mb.set_node(PhysAddr(base), size, kind, NodeId(nid)))
        }
        Op::Alloc { size, align, bounds, nid, exact, capped } => {
            let bounds = Bounds::between(PhysAddr(bounds.0), PhysAddr(bounds.1));
            let nid = NodeId(nid);
            let found = match (capped, exact) {
                (false, exact) => mb.alloc_range_nid(size, align, bounds, nid, exact, owner),
                (true, false) => mb.alloc_try_nid(size, align, bounds, nid, owner),
                (true, true) => mb.alloc_exact_nid(size, align, bounds, nid, owner),
            };
            found.map(|found| vec![(found.0, 0)]).map_err(stop)
        }
        Op::Cap(base, size) => fatal(mb.cap_memory_range(PhysAddr(base), size)),
        Op::Enforce(limit) => fatal(mb.enforce_memory_limit(limit)),
        Op::RemoveMap(limit) => fatal(mb.mem_limit_remove_map(limit)),
        Op::Trim(align) => {
            mb.trim_memory(align);
            Ok(vec![])
        }
        Op::Limit(limit) => {
            mb.set_current_limit(PhysAddr(limit));
            Ok(vec![])
        }
        Op::BottomUp(enable) => {
            mb.set_bottom_up(enable);
            Ok(vec![])
        }
        Op::SlabUp => {
            mb.set_slab_available();
            Ok(vec![])
        }
        Op::FreeAll(max_low_pfn) => mb
            .free_all(Pfn(max_low_pfn))
            .map(|runs| runs.iter().map(|run| (run.start.0, run.end.0)).collect())
            .map_err(|fatal| stop(fatal.into())),
    }
}

/// `now` is when the last request that named an owner was made.
fn on_twin(twin: &mut Twin, op: &Op, owner: Owner, now: u64) -> Answer {
    let done = |result| nothing(result, |stop| stop);
    match *op {
        Op::AddNode(base, size, nid, flags) => {
            done(twin.add(MEMORY, Reg { base, size, flags, nid }, Owner { at_ns: now, ..owner }))
        }
        Op::Remove(base, size) => done(twin.remove(MEMORY, base, size, now)),
        Op::Reserve(base, size) => done(twin.add(RESERVED, Reg { base, size, flags: 0, nid: 1024 }, owner)),
        Op::Free(base, size) => done(twin.remove(RESERVED, base, size, now)),
        Op::Mark(base, size, flag, true) => {
            done(twin.change(MEMORY, (base, size), now, |reg| reg.flags |= flag))
        }
        Op::Mark(base, size, flag, false) => {
            done(twin.change(MEMORY, (base, size), now, |reg| reg.flags &= !flag))
        }
        Op::MarkMirror(base, size) => done(twin.mark_mirror((base, size), now)),
        Op::MarkNoinit(base, size) if twin.rules.noinit_flag => {
            done(twin.change(RESERVED, (base, size), now, |reg| reg.flags |= MemblockFlags::RSRV_NOINIT.0))
        }
        Op::MarkNoinit(..) => Ok(vec![]),
        Op::SetNode(base, size, reserved, nid) => {
            done(twin.change(usize::from(reserved), (base, size), now, |reg| reg.nid = nid))
        }
        Op::Alloc { size, align, bounds, nid, exact, capped } => {
            let bounds = Bounds::between(PhysAddr(bounds.0), PhysAddr(bounds.1));
            let request = Request { size, align, bounds, nid, exact };
            let found =
                if capped { twin.alloc_internal(&request, owner) } else { twin.alloc(&request, owner) };
            found.map(|found| vec![(found, 0)])
        }
        Op::Cap(base, size) => done(twin.cap(base, size, now)),
        Op::Enforce(limit) => done(twin.enforce(limit, now)),
        Op::RemoveMap(limit) => done(twin.remove_map(limit, now)),
        Op::Trim(align) => {
            twin.trim(align);
            Ok(vec![])
        }
        Op::Limit(limit) => {
            twin.set_limit(limit);
            Ok(vec![])
        }
        Op::BottomUp(enable) => {
            twin.set_bottom_up(enable);
            Ok(vec![])
        }
        Op::SlabUp => {
            twin.slab = true;
            Ok(vec![])
        }
        Op::FreeAll(max_low_pfn) => twin.free_all(max_low_pfn, now),
    }
}

/// Compares everything that can be seen from outside.
fn compare(mb: &Memblock, twin: &Twin, nid: i32, flags: u32) -> Result<(), TestCaseError> {
    prop_assert_eq!(mb.check(), Ok(()));
    for (kind, list) in [MemblockType::Memory, MemblockType::Reserved].into_iter().zip(&twin.lists) {
        let regions = mb.regions(kind).iter();
        let model: Vec<_> = regions
            .map(|reg| Reg { base: reg.base.0, size: reg.size, flags: reg.flags.0, nid: reg.nid.0 })
            .collect();
        let naive: Vec<_> = list.regs.iter().filter(|reg| reg.size != 0).copied().collect();
        prop_assert_eq!(model, naive, "{:?}", kind);
        prop_assert_eq!(mb.capacity(kind), list.max);
    }
    prop_assert_eq!((mb.phys_mem_size(), mb.reserved_size()), (twin.lists[0].total, twin.lists[1].total));

    let plain = |free: models::memblock::FreeRange| (free.range.start.0, free.range.end.0, free.nid.0);
    let (node, asked) = (NodeId(nid), MemblockFlags(flags));
    let upwards: Vec<_> = mb.free_ranges(node, asked).map(plain).collect();
    prop_assert_eq!(upwards, twin.free_ranges(nid, flags, false));
    let downwards: Vec<_> = mb.free_ranges_rev(node, asked).map(plain).collect();
    prop_assert_eq!(downwards, twin.free_ranges(nid, flags, true));

    for (kind, list) in [MemblockType::Memory, MemblockType::Reserved].into_iter().zip(&twin.lists) {
        for (base, size) in
            [(0x8000, 0), (0x8000, 0x1000), (0x2_0800, 0x2_0000), (u64::MAX - 0x1000, u64::MAX)]
        {
            let end = base + size.min(u64::MAX - base);
            let overlaps = list.regs.iter().any(|reg| base < reg.base + reg.size && reg.base < end);
            prop_assert_eq!(mb.overlaps_region(kind, PhysAddr(base), size), overlaps);
        }
    }
    for addr in (0..0x6_0000).step_by(0x7800).chain([u64::MAX - 1]) {
        prop_assert_eq!(mb.is_memory(PhysAddr(addr)), twin.holds(MEMORY, addr));
        prop_assert_eq!(mb.is_reserved(PhysAddr(addr)), twin.holds(RESERVED, addr));
    }
    for edge in twin.lists[RESERVED].regs.iter().flat_map(|reg| [reg.base, reg.base + reg.size]) {
        for addr in [edge.wrapping_sub(1), edge] {
            prop_assert_eq!(mb.owner_of(PhysAddr(addr)), twin.owner_of(addr), "at {:#x}", addr);
            let taken = mb.is_reserved(PhysAddr(addr));
            prop_assert_eq!(mb.owner_of(PhysAddr(addr)).is_some(), taken, "at {:#x}", addr);
        }
    }
    let mut owned = twin.owners.clone();
    owned.sort_by_key(|(from, _, _)| *from);
    let ranges =
        mb.owned_ranges().into_iter().map(|owned| (owned.range.start.0, owned.range.end.0, owned.owner));
    prop_assert_eq!(ranges.collect::<Vec<_>>(), owned);
    Ok(())
}

/// How many operations were compared, or the first difference.
fn run(
    mb: &mut Memblock,
    (rules, twins_rules): (MemblockRules, MemblockRules),
    ops: &[Op],
    nid: i32,
    flags: u32,
) -> Result<usize, TestCaseError> {
    mb.reset(rules);
    let mut twin = Twin::new(twins_rules);
    let mut now = 0;
    for (index, op) in ops.iter().enumerate() {
        let owner = Owner::new("twin", index as u64 + 1).tagged(7);
        let model = on_model(mb, op, owner);
        let naive = on_twin(&mut twin, op, owner, now);
        if model != naive {
            return Err(TestCaseError::fail(format!("op {index} {op:?}: {model:?}, twin {naive:?}")));
        }
        if matches!(model, Err(Stop::Bug | Stop::Panic)) {
            return Ok(index + 1);
        }
        // Only a request that got as far as reserving says what time it is.
        now = mb.last_request_ns();
        compare(mb, &twin, nid, flags)?;
    }
    Ok(ops.len())
}

/// Draws the same cases each time.
fn runner(cases: u32) -> TestRunner {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn model_and_twin_agree() {
    let compared = Cell::new(0);
    let agreed = runner(3_600).run(&(rules(), ops(70), nid(), 0..16_u32), |(rules, ops, nid, flags)| {
        let count = run(&mut Memblock::new(rules), (rules, rules), &ops, nid, flags)?;
        compared.set(compared.get() + count);
        Ok(())
    });
    agreed.unwrap_or_else(|difference| panic!("{difference}"));
    assert!(compared.get() >= 100_000, "{} operations", compared.get());
}

/// What a boot before left behind must not show.
#[test]
fn reset_forgets_everything() {
    let agreed = runner(500).run(&(ops(40), rules(), ops(40)), |(before, rules, ops)| {
        let mut mb = Memblock::new(MemblockRules::v6_12());
        for op in &before {
            if let Err(Stop::Bug | Stop::Panic) = on_model(&mut mb, op, Owner::new("before", 99)) {
                break;
            }
        }
        run(&mut mb, (rules, rules), &ops, -1, 0).map(|_| ())
    });
    agreed.unwrap_or_else(|difference| panic!("{difference}"));
}

/// A twin of another kernel is a model with a mistake: it is noticed, and shown with few operations.
#[test]
fn a_planted_difference_shrinks_to_a_short_sequence() {
    type Plant = fn(&mut MemblockRules);
    let plants: [(&str, Plant); 7] = [
        ("merging", |rules| rules.merge_whole_list ^= true),
        ("the dummy entry", |rules| rules.empty_dummy_region ^= true),
        ("a full list", |rules| rules.resize_panics ^= true),
        ("nodes out of range", |rules| rules.invalid_nid_is_any ^= true),
        ("nodes of reserved regions", |rules| rules.handover_sets_reserved_nodes ^= true),
        ("movable nodes", |rules| rules.movable_node ^= true),
        ("a capacity", |rules| rules.init_reserved_regions += 1),
    ];
    for (name, plant) in plants {
        let found = runner(3_000).run(&(rules(), ops(70), nid(), 0..16_u32), |(rules, ops, nid, flags)| {
            let mut wrong = rules;
            plant(&mut wrong);
            run(&mut Memblock::new(rules), (rules, wrong), &ops, nid, flags).map(|_| ())
        });
        let Err(TestError::Fail(_, (_, ops, ..))) = found else { panic!("{name}: not noticed: {found:?}") };
        assert!(ops.len() <= 8, "{name}: {} operations", ops.len());
    }
}
