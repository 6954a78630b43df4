//! Who may run on a CPU while someone else is on it.

use std::cell::Cell;
use std::rc::Rc;

use sim::sync::SpinLock;
use sim::{Cx, SpawnSpec};

use crate::common::{A, B, Log, all_orders, hardirq, softirq, start, task};

/// Notes its begin and end, with a step between.
fn through(log: &Log, name: &'static str) -> impl AsyncFnOnce(&Cx) + 'static {
    let log = log.clone();
    async move |cx: &Cx| {
        log.add(format!("{name}("));
        cx.point().await;
        log.add(format!("{name})"));
    }
}

/// Whether some order has `inner` between the begin and the end of `outer`.
fn nests(seen: &crate::common::Seen, outer: &str, inner: &str) -> bool {
    seen.orders.iter().any(|order| {
        let at = |what: String| order.find(&what).unwrap_or_else(|| panic!("{what} in {order}"));
        let (from, to) = (at(format!("{outer}(")), at(format!("{outer})")));
        (from..to).contains(&at(format!("{inner}(")))
    })
}

#[test]
fn a_hard_interrupt_runs_on_top_of_a_task_and_to_its_end() {
    let seen = all_orders(1, |cx, log| {
        task(cx, "t", 0, through(log, "t"));
        hardirq(cx, "h", 0, through(log, "h"));
    });
    seen.clean().is(&["h( h) t( t)", "t( h( h) t)", "t( t) h( h)"]);
}

#[test]
fn on_another_cpu_it_does_not_concern_the_task() {
    let seen = all_orders(2, |cx, log| {
        task(cx, "t", 0, through(log, "t"));
        hardirq(cx, "h", 1, through(log, "h"));
    });
    assert!(nests(&seen, "t", "h") && nests(&seen, "h", "t"));
    assert_eq!(seen.clean().orders.len(), 6);
}

#[test]
fn a_device_is_on_no_cpu() {
    let seen = all_orders(1, |cx, log| {
        let flags = cx.local_irq_save();
        start(cx, SpawnSpec::device("dev"), through(log, "d"));
        task(cx, "t", 0, through(log, "t"));
        cx.local_irq_restore(flags);
    });
    assert_eq!(seen.clean().orders.len(), 6);
}

#[test]
fn softirqs_are_interrupted_by_hard_interrupts_only() {
    let seen = all_orders(1, |cx, log| {
        task(cx, "t", 0, through(log, "t"));
        softirq(cx, "s", 0, through(log, "s"));
        softirq(cx, "r", 0, through(log, "r"));
        hardirq(cx, "h", 0, through(log, "h"));
    });
    seen.clean();
    for (outer, inner, may) in [
        ("t", "s", true),
        ("t", "h", true),
        ("s", "h", true),
        ("s", "t", false),
        ("s", "r", false),
        ("r", "s", false),
        ("h", "t", false),
        ("h", "s", false),
    ] {
        assert_eq!(nests(&seen, outer, inner), may, "{inner} on top of {outer}");
    }
}

/// A task that turns something off around a step, and all that could run on top of it.
fn against(enter: fn(&Cx), leave: fn(&Cx)) -> crate::common::Seen {
    all_orders(1, move |cx, log| {
        let own = log.clone();
        task(cx, "t", 0, async move |cx| {
            enter(cx);
            own.add("t(");
            cx.point().await;
            own.add("t)");
            leave(cx);
        });
        task(cx, "u", 0, through(log, "u"));
        softirq(cx, "s", 0, through(log, "s"));
        hardirq(cx, "h", 0, through(log, "h"));
    })
}

#[test]
fn what_is_turned_off_stays_out() {
    thread_local! {
        static FLAGS: Cell<Option<sim::context::IrqFlags>> = const { Cell::new(None) };
    }
    let irq = against(
        |cx| FLAGS.set(Some(cx.local_irq_save())),
        |cx| cx.local_irq_restore(FLAGS.take().expect("saved before")),
    );
    let bh = against(Cx::local_bh_disable, Cx::local_bh_enable);
    let preempt = against(Cx::preempt_disable, Cx::preempt_enable);
    for (seen, task, soft, hard) in
        [(&irq, false, false, false), (&bh, false, false, true), (&preempt, false, true, true)]
    {
        seen.clean();
        assert_eq!((nests(seen, "t", "u"), nests(seen, "t", "s"), nests(seen, "t", "h")), (task, soft, hard));
    }
}

#[test]
fn depths_nest() {
    let seen = all_orders(1, |cx, log| {
        let own = log.clone();
        task(cx, "t", 0, async move |cx| {
            cx.preempt_disable();
            let outer = cx.local_irq_save();
            let inner = cx.local_irq_save();
            cx.local_irq_restore(inner);
            own.add("t(");
            cx.point().await;
            own.add("t)");
            cx.local_irq_restore(outer);
            own.add("p(");
            cx.point().await;
            own.add("p)");
            cx.preempt_enable();
        });
        task(cx, "u", 0, through(log, "u"));
        hardirq(cx, "h", 0, through(log, "h"));
    });
    seen.clean();
    assert!(!nests(&seen, "t", "h") && !nests(&seen, "t", "u"));
    assert!(nests(&seen, "p", "h") && !nests(&seen, "p", "u"));
}

#[test]
fn a_task_of_the_same_cpu_is_out_while_a_spinlock_is_held() {
    let seen = all_orders(1, |cx, log| {
        let lock = SpinLock::new(cx, A);
        let own = log.clone();
        task(cx, "t", 0, async move |cx| {
            lock.lock(cx).await;
            own.add("t(");
            cx.point().await;
            own.add("t)");
            lock.unlock(cx);
        });
        task(cx, "u", 0, through(log, "u"));
    });
    assert!(!nests(seen.clean(), "t", "u") && nests(&seen, "u", "t"));
}

#[test]
fn what_a_task_had_turned_off_is_in_force_again_after_a_nested_interrupt_with_locks_of_its_own() {
    let seen = all_orders(1, |cx, log| {
        let (outer, inner) = (SpinLock::new(cx, A), Rc::new(SpinLock::new(cx, B)));
        let own = log.clone();
        task(cx, "t", 0, async move |cx| {
            outer.lock(cx).await;
            own.add("t(");
            cx.point().await;
            cx.point().await;
            own.add("t)");
            outer.unlock(cx);
        });
        let (soft, log_of_soft) = (Rc::clone(&inner), log.clone());
        softirq(cx, "s", 0, async move |cx| {
            log_of_soft.add("s(");
            let flags = soft.lock_irqsave(cx).await;
            cx.point().await;
            soft.unlock_irqrestore(cx, flags);
            cx.point().await;
            log_of_soft.add("s)");
        });
        let log_of_hard = log.clone();
        hardirq(cx, "h", 0, async move |cx| {
            log_of_hard.add("h(");
            inner.lock(cx).await;
            cx.point().await;
            inner.unlock(cx);
            log_of_hard.add("h)");
        });
        task(cx, "u", 0, through(log, "u"));
    });
    seen.clean();
    assert!(nests(&seen, "t", "s") && nests(&seen, "t", "h") && nests(&seen, "s", "h"));
    for outer in ["t", "s", "h"] {
        assert!(!nests(&seen, outer, "u"), "u runs although {outer} keeps the CPU");
    }
    assert!(!nests(&seen, "s", "t") && !nests(&seen, "h", "s"));
}

#[test]
fn an_interrupt_that_ends_with_preemption_off_gives_the_cpu_back_all_the_same() {
    let seen = all_orders(1, |cx, log| {
        let own = log.clone();
        task(cx, "t", 0, async move |cx| {
            cx.preempt_disable();
            own.add("t(");
            cx.point().await;
            own.add("t)");
            cx.preempt_enable();
        });
        hardirq(cx, "h", 0, async move |cx| cx.preempt_disable());
        task(cx, "u", 0, through(log, "u"));
    });
    assert_eq!(seen.kinds.keys().copied().collect::<Vec<_>>(), ["atomic-at-end"]);
    assert!(!nests(&seen, "t", "u"), "the task below lost its CPU");
}
