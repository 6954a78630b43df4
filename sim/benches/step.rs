//! What a step costs, and that it allocates nothing: `cargo bench -p dmasim-sim --bench step`.

use std::cell::Cell;
use std::rc::Rc;

use divan::{AllocProfiler, Bencher, black_box};
use sim::choices::{Choices, Mode};
use sim::schedule::Strategy;
use sim::sync::{LockClass, SpinLock, Var};
use sim::{Cx, RunConfig, RunEnd, Sim, SpawnSpec};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const A: LockClass = LockClass::new(0, "lock_a");

fn main() {
    divan::main();
}

fn run(config: RunConfig, strategy: Strategy, seed: u64, program: impl FnOnce(&Cx) + 'static) -> RunEnd {
    let sim =
        Sim::new(config, Choices::new(Mode::Seed(seed), config.record_choices), strategy.build(1_000, |_| 0));
    sim.spawn(SpawnSpec::task("root", 0), |cx| async move { program(&cx) });
    sim.run()
}

const STEPS: u64 = 200_000;

fn config(races: bool) -> RunConfig {
    RunConfig { cpus: 32, max_steps: 2 * STEPS, races, ..RunConfig::default() }
}

/// What each of the contexts does in turn.
#[derive(Clone, Copy)]
enum Body {
    /// A bare step on an object of its own.
    Point,
    /// A lock, a load, a store, an unlock: three steps.
    Locked,
}

fn steps(bencher: Bencher<'_, '_>, contexts: u64, strategy: Strategy, races: bool, body: Body) {
    bencher.counter(divan::counter::ItemsCount::new(STEPS)).bench_local(|| {
        let end = run(config(races), strategy, 1, move |cx| {
            let world = Rc::new((SpinLock::new(cx, A), Var::new(cx, "x", 0_u64)));
            let each = match body {
                Body::Point => STEPS / contexts,
                Body::Locked => STEPS / contexts / 3,
            };
            for cpu in 0..contexts {
                let world = Rc::clone(&world);
                let cpu = u8::try_from(cpu).expect("few");
                cx.spawn(SpawnSpec::task("t", cpu), move |cx| async move {
                    let (lock, x) = &*world;
                    for _ in 0..each {
                        match body {
                            Body::Point => cx.point().await,
                            Body::Locked => {
                                lock.lock(&cx).await;
                                let value = x.load(&cx).await;
                                x.store(&cx, value + 1).await;
                                lock.unlock(&cx);
                            }
                        }
                    }
                });
            }
        });
        assert!(end.findings.is_empty() && end.steps > STEPS * 9 / 10);
        end.digest
    });
}

#[divan::bench(args = [3, 8, 32], sample_count = 30)]
fn point_random(bencher: Bencher<'_, '_>, contexts: u64) {
    steps(bencher, contexts, Strategy::Random, false, Body::Point);
}

#[divan::bench(args = [3, 8, 32], sample_count = 30)]
fn point_pct(bencher: Bencher<'_, '_>, contexts: u64) {
    steps(bencher, contexts, Strategy::Pct(3), false, Body::Point);
}

#[divan::bench(args = [3, 8, 32], sample_count = 30)]
fn locked_random(bencher: Bencher<'_, '_>, contexts: u64) {
    steps(bencher, contexts, Strategy::Random, false, Body::Locked);
}

#[divan::bench(args = [3, 8, 32], sample_count = 30)]
fn locked_random_races(bencher: Bencher<'_, '_>, contexts: u64) {
    steps(bencher, contexts, Strategy::Random, true, Body::Locked);
}

#[divan::bench(args = [3, 8, 32], sample_count = 30)]
fn locked_pct_races(bencher: Bencher<'_, '_>, contexts: u64) {
    steps(bencher, contexts, Strategy::Pct(3), true, Body::Locked);
}

/// Every strategy on the same steps: what one costs is its time over that of `random`.
#[divan::bench(args = [
    Strategy::Random,
    Strategy::Pct(3),
    Strategy::Pos,
    Strategy::Urw,
    Strategy::Delay(2),
    Strategy::Rff,
    Strategy::RoundRobin,
], sample_count = 30)]
fn locked_8_by_strategy(bencher: Bencher<'_, '_>, strategy: Strategy) {
    steps(bencher, 8, strategy, false, Body::Locked);
}

/// Three contexts that take and give back two bits each, under one lock: 36 steps and 3 starts.
fn bitmap(seed: u64, races: bool) -> RunEnd {
    let config = RunConfig { cpus: 3, races, ..RunConfig::default() };
    run(config, Strategy::Random, seed, |cx| {
        let world = Rc::new((SpinLock::new(cx, A), Var::new(cx, "map", 0_u64)));
        for cpu in 0..3 {
            let world = Rc::clone(&world);
            cx.spawn(SpawnSpec::task("t", cpu), move |cx| async move {
                let (lock, map) = &*world;
                for _ in 0..2 {
                    lock.lock(&cx).await;
                    let taken = map.load(&cx).await;
                    let bit = 1 << taken.trailing_ones();
                    map.store(&cx, taken | bit).await;
                    lock.unlock(&cx);
                    lock.lock(&cx).await;
                    let taken = map.load(&cx).await;
                    map.store(&cx, taken & !bit).await;
                    lock.unlock(&cx);
                }
            });
        }
    })
}

#[divan::bench(args = [false, true])]
fn run_of_a_locked_bitmap_3x2(bencher: Bencher<'_, '_>, races: bool) {
    let seed = Cell::new(0);
    bencher.bench_local(|| {
        seed.set(seed.get() + 1);
        black_box(bitmap(seed.get(), races).digest)
    });
}

/// The fixed cost of a run.
#[divan::bench]
fn run_of_nothing(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| black_box(run(config(true), Strategy::Random, 1, |_| ()).digest));
}
