//! Completions, wait queues, RCU, workqueues, delayed work, atomics.

use std::cell::Cell;
use std::rc::Rc;

use sim::context::{DelayedWork, Work};
use sim::sync::{Atomic, Completion, WaitQueue};

use crate::common::{all_orders, one, task};

#[test]
fn a_completion_lets_as_many_go_on_as_it_was_completed() {
    let seen = all_orders(3, |cx, log| {
        let done = Rc::new(Completion::new(cx, "done"));
        for cpu in 0..2 {
            let (done, log) = (Rc::clone(&done), log.clone());
            task(cx, "waiter", cpu, async move |cx| {
                done.wait(cx).await;
                log.add("on");
            });
        }
        let log = log.clone();
        task(cx, "completer", 2, async move |cx| {
            log.add("first");
            done.complete(cx).await;
            cx.sleep(1_000).await;
            log.add("second");
            done.complete(cx).await;
        });
    });
    seen.clean().is(&["first on second on"]);
}

#[test]
fn complete_all_is_for_ever() {
    let seen = all_orders(2, |cx, log| {
        let done = Rc::new(Completion::new(cx, "done"));
        let (waited, log) = (Rc::clone(&done), log.clone());
        task(cx, "waiter", 0, async move |cx| {
            for _ in 0..3 {
                waited.wait(cx).await;
            }
            log.add("thrice");
        });
        task(cx, "completer", 1, async move |cx| done.complete_all(cx).await);
    });
    seen.clean().is(&["thrice"]);
}

#[test]
fn no_wake_up_is_lost_between_a_failed_test_and_the_wait() {
    let seen = all_orders(2, |cx, log| {
        let (queue, flag) = (Rc::new(WaitQueue::new(cx, "queue")), Rc::new(Cell::new(false)));
        let (waited, condition, log) = (Rc::clone(&queue), Rc::clone(&flag), log.clone());
        task(cx, "waiter", 0, async move |cx| {
            cx.point().await;
            while !condition.get() {
                waited.wait(cx).await;
            }
            log.add("on");
        });
        task(cx, "waker", 1, async move |cx| {
            cx.point().await;
            flag.set(true);
            cx.point().await;
            queue.wake_all(cx);
        });
    });
    seen.clean().is(&["on"]);
}

#[test]
fn synchronize_rcu_waits_for_the_readers_that_are_inside_and_not_for_later_ones() {
    let seen = all_orders(3, |cx, log| {
        let own = log.clone();
        task(cx, "reader", 0, async move |cx| {
            cx.rcu_read_lock();
            cx.rcu_read_lock();
            own.add("enter");
            cx.delay(5_000_000).await;
            cx.rcu_read_unlock();
            cx.delay(1_000).await;
            own.add("leave");
            cx.rcu_read_unlock();
        });
        let own = log.clone();
        task(cx, "updater", 1, async move |cx| {
            cx.sleep(100).await;
            own.add("begin");
            cx.synchronize_rcu().await;
            own.add("over");
        });
        let own = log.clone();
        task(cx, "late", 2, async move |cx| {
            cx.sleep(2_000_000).await;
            cx.rcu_read_lock();
            cx.delay(9_000_000).await;
            cx.rcu_read_unlock();
            own.add("late left");
        });
    });
    seen.clean().is(&["enter begin leave over late left"]);
}

#[test]
fn call_rcu_runs_its_function_after_the_readers_and_without_one() {
    for reader in [false, true] {
        let seen = all_orders(2, move |cx, log| {
            if reader {
                let own = log.clone();
                task(cx, "reader", 0, async move |cx| {
                    cx.rcu_read_lock();
                    cx.delay(3_000_000).await;
                    own.add("leave");
                    cx.rcu_read_unlock();
                });
            }
            let own = log.clone();
            task(cx, "updater", 1, async move |cx| {
                cx.sleep(100).await;
                cx.rcu_read_lock();
                cx.call_rcu(move |cx| async move {
                    assert_eq!(cx.class(), sim::Class::Softirq);
                    own.add("freed");
                });
                cx.rcu_read_unlock();
            });
        });
        seen.clean().is(&[if reader { "leave freed" } else { "freed" }]);
    }
}

/// More callbacks than a run may have contexts: one softirq works off those of a CPU, in their order.
#[test]
fn callbacks_of_a_cpu_run_one_after_another() {
    let (end, log) = one(2, |cx, log| {
        let log = log.clone();
        task(cx, "updater", 1, async move |cx| {
            for nth in 0..200_u32 {
                let log = log.clone();
                cx.call_rcu(move |cx| async move {
                    let cpu = cx.cpu();
                    cx.point().await;
                    log.add(format!("{nth}.{cpu}"));
                });
                if nth % 50 == 0 {
                    cx.sleep(300_000).await;
                }
            }
        });
    });
    assert!(end.findings.is_empty(), "{:?}", crate::common::kinds(&end));
    let wanted: Vec<String> = (0..200).map(|nth| format!("{nth}.1")).collect();
    assert_eq!(log, wanted.join(" "));
}

/// The callbacks of two CPUs have nothing to do with each other.
#[test]
fn callbacks_of_two_cpus_run_in_any_order() {
    let seen = all_orders(2, |cx, log| {
        for cpu in 0..2 {
            let log = log.clone();
            task(cx, "updater", cpu, async move |cx| {
                cx.call_rcu(move |_| async move { log.add(cpu.to_string()) });
            });
        }
    });
    seen.clean().is(&["0 1", "1 0"]);
}

#[test]
fn a_reader_that_ends_inside_does_not_hold_up_grace_periods_for_ever() {
    let (end, log) = one(2, |cx, log| {
        task(cx, "reader", 0, async |cx| {
            cx.rcu_read_lock();
            cx.delay(100).await;
        });
        let log = log.clone();
        task(cx, "updater", 1, async move |cx| {
            cx.sleep(1_000).await;
            cx.synchronize_rcu().await;
            log.add("over");
        });
    });
    assert_eq!((log.as_str(), crate::common::kinds(&end)), ("over", vec!["rcu-reader-at-end"]));
}

#[test]
fn work_queued_twice_runs_once_and_queued_while_it_runs_once_more_but_not_beside_itself() {
    let seen = all_orders(2, |cx, log| {
        let (own, inside) = (log.clone(), Rc::new(Cell::new(0)));
        let work = Work::new(cx, "work", move |cx| {
            let (log, inside) = (own.clone(), Rc::clone(&inside));
            async move {
                inside.set(inside.get() + 1);
                assert_eq!(inside.get(), 1, "work runs beside itself");
                cx.sleep(1_000).await;
                inside.set(inside.get() - 1);
                log.add("ran");
            }
        });
        let log = log.clone();
        task(cx, "queuer", 0, async move |cx| {
            assert!(work.queue(cx, 0).await);
            if !work.queue(cx, 1).await {
                log.add("pending");
            }
            work.flush(cx).await;
            assert!(!work.pending());
            log.add("flushed");
        });
    });
    seen.clean().is(&["pending ran flushed", "ran ran flushed"]);
}

#[test]
fn flush_does_not_wait_for_what_is_queued_later() {
    let (end, log) = one(2, |cx, log| {
        let (own, rounds) = (log.clone(), Rc::new(Cell::new(0)));
        let again: Rc<std::cell::OnceCell<Work>> = Rc::default();
        let inner = Rc::clone(&again);
        let work = Work::new(cx, "work", move |cx| {
            let (log, rounds, work) = (own.clone(), Rc::clone(&rounds), inner.get().cloned());
            async move {
                rounds.set(rounds.get() + 1);
                log.add(rounds.get().to_string());
                if let (Some(work), true) = (work, rounds.get() < 9) {
                    work.queue(&cx, 0).await;
                }
                cx.sleep(1_000).await;
            }
        });
        again.set(work.clone()).expect("set once");
        let log = log.clone();
        task(cx, "flusher", 1, async move |cx| {
            work.queue(cx, 0).await;
            work.flush(cx).await;
            log.add("flushed");
        });
    });
    // Which rounds come before depends on when it is flushed; never all of them.
    let flushed = log.find("flushed").expect("it returns");
    assert!(flushed < log.find('5').expect("it goes on") && end.findings.is_empty(), "{log}");
}

#[test]
fn cancelling_takes_pending_work_back_and_waits_for_running_work() {
    let seen = all_orders(1, |cx, log| {
        let own = log.clone();
        let work = Work::new(cx, "work", move |cx| {
            let log = own.clone();
            async move {
                log.add("begin");
                cx.sleep(1_000).await;
                log.add("end");
            }
        });
        let log = log.clone();
        task(cx, "canceller", 0, async move |cx| {
            work.queue(cx, 0).await;
            let was = work.cancel_sync(cx).await;
            log.add(if was { "taken back" } else { "cancelled" });
        });
    });
    seen.clean().is(&["begin end cancelled", "taken back"]);
}

#[test]
fn delayed_work_waits_may_be_moved_and_is_gone_once_cancelled() {
    let (end, log) = one(2, |cx, log| {
        let own = log.clone();
        let work = DelayedWork::new(cx, "work", 1, move |cx| {
            let log = own.clone();
            async move { log.add(format!("ran at {} us", cx.now() / 1_000)) }
        });
        let log = log.clone();
        task(cx, "queuer", 0, async move |cx| {
            assert!(work.queue(cx, 10_000).await && !work.queue(cx, 1).await);
            assert!(work.modify(cx, 50_000).await);
            cx.sleep(100_000).await;
            assert!(work.queue(cx, 10_000).await);
            assert!(work.cancel_sync(cx).await);
            cx.sleep(100_000).await;
            assert!(!work.modify(cx, 7_000).await);
            work.flush(cx).await;
            log.add("flushed");
        });
    });
    assert_eq!((log.as_str(), end.findings.len()), ("ran at 50 us ran at 207 us flushed", 0));
}

/// The window in which the timer has fired and its work is not queued yet.
#[test]
fn cancelled_delayed_work_never_runs_after_the_cancellation() {
    let seen = all_orders(2, |cx, log| {
        let own = log.clone();
        let work = DelayedWork::new(cx, "work", 1, move |_| {
            let log = own.clone();
            async move { log.add("ran") }
        });
        let log = log.clone();
        task(cx, "canceller", 0, async move |cx| {
            work.queue(cx, 40).await;
            for _ in 0..5 {
                cx.point().await;
            }
            work.cancel_sync(cx).await;
            log.add("cancelled");
        });
    });
    seen.clean().is(&["cancelled", "ran cancelled"]);
}

#[test]
fn atomics_lose_no_update() {
    let seen = all_orders(3, |cx, log| {
        let count = Rc::new(Atomic::new(cx, "count", 3));
        for cpu in 0..3 {
            let (count, log) = (Rc::clone(&count), log.clone());
            task(cx, "t", cpu, async move |cx| {
                if count.dec_and_test(cx).await {
                    log.add("last");
                    assert_eq!(count.compare_exchange(cx, 0, 7).await, 0);
                    assert_eq!(count.compare_exchange(cx, 0, 8).await, 7);
                    assert_eq!(count.read(cx).await, 7);
                }
            });
        }
    });
    seen.clean().is(&["last"]);
}
