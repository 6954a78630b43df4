//! Every oracle of locks and contexts: once it fires, once it is silent.

use std::rc::Rc;

use sim::sync::{LockClass, Mutex, RwSem, SpinLock};
use sim::{Cx, Ended};

use crate::common::{A, B, Seen, all_orders, hardirq, kinds, many_seeds, one, task};

/// What a context turns off and does not turn on again.
type Enter = fn(&Cx);

fn has(seen: &Seen, kind: &str) -> bool {
    seen.kinds.contains_key(kind)
}

fn abba(cx: &Cx, orders: [[usize; 2]; 2]) {
    let locks = Rc::new([SpinLock::new(cx, A), SpinLock::new(cx, B)]);
    for (cpu, order) in orders.into_iter().enumerate() {
        let locks = Rc::clone(&locks);
        task(cx, "t", u8::try_from(cpu).expect("two"), async move |cx| {
            let _frame = cx.enter(if cpu == 0 { "forth" } else { "back" });
            locks[order[0]].lock(cx).await;
            locks[order[1]].lock(cx).await;
            locks[order[1]].unlock(cx);
            locks[order[0]].unlock(cx);
        });
    }
}

#[test]
fn abba_is_a_deadlock_in_some_orders_and_an_inversion_in_all() {
    let seen = all_orders(2, |cx, _| abba(cx, [[0, 1], [1, 0]]));
    assert_eq!(seen.kinds["lock-inversion"], seen.runs);
    let deadlocks = seen.kinds["deadlock"];
    assert!(0 < deadlocks && deadlocks < seen.runs, "{deadlocks} of {}", seen.runs);
    // The owner whose chain is closed is the one named.
    assert!(
        seen.titles.contains(
            "BUG: deadlock of 2 contexts: t holds [lock_a] and wants lock_b; t#1 holds [lock_b] and wants lock_a"
        ),
        "{:#?}",
        seen.titles
    );
    let seen = many_seeds(2, 100, |cx, _| abba(cx, [[0, 1], [1, 0]]));
    assert!(seen.kinds["deadlock"] > 10);
}

#[test]
fn one_order_is_neither() {
    all_orders(2, |cx, _| abba(cx, [[0, 1], [0, 1]])).clean();
}

#[test]
fn an_inversion_over_three_locks_is_found_without_any_overlap() {
    const C: LockClass = LockClass::new(2, "lock_c");
    let run = |last: [usize; 2]| {
        one(1, move |cx, _| {
            let locks = [Mutex::new(cx, A), Mutex::new(cx, B), Mutex::new(cx, C)];
            task(cx, "t", 0, async move |cx| {
                for [first, second] in [[0, 1], [1, 2], last] {
                    locks[first].lock(cx).await;
                    locks[second].lock(cx).await;
                    locks[second].unlock(cx);
                    locks[first].unlock(cx);
                }
            });
        })
        .0
    };
    assert_eq!(kinds(&run([2, 0])), ["lock-inversion"]);
    assert!(kinds(&run([0, 2])).is_empty());
}

#[test]
fn an_interrupt_that_spins_on_the_lock_of_the_task_below_is_a_deadlock() {
    let interrupted = |irqsave: bool| {
        all_orders(1, move |cx, _| {
            let lock = Rc::new(SpinLock::new(cx, A));
            let below = Rc::clone(&lock);
            task(cx, "task", 0, async move |cx| {
                let flags = irqsave.then(|| cx.local_irq_save());
                below.lock(cx).await;
                cx.point().await;
                below.unlock(cx);
                if let Some(flags) = flags {
                    cx.local_irq_restore(flags);
                }
            });
            hardirq(cx, "irq", 0, async move |cx| {
                lock.lock(cx).await;
                lock.unlock(cx);
            });
        })
    };
    let seen = interrupted(false);
    assert!(has(&seen, "deadlock"));
    assert_eq!(seen.kinds["irq-unsafe-lock"], seen.runs, "also where the interrupt came late");
    assert!(
        seen.titles.contains(
            "BUG: deadlock of 2 contexts: irq holds [] and wants lock_a; task holds [lock_a] and wants its CPU, kept by irq"
        ),
        "{:#?}",
        seen.titles
    );
    interrupted(true).clean();
}

#[test]
fn on_different_cpus_such_an_interrupt_waits_and_the_lock_is_unsafe_all_the_same() {
    let seen = all_orders(2, |cx, _| {
        let lock = Rc::new(SpinLock::new(cx, A));
        let below = Rc::clone(&lock);
        task(cx, "task", 0, async move |cx| {
            assert!(below.try_lock(cx).await);
            cx.point().await;
            below.unlock(cx);
            cx.sleep(1_000).await;
        });
        hardirq(cx, "irq", 1, async move |cx| {
            cx.delay(5_000).await;
            lock.lock(cx).await;
            lock.unlock(cx);
        });
    });
    assert_eq!(seen.kinds.keys().copied().collect::<Vec<_>>(), ["irq-unsafe-lock"]);
    assert_eq!(seen.kinds["irq-unsafe-lock"], seen.runs);
}

#[test]
fn taking_a_lock_twice_is_recursive_and_a_deadlock_of_one() {
    let (end, _) = one(1, |cx, _| {
        let lock = SpinLock::new(cx, A);
        task(cx, "t", 0, async move |cx| {
            lock.lock(cx).await;
            lock.lock(cx).await;
        });
    });
    assert_eq!((kinds(&end), end.ended), (vec!["recursive-locking", "deadlock"], Ended::Stuck));
}

#[test]
fn two_locks_of_a_class_are_recursive_unless_the_caller_vouches() {
    let run = |nested: bool| {
        one(1, move |cx, _| {
            let locks = [SpinLock::new(cx, A), SpinLock::new(cx, A)];
            task(cx, "t", 0, async move |cx| {
                locks[0].lock(cx).await;
                if nested {
                    locks[1].lock_nested(cx).await;
                } else {
                    locks[1].lock(cx).await;
                }
                locks[1].unlock(cx);
                locks[0].unlock(cx);
            });
        })
        .0
    };
    assert_eq!(kinds(&run(false)), ["recursive-locking"]);
    assert!(kinds(&run(true)).is_empty());
}

#[test]
fn sleeping_where_it_is_forbidden() {
    let cases: [(&str, Enter, bool); 6] = [
        ("irqs_disabled", |cx| _ = cx.local_irq_save(), false),
        ("in_atomic", Cx::preempt_disable, false),
        ("bh_disabled", Cx::local_bh_disable, false),
        ("rcu_read_lock_held", Cx::rcu_read_lock, false),
        ("in_hardirq", |_| (), true),
        ("", |_| (), false),
    ];
    for (reason, enter, irq) in cases {
        let (end, _) = one(1, move |cx, _| {
            let body = async move |cx: &Cx| {
                enter(cx);
                cx.sleep(100).await;
            };
            if irq { hardirq(cx, "t", 0, body) } else { task(cx, "t", 0, body) }
        });
        let sleeping: Vec<_> =
            end.findings.iter().filter(|f| f.kind == "sleep-in-atomic").map(|f| f.discriminator).collect();
        assert_eq!(sleeping, if reason.is_empty() { vec![] } else { vec![reason] });
    }
}

#[test]
fn a_mutex_under_a_spinlock_is_sleeping_in_atomic_context() {
    let (end, _) = one(1, |cx, _| {
        let (spin, mutex) = (SpinLock::new(cx, A), Mutex::new(cx, B));
        task(cx, "t", 0, async move |cx| {
            spin.lock(cx).await;
            mutex.lock(cx).await;
            mutex.unlock(cx);
            spin.unlock(cx);
        });
    });
    assert_eq!(kinds(&end), ["sleep-in-atomic"]);
}

#[test]
fn unlocking_what_is_not_held() {
    let (end, log) = one(1, |cx, log| {
        let (spin, mutex, sem) = (SpinLock::new(cx, A), Mutex::new(cx, B), RwSem::new(cx, A));
        let log = log.clone();
        task(cx, "t", 0, async move |cx| {
            for (name, unlock) in [
                ("spin", &(|| spin.unlock(cx)) as &dyn Fn()),
                ("mutex", &|| mutex.unlock(cx)),
                ("read", &|| sem.up_read(cx)),
                ("write", &|| sem.up_write(cx)),
            ] {
                let _frame = cx.enter(name);
                unlock();
            }
            log.add(cx.atomic_reason().unwrap_or("not atomic"));
        });
    });
    assert_eq!((kinds(&end), log.as_str()), (vec!["unlock-not-held"; 4], "not atomic"));
}

#[test]
fn what_a_context_leaves_behind() {
    let cases: [(&str, Enter); 4] = [
        ("atomic-at-end", |cx| _ = cx.local_irq_save()),
        ("atomic-at-end", Cx::preempt_disable),
        ("atomic-at-end", Cx::local_bh_disable),
        ("rcu-reader-at-end", Cx::rcu_read_lock),
    ];
    for (kind, leave) in cases {
        let (end, log) = one(1, move |cx, log| {
            let log = log.clone();
            task(cx, "t", 0, async move |cx| leave(cx));
            task(cx, "after", 0, async move |cx| {
                cx.sleep(10).await;
                log.add(cx.atomic_reason().unwrap_or("free"));
            });
        });
        assert_eq!((kinds(&end), log.as_str()), (vec![kind], "free"));
    }
}

#[test]
fn a_lock_left_held_is_found_at_the_end_and_the_one_who_spins_on_it_locks_up() {
    let seen = all_orders(2, |cx, _| {
        let lock = Rc::new(SpinLock::new(cx, A));
        let left = Rc::clone(&lock);
        task(cx, "leaves", 0, async move |cx| left.lock(cx).await);
        task(cx, "spins", 1, async move |cx| {
            lock.lock(cx).await;
            lock.unlock(cx);
        });
    });
    assert_eq!(seen.kinds["lock-held-at-end"], seen.runs);
    assert!(
        seen.titles
            .contains("watchdog: BUG: soft lockup - CPU#1 stuck: waiting for a lock that was never released")
    );
}

#[test]
fn a_guard_dropped_at_the_end_of_a_stopped_run_reports_nothing() {
    struct Guard(SpinLock, Cx);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.unlock(&self.1);
            self.1.rcu_read_unlock();
        }
    }
    let (end, _) = one(2, |cx, _| {
        let lock = SpinLock::new(cx, A);
        task(cx, "t", 0, async move |cx| {
            lock.lock(cx).await;
            let _guard = Guard(lock, cx.clone());
            let _frame = cx.enter("inner");
            cx.delay(1_000_000).await;
        });
        task(cx, "stops", 1, async |cx| {
            cx.delay(1_000).await;
            cx.report(sim::Draft::fatal("oops", "Oops".to_owned()), Vec::new);
        });
    });
    assert_eq!((kinds(&end), end.ended), (vec!["oops"], Ended::Stopped));
}

#[test]
fn who_needs_a_lock_holds_it() {
    let found = |held: bool| {
        one(1, move |cx, _| {
            let (mutex, spin) = (Mutex::new(cx, A), SpinLock::new(cx, B));
            task(cx, "t", 0, async move |cx| {
                if held {
                    mutex.lock(cx).await;
                    spin.lock(cx).await;
                }
                mutex.assert_held(cx);
                spin.assert_held(cx);
                if held {
                    spin.unlock(cx);
                    mutex.unlock(cx);
                }
            });
        })
        .0
    };
    assert_eq!(kinds(&found(false)), ["lock-not-held", "lock-not-held"]);
    assert!(kinds(&found(true)).is_empty());
}
