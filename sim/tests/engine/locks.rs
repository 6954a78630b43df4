//! Spinlocks, mutexes, semaphores: what they exclude.

use std::cell::Cell;
use std::rc::Rc;

use sim::sync::{Mutex, RwSem, SpinLock};
use sim::{Cx, SpawnSpec};

use crate::common::{A, Log, all_orders, many_seeds, one, program, start, task};

/// Counts who is inside at one time.
#[derive(Clone, Default)]
struct Inside(Rc<Cell<u32>>, Rc<Cell<u32>>);

impl Inside {
    async fn stay(&self, cx: &Cx) {
        self.0.set(self.0.get() + 1);
        self.1.set(self.1.get().max(self.0.get()));
        cx.point().await;
        self.0.set(self.0.get() - 1);
    }
}

#[test]
fn a_spinlock_lets_one_in_and_gives_every_order() {
    let most = Inside::default();
    let inside = most.clone();
    let seen = all_orders(3, move |cx, log| {
        let lock = Rc::new(SpinLock::new(cx, A));
        for (cpu, name) in ["a", "b", "c"].into_iter().enumerate() {
            let (lock, inside, log) = (Rc::clone(&lock), inside.clone(), log.clone());
            task(cx, name, u8::try_from(cpu).expect("three"), async move |cx| {
                lock.lock(cx).await;
                log.add(name);
                inside.stay(cx).await;
                assert!(lock.held_by(cx) && lock.is_locked());
                lock.unlock(cx);
                assert!(!lock.held_by(cx));
            });
        }
    });
    seen.clean().is(&["a b c", "a c b", "b a c", "b c a", "c a b", "c b a"]);
    assert_eq!(most.1.get(), 1);
}

#[test]
fn a_mutex_lets_one_in_and_its_owner_may_sleep() {
    let most = Inside::default();
    let inside = most.clone();
    let seen = all_orders(1, move |cx, log| {
        let lock = Rc::new(Mutex::new(cx, A));
        for name in ["a", "b"] {
            let (lock, inside, log) = (Rc::clone(&lock), inside.clone(), log.clone());
            task(cx, name, 0, async move |cx| {
                lock.lock(cx).await;
                log.add(name);
                inside.stay(cx).await;
                cx.sleep(1_000).await;
                assert!(lock.held_by(cx));
                lock.unlock(cx);
            });
        }
    });
    seen.clean().is(&["a b", "b a"]);
    assert_eq!(most.1.get(), 1);
}

#[test]
fn a_semaphore_lets_readers_in_together_and_a_writer_alone() {
    let (readers, writers) = (Inside::default(), Inside::default());
    let (inside_r, inside_w) = (readers.clone(), writers.clone());
    let seen = all_orders(3, move |cx, _| {
        let sem = Rc::new(RwSem::new(cx, A));
        for cpu in 0..2 {
            let (sem, inside) = (Rc::clone(&sem), inside_r.clone());
            let other = inside_w.clone();
            task(cx, "reader", cpu, async move |cx| {
                sem.down_read(cx).await;
                assert_eq!(other.0.get(), 0);
                inside.stay(cx).await;
                sem.up_read(cx);
            });
        }
        let (inside, other) = (inside_w.clone(), inside_r.clone());
        task(cx, "writer", 2, async move |cx| {
            sem.down_write(cx).await;
            assert_eq!(other.0.get(), 0);
            inside.stay(cx).await;
            sem.up_write(cx);
        });
    });
    seen.clean();
    assert_eq!((readers.1.get(), writers.1.get()), (2, 1));
}

#[test]
fn trying_never_waits() {
    let seen = all_orders(2, |cx, log| {
        let lock = Rc::new(SpinLock::new(cx, A));
        for (name, cpu) in [("a", 0), ("b", 1)] {
            let (lock, log) = (Rc::clone(&lock), log.clone());
            task(cx, name, cpu, async move |cx| {
                if lock.try_lock(cx).await {
                    cx.point().await;
                    lock.unlock(cx);
                } else {
                    log.add(format!("{name} failed"));
                }
                assert_eq!(cx.atomic_reason(), None);
            });
        }
    });
    seen.clean().is(&["", "a failed", "b failed"]);
}

#[test]
fn one_who_only_tries_keeps_those_out_who_wait() {
    let most = Inside::default();
    let inside = most.clone();
    let seen = all_orders(3, move |cx, _| {
        let lock = Rc::new(Mutex::new(cx, A));
        for cpu in 0..3 {
            let (lock, inside) = (Rc::clone(&lock), inside.clone());
            task(cx, "t", cpu, async move |cx| {
                if cpu == 0 {
                    if !lock.try_lock(cx).await {
                        return;
                    }
                } else {
                    lock.lock(cx).await;
                }
                inside.stay(cx).await;
                lock.unlock(cx);
            });
        }
    });
    seen.clean();
    assert_eq!(most.1.get(), 1);
}

#[test]
fn a_missing_unlock_can_be_expressed_and_the_next_one_waits_for_ever() {
    let (end, log) = one(2, |cx, log| {
        let lock = Rc::new(Mutex::new(cx, A));
        let (first, log) = (Rc::clone(&lock), log.clone());
        task(cx, "forgets", 0, async move |cx| {
            first.lock(cx).await;
            // Its slot is used again by one that does not hold the lock.
            cx.sleep(100).await;
        });
        task(cx, "waits", 1, async move |cx| {
            cx.sleep(1_000).await;
            for _ in 0..80 {
                let (log, lock) = (log.clone(), Rc::clone(&lock));
                task(cx, "innocent", 0, async move |cx| {
                    if lock.held_by(cx) {
                        log.add("an innocent one holds it");
                    }
                });
                cx.sleep(100).await;
            }
            lock.lock(cx).await;
            log.add("got it");
        });
    });
    assert_eq!(log, "");
    assert_eq!(crate::common::kinds(&end), ["lock-held-at-end", "hung-task"]);
    assert_eq!(end.ended, sim::Ended::Stuck);
}

#[test]
fn a_semaphore_taken_twice_for_reading_is_held_until_given_back_twice() {
    let (end, log) = one(2, |cx, log| {
        let sem = Rc::new(RwSem::new(cx, A));
        let (own, own_log) = (Rc::clone(&sem), log.clone());
        task(cx, "reader", 0, async move |cx| {
            own.down_read(cx).await;
            own.down_read(cx).await;
            own.up_read(cx);
            cx.sleep(10_000).await;
            own_log.add("read");
            own.up_read(cx);
        });
        let log = log.clone();
        task(cx, "writer", 1, async move |cx| {
            cx.sleep(1_000).await;
            sem.down_write(cx).await;
            log.add("wrote");
            sem.up_write(cx);
        });
    });
    assert_eq!(log, "read wrote");
    assert_eq!(crate::common::kinds(&end), ["recursive-locking"], "lockdep warns of that");
}

/// Planted bug with which this was seen to fail: one who takes the lock marking those who sleep before their step as
/// waiting, so that its release wakes them early.
#[test]
fn injected_delays_widen_windows_and_break_no_exclusion() {
    use crate::common::Setup;
    use sim::inject::Delays;
    let setup = Setup { delays: Delays::new(3, 2_000), ..Setup::cpus(3) };
    let mut delayed = 0;
    for seed in 0..300 {
        let inside = Inside::default();
        let most = inside.clone();
        let early = Log::default();
        let log = early.clone();
        let program = program(move |cx| {
            let lock = Rc::new(SpinLock::new(cx, A));
            let mutex = Rc::new(Mutex::new(cx, crate::common::B));
            for cpu in 0..3 {
                let (lock, mutex) = (Rc::clone(&lock), Rc::clone(&mutex));
                let (inside, log) = (inside.clone(), log.clone());
                start(cx, SpawnSpec::task("t", cpu), async move |cx| {
                    for _ in 0..3 {
                        mutex.lock(cx).await;
                        lock.lock(cx).await;
                        inside.stay(cx).await;
                        lock.unlock(cx);
                        mutex.unlock(cx);
                        let begin = cx.now();
                        cx.sleep(700).await;
                        if cx.now() < begin + 700 {
                            log.add("early");
                        }
                    }
                });
            }
        });
        let end = setup.recorded(&program, seed);
        assert!(end.findings.is_empty(), "{:?}", end.findings);
        assert_eq!((most.1.get(), early.take().as_str()), (1, ""));
        // A delay lasts as long as was drawn, whatever happens meanwhile.
        let events = &end.trace.events;
        for (at, event) in events.iter().enumerate() {
            let sim::trace::EventKind::Injected(text) = &event.kind else { continue };
            delayed += 1;
            let drawn: u64 = text.split(' ').nth(2).and_then(|n| n.parse().ok()).expect("a delay of n ns");
            let next = events[at + 1..]
                .iter()
                .find(|next| next.ctx == event.ctx && matches!(next.kind, sim::trace::EventKind::Step { .. }))
                .expect("it goes on");
            assert!(
                next.time >= event.time + drawn,
                "{text}, but it goes on after {}",
                next.time - event.time
            );
        }
    }
    assert!(delayed > 300, "{delayed} delays");
}

#[test]
fn seeds_find_both_orders() {
    let seen = many_seeds(2, 50, |cx, log| {
        let lock = Rc::new(SpinLock::new(cx, A));
        for (name, cpu) in [("a", 0), ("b", 1)] {
            let (lock, log) = (Rc::clone(&lock), log.clone());
            task(cx, name, cpu, async move |cx| {
                let flags = lock.lock_irqsave(cx).await;
                log.add(name);
                lock.unlock_irqrestore(cx, flags);
                assert!(!cx.irqs_disabled());
                lock.lock_bh(cx).await;
                lock.unlock_bh(cx);
                assert_eq!(cx.atomic_reason(), None);
            });
        }
    });
    seen.clean().is(&["a b", "b a"]);
}
