//! A run is a function of its scenario and its choices: nothing else changes a digest.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use models::run::{Request, Simulation, Source};
use models::scenario::{Overrides, Resolved, intern, load};
use sim::choices::Token;
use sim::explore::{Campaign, Summary};

const SCENARIOS: [&str; 3] = ["hp-4300g.ron", "laptop.ron", "trampled-device.ron"];

fn resolved(name: &str) -> Resolved {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/lkml-2021-07").join(name);
    let loaded = load(path).unwrap_or_else(|error| panic!("{error}"));
    loaded.resolve(&Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn digest_of(simulation: &Simulation, request: &Request) -> u128 {
    simulation.worker().run(request).end.digest
}

#[test]
fn a_seed_has_one_digest() {
    for name in SCENARIOS {
        let simulation = Simulation::new(resolved(name));
        for seed in [0, 1, 77] {
            let first = digest_of(&simulation, &Request::quick(seed));
            for _ in 0..20 {
                assert_eq!(digest_of(&simulation, &Request::quick(seed)), first, "{name} seed {seed}");
            }
        }
    }
}

#[test]
fn a_used_worker_is_as_good_as_a_new_one() {
    for name in SCENARIOS {
        let simulation = Simulation::new(resolved(name));
        let mut worker = simulation.worker();
        for seed in (0..24).chain([3, 3, 0]) {
            let request = Request::quick(seed);
            let (used, fresh) = (worker.run(&request), simulation.worker().run(&request));
            assert_eq!(used.end.digest, fresh.end.digest, "{name} seed {seed}");
            assert_eq!(used.end.findings, fresh.end.findings, "{name} seed {seed}");
            assert_eq!(used.facts, fresh.facts, "{name} seed {seed}");
        }
    }
}

#[test]
fn looking_changes_nothing() {
    for name in SCENARIOS {
        let simulation = Simulation::new(resolved(name));
        for seed in 0..8 {
            let quick = Request::quick(seed);
            let digest = digest_of(&simulation, &quick);
            let recorded = Request { record: true, ..quick.clone() };
            let explained = Request { details: true, ..quick.clone() };
            let noted = Request { record_choices: true, ..quick };
            for request in [recorded, explained, noted, Request::full(Source::Seed(seed))] {
                assert_eq!(digest_of(&simulation, &request), digest, "{name} seed {seed}: {request:?}");
            }
        }
    }
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let simulation = Simulation::new(resolved("hp-4300g.ron"));
    let summary = |jobs: usize| -> Summary {
        let campaign = Campaign { seeds: 0..60, jobs, recheck_every: 16 };
        campaign.run(
            || {
                let mut worker = simulation.worker();
                move |seed| worker.run(&Request::quick(seed)).into_outcome()
            },
            &(),
            &AtomicBool::new(false),
        )
    };
    let one = summary(1);
    assert!(one.ran == 60 && !one.signatures.is_empty());
    for jobs in [2, 3] {
        assert_eq!(format!("{:?}", summary(jobs)), format!("{one:?}"), "{jobs} workers");
    }
}

#[test]
fn a_token_repeats_its_run() {
    for name in SCENARIOS {
        let scenario = resolved(name);
        let simulation = Simulation::new(scenario.clone());
        for seed in 0..6 {
            let mut first = simulation.worker().run(&Request::full(Source::Seed(seed)));
            let line = first.token(&scenario, seed, 0).encode();
            let token =
                Token::decode(&line, &|text| intern(text).unwrap_or("")).expect("a token that was just made");
            token.check(scenario.digest.0).expect("of this scenario");
            let again = simulation.worker().run(&Request::full(Source::Replay(token.choices)));
            assert!(again.end.divergence.is_none(), "{name} seed {seed}: {:?}", again.end.divergence);
            assert_eq!(again.end.digest, first.end.digest, "{name} seed {seed}");
            assert_eq!(again.end.digest, token.digest);
            assert_eq!(
                format!("{:?}", again.end.trace),
                format!("{:?}", first.end.trace),
                "{name} seed {seed}"
            );
            assert_eq!(again.end.findings, first.end.findings);
        }
    }
}

/// Digests of a few runs, the same in every profile. They change when models, engine or scenarios change what a run
/// does; then put the new ones here, after a look at whether the change was meant.
#[test]
fn digests_are_the_same_in_every_profile() {
    let runs = PINNED.map(|(name, seed, _)| {
        let digest = digest_of(&Simulation::new(resolved(name)), &Request::quick(seed));
        (name, seed, format!("{digest:032x}"))
    });
    assert_eq!(runs, PINNED.map(|(name, seed, digest)| (name, seed, digest.to_owned())));
}

const PINNED: [(&str, u64, &str); 4] = [
    ("hp-4300g.ron", 0, "1a5eea8ec61a0f8f5aff7be2b822edb8"),
    ("hp-4300g.ron", 7, "ca7189b98698c19dea757252b0c81e45"),
    ("hp-4300g-fixed.ron", 1, "3b519f98f2e23e3e81384a4e5fb0c34d"),
    ("laptop.ron", 2, "5bc08fad50df1388e0037d95903339d3"),
];
