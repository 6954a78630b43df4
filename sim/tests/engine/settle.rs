//! Injection stops when it is told to, and when the workload is over the machine comes to rest.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use sim::choices::{Choices, Mode};
use sim::context::Timer;
use sim::inject::Delays;
use sim::schedule::RoundRobin;
use sim::{Cx, DelayedWork, RunConfig, RunEnd, Sim, SpawnSpec};

use crate::common::kinds;

/// Virtual time that 200 steps take with a delay of up to a millisecond in every other step, until `stop`.
fn time_with_delays_until(stop: u64) -> u64 {
    let choices = Choices::new(Mode::Seed(3), false);
    let sim = Sim::new(RunConfig::default(), choices, Box::new(RoundRobin::new()));
    sim.set_delays(Delays::new(2, 1_000_000));
    sim.stop_injection_at(stop);
    sim.spawn(SpawnSpec::task("walker", 0), |cx| async move {
        for _ in 0..200 {
            cx.point().await;
        }
    });
    sim.run().time
}

#[test]
fn nothing_is_delayed_any_more() {
    let undisturbed = 201 * RunConfig::default().step_ns;
    assert_eq!(time_with_delays_until(0), undisturbed);
    assert!(time_with_delays_until(u64::MAX) > 10 * 1_000_000);
    // One that began before the end is finished.
    let stopped = time_with_delays_until(2_000_000);
    assert!((2_000_000..4_000_000).contains(&stopped), "{stopped}");
}

/// A root that is over at once, and what it leaves behind.
fn after(body: impl FnOnce(&Cx) + 'static, stop_injection: u64) -> RunEnd {
    let config = RunConfig { max_steps: 2_000_000, ..RunConfig::default() };
    let sim = Sim::new(config, Choices::new(Mode::Seed(0), false), Box::new(RoundRobin::new()));
    sim.stop_injection_at(stop_injection);
    sim.spawn(SpawnSpec::task("root", 0), |cx| async move { body(&cx) });
    sim.run()
}

/// A timer that arms itself so many times.
fn ticks(cx: &Cx, times: u32, period: u64) {
    let left = Rc::new(Cell::new(times));
    let own: Rc<RefCell<Option<Timer>>> = Rc::default();
    let again = Rc::downgrade(&own);
    let timer = Timer::new(SpawnSpec::softirq("ticker", 0), move |cx| {
        let (left, own) = (Rc::clone(&left), again.upgrade());
        async move {
            left.set(left.get() - 1);
            let own = own.and_then(|own| own.borrow().clone());
            if let (Some(timer), true) = (own, left.get() > 0) {
                timer.modify(&cx, cx.now() + period);
            }
        }
    });
    timer.modify(cx, period);
    *own.borrow_mut() = Some(timer);
    // It lives as long as the run does.
    std::mem::forget(own);
}

#[test]
fn a_timer_that_arms_itself_for_ever_keeps_the_machine_from_its_rest() {
    let end = after(|cx| ticks(cx, u32::MAX, 100_000_000), u64::MAX);
    assert_eq!(kinds(&end), ["livelock"], "while there is injection all may be its consequence");
    let end = after(|cx| ticks(cx, u32::MAX, 100_000_000), 0);
    assert_eq!(kinds(&end), ["does-not-settle"]);
    let title = &end.findings[0].title;
    assert!(title.starts_with("ticker comes again and again: 6000 times in 600000 ms"), "{title}");
    assert!(end.steps < 20_000, "{}", end.steps);
    // A fast one is stopped by its steps.
    let end = after(|cx| ticks(cx, u32::MAX, 1_000), 0);
    assert_eq!(kinds(&end), ["does-not-settle"]);
    assert!(end.steps < 110_000, "{}", end.steps);
}

#[test]
fn what_comes_to_an_end_may_take_its_time() {
    assert!(kinds(&after(|cx| ticks(cx, 5_000, 100_000_000), 0)).is_empty());
    // Late, and not for ever.
    assert!(kinds(&after(|cx| ticks(cx, 20, 100_000_000_000), 0)).is_empty());
}

#[test]
fn the_workload_may_wait_for_as_many_ticks_as_it_likes() {
    let end = after(
        |cx| {
            ticks(cx, 8_000, 100_000_000);
            cx.spawn(SpawnSpec::task("worker", 1), |cx| async move { cx.sleep(900_000_000_000).await });
        },
        0,
    );
    assert!(kinds(&end).is_empty(), "{:?}", kinds(&end));
}

#[test]
fn work_that_queues_itself_does_not_settle_either() {
    let queues = |times: u32| {
        after(
            move |cx| {
                let own: Rc<RefCell<Option<DelayedWork>>> = Rc::default();
                let (again, left) = (Rc::downgrade(&own), Rc::new(Cell::new(times)));
                let work = DelayedWork::new(cx, "poller", 0, move |cx| {
                    let (own, left) = (again.upgrade(), Rc::clone(&left));
                    async move {
                        left.set(left.get() - 1);
                        let own = own.and_then(|own| own.borrow().clone());
                        if let (Some(work), true) = (own, left.get() > 0) {
                            work.queue(&cx, 1_000_000_000).await;
                        }
                    }
                });
                *own.borrow_mut() = Some(work.clone());
                std::mem::forget(own);
                cx.spawn(SpawnSpec::task("starter", 0), |cx| async move {
                    work.queue(&cx, 1_000).await;
                });
            },
            0,
        )
    };
    let end = queues(u32::MAX);
    assert_eq!(kinds(&end), ["does-not-settle"]);
    assert!(end.findings[0].title.starts_with("poller "), "{}", end.findings[0].title);
    assert!(kinds(&queues(100)).is_empty());
}
