//! Looking at a run in the middle of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use sim::choices::{Choices, Mode};
use sim::schedule::Strategy;
use sim::sync::{Mutex, SpinLock};
use sim::trace::EventKind;
use sim::{ContextState, Cx, Doing, Ended, Name, RunConfig, RunEnd, Sim, SpawnSpec};

use crate::common::{A, B, Program, program, task};

/// One holds `lock_a`, and takes `lock_b` in it; another wants `lock_a`; a third sleeps.
fn two_locks() -> Program {
    program(|cx: &Cx| {
        let (a, b) = (Rc::new(Mutex::new(cx, A)), Rc::new(SpinLock::new(cx, B)));
        {
            let (a, b) = (Rc::clone(&a), Rc::clone(&b));
            task(cx, "first", 0, async move |cx| {
                let _frame = cx.enter("outer");
                a.lock(cx).await;
                let _frame = cx.enter("inner");
                b.lock(cx).await;
                for _ in 0..4 {
                    cx.point().await;
                }
                b.unlock(cx);
                a.unlock(cx);
            });
        }
        task(cx, "second", 1, async move |cx| {
            a.lock(cx).await;
            cx.point().await;
            a.unlock(cx);
        });
        task(cx, "third", 1, async move |cx| {
            cx.sleep(1_000_000).await;
        });
    })
}

fn sim(program: &Program, seed: u64, record: bool) -> Rc<Sim> {
    let config = RunConfig { cpus: 2, record, ..RunConfig::default() };
    let sim = Sim::new(config, Choices::new(Mode::Seed(seed), false), Strategy::Random.build(50, |_| 0));
    let program = Rc::clone(program);
    sim.spawn(SpawnSpec::task("root", 0), |cx| async move { program(&cx) });
    sim
}

/// What is seen of a run at a step: nothing if it has fewer.
fn look(program: &Program, seed: u64, step: u64) -> (Option<(u64, Vec<ContextState>)>, RunEnd) {
    let sim = sim(program, seed, true);
    let seen = Rc::new(RefCell::new(None));
    let into = Rc::clone(&seen);
    sim.look_at(step, move |cx| {
        *into.borrow_mut() = Some((cx.sim().stamped_steps(), cx.sim().contexts_now()));
    });
    let end = sim.run();
    (seen.take(), end)
}

#[test]
fn every_step_of_a_run_can_be_looked_at_and_what_comes_next_is_what_then_comes() {
    let program = two_locks();
    for seed in 0..20 {
        let whole = sim(&program, seed, true).run();
        let steps: Vec<_> = whole
            .trace
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Step { label, object, .. } => Some((event.ctx, label.kind, *object)),
                _ => None,
            })
            .collect();
        assert_eq!(steps.len() as u64, whole.steps);
        for step in 0..=whole.steps {
            let (seen, end) = look(&program, seed, step);
            let (at, contexts) = seen.unwrap_or_else(|| panic!("seed {seed} step {step} was not seen"));
            assert_eq!((at, end.steps), (step, step), "seed {seed}");
            let next = contexts.iter().find(|context| context.doing == Doing::Next);
            let taken: u64 = whole
                .trace
                .events
                .iter()
                .filter(|e| e.step <= step)
                .map(|e| u64::from(matches!(e.kind, EventKind::Step { .. })))
                .sum();
            assert_eq!(taken, step);
            match usize::try_from(step).ok().and_then(|step| steps.get(step)) {
                Some((ctx, kind, object)) => {
                    let next = next.unwrap_or_else(|| panic!("nobody is next at {step}"));
                    let name = whole.trace.contexts[*ctx as usize].name;
                    assert_eq!(
                        (next.name, next.next),
                        (name, Some((*kind, *object))),
                        "seed {seed} step {step}"
                    );
                    assert!(end.abandoned && end.ended == Ended::Stopped);
                }
                // The end of the run is nobody's step.
                None => assert!(next.is_none() && !end.abandoned, "seed {seed} step {step}"),
            }
        }
        assert_eq!(look(&program, seed, whole.steps + 1).0, None);
        assert_eq!(look(&program, seed, u64::MAX).0, None);
    }
}

#[test]
fn a_step_that_is_not_reached_changes_nothing() {
    let program = two_locks();
    for seed in 0..20 {
        let whole = sim(&program, seed, false).run();
        let again = sim(&program, seed, false);
        again.look_at(whole.steps + 1, |_| panic!("there is no such step"));
        assert_eq!(again.run().digest, whole.digest);
        let at_end = sim(&program, seed, false);
        let called = Rc::new(Cell::new(false));
        let told = Rc::clone(&called);
        at_end.look_at(whole.steps, move |_| told.set(true));
        assert_eq!(at_end.run().digest, whole.digest);
        assert!(called.get());
    }
}

#[test]
fn who_holds_and_who_waits_is_seen() {
    let program = two_locks();
    let (mut inside, mut waited, mut slept) = (0, 0, 0);
    for seed in 0..40 {
        let steps = sim(&program, seed, false).run().steps;
        for step in 0..=steps {
            let (_, contexts) = look(&program, seed, step).0.expect("a step of the run");
            let of = |name| contexts.iter().find(|context| context.name == Name::new(name));
            let held =
                |context: &ContextState| context.held.iter().map(|held| held.class).collect::<Vec<_>>();
            let owners = contexts.iter().filter(|context| held(context).contains(&"lock_a")).count();
            assert!(owners <= 1);
            if let Some(first) = of("first").filter(|first| held(first) == ["lock_a", "lock_b"]) {
                inside += 1;
                assert_eq!(first.frames, ["inner", "outer"]);
                assert_eq!(first.off.preemption, 1);
                if let Some(ContextState { doing: Doing::Waits { object, spinning, holders }, .. }) =
                    of("second")
                {
                    waited += 1;
                    assert_eq!((object.text, *spinning), ("lock_a", false));
                    assert_eq!(holders, &[Name::new("first")]);
                }
            }
            slept += u32::from(of("third").is_some_and(|third| matches!(third.doing, Doing::Sleeps { .. })));
        }
    }
    assert!(inside > 40 && waited > 10 && slept > 40, "{inside} {waited} {slept}");
}

#[test]
fn the_order_of_locks_is_seen() {
    let program = two_locks();
    let steps = sim(&program, 0, false).run().steps;
    let seen = Rc::new(RefCell::new(Vec::new()));
    let into = Rc::clone(&seen);
    let run = sim(&program, 0, false);
    run.look_at(steps, move |cx| *into.borrow_mut() = cx.sim().lock_order());
    let _ = run.run();
    let seen = seen.take();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].held, seen[0].taken, seen[0].function), ("lock_a", "lock_b", "inner"));
    assert_eq!(seen[0].context, "first");
}

#[test]
fn a_deadlock_is_seen_as_one() {
    let program = program(|cx: &Cx| {
        let (a, b) = (Rc::new(Mutex::new(cx, A)), Rc::new(Mutex::new(cx, B)));
        for (name, cpu, one, two) in [("x", 0, &a, &b), ("y", 1, &b, &a)] {
            let (one, two) = (Rc::clone(one), Rc::clone(two));
            task(cx, name, cpu, async move |cx| {
                one.lock(cx).await;
                two.lock(cx).await;
                two.unlock(cx);
                one.unlock(cx);
            });
        }
    });
    let mut seen = 0;
    for seed in 0..40 {
        let end = sim(&program, seed, false).run();
        let stuck = end.findings.iter().any(|finding| finding.kind == "deadlock");
        let (_, contexts) = look(&program, seed, end.steps).0.expect("the end of the run");
        assert_eq!(contexts.iter().filter(|context| context.deadlocked).count(), if stuck { 2 } else { 0 });
        seen += u32::from(stuck);
    }
    assert!(seen > 0 && seen < 40);
}
