//! Runs a second of exhaustive searches: `cargo bench -p dmasim-sim --bench search`.

use std::rc::Rc;

use divan::Bencher;
use divan::counter::ItemsCount;
use sim::choices::{Choices, Enumeration, Mode};
use sim::explore::Search;
use sim::explore::dpor::Limits;
use sim::schedule::RoundRobin;
use sim::sync::{LockClass, SpinLock, Var};
use sim::{Cx, RunConfig, RunEnd, Sim, SpawnSpec};

const A: LockClass = LockClass::new(0, "lock_a");

fn main() {
    divan::main();
}

/// Contexts that take and give back bits of a map: under one lock, or without.
fn bitmap(cx: &Cx, contexts: u8, rounds: u8, locked: bool) {
    let world = Rc::new((SpinLock::new(cx, A), Var::new(cx, "map", 0_u64)));
    for cpu in 0..contexts {
        let world = Rc::clone(&world);
        cx.spawn(SpawnSpec::task("t", cpu), move |cx| async move {
            let (lock, map) = &*world;
            for round in 0..2 * rounds {
                if locked {
                    lock.lock(&cx).await;
                }
                let taken = map.read_once(&cx).await;
                let bit =
                    if round % 2 == 0 { 1 << taken.trailing_ones() } else { taken & taken.wrapping_neg() };
                map.write_once(&cx, taken ^ bit).await;
                if locked {
                    lock.unlock(&cx);
                }
            }
        });
    }
}

fn run(mode: Mode, contexts: u8, rounds: u8, locked: bool) -> RunEnd {
    let config = RunConfig { cpus: contexts, races: false, ..RunConfig::default() };
    let sim = Sim::new(config, Choices::new(mode, false), Box::new(RoundRobin::new()));
    sim.spawn(SpawnSpec::task("root", contexts - 1), move |cx| async move {
        bitmap(&cx, contexts, rounds, locked);
    });
    sim.run()
}

/// Runs at most `most`; how many it took.
fn searched(limits: &Limits, most: u64, contexts: u8, rounds: u8, locked: bool) -> u64 {
    let mut search = Box::new(Search::new(limits.clone()));
    for runs in 1..=most {
        let end = run(Mode::Search(search), contexts, rounds, locked);
        let abandoned = end.abandoned;
        search = end.choices.into_search().expect("a search");
        if !search.advance(abandoned) {
            return runs;
        }
    }
    most
}

fn enumerated(most: u64, contexts: u8, rounds: u8, locked: bool) -> u64 {
    let mut walk = Enumeration::new();
    for runs in 1..=most {
        let end = run(Mode::Enumerate(walk), contexts, rounds, locked);
        walk = end.choices.into_enumeration().expect("enumerated");
        if !walk.advance() {
            return runs;
        }
    }
    most
}

/// Contexts, rounds, whether they lock.
const SIZES: [(u8, u8, bool); 5] = [(2, 1, true), (2, 2, true), (3, 1, true), (3, 2, true), (2, 1, false)];
/// More runs than this are not made.
const MOST: u64 = 40_000;

#[divan::bench(args = SIZES, sample_count = 3, sample_size = 1)]
fn reduced(bencher: Bencher<'_, '_>, (contexts, rounds, locked): (u8, u8, bool)) {
    let limits = Limits::default();
    let runs = searched(&limits, MOST, contexts, rounds, locked);
    bencher.counter(ItemsCount::new(runs)).bench_local(|| searched(&limits, MOST, contexts, rounds, locked));
}

#[divan::bench(args = SIZES, sample_count = 3, sample_size = 1)]
fn enumeration(bencher: Bencher<'_, '_>, (contexts, rounds, locked): (u8, u8, bool)) {
    let runs = enumerated(MOST, contexts, rounds, locked);
    bencher.counter(ItemsCount::new(runs)).bench_local(|| enumerated(MOST, contexts, rounds, locked));
}

#[divan::bench(args = [1, 2, 3], sample_count = 3, sample_size = 1)]
fn bounded_preemptions_of_3x2(bencher: Bencher<'_, '_>, bound: u32) {
    let limits = Limits { preemptions: Some(bound), ..Limits::default() };
    let runs = searched(&limits, MOST, 3, 2, true);
    bencher.counter(ItemsCount::new(runs)).bench_local(|| searched(&limits, MOST, 3, 2, true));
}
