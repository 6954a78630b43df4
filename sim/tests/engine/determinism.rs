//! The same seed is the same run: again, on any number of workers, recorded or not, in debug and release builds.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sim::coverage::Coverage;
use sim::explore::{Campaign, Observe, Observed, Outcome, Summary};
use sim::inject::Delays;
use sim::schedule::{Guide, Strategy};
use sim::sync::{SpinLock, Var};

use crate::common::{A, Program, Setup, program, task};

/// A counter that is read and written under a lock by one and without it by others.
fn racy() -> Program {
    program(|cx| {
        let (lock, x) = (Rc::new(SpinLock::new(cx, A)), Rc::new(Var::new(cx, "x", 0_u64)));
        for cpu in 0..3 {
            let (lock, x) = (Rc::clone(&lock), Rc::clone(&x));
            task(cx, "t", cpu, async move |cx| {
                for _ in 0..3 {
                    if cpu > 0 {
                        lock.lock(cx).await;
                    }
                    let value = x.load(cx).await;
                    cx.delay(cx.choose(sim::choices::Stream::Workload, "length", 100)).await;
                    x.store(cx, value + 1).await;
                    if cpu > 0 {
                        lock.unlock(cx);
                    }
                }
                if x.peek() < 5 && cpu == 0 {
                    cx.report(sim::Draft::warning("lost-update", "few".to_owned()), Vec::new);
                }
            });
        }
    })
}

const STRATEGIES: [Strategy; 8] = Strategy::ALL;

#[test]
fn the_same_seed_gives_the_same_digest_twenty_times() {
    for strategy in STRATEGIES {
        let setup = Setup { delays: Delays::new(5, 400), ..Setup::cpus(3).strategy(strategy) };
        let first = setup.seed(&racy(), 7);
        for _ in 0..20 {
            let again = setup.seed(&racy(), 7);
            assert_eq!((again.digest, again.steps, again.time), (first.digest, first.steps, first.time));
            assert_eq!(again.findings, first.findings);
        }
    }
}

#[test]
fn different_seeds_give_different_runs() {
    let digests: std::collections::BTreeSet<_> =
        (0..100).map(|seed| Setup::cpus(3).seed(&racy(), seed).digest).collect();
    assert!(digests.len() > 95, "{}", digests.len());
}

/// Compared between debug and release builds, and between versions: whoever changes what a seed means raises
/// `ENGINE_VERSION` and these numbers.
#[test]
fn digests_are_pinned() {
    let setup = Setup { delays: Delays::new(5, 400), ..Setup::cpus(3) };
    let digests: Vec<String> = STRATEGIES
        .into_iter()
        .map(|strategy| format!("{strategy} {:032x}", setup.strategy(strategy).seed(&racy(), 42).digest))
        .collect();
    assert_eq!(digests, PINNED);
}

const PINNED: [&str; 8] = [
    "swarm 57b41a9940316234d60b628ad8b5ae77",
    "random 57b41a9940316234d60b628ad8b5ae77",
    "pct:3 03c8cffe4e6bf620f4a30e522dacf45f",
    "pos af9ce4b2dd10418c5c8072dce1dab2ea",
    "urw 57b41a9940316234d60b628ad8b5ae77",
    "delay:2 b3866512568913fe6c2114e6d9df7f8b",
    "rff af9ce4b2dd10418c5c8072dce1dab2ea",
    "round-robin 03c8cffe4e6bf620f4a30e522dacf45f",
];

fn outcome(seed: u64) -> Outcome {
    let end = Setup::cpus(3).seed(&racy(), seed);
    Outcome { digest: end.digest, steps: end.steps, findings: end.findings }
}

fn campaign(jobs: usize, recheck_every: u64) -> Summary {
    let campaign = Campaign { seeds: 3..203, jobs, recheck_every };
    campaign.run(|| outcome, &(), &AtomicBool::new(false))
}

/// Three contexts that go over four variables, each in an order of its own, so that there is much to learn.
fn busy() -> Program {
    const PLACES: [&str; 6] = ["f", "g", "h", "i", "j", "k"];
    program(|cx| {
        let vars = Rc::new(["p", "q", "r", "s"].map(|name| Var::new(cx, name, 0)));
        for cpu in 0..3 {
            let vars = Rc::clone(&vars);
            task(cx, "t", cpu, async move |cx| {
                let mut own = 0;
                for (n, place) in PLACES.into_iter().enumerate() {
                    let _frame = cx.enter(place);
                    let var = &vars[(n * (1 + usize::from(cpu))) % 4];
                    if n % 2 == 0 {
                        var.write_once(cx, i32::from(cpu) + 1).await;
                    } else {
                        own += var.read_once(cx).await;
                    }
                }
                if own == 6 {
                    cx.report(sim::Draft::warning("sum", "six".to_owned()), Vec::new);
                }
            });
        }
    })
}

fn observed(jobs: usize, observe: Observe) -> (Summary, Coverage) {
    let setup = Setup::cpus(3).strategy(if observe.fuzz { Strategy::Rff } else { Strategy::Random });
    let estimate = setup.estimate(&busy());
    let make = || {
        let (program, estimate) = (busy(), estimate.clone());
        move |seed: u64, guide: Option<&Guide>| {
            if jobs > 1 {
                // Workers are to finish out of turn.
                std::thread::sleep(std::time::Duration::from_micros(200 * (seed % 3)));
            }
            let mut end = setup.informed(&program, &estimate, guide, seed);
            let coverage = end.coverage.take();
            let outcome = Outcome { digest: end.digest, steps: end.steps, findings: end.findings };
            Observed { outcome, coverage }
        }
    };
    let campaign = Campaign { seeds: 3..503, jobs, recheck_every: 10 };
    campaign.run_observed(make, &(), &AtomicBool::new(false), observe)
}

/// Planted bugs with which this was seen to fail: results taken in the order in which workers give them; a worker that
/// learns from its own runs at once.
#[test]
fn looking_at_runs_gives_the_same_on_one_two_and_three_workers() {
    for observe in [
        Observe::default(),
        Observe { fuzz: true, until_flat: None },
        Observe { fuzz: false, until_flat: Some(100) },
        Observe { fuzz: true, until_flat: Some(100) },
    ] {
        let one = observed(1, observe);
        assert!(one.0.failed > 0 && one.1.runs == one.0.ran && !one.1.orders.is_empty());
        assert!(!one.0.interrupted && one.0.flat == (one.0.ran < 500), "{observe:?}");
        assert_eq!(one.0.flat, observe.until_flat.is_some(), "{observe:?}: {} runs", one.0.ran);
        assert_eq!(observed(2, observe), one, "{observe:?}");
        assert_eq!(observed(3, observe), one, "{observe:?}");
    }
    // Looking changes nothing.
    let (looked, coverage) = observed(2, Observe::default());
    let plain = |seed| {
        let end = Setup::cpus(3).seed(&busy(), seed);
        Outcome { digest: end.digest, steps: end.steps, findings: end.findings }
    };
    let campaign = Campaign { seeds: 3..503, jobs: 2, recheck_every: 10 };
    assert_eq!(looked, campaign.run(|| plain, &(), &AtomicBool::new(false)));
    assert!(coverage.growth.windows(2).all(|two| two[0].states <= two[1].states));
    assert!(coverage.unseen_states().once <= coverage.runs);
}

/// Steps that concern nobody do not make two runs different, the order of accesses does.
#[test]
fn the_state_is_the_partial_order() {
    let program = program(|cx| {
        let x = Rc::new(Var::new(cx, "x", 0));
        for (cpu, name) in (0..).zip(["a", "b"]) {
            let x = Rc::clone(&x);
            task(cx, name, cpu, async move |cx| {
                cx.point().await;
                x.write_once(cx, 1).await;
                cx.point().await;
                x.read_once(cx).await;
            });
        }
    });
    let setup = Setup::cpus(2);
    let (mut states, mut digests) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..400 {
        let end = setup.informed(&program, &50.into(), None, seed);
        digests.insert(end.digest);
        states.insert(end.coverage.expect("asked for").state());
    }
    // Writes in two orders; with each, what the first to write reads: itself or the other, and never anything else.
    assert_eq!(states.len(), 4);
    assert!(digests.len() > 20, "{}", digests.len());
}

/// Planted bug with which this was seen to fail: digests of parts that are merged by exclusive or.
#[test]
fn a_campaign_gives_the_same_on_one_two_and_three_workers() {
    let one = campaign(1, 10);
    assert_eq!((one.ran, one.rechecked, one.interrupted), (200, 20, false));
    assert!(one.failed > 0 && one.signatures.len() > 1);
    assert_eq!(one, campaign(2, 10));
    assert_eq!(one, campaign(3, 10));
}

#[test]
fn a_campaign_in_parts_is_the_whole_campaign() {
    let whole = campaign(1, 0);
    for cut in [4, 50, 202] {
        let part = |seeds| {
            Campaign { seeds, jobs: 2, recheck_every: 0 }.run(|| outcome, &(), &AtomicBool::new(false))
        };
        let mut late = part(cut..203);
        late.merge(part(3..cut));
        assert_eq!(late, whole);
    }
}

#[test]
fn seeds_may_be_the_last_ones_there_are() {
    let seeds = u64::MAX - 20..u64::MAX;
    let summary = Campaign { seeds, jobs: 3, recheck_every: 1 }.run(|| outcome, &(), &AtomicBool::new(false));
    assert_eq!((summary.ran, summary.rechecked), (20, 20));
}

#[test]
fn a_stopped_campaign_says_so() {
    let summary =
        Campaign { seeds: 0..100, jobs: 2, recheck_every: 0 }.run(|| outcome, &(), &AtomicBool::new(true));
    assert!(summary.interrupted && summary.ran == 0);
}

#[test]
fn a_panic_in_a_model_is_a_finding_with_its_place_and_not_the_end() {
    let model = |seed: u64| {
        let program =
            program(move |cx| task(cx, "t", 0, async move |_| assert!(seed % 10 != 3, "bug {seed}")));
        let end = Setup::cpus(1).seed(&program, seed);
        Outcome { digest: end.digest, steps: end.steps, findings: end.findings }
    };
    let summary =
        Campaign { seeds: 0..50, jobs: 2, recheck_every: 7 }.run(|| model, &(), &AtomicBool::new(false));
    assert_eq!((summary.ran, summary.failed, summary.signatures.len()), (50, 5, 1));
    let stats = summary.by_first_seed()[0];
    assert_eq!((stats.finding.kind, stats.first_seed, stats.count), ("panic-in-model", 3, 5));
    assert!(stats.finding.title.contains("bug 3 at ") && stats.finding.title.contains("determinism.rs:"));
}

#[test]
fn hidden_nondeterminism_is_found_by_running_seeds_twice() {
    let hidden = AtomicU64::new(0);
    let model = |seed: u64| {
        let luck = hidden.fetch_add(1, Ordering::Relaxed);
        let program = program(move |cx| {
            task(cx, "t", 0, async move |cx| {
                if luck.is_multiple_of(4) {
                    cx.point().await;
                }
            });
        });
        let end = Setup::cpus(1).seed(&program, seed);
        Outcome { digest: end.digest, steps: end.steps, findings: end.findings }
    };
    let run = |recheck_every| {
        hidden.store(0, Ordering::Relaxed);
        Campaign { seeds: 0..20, jobs: 1, recheck_every }.run(|| &model, &(), &AtomicBool::new(false))
    };
    assert_eq!(run(0).failed, 0);
    let summary = run(1);
    assert!(summary.failed > 5);
    assert_eq!(summary.by_first_seed()[0].finding.kind, "nondeterminism");
}
