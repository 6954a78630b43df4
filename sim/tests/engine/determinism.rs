//! The same seed is the same run: again, on any number of workers, recorded or not, in debug and release builds.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sim::explore::{Campaign, Outcome, Summary};
use sim::inject::Delays;
use sim::schedule::Strategy;
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

const STRATEGIES: [Strategy; 4] = [Strategy::Random, Strategy::Pct(3), Strategy::RoundRobin, Strategy::Swarm];

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

const PINNED: [&str; 4] = [
    "random 57b41a9940316234d60b628ad8b5ae77",
    "pct:3 939d2782536f0c296c2ba87edbdbf137",
    "round-robin 03c8cffe4e6bf620f4a30e522dacf45f",
    "swarm 57b41a9940316234d60b628ad8b5ae77",
];

fn outcome(seed: u64) -> Outcome {
    let end = Setup::cpus(3).seed(&racy(), seed);
    Outcome { digest: end.digest, steps: end.steps, findings: end.findings }
}

fn campaign(jobs: usize, recheck_every: u64) -> Summary {
    let campaign = Campaign { seeds: 3..203, jobs, recheck_every };
    campaign.run(|| outcome, &(), &AtomicBool::new(false))
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
