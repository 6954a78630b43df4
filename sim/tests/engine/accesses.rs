//! Accesses of variables that are not the engine's own: which pairs race, and what a report says of both.

use std::rc::Rc;

use sim::choices::{Choices, Mode};
use sim::schedule::RoundRobin;
use sim::sync::{Access, Accesses, Mutex, Order};
use sim::{Class, Cx, ObjId, RunConfig, Sim, SpawnSpec};

use crate::common::{A, Seen, all_orders, start};

fn races(seen: &Seen) -> u64 {
    seen.kinds.get("data-race").copied().unwrap_or(0)
}

/// A step, and an access as part of it.
async fn access(cx: &Cx, x: &Accesses, how: Access) {
    cx.point().await;
    if let Some(earlier) = x.note_across_cpus(cx, how, || ObjId(1)) {
        earlier.report(cx, how, "x", ObjId(1), Vec::new);
    }
}

/// In every order: two contexts of these classes on these CPUs, and what each does with `x`.
fn pair(who: [(Class, u8); 2], what: [Access; 2], keeps_cpu: bool) -> Seen {
    all_orders(2, move |cx, _| {
        let x = Rc::new(Accesses::default());
        for ((class, cpu), how) in who.into_iter().zip(what) {
            let x = Rc::clone(&x);
            start(cx, SpawnSpec { name: "t", class, cpu, daemon: false }, async move |cx| {
                if keeps_cpu {
                    cx.preempt_disable();
                }
                access(cx, &x, how).await;
                if keeps_cpu {
                    cx.preempt_enable();
                }
            });
        }
    })
}

const TWO_CPUS: [(Class, u8); 2] = [(Class::Task, 0), (Class::Task, 1)];

#[test]
fn one_of_two_must_write_and_one_must_be_plain() {
    for (what, race) in [
        ([Access::WRITE, Access::WRITE], true),
        ([Access::WRITE, Access::READ], true),
        ([Access::WRITE, Access::READ_ONCE], true),
        ([Access::WRITE, Access::WRITE_ONCE], true),
        ([Access::WRITE_ONCE, Access::READ], true),
        ([Access::WRITE_ONCE, Access::READ_ONCE], false),
        ([Access::WRITE_ONCE, Access::WRITE_ONCE], false),
        ([Access::READ, Access::READ_ONCE], false),
        ([Access::READ, Access::READ], false),
    ] {
        let seen = pair(TWO_CPUS, what, false);
        assert_eq!(races(&seen), if race { seen.runs } else { 0 }, "{what:?}");
    }
}

#[test]
fn a_cpu_orders_interrupts_and_what_they_interrupt_and_tasks_that_keep_it() {
    let both = [Access::WRITE, Access::WRITE];
    for class in [Class::Softirq, Class::Hardirq] {
        pair([(Class::Task, 0), (class, 0)], both, false).clean();
        let seen = pair([(Class::Task, 1), (class, 0)], both, false);
        assert_eq!(races(&seen), seen.runs);
    }
    let one_cpu = [(Class::Task, 0), (Class::Task, 0)];
    let seen = pair(one_cpu, both, false);
    assert_eq!(races(&seen), seen.runs, "the scheduler might have moved one of them");
    pair(one_cpu, both, true).clean();
    let seen = pair(TWO_CPUS, both, true);
    assert_eq!(races(&seen), seen.runs);
    // A device is on no CPU, whatever its number says.
    let seen = pair([(Class::Device, 0), (Class::Softirq, 0)], both, false);
    assert_eq!(races(&seen), seen.runs);
}

#[test]
fn what_was_released_is_ordered_before_what_is_done_after_an_acquire() {
    let run = |acquires: bool| {
        all_orders(2, move |cx, _| {
            let (x, order) = (Rc::new(Accesses::default()), Rc::new(Order::default()));
            let (own, flag) = (Rc::clone(&x), Rc::clone(&order));
            start(cx, SpawnSpec::task("writer", 0), async move |cx| {
                access(cx, &own, Access::WRITE).await;
                flag.release(cx);
            });
            start(cx, SpawnSpec::task("reader", 1), async move |cx| {
                cx.sleep(1_000).await;
                if acquires {
                    order.acquire(cx);
                }
                access(cx, &x, Access::READ).await;
            });
        })
    };
    run(true).clean();
    assert!(races(&run(false)) > 0);
}

#[test]
fn a_step_that_stands_for_a_section_orders_as_the_mutex_does() {
    let run = |passes: bool| {
        all_orders(2, move |cx, _| {
            let (x, lock) = (Rc::new(Accesses::default()), Rc::new(Mutex::new(cx, A)));
            let (own, held) = (Rc::clone(&x), Rc::clone(&lock));
            start(cx, SpawnSpec::task("holder", 0), async move |cx| {
                held.lock(cx).await;
                access(cx, &own, Access::WRITE).await;
                held.unlock(cx);
            });
            start(cx, SpawnSpec::task("passer", 1), async move |cx| {
                cx.sleep(1_000).await;
                if passes {
                    lock.pass(cx);
                }
                access(cx, &x, Access::WRITE).await;
            });
        })
    };
    run(true).clean();
    assert!(races(&run(false)) > 0);
}

#[test]
fn a_report_shows_both_call_chains_and_the_locks() {
    let run = |details: bool| {
        let config = RunConfig { cpus: 2, details, ..RunConfig::default() };
        let sim = Sim::new(config, Choices::new(Mode::Seed(0), false), Box::new(RoundRobin::new()));
        sim.spawn(SpawnSpec::task("root", 0), |cx| async move {
            let (x, lock) = (Rc::new(Accesses::default()), Rc::new(Mutex::new(&cx, A)));
            for (name, cpu, function, locks) in [("one", 0, "reads", false), ("two", 1, "writes", true)] {
                let (x, lock) = (Rc::clone(&x), Rc::clone(&lock));
                start(&cx, SpawnSpec::task(name, cpu), async move |cx| {
                    let _outer = cx.enter("caller");
                    let _frame = cx.enter(function);
                    cx.sleep(u64::from(cpu) * 1_000).await;
                    if locks {
                        lock.lock(cx).await;
                    }
                    access(cx, &x, Access { write: locks, marked: false }).await;
                    if locks {
                        lock.unlock(cx);
                    }
                });
            }
        });
        sim.run()
    };
    let end = run(true);
    let [race] = end.findings.as_slice() else { panic!("{:#?}", end.findings) };
    assert_eq!(race.title, "BUG: data race on x in reads (read) / writes (write)");
    let part = |name: &str| {
        let part = race.details.iter().find(|(heading, _)| heading == name);
        part.map(|(_, lines)| lines.join("|")).unwrap_or_default()
    };
    let (now, before) = (part("this access"), part("unordered with"));
    assert!(now.starts_with("write by two on CPU 1 at ") && now.contains("|  holds lock_a|"), "{now}");
    assert!(now.ends_with("|  writes|  caller"), "{now}");
    assert!(
        before.starts_with("read by one on CPU 0 at ") && before.contains("|  no lock held|"),
        "{before}"
    );
    assert!(before.ends_with("|  reads|  caller"), "{before}");
    // What is told of it changes nothing.
    let short = run(false);
    assert_eq!(short.digest, end.digest);
    assert!(short.findings[0].details.is_empty());
}

/// A slot is used again, and its clock goes on from where it was. Whoever comes to it has seen nothing of what the former
/// context had: a lock that this one gave back last still has to tell him.
#[test]
fn who_comes_to_a_used_slot_learns_from_the_lock_what_its_former_context_knew() {
    let strategy = Box::new(RoundRobin::new());
    let sim =
        Sim::new(RunConfig { cpus: 4, ..RunConfig::default() }, Choices::new(Mode::Seed(0), false), strategy);
    sim.spawn(SpawnSpec::task("root", 0), |cx| async move {
        let shared = Rc::new((Mutex::new(&cx, A), Accesses::default()));
        let slots = u8::try_from(sim::MAX_CONTEXTS).expect("few");
        let mut slot_of_second = None;
        // One writes, the next one merely takes the lock; much later, somebody in the slot of that one writes.
        for nth in 0..=slots {
            let (shared, last) = (Rc::clone(&shared), nth == slots);
            let id = cx.spawn(SpawnSpec::task("t", nth % 4), move |cx| async move {
                if nth > 1 && !last {
                    return;
                }
                shared.0.lock(&cx).await;
                if nth != 1 {
                    access(&cx, &shared.1, Access::WRITE).await;
                }
                shared.0.unlock(&cx);
            });
            if nth == 1 {
                slot_of_second = id;
            }
            assert!(!last || id == slot_of_second, "slots are given out in turn");
            cx.delay(1_000_000).await;
        }
    });
    let end = sim.run();
    assert_eq!(end.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), Vec::<&str>::new());
}
