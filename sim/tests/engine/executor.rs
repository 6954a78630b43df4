//! Contexts, virtual time, timers of one instant.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use sim::choices::{Choices, Mode};
use sim::context::Timer;
use sim::schedule::Strategy;
use sim::{Ended, RunConfig, Sim, SpawnSpec};

use crate::common::{all_orders, kinds, one, start, task};

/// Planted bugs with which this was seen to fail: a clock that does not count plain events among what keeps a run
/// alive; calls that are no steps, with which the second run never ended.
#[test]
fn plain_events_are_called_in_the_order_of_their_times_and_cannot_go_on_for_ever() {
    let run = |last: u64| {
        let config = RunConfig { max_steps: 1_000, ..RunConfig::default() };
        let sim = Sim::new(config, Choices::new(Mode::Seed(1), false), Strategy::Random.build(1, |_| 0));
        let (log, own) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(None)));
        let (noted, again) = (Rc::clone(&log), Rc::clone(&own));
        let handler = sim.handler(move |sim, argument| {
            noted.borrow_mut().push((sim.now(), argument));
            if let (Some(handler), true) = (again.get(), sim.now() < last) {
                sim.call_at(sim.now() + 100, handler, argument + 10);
            }
        });
        own.set(Some(handler));
        sim.call_at(50, handler, 2);
        sim.call_at(30, handler, 1);
        let end = sim.run();
        (end.ended, kinds(&end), log.take())
    };
    let (ended, found, log) = run(140);
    assert_eq!((ended, found), (Ended::Done, Vec::new()));
    assert_eq!(log, [(30, 1), (50, 2), (130, 11), (150, 12), (230, 21)]);
    let (ended, found, log) = run(u64::MAX);
    assert_eq!((ended, found.len(), log.len()), (Ended::StepLimit, 1, 999));
}

#[test]
fn contexts_interleave_at_every_step_and_nowhere_else() {
    let seen = all_orders(2, |cx, log| {
        for (name, cpu) in [("a", 0), ("b", 1)] {
            let log = log.clone();
            task(cx, name, cpu, async move |cx| {
                log.add(format!("{name}0"));
                log.add(format!("{name}1"));
                cx.point().await;
                log.add(format!("{name}2"));
            });
        }
    });
    // Two steps each, the first being the start: 4! / (2! 2!).
    assert_eq!(seen.runs, 6);
    seen.clean().is(&[
        "a0 a1 a2 b0 b1 b2",
        "a0 a1 b0 b1 a2 b2",
        "a0 a1 b0 b1 b2 a2",
        "b0 b1 a0 a1 a2 b2",
        "b0 b1 a0 a1 b2 a2",
        "b0 b1 b2 a0 a1 a2",
    ]);
}

#[test]
fn two_tasks_of_one_cpu_interleave_too() {
    let seen = all_orders(1, |cx, log| {
        for name in ["a", "b"] {
            let log = log.clone();
            task(cx, name, 0, async move |cx| {
                cx.point().await;
                log.add(name);
            });
        }
    });
    seen.clean().is(&["a b", "b a"]);
}

#[test]
fn a_step_takes_its_time_and_waiting_contexts_let_the_clock_jump() {
    let (end, log) = one(1, |cx, log| {
        let log = log.clone();
        task(cx, "a", 0, async move |cx| {
            let begin = cx.now();
            cx.point().await;
            log.add((cx.now() - begin).to_string());
            cx.sleep(5_000).await;
            log.add((cx.now() - begin).to_string());
            cx.delay(300).await;
            log.add((cx.now() - begin).to_string());
        });
    });
    assert_eq!(log, "20 5020 5320");
    // Three steps: the root's start, that of the task, and its point.
    assert_eq!((end.ended, end.steps, end.time), (Ended::Done, 3, 60 + 5_300));
}

#[test]
fn a_sleep_is_never_cut_short_by_the_deadline_of_an_earlier_one() {
    let seen = all_orders(2, |cx, log| {
        for (name, cpu, times) in [("a", 0, [500, 90]), ("b", 1, [130, 700])] {
            let log = log.clone();
            task(cx, name, cpu, async move |cx| {
                for time in times {
                    let begin = cx.now();
                    cx.sleep(time).await;
                    if cx.now() < begin + time {
                        log.add("early");
                    }
                    cx.point().await;
                }
            });
        }
    });
    seen.clean().is(&[""]);
}

#[test]
fn the_order_of_timers_of_one_instant_is_a_choice() {
    let seen = all_orders(3, |cx, log| {
        for (name, cpu) in [("a", 0), ("b", 1), ("c", 2)] {
            let log = log.clone();
            let timer = Timer::new(SpawnSpec::softirq(name, cpu), move |_| {
                let log = log.clone();
                async move { log.add(name) }
            });
            timer.modify(cx, 10_000);
        }
    });
    assert_eq!(seen.runs, 6);
    seen.clean().is(&["a b c", "a c b", "b a c", "b c a", "c a b", "c b a"]);
}

#[test]
fn the_order_of_sleepers_of_one_instant_is_a_choice() {
    let seen = all_orders(2, |cx, log| {
        for (name, cpu) in [("a", 0), ("b", 1)] {
            let log = log.clone();
            task(cx, name, cpu, async move |cx| {
                let now = cx.now();
                cx.delay(1_000_u64.saturating_sub(now)).await;
                log.add(name);
            });
        }
    });
    seen.clean().is(&["a b", "b a"]);
}

#[test]
fn a_timer_that_strikes_in_the_middle_of_a_step_waits_for_its_end() {
    let seen = all_orders(1, |cx, log| {
        let fired = log.clone();
        let timer = Timer::new(SpawnSpec::softirq("timer", 0), move |_| {
            let log = fired.clone();
            async move { log.add("timer") }
        });
        let log = log.clone();
        task(cx, "a", 0, async move |cx| {
            timer.modify(cx, cx.now() + 20);
            cx.point().await;
            // It is due now, but between two awaits nobody else runs.
            log.add("a1");
            log.add(if timer.pending() { "pending" } else { "due" });
            cx.point().await;
            log.add("a2");
        });
    });
    seen.clean().is(&["a1 due a2 timer", "a1 due timer a2"]);
}

#[test]
fn a_cancelled_or_moved_timer_does_not_fire() {
    let (end, log) = one(1, |cx, log| {
        let fired = log.clone();
        let timer = Timer::new(SpawnSpec::softirq("timer", 0), move |cx| {
            let log = fired.clone();
            async move { log.add(format!("fired at {}", cx.now())) }
        });
        let log = log.clone();
        task(cx, "a", 0, async move |cx| {
            assert!(!timer.modify(cx, 1_000));
            assert!(timer.cancel() && !timer.cancel());
            assert!(!timer.modify(cx, 2_000));
            assert!(timer.modify(cx, 3_000));
            cx.sleep(10_000).await;
            log.add(if timer.pending() { "pending" } else { "over" });
        });
    });
    // It starts with a step at the deadline.
    assert_eq!((log.as_str(), end.ended), ("fired at 3020 over", Ended::Done));
}

#[test]
fn daemons_and_their_timers_do_not_keep_a_run_alive_but_other_timers_do() {
    let (end, log) = one(1, |cx, log| {
        let log = log.clone();
        start(cx, SpawnSpec::task("ticker", 0).daemon(), async |cx| {
            loop {
                cx.sleep(1_000).await;
                cx.point().await;
            }
        });
        let timer = Timer::new(SpawnSpec::softirq("last", 0), move |_| {
            let log = log.clone();
            async move { log.add("last") }
        });
        timer.modify(cx, 4_500);
    });
    assert_eq!((log.as_str(), end.ended), ("last", Ended::Done));
    assert!(end.findings.is_empty() && (4_500..6_000).contains(&end.time), "{end:?}");
}

#[test]
fn slots_are_used_again_and_names_are_not() {
    let (end, log) = one(1, |cx, log| {
        let log = log.clone();
        task(cx, "a", 0, async move |cx| {
            let done = Rc::new(Cell::new(0));
            for _ in 0..200 {
                let (log, done) = (log.clone(), Rc::clone(&done));
                task(cx, "child", 0, async move |cx| {
                    if cx.name().nth == 199 {
                        log.add(cx.name().to_string());
                    }
                    done.set(done.get() + 1);
                });
                cx.sleep(100).await;
            }
            assert_eq!(done.get(), 200);
        });
    });
    assert_eq!((log.as_str(), end.ended), ("child#199", Ended::Done));
}

#[test]
fn too_many_contexts_at_one_time_end_the_run_with_a_finding() {
    let many = |count: u32| {
        one(1, move |cx, _| {
            for _ in 0..count {
                task(cx, "child", 0, async |cx| cx.sleep(1_000).await);
            }
        })
        .0
    };
    assert!(kinds(&many(63)).is_empty(), "the root is the 64th");
    let end = many(64);
    assert_eq!((kinds(&end), end.ended), (vec!["too-many-contexts"], Ended::Stopped));
}

#[test]
fn nothing_at_all_is_done_at_once() {
    let (end, _) = one(1, |_, _| {});
    assert_eq!((end.ended, end.steps), (Ended::Done, 1));
}
