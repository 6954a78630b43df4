//! Data races: what happens-before orders, and what it does not.

use std::rc::Rc;

use sim::context::{Timer, Work};
use sim::sync::{Atomic, Completion, Mutex, RwSem, SpinLock, Var, WaitQueue};
use sim::{Cx, SpawnSpec};

use crate::common::{A, Seen, all_orders, hardirq, task};

fn races(seen: &Seen) -> u64 {
    seen.kinds.get("data-race").copied().unwrap_or(0)
}

/// Two contexts: both orders of everything, each with its own way to access `x`.
fn pair<F>(prepare: impl Fn(&Cx) -> F + 'static) -> Seen
where
    F: AsyncFn(&Cx, bool, &Var<u32>) + 'static,
{
    all_orders(2, move |cx, _| {
        let (x, access) = (Rc::new(Var::new(cx, "x", 0)), Rc::new(prepare(cx)));
        for (name, first) in [("first", true), ("second", false)] {
            let (x, access) = (Rc::clone(&x), Rc::clone(&access));
            task(cx, name, u8::from(!first), async move |cx| access(cx, first, &x).await);
        }
    })
}

#[test]
fn plain_accesses_without_order_race_in_every_interleaving() {
    let seen = pair(|_| {
        async |cx: &Cx, first: bool, x: &Var<u32>| {
            if first { x.store(cx, 1).await } else { _ = x.load(cx).await }
        }
    });
    assert_eq!(races(&seen), seen.runs, "also where nothing went wrong");
    let seen = pair(|_| async |cx: &Cx, _: bool, x: &Var<u32>| x.store(cx, 1).await);
    assert_eq!(races(&seen), seen.runs);
}

#[test]
fn two_loads_do_not_race_nor_do_marked_accesses() {
    pair(|_| async |cx: &Cx, _: bool, x: &Var<u32>| _ = x.load(cx).await).clean();
    pair(|_| {
        async |cx: &Cx, first: bool, x: &Var<u32>| {
            if first { x.write_once(cx, 1).await } else { _ = x.read_once(cx).await }
        }
    })
    .clean();
}

#[test]
fn locks_order() {
    pair(|cx| {
        let lock = SpinLock::new(cx, A);
        async move |cx: &Cx, _: bool, x: &Var<u32>| {
            lock.lock(cx).await;
            let value = x.load(cx).await;
            x.store(cx, value + 1).await;
            lock.unlock(cx);
        }
    })
    .clean();
    pair(|cx| {
        let lock = Mutex::new(cx, A);
        async move |cx: &Cx, _: bool, x: &Var<u32>| {
            lock.lock(cx).await;
            x.store(cx, 1).await;
            lock.unlock(cx);
        }
    })
    .clean();
    pair(|cx| {
        let sem = RwSem::new(cx, A);
        async move |cx: &Cx, first: bool, x: &Var<u32>| {
            if first {
                sem.down_write(cx).await;
                x.store(cx, 1).await;
                sem.up_write(cx);
            } else {
                sem.down_read(cx).await;
                x.load(cx).await;
                sem.up_read(cx);
            }
        }
    })
    .clean();
}

#[test]
fn different_locks_do_not_order_nor_do_two_readers_of_a_semaphore() {
    let seen = pair(|cx| {
        let locks = [SpinLock::new(cx, A), SpinLock::new(cx, A)];
        async move |cx: &Cx, first: bool, x: &Var<u32>| {
            let lock = &locks[usize::from(first)];
            lock.lock(cx).await;
            x.store(cx, 1).await;
            lock.unlock(cx);
        }
    });
    assert_eq!(races(&seen), seen.runs);
    let seen = pair(|cx| {
        let sem = RwSem::new(cx, A);
        async move |cx: &Cx, _: bool, x: &Var<u32>| {
            sem.down_read(cx).await;
            x.store(cx, 1).await;
            sem.up_read(cx);
        }
    });
    assert!(races(&seen) > 0);
}

#[test]
fn a_completion_orders_also_one_who_comes_late() {
    let seen = pair(|cx| {
        let done = Completion::new(cx, "done");
        async move |cx: &Cx, first: bool, x: &Var<u32>| {
            if first {
                x.store(cx, 1).await;
                done.complete(cx).await;
            } else {
                done.wait(cx).await;
                assert_eq!(x.load(cx).await, 1);
            }
        }
    });
    assert!(seen.clean().runs > 3);
}

#[test]
fn what_is_done_after_completing_is_not_ordered() {
    let seen = pair(|cx| {
        let done = Completion::new(cx, "done");
        async move |cx: &Cx, first: bool, x: &Var<u32>| {
            if first {
                done.complete(cx).await;
                x.store(cx, 1).await;
            } else {
                done.wait(cx).await;
                x.load(cx).await;
            }
        }
    });
    assert_eq!(races(&seen), seen.runs);
}

#[test]
fn release_and_acquire_order_and_marked_accesses_do_not() {
    let publish = |ordered: bool| {
        pair(move |cx| {
            let ready = Var::new(cx, "ready", false);
            async move |cx: &Cx, first: bool, x: &Var<u32>| match (first, ordered) {
                (true, true) => {
                    x.store(cx, 1).await;
                    ready.store_release(cx, true).await;
                }
                (true, false) => {
                    x.store(cx, 1).await;
                    ready.write_once(cx, true).await;
                }
                (false, true) if ready.load_acquire(cx).await => _ = x.load(cx).await,
                (false, false) if ready.read_once(cx).await => _ = x.load(cx).await,
                (false, _) => {}
            }
        })
    };
    publish(true).clean();
    assert!(races(&publish(false)) > 0);
}

#[test]
fn atomics_that_return_a_value_order_and_plain_reads_of_them_do_not() {
    let count_down = |ordered: bool| {
        all_orders(2, move |cx, _| {
            let (x, count) = (Rc::new(Var::new(cx, "x", 0)), Rc::new(Atomic::new(cx, "refs", 2)));
            for cpu in 0..2 {
                let (x, count) = (Rc::clone(&x), Rc::clone(&count));
                task(cx, "t", cpu, async move |cx| {
                    if ordered || cpu == 0 {
                        x.load(cx).await;
                        if count.dec_and_test(cx).await {
                            x.store(cx, 9).await;
                        }
                    } else if count.read(cx).await == 1 {
                        x.store(cx, 9).await;
                    }
                });
            }
        })
    };
    count_down(true).clean();
    assert!(races(&count_down(false)) > 0);
}

#[test]
fn starting_a_context_orders_and_only_what_came_before() {
    let spawn = |late: bool| {
        all_orders(2, move |cx, _| {
            let x = Rc::new(Var::new(cx, "x", 0));
            task(cx, "parent", 0, async move |cx| {
                x.store(cx, 1).await;
                let own = Rc::clone(&x);
                task(cx, "child", 1, async move |cx| _ = own.load(cx).await);
                if late {
                    x.store(cx, 2).await;
                }
            });
        })
    };
    spawn(false).clean();
    let seen = spawn(true);
    assert_eq!(races(&seen), seen.runs);
}

#[test]
fn arming_a_timer_orders_and_so_does_queueing_work_that_was_pending_already() {
    let arm = |late: bool| {
        all_orders(2, move |cx, _| {
            let x = Rc::new(Var::new(cx, "x", 0));
            let own = Rc::clone(&x);
            let timer = Timer::new(SpawnSpec::softirq("timer", 1), move |cx| {
                let x = Rc::clone(&own);
                async move { _ = x.load(&cx).await }
            });
            task(cx, "t", 0, async move |cx| {
                x.store(cx, 1).await;
                timer.modify(cx, cx.now() + 100);
                if late {
                    x.store(cx, 2).await;
                }
            });
        })
    };
    arm(false).clean();
    let seen = arm(true);
    assert_eq!(races(&seen), seen.runs);

    all_orders(2, |cx, _| {
        let x = Rc::new(Var::new(cx, "x", 0));
        let seen = Rc::clone(&x);
        let work = Work::new(cx, "work", move |cx| {
            let x = Rc::clone(&seen);
            async move { x.store(&cx, 2).await }
        });
        let queued = work.clone();
        task(cx, "first", 0, async move |cx| {
            // The worker cannot begin before the other one has queued it too.
            cx.preempt_disable();
            assert!(queued.queue(cx, 0).await);
            cx.delay(10_000).await;
            cx.preempt_enable();
        });
        task(cx, "second", 1, async move |cx| {
            cx.sleep(1_000).await;
            x.store(cx, 1).await;
            assert!(!work.queue(cx, 0).await);
            work.flush(cx).await;
            assert_eq!(x.load(cx).await, 2);
        });
    })
    .clean();
}

#[test]
fn a_grace_period_orders_readers_before_what_follows_it() {
    let update = |wait: bool| {
        all_orders(2, move |cx, _| {
            let (pointer, old) = (Rc::new(Var::new(cx, "pointer", true)), Rc::new(Var::new(cx, "old", 0)));
            let (read_pointer, read_old) = (Rc::clone(&pointer), Rc::clone(&old));
            task(cx, "reader", 0, async move |cx| {
                cx.rcu_read_lock();
                if read_pointer.read_once(cx).await {
                    read_old.load(cx).await;
                }
                cx.rcu_read_unlock();
            });
            task(cx, "updater", 1, async move |cx| {
                pointer.write_once(cx, false).await;
                if wait {
                    cx.synchronize_rcu().await;
                }
                old.store(cx, 0xdead).await;
            });
        })
    };
    update(true).clean();
    assert!(races(&update(false)) > 0);
}

#[test]
fn call_rcu_orders_readers_before_its_function() {
    let update = |rcu: bool| {
        all_orders(2, move |cx, _| {
            let (pointer, old) = (Rc::new(Var::new(cx, "pointer", true)), Rc::new(Var::new(cx, "old", 0)));
            let (read_pointer, read_old) = (Rc::clone(&pointer), Rc::clone(&old));
            task(cx, "reader", 0, async move |cx| {
                cx.rcu_read_lock();
                if read_pointer.read_once(cx).await {
                    read_old.load(cx).await;
                }
                cx.rcu_read_unlock();
            });
            task(cx, "updater", 1, async move |cx| {
                old.store(cx, 1).await;
                pointer.write_once(cx, false).await;
                if rcu {
                    cx.call_rcu(move |cx| async move { old.store(&cx, 0xdead).await });
                } else {
                    old.store(cx, 0xdead).await;
                }
            });
        })
    };
    // The first store races with the reader in both: nothing published it.
    let (with, without) = (update(true), update(false));
    assert!(without.titles.iter().any(|title| title.contains("data race on old")));
    assert!(races(&with) < races(&without));
}

#[test]
fn one_rcu_reader_is_not_ordered_after_another() {
    let seen = pair(|_| {
        async |cx: &Cx, _: bool, x: &Var<u32>| {
            cx.rcu_read_lock();
            x.store(cx, 1).await;
            cx.rcu_read_unlock();
        }
    });
    assert_eq!(races(&seen), seen.runs);
}

#[test]
fn a_wake_up_orders() {
    pair(|cx| {
        let (queue, condition) = (WaitQueue::new(cx, "queue"), Var::new(cx, "condition", false));
        async move |cx: &Cx, first: bool, x: &Var<u32>| {
            if first {
                x.store(cx, 1).await;
                condition.store_release(cx, true).await;
                queue.wake_all(cx);
            } else {
                while !condition.load_acquire(cx).await {
                    queue.wait(cx).await;
                }
                x.load(cx).await;
            }
        }
    })
    .clean();
}

#[test]
fn interrupts_of_one_cpu_follow_each_other_and_a_task_below_does_not() {
    let run = |cpus: [u8; 2]| {
        all_orders(2, move |cx, _| {
            let x = Rc::new(Var::new(cx, "x", 0));
            for cpu in cpus {
                let x = Rc::clone(&x);
                hardirq(cx, "irq", cpu, async move |cx| x.store(cx, 1).await);
            }
        })
    };
    run([0, 0]).clean();
    let seen = run([0, 1]);
    assert_eq!(races(&seen), seen.runs);
    let seen = all_orders(1, |cx, _| {
        let x = Rc::new(Var::new(cx, "x", 0));
        let own = Rc::clone(&x);
        hardirq(cx, "irq", 0, async move |cx| own.store(cx, 1).await);
        task(cx, "t", 0, async move |cx| x.store(cx, 2).await);
    });
    assert_eq!(races(&seen), seen.runs);
}

#[test]
fn short_lived_contexts_race_although_they_never_overlap() {
    let seen = all_orders(2, |cx, _| {
        let x = Rc::new(Var::new(cx, "x", 0));
        task(cx, "parent", 0, async move |cx| {
            for _ in 0..2 {
                let x = Rc::clone(&x);
                task(cx, "child", 1, async move |cx| x.store(cx, 1).await);
                cx.sleep(1_000).await;
            }
        });
    });
    assert_eq!(races(&seen), seen.runs);
}
