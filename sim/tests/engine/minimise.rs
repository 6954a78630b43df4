//! Shortening recorded runs.

use std::rc::Rc;

use sim::choices::Stream;
use sim::explore::minimise;
use sim::inject::Delays;
use sim::schedule::Strategy;
use sim::sync::Var;

use crate::common::{Program, Setup, program, task};

/// A check, then an act, among four contexts that do the same on other variables and choose lengths.
fn busy() -> Program {
    program(|cx| {
        let pointer = Rc::new(Var::new(cx, "pointer", true));
        for (cpu, name) in (0..).zip(["a", "b", "c", "d"]) {
            let pointer = Rc::clone(&pointer);
            task(cx, name, cpu, async move |cx| {
                let _frame = cx.enter(name);
                for round in 0..6 {
                    cx.point().await;
                    let time = cx.choose(Stream::Workload, "length", 20);
                    cx.delay(time).await;
                    match (cpu, round) {
                        (0, 3) => pointer.write_once(cx, false).await,
                        (1, 2) if pointer.read_once(cx).await && !pointer.read_once(cx).await => {
                            cx.report(sim::Draft::fatal("null-pointer", "Oops".to_owned()), Vec::new);
                        }
                        _ => cx.point().await,
                    }
                }
            });
        }
    })
}

/// Planted bug with which this was seen to fail: keeping a shorter list although it does not show the finding.
#[test]
fn real_runs_shrink_to_few_switches_and_keep_their_signature() {
    let program = busy();
    let mut shrunk = Vec::new();
    for (strategy, delays) in [
        (Strategy::Random, Delays::NONE),
        (Strategy::Pct(3), Delays::NONE),
        (Strategy::Random, Delays::new(4, 90)),
    ] {
        let setup = Setup { delays, ..Setup::cpus(4).strategy(strategy) };
        for seed in 0..4_000 {
            if setup.seed(&program, seed).findings.is_empty() {
                continue;
            }
            let mut end = setup.recorded(&program, seed);
            let signature = end.findings[0].signature_hash();
            let start = end.choices.take_records();
            let shows = |list: &sim::choices::ChoiceList| {
                setup.replay(&program, list).findings.iter().any(|f| f.signature_hash() == signature)
            };
            assert!(shows(&start), "seed {seed} does not replay");
            let minimised = minimise(&start, 2_000, shows);
            assert!(shows(&minimised.choices) && !minimised.gave_up);
            assert!(minimised.choices.records.len() <= start.records.len());
            shrunk.push(minimised.choices.switches());
            if shrunk.len() % 10 == 0 {
                break;
            }
        }
    }
    assert_eq!(shrunk.len(), 30);
    shrunk.sort_unstable();
    // Two are enough: in between, and back. A minimum in which nothing can be left out may be somewhat larger.
    assert!(shrunk[15] <= 5 && shrunk[29] <= 16, "{shrunk:?}");
}
