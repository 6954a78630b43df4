//! Progress: hung tasks, lock-ups, livelocks, and runs that may end although someone waits.

use std::rc::Rc;

use sim::sync::{Completion, SpinLock, Var};
use sim::{Cx, Ended, RunConfig, SpawnSpec};

use crate::common::{A, Setup, hardirq, kinds, one, program, start, task};

#[test]
fn a_wait_for_what_never_comes_is_a_hung_task() {
    let run = |comes: bool| {
        one(2, move |cx, _| {
            let done = Rc::new(Completion::new(cx, "probe_done"));
            let waited = Rc::clone(&done);
            task(cx, "waiter", 0, async move |cx| waited.wait(cx).await);
            if comes {
                task(cx, "completer", 1, async move |cx| done.complete(cx).await);
            }
        })
        .0
    };
    let end = run(false);
    assert_eq!((kinds(&end), end.ended), (vec!["hung-task"], Ended::Stuck));
    assert!(end.findings[0].title.starts_with("INFO: task waiter blocked for ever on probe_done"));
    let end = run(true);
    assert_eq!((kinds(&end), end.ended), (vec![], Ended::Done));
}

#[test]
fn a_daemon_may_wait_for_ever() {
    let (end, _) = one(1, |cx, _| {
        let done = Completion::new(cx, "work");
        start(cx, SpawnSpec::task("kworker", 0).daemon(), async move |cx| done.wait(cx).await);
    });
    assert_eq!((kinds(&end), end.ended), (vec![], Ended::Done));
}

#[test]
fn spinning_for_ever_is_a_lockup_soft_or_hard() {
    let spin = |off: bool| {
        one(1, move |cx, _| {
            task(cx, "t", 0, async move |cx| {
                let _flags = off.then(|| cx.local_irq_save());
                cx.spin_forever("the lock word is junk").await;
            });
        })
        .0
    };
    assert_eq!(kinds(&spin(false)), ["soft-lockup"]);
    assert_eq!(kinds(&spin(true)), ["hard-lockup"]);
    let (end, _) = one(1, |cx, _| hardirq(cx, "irq", 0, async |cx| cx.spin_forever("junk").await));
    assert_eq!(kinds(&end), ["hard-lockup"]);
}

#[test]
fn a_periodic_daemon_does_not_hide_that_everyone_else_is_stuck() {
    let (end, _) = one(2, |cx, _| {
        start(cx, SpawnSpec::task("ticker", 0).daemon(), async |cx| {
            loop {
                cx.sleep(1_000).await;
                cx.point().await;
            }
        });
        task(cx, "t", 1, async |cx| cx.spin_forever("junk").await);
        let lock = SpinLock::new(cx, A);
        task(cx, "u", 0, async move |cx| {
            lock.lock(cx).await;
            lock.lock(cx).await;
        });
    });
    assert_eq!(kinds(&end).iter().filter(|kind| **kind == "livelock").count(), 0, "{:?}", kinds(&end));
    assert!(kinds(&end).contains(&"soft-lockup") && kinds(&end).contains(&"deadlock"));
}

#[test]
fn a_task_whose_cpu_is_never_given_back_does_not_pass_for_done() {
    let (end, _) = one(1, |cx, _| {
        start(cx, SpawnSpec::task("keeper", 0).daemon(), async |cx| {
            cx.preempt_disable();
            cx.spin_forever("waits for a device").await;
        });
        task(cx, "victim", 0, async |cx: &Cx| {
            cx.sleep(1_000).await;
            cx.point().await;
        });
    });
    assert_eq!((kinds(&end), end.ended), (vec!["hung-task"], Ended::Stuck));
    assert!(end.findings[0].title.ends_with("kept by keeper"), "{}", end.findings[0].title);
}

#[test]
fn a_livelock_names_who_used_up_the_budget() {
    let (end, _) = one(2, |cx, _| {
        let flag = Rc::new(Var::new(cx, "flag", false));
        task(cx, "modest", 0, async |cx| {
            loop {
                cx.sleep(10_000).await;
                cx.point().await;
            }
        });
        task(cx, "greedy", 1, async move |cx| while !flag.read_once(cx).await {});
    });
    assert_eq!((kinds(&end), end.ended), (vec!["livelock"], Ended::StepLimit));
    let title = &end.findings[0].title;
    assert!(title.contains("greedy took") && title.contains("read flag"), "{title}");
    assert_eq!(end.steps, 20_000);
}

/// A run that may be long.
fn long(cpus: u8) -> Setup {
    let setup = Setup::cpus(cpus);
    Setup { config: RunConfig { max_steps: 1_000_000, ..setup.config }, ..setup }
}

#[test]
fn a_loop_with_interrupts_off_is_noticed_long_before_the_budget() {
    let end = long(2).seed(
        &program(|cx| {
            task(cx, "spinner", 1, async |cx| {
                cx.point().await;
                let flags = cx.local_irq_save();
                loop {
                    cx.point().await;
                    if cx.now() == 0 {
                        break;
                    }
                }
                cx.local_irq_restore(flags);
            });
        }),
        0,
    );
    assert_eq!((kinds(&end), end.ended), (vec!["livelock"], Ended::Stopped));
    let title = &end.findings[0].title;
    assert!(title.contains("with interrupts off: spinner on cpu 1"), "{title}");
    assert!(end.steps < 60_000, "{}", end.steps);
}

#[test]
fn turning_interrupts_on_now_and_then_is_progress() {
    let end = long(1).seed(
        &program(|cx| {
            task(cx, "t", 0, async |cx| {
                for _ in 0..8 {
                    let flags = cx.local_irq_save();
                    let inner = cx.local_irq_save();
                    for _ in 0..20_000 {
                        cx.point().await;
                    }
                    cx.local_irq_restore(inner);
                    cx.local_irq_restore(flags);
                }
            });
        }),
        0,
    );
    assert_eq!((kinds(&end), end.ended), (vec![], Ended::Done));
}

#[test]
fn a_long_run_below_the_limit_is_no_livelock() {
    let (end, _) = one(1, |cx, _| {
        task(cx, "t", 0, async |cx| {
            for _ in 0..19_000 {
                cx.point().await;
            }
        });
    });
    assert_eq!((kinds(&end), end.ended), (vec![], Ended::Done));
}
