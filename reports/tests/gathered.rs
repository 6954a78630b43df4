//! What the reports rest on: the conditions of a finding, and what a recorded run tells of slots, queues and caches.

use std::collections::BTreeMap;
use std::path::Path;

use models::run::{Request, Run, Simulation, Source};
use models::scenario::{Overrides, Resolved, load};
use models::shrink::{Condition, Conditions, Effect, Settings, Target, conditions};
use sim::Finding;
use sim::trace::{EventKind, Trace};

fn scenario(file: &str) -> Resolved {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(file);
    let loaded = load(&path).unwrap_or_else(|error| panic!("{file}: {error:?}"));
    loaded.resolve(&Overrides::default()).unwrap_or_else(|error| panic!("{file}: {error:?}"))
}

/// The first seed that shows a finding of the kind, and the conditions of that finding.
fn asked(file: &str, kind: &str, steps: u64) -> (Finding, Conditions) {
    let simulation = Simulation::new(scenario(file));
    let found = (0..200).find_map(|seed| {
        let request = Request { record_choices: true, ..Request::quick(seed) };
        let mut run = simulation.worker().run(&request);
        let finding = run.end.findings.iter().find(|finding| finding.kind == kind).cloned()?;
        Some((seed, finding, run.end.choices.take_records()))
    });
    let (seed, finding, choices) = found.unwrap_or_else(|| panic!("{file} shows no {kind}"));
    let settings = Settings {
        target: Target::Signature(finding.signature_hash()),
        tries: 0,
        request: Request::quick(0),
    };
    let all = conditions(&settings, simulation.scenario(), &choices, seed..seed + 10, steps);
    (finding, all)
}

fn matters(all: &Conditions, wanted: &str) -> bool {
    all.matter().any(|(condition, _)| match condition {
        Condition::Word(word) => word == wanted,
        Condition::Device(bdf, _) => bdf == wanted,
        Condition::With(behaviour) | Condition::Without(behaviour) => behaviour.name() == wanted,
    })
}

/// The pairs of the collection say which behaviour makes the difference: it is to be among the conditions.
#[test]
fn the_change_that_a_bug_is_known_by_is_a_condition() {
    for (file, kind, behaviour) in [
        ("bugs/swiotlb-exit-dangling-mem/buggy.ron", "use-after-free", "static-default-pool"),
        ("bugs/unaligned-page-selective-flush/buggy.ron", "stale-iotlb", "flush-mask-covers-range"),
        ("bugs/null-dma-mask/buggy.ron", "null-pointer", "map-needs-mask"),
    ] {
        let (_, all) = asked(file, kind, u64::MAX);
        assert_eq!(all.left, 0);
        assert!(matters(&all, behaviour), "{file}: {:?}", all.matter().collect::<Vec<_>>());
        let stays = all.tried.iter().filter(|(_, effect)| *effect == Effect::Stays).count();
        assert!(stays > all.tried.len() / 2, "{file}: nearly everything matters: {:?}", all.tried);
    }
}

#[test]
fn conditions_are_the_same_again_and_end_with_their_budget() {
    let file = "bugs/null-dma-mask/buggy.ron";
    let (_, first) = asked(file, "null-pointer", u64::MAX);
    let (_, again) = asked(file, "null-pointer", u64::MAX);
    assert_eq!(first, again);
    let (_, none) = asked(file, "null-pointer", 0);
    assert_eq!((none.tried.len(), none.runs), (0, 0));
    let (_, some) = asked(file, "null-pointer", 20_000);
    assert!(!some.tried.is_empty() && some.left > 0 && some.runs < first.runs, "{some:?}");
    // A run that takes more than what is left is cut, and decides nothing.
    let (_, cut) = asked("debian/nvme-full-pool-6.1.ron", "livelock", 60_000);
    assert!(cut.runs < 30 && cut.left > 90, "{cut:?}");
    // Behaviours that say nothing new are not told.
    assert!(some.tried.len() + some.left <= none.left);
}

fn recorded(file: &str, seed: u64) -> Run {
    Simulation::new(scenario(file)).worker().run(&Request::full(Source::Seed(seed)))
}

/// The numbers that somebody has in each space at each moment: that nobody has the same ones, and that what ends began.
fn walk(trace: &Trace, mut visit: impl FnMut(&EventKind, &BTreeMap<&str, BTreeMap<u64, u64>>)) {
    let mut open: BTreeMap<&str, BTreeMap<u64, u64>> = BTreeMap::new();
    for event in &trace.events {
        if let EventKind::Interval { space, start, len, begins, what } = &event.kind
            && !space.starts_with("physical")
            && !space.starts_with("addresses")
        {
            let mine = open.entry(space).or_default();
            if *begins {
                let before = mine.range(..=start).next_back();
                assert!(
                    before.is_none_or(|(at, len)| at + len <= *start || at == start),
                    "{space}: {start} {what}"
                );
                mine.insert(*start, *len);
            } else {
                assert!(mine.remove(start).is_some(), "{space}: {start} ends and never began");
            }
        }
        visit(&event.kind, &open);
    }
}

/// Slots are counted as used before it is known for whom: the counter is never below what mappings have, and at the end
/// the two agree.
#[test]
fn used_slots_are_those_of_the_mappings() {
    let mut counted = 0;
    for (file, seeds) in [
        ("debian/nvme-full-pool-6.12.ron", 3),
        ("lkml-2021-07/i915-force.ron", 3),
        ("check/restricted-pool.ron", 20),
    ] {
        for seed in 0..seeds {
            let run = recorded(file, seed);
            let mut last: BTreeMap<String, u64> = BTreeMap::new();
            let mut at_end: BTreeMap<String, u64> = BTreeMap::new();
            walk(&run.end.trace, |kind, open| {
                for (space, mine) in open {
                    if let Some(pool) = space.strip_prefix("slots of ") {
                        at_end.insert(pool.to_owned(), mine.values().sum());
                    }
                }
                let EventKind::Counter { name, value } = kind else { return };
                let Some(pool) = name.strip_prefix("used slots of ") else { return };
                let had = at_end.get(pool).copied().unwrap_or(0);
                assert!(*value >= had, "{file}, seed {seed}: {pool}: {value} used, {had} of mappings");
                last.insert(pool.to_owned(), *value);
                counted += 1;
            });
            if run.end.findings.is_empty() {
                assert_eq!(last, at_end, "{file}, seed {seed}");
            }
        }
    }
    assert!(counted > 100, "only {counted} changes were seen");
}

#[test]
fn flush_queues_and_caches_are_told_of() {
    let (mut most, mut cached) = (0, 0);
    for seed in 0..20 {
        let run = recorded("check/flush-queue.ron", seed);
        let mut last = None;
        walk(&run.end.trace, |kind, open| {
            if let EventKind::Counter { name, value } = kind
                && name.starts_with("pending flush queue entries of domain")
            {
                most = most.max(*value);
                last = Some(*value);
            }
            let of_caches = open.iter().filter(|(space, _)| space.starts_with("IOTLB of domain"));
            cached = cached.max(of_caches.map(|(_, mine)| mine.len()).sum());
        });
        assert_eq!(last, Some(0), "the timer flushes what is left");
    }
    assert!(most > 1, "{most} waited at most");
    assert!(cached > 0);
}

/// What is recorded changes no run.
#[test]
fn a_run_is_the_same_recorded_or_not() {
    for file in ["debian/nvme-full-pool-6.12.ron", "check/flush-queue.ron", "lkml-2021-07/hp-4300g.ron"] {
        let simulation = Simulation::new(scenario(file));
        for seed in 0..3 {
            let quick = simulation.worker().run(&Request::quick(seed)).end.digest;
            assert_eq!(quick, recorded(file, seed).end.digest, "{file}, seed {seed}");
        }
    }
}
