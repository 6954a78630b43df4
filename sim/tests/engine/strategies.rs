//! Strategies keep what they promise, and an enumeration sees everything once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use sim::schedule::Strategy;
use sim::sync::{SpinLock, Var};

use crate::common::{A, Log, Program, Setup, program, task};

/// How many of `seeds` make the program report something.
fn found(setup: &Setup, program: &Program, seeds: u64) -> u64 {
    (0..seeds).map(|seed| u64::from(!setup.seed(program, seed).findings.is_empty())).sum()
}

/// Steps before, between and after the interesting ones.
const PADDING: usize = 4;

async fn pad(cx: &sim::Cx) {
    for _ in 0..PADDING {
        cx.point().await;
    }
}

/// Depth 2: one must be stopped between two steps, until the other has done its own.
fn depth_2() -> Program {
    program(|cx| {
        let pointer = Rc::new(Var::new(cx, "pointer", true));
        let used = Rc::clone(&pointer);
        task(cx, "user", 0, async move |cx| {
            pad(cx).await;
            if used.read_once(cx).await && !used.read_once(cx).await {
                cx.report(sim::Draft::fatal("bug", "NULL pointer".to_owned()), Vec::new);
            }
            pad(cx).await;
        });
        task(cx, "clearer", 1, async move |cx| {
            pad(cx).await;
            pointer.write_once(cx, false).await;
            pad(cx).await;
        });
    })
}

/// Depth 3: each sees the other's first step and not its second, in turn.
fn depth_3() -> Program {
    program(|cx| {
        let vars = Rc::new(["a", "p", "b"].map(|name| Var::new(cx, name, false)));
        let own = Rc::clone(&vars);
        task(cx, "first", 0, async move |cx| {
            pad(cx).await;
            own[0].write_once(cx, true).await;
            if own[1].read_once(cx).await {
                own[2].write_once(cx, true).await;
            }
            pad(cx).await;
        });
        task(cx, "second", 1, async move |cx| {
            pad(cx).await;
            if vars[0].read_once(cx).await {
                vars[1].write_once(cx, true).await;
                if vars[2].read_once(cx).await {
                    cx.report(sim::Draft::fatal("bug", "three orders".to_owned()), Vec::new);
                }
            }
            pad(cx).await;
        });
    })
}

/// Planted bug with which this was seen to fail: priorities that are not drawn anew at `spawned`.
#[test]
fn pct_finds_bugs_at_least_as_often_as_its_bound_says() {
    const SEEDS: u64 = 6_000;
    for (program, depth) in [(depth_2(), 2_u32), (depth_3(), 3)] {
        let k = Setup::cpus(2).seed(&program, 0).decisions;
        let setup = Setup { steps: k, ..Setup::cpus(2) }.strategy(Strategy::Pct(depth));
        let found = found(&setup, &program, SEEDS);
        // n is 2: the root ends before the others begin. Three standard deviations are given.
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let expected = SEEDS as f64 / (2.0 * (k as f64).powi(depth.cast_signed() - 1));
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let enough = found as f64 >= expected - 3.0 * expected.sqrt();
        assert!(enough, "depth {depth}: {found} of {SEEDS}, {expected} expected with {k} decisions");
    }
}

#[test]
fn pct_without_change_points_lets_a_context_run_until_it_is_blocked() {
    let log = Log::default();
    let inner = log.clone();
    let program = program(move |cx| {
        for name in ["a", "b"] {
            let log = inner.clone();
            task(cx, name, 0, async move |cx| {
                for _ in 0..3 {
                    cx.point().await;
                    log.add(name);
                }
            });
        }
    });
    let mut orders = BTreeSet::new();
    for seed in 0..50 {
        Setup::cpus(1).strategy(Strategy::Pct(1)).seed(&program, seed);
        orders.insert(log.take());
    }
    assert_eq!(orders.into_iter().collect::<Vec<_>>(), ["a a a b b b", "b b b a a a"]);
}

#[test]
fn round_robin_is_the_same_for_every_seed() {
    let setup = Setup::cpus(2).strategy(Strategy::RoundRobin);
    let digests: BTreeSet<_> = (0..50).map(|seed| setup.seed(&depth_3(), seed).digest).collect();
    assert_eq!(digests.len(), 1);
}

/// Planted bug with which this was seen to fail: `nth(nth / 2)`.
#[test]
fn random_is_uniform_at_a_choice() {
    const SEEDS: u32 = 8_000;
    let first = Rc::new(Cell::new(None));
    let inner = Rc::clone(&first);
    let program = program(move |cx| {
        inner.set(None);
        for (cpu, name) in (0..).zip(["a", "b", "c", "d"]) {
            let first = Rc::clone(&inner);
            task(cx, name, cpu, async move |_| {
                first.set(first.get().or(Some(usize::from(cpu))));
            });
        }
    });
    let mut counts = [0_u32; 4];
    for seed in 0..SEEDS {
        Setup::cpus(4).seed(&program, u64::from(seed));
        counts[first.get().expect("one was first")] += 1;
    }
    let expected = f64::from(SEEDS / 4);
    let chi: f64 = counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
    // Three degrees of freedom: 16.3 is the 0.1 % bound.
    assert!(chi < 16.3, "{counts:?}");
}

/// What each context got, in turn, from a bitmap of which each takes the lowest free bit and gives it back, under one
/// lock.
type Final = Vec<Vec<u32>>;

fn bitmap(contexts: u8, pairs: usize, result: Rc<RefCell<Final>>) -> Program {
    program(move |cx| {
        let (lock, map) = (Rc::new(SpinLock::new(cx, A)), Rc::new(Cell::new(0_u64)));
        *result.borrow_mut() = vec![Vec::new(); usize::from(contexts)];
        let result = Rc::clone(&result);
        // All stand at the lock before it is given free, so that their starts are no choices.
        task(cx, "starter", 0, async move |cx| {
            lock.lock(cx).await;
            for n in 0..contexts {
                let (lock, map, result) = (Rc::clone(&lock), Rc::clone(&map), Rc::clone(&result));
                task(cx, "t", 1 + n, async move |cx| {
                    for _ in 0..pairs {
                        lock.lock(cx).await;
                        let bit = map.get().trailing_ones();
                        map.set(map.get() | 1 << bit);
                        result.borrow_mut()[usize::from(n)].push(bit);
                        lock.unlock(cx);
                        lock.lock(cx).await;
                        map.set(map.get() & !(1 << bit));
                        lock.unlock(cx);
                    }
                });
                cx.delay(1_000).await;
            }
            lock.unlock(cx);
        });
    })
}

/// The same by hand: every order of critical sections.
fn by_hand(done: &mut Vec<usize>, pairs: usize, map: u64, got: &mut Final, all: &mut BTreeSet<Final>) -> u64 {
    let mut runs = 0;
    for n in 0..done.len() {
        if done[n] == 2 * pairs {
            continue;
        }
        done[n] += 1;
        if done[n] % 2 == 1 {
            let bit = map.trailing_ones();
            got[n].push(bit);
            runs += by_hand(done, pairs, map | 1 << bit, got, all);
            got[n].pop();
        } else {
            let bit = *got[n].last().expect("taken before");
            runs += by_hand(done, pairs, map & !(1 << bit), got, all);
        }
        done[n] -= 1;
    }
    if done.iter().all(|&steps| steps == 2 * pairs) {
        all.insert(got.clone());
        return 1;
    }
    runs
}

/// Planted bug with which this was seen to fail: a context that waited for a lock announcing its step anew (more
/// runs); an `alternative` that leaves out the last one (fewer).
#[test]
fn an_enumeration_sees_every_interleaving_once() {
    for (contexts, pairs, runs, finals) in
        [(2, 1, 6, 3), (2, 2, 70, 9), (3, 1, 90, 13), (4, 1, 2_520, 75), (3, 2, 34_650, 223)]
    {
        let result = Rc::new(RefCell::new(Vec::new()));
        let program = bitmap(contexts, pairs, Rc::clone(&result));
        let mut seen = BTreeSet::new();
        let setup = Setup::cpus(contexts + 1);
        let counted = setup.enumerate(&program, |end| {
            assert!(end.findings.is_empty());
            seen.insert(result.borrow().clone());
        });
        let mut all = BTreeSet::new();
        let n = usize::from(contexts);
        let expected = by_hand(&mut vec![0; n], pairs, 0, &mut vec![Vec::new(); n], &mut all);
        assert_eq!((counted, seen.len()), (expected, all.len()), "{contexts}x{pairs}");
        assert_eq!((counted, seen.len()), (runs, finals), "{contexts}x{pairs}");
        assert_eq!(seen, all);
    }
}

#[test]
fn an_enumeration_goes_over_other_choices_too() {
    let log = Log::default();
    let inner = log.clone();
    let program = program(move |cx| {
        let log = inner.clone();
        task(cx, "t", 0, async move |cx| {
            let first = cx.choose(sim::choices::Stream::Workload, "first", 3);
            log.add(first.to_string());
            if first == 1 {
                log.add(cx.choose(sim::choices::Stream::Content, "second", 2).to_string());
            }
        });
    });
    let mut seen = Vec::new();
    assert_eq!(Setup::cpus(1).enumerate(&program, |_| seen.push(log.take())), 4);
    assert_eq!(seen, ["0", "1 0", "1 1", "2"]);
}
