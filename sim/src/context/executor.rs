//! The loop that polls the chosen context, and what a step costs and means.

use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::state::{NOBODY, START, Wait, ctx};
use super::timer::Due;
use super::{Ended, RunEnd, Sim};
use crate::choices::{Choices, Mode};
use crate::inject::Delays;
use crate::probe;
use crate::schedule::Executed;
use crate::sync::LockDep;
use crate::trace::EventKind;
use crate::{CtxId, CtxSet, Kind, Label, Nanos, ObjId};

impl Sim {
    /// `id` was chosen and does what it announced. `false` if it must not go on yet.
    #[inline]
    pub(crate) fn execute(&self, id: CtxId, label: Label) -> bool {
        if self.stopped.get() {
            return false;
        }
        self.current.set(id.0);
        let slot = self.slot(id);
        slot.last.set(label);
        slot.steps.set(slot.steps.get() + 1);
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        let now = self.now.get() + self.config.step_ns;
        self.now.set(now);
        self.mix(u64::from(label.obj.0) << 16 | u64::from(id.0) << 8 | label.kind as u64);
        // One call, and the last thing: it costs nothing where nobody wants to know.
        if self.attended || steps >= self.next_look.get() || now >= self.next_deadline.get() {
            return self.attend(id, label);
        }
        true
    }

    /// A step of which somebody wants to know, or at which something is due.
    #[inline(never)]
    fn attend(&self, id: CtxId, label: Label) -> bool {
        probe::touch(label.obj, label.kind.op());
        if self.observed {
            self.observe(id, label);
        }
        if self.steps.get() >= self.next_look.get() && !self.makes_progress(id, self.steps.get()) {
            return false;
        }
        if self.now.get() >= self.next_deadline.get() {
            self.fire_due();
        }
        true
    }

    /// Tells the trace, the strategy and the coverage of a step, as far as they want to know.
    fn observe(&self, id: CtxId, label: Label) {
        let slot = self.slot(id);
        if self.config.record {
            let frame = slot.frames.borrow().last().copied().unwrap_or("");
            let object = self.object_name(label.obj);
            self.event_of(id, EventKind::Step { label, object, frame });
            if let Some(trace) = &mut *self.trace.borrow_mut()
                && !trace.truncated
            {
                trace.marks.push(self.digest.get().mark());
            }
        }
        if self.watched {
            let step =
                Executed { id, label, alive: CtxSet(self.alive.get()), pending: &*self.pending, sim: self };
            let mut choices = self.choices.borrow_mut();
            self.scheduler.borrow_mut().executed(&step, choices.schedule_rng());
        }
        if self.config.coverage
            && let Some(coverage) = &mut *self.coverage.borrow_mut()
        {
            let frame = slot.frames.borrow().last().copied().unwrap_or("");
            coverage.step(slot.serial.get(), label, frame, || self.object_text(label.obj));
        }
    }

    /// Whether a delay is injected before the step that `id` is about to announce. It then sleeps.
    #[inline]
    pub(super) fn delayed(&self, id: CtxId, label: Label) -> bool {
        self.steps.get() >= self.delay_due.get()
            && self.injecting()
            && self.delay_injected(id, label, self.delays.get())
    }

    /// Out of line: a delay may be injected here. Returns whether one was; the context then sleeps.
    #[cold]
    fn delay_injected(&self, id: CtxId, label: Label, mut delays: Delays) -> bool {
        let drawn = {
            let mut choices = self.choices.borrow_mut();
            let site = |sim: &Self| (sim.name_of(id), sim.object_name(label.obj));
            delays.draw(self.steps.get(), &mut choices, delay_word(label.kind), || site(self))
        };
        self.set_delays(delays);
        if let Some(coverage) = &mut *self.coverage.borrow_mut() {
            coverage.injection("delay", drawn != 0);
        }
        if drawn == 0 {
            return false;
        }
        self.mix(drawn);
        if self.config.record {
            self.event_of(id, EventKind::Injected(format!("delay of {drawn} ns")));
        }
        self.sleep_until(id, self.now.get() + drawn);
        true
    }

    /// Allows delays of contexts, as drawn by the scenario.
    pub fn set_delays(&self, delays: Delays) {
        self.delays.set(delays);
        // Who does not go by a seed is asked at each step.
        let by_seed = self.by_strategy || !delays.enabled();
        self.delay_due.set(if by_seed { delays.next() } else { 0 });
    }

    /// Injection stops at this virtual time: from then on everything must settle by itself.
    pub fn stop_injection_at(&self, time: Nanos) {
        self.injection_ends.set(time);
    }

    /// Whether faults may still be injected.
    #[inline]
    #[must_use]
    pub fn injecting(&self) -> bool {
        // A search takes the end of injection for a deadline: to cross it is not to read the clock.
        self.now.get() < self.injection_ends.get()
    }

    fn sleep_until(&self, id: CtxId, until: Nanos) {
        let serial = self.slot(id).serial.get();
        self.add_deadline(until, Due::Wake { id, serial });
        self.block(id, Wait::Clock(until));
    }

    pub(super) fn wake_at(&self, id: CtxId, until: Nanos) {
        let serial = self.slot(id).serial.get();
        self.add_deadline(until, Due::Wake { id, serial });
    }

    /// `id` cannot go on; someone else is chosen.
    pub(crate) fn block(&self, id: CtxId, wait: Wait) {
        let slot = self.slot(id);
        slot.wait.set(wait);
        self.unready(id.bit());
        let (what, obj) = match wait {
            Wait::Object { obj, .. } => {
                self.parked.set(self.parked.get() | id.bit());
                self.pending[id.index()].set(Label::new(Kind::Wait, obj));
                ("block", obj)
            }
            Wait::Clock(_) => {
                self.sleeping.set(self.sleeping.get() | id.bit());
                ("sleep", ObjId::NONE)
            }
            Wait::Forever { .. } => ("spin", ObjId::NONE),
            Wait::None => ("yield", ObjId::NONE),
        };
        if self.config.record {
            self.event_of(id, EventKind::Blocked { on: self.object_name(obj) });
        }
        let eligible = self.ready.get() & !self.barred.get();
        self.decide(Some(id), eligible, what, obj);
    }

    /// `id` can go on.
    pub(crate) fn wake(&self, id: CtxId) {
        if self.deadlocked.get() & id.bit() == 0 {
            probe::enable(id);
            self.slot(id).wait.set(Wait::None);
            self.parked.set(self.parked.get() & !id.bit());
            self.sleeping.set(self.sleeping.get() & !id.bit());
            self.ready.set(self.ready.get() | id.bit());
        }
    }

    /// `id` has what it waited for, if it had to wait.
    #[inline]
    pub(crate) fn unpark(&self, id: CtxId) {
        if self.parked.get() & id.bit() != 0 {
            self.parked.set(self.parked.get() & !id.bit());
            self.slot(id).wait.set(Wait::None);
        }
    }

    /// The contexts in `set` wait for `obj` from now on, without having been asked: another one took what they want.
    /// Those that sleep before their step (an injected delay) find out when they wake.
    #[inline]
    pub(crate) fn wait_for(&self, set: u64, obj: ObjId, spinning: bool) {
        let set = set & !self.sleeping.get();
        let fresh = set & !self.parked.get();
        for id in CtxSet(fresh).iter() {
            self.slot(id).wait.set(Wait::Object { obj, spinning });
        }
        self.parked.set(self.parked.get() | fresh);
        self.unready(set);
    }

    /// The contexts in `set`, who wait for one lock, may try again. Whoever lets time pass is not disturbed.
    #[inline]
    pub(crate) fn retry(&self, set: u64) {
        let set = set & self.parked.get() & !self.sleeping.get() & !self.deadlocked.get();
        self.ready.set(self.ready.get() | set);
    }

    /// For what `id` waits now.
    pub(crate) fn wait_of(&self, id: CtxId) -> Wait {
        if self.ready.get() & id.bit() == 0 { self.slot(id).wait.get() } else { Wait::None }
    }

    /// `id` can go on if `obj` is what it waits for: a context that lets time pass is not disturbed.
    pub(crate) fn wake_from(&self, id: CtxId, obj: ObjId) {
        if matches!(self.slot(id).wait.get(), Wait::Object { obj: wanted, .. } if wanted == obj) {
            self.wake(id);
        }
    }

    pub(crate) fn unready(&self, set: u64) {
        self.ready.set(self.ready.get() & !set);
    }

    pub(super) fn stop(&self, why: Ended) {
        if !self.stopped.replace(true) {
            self.ended.set(why);
        }
    }

    /// Runs until nothing is left to do, nothing can be done, or a limit is reached.
    #[must_use]
    pub fn run(self: Rc<Self>) -> RunEnd {
        let mut waker = Context::from_waker(Waker::noop());
        while !self.stopped.get() {
            let Some(id) = ctx(self.chosen.get()) else {
                if !self.idle() {
                    break;
                }
                continue;
            };
            let slot = self.slot(id);
            if !slot.started.replace(true) {
                self.cpu_start(id);
                if !self.execute(id, START) {
                    break;
                }
            }
            self.current.set(id.0);
            let polled = match slot.future.borrow_mut().as_mut() {
                Some(task) => task.as_mut().poll(&mut waker),
                None => Poll::Ready(()),
            };
            if polled.is_ready() {
                self.finish(id);
                if self.stopped.get() {
                    break;
                }
                let eligible = self.ready.get() & !self.barred.get();
                self.decide(Some(id), eligible, "end", ObjId::NONE);
            }
        }
        for id in self.alive().iter() {
            self.note_steps(id);
        }
        if self.searching {
            self.search_ends();
        }
        self.look_at_end();
        self.call_end_hook();
        self.tear_down()
    }

    /// Nobody can run: lets the clock go on. `false` if the run is over.
    fn idle(&self) -> bool {
        let eligible = self.ready.get() & !self.barred.get();
        if eligible != 0 {
            self.decide(None, eligible, "wake", ObjId::NONE);
            return true;
        }
        let next = self.next_deadline.get();
        let live = CtxSet(self.alive.get() & !self.daemons.get());
        if next == Nanos::MAX || (self.beyond_help(live) && !self.clock.borrow().keeps_alive()) {
            self.nothing_can_run(live);
            return false;
        }
        if self.searching {
            self.search_waits();
        }
        self.now.set(self.now.get().max(next));
        self.current.set(NOBODY);
        self.fire_due();
        self.may_settle()
    }

    /// Whether none of `live` will ever go on by itself or be woken.
    fn beyond_help(&self, live: CtxSet) -> bool {
        live.iter().all(|id| {
            self.deadlocked.get() & id.bit() != 0 || matches!(self.wait_of(id), Wait::Forever { .. })
        })
    }

    fn tear_down(self: Rc<Self>) -> RunEnd {
        self.stopped.set(true);
        probe::listen(false);
        // Dropping a future may run guards, and guards do nothing once the run is stopped.
        for id in CtxSet(self.used.get()).iter() {
            let task = self.slot(id).future.borrow_mut().take();
            drop(task);
        }
        self.clock.borrow_mut().clear();
        self.handlers.borrow_mut().clear();
        self.rcu.clear();
        let findings = self.findings.take();
        let mut digest = self.digest.get();
        digest.mix(self.steps.get());
        digest.mix(self.now.get());
        for finding in &findings {
            digest.mix(finding.signature_hash());
            digest.mix(finding.step);
        }
        let choices = self.choices.replace(Choices::new(Mode::Seed(0), false));
        let mut coverage = self.coverage.take();
        if let Some(coverage) = &mut coverage {
            coverage.locks = self.lockdep.borrow().as_deref().map(LockDep::edges).unwrap_or_default();
        }
        RunEnd {
            decisions: self.decisions.get(),
            contexts: self.contexts.take(),
            coverage,
            ended: self.ended.get(),
            abandoned: self.abandoned.get(),
            steps: self.steps.get(),
            time: self.now.get(),
            digest: digest.value(),
            findings,
            trace: self.trace.take().map(|trace| *trace).unwrap_or_default(),
            divergence: choices.divergence(),
            choices,
        }
    }
}

/// The word under which a delay before a step of this kind is recorded.
const fn delay_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Start => "delay at start",
        Kind::Read => "delay before read",
        Kind::Write => "delay before write",
        Kind::Atomic => "delay before atomic",
        Kind::Acquire => "delay before acquire",
        Kind::Release => "delay before release",
        Kind::Wait => "delay before wait",
        Kind::Signal => "delay before signal",
        Kind::Alloc => "delay before alloc",
        Kind::Free => "delay before free",
        Kind::Io => "delay before io",
        Kind::Sleep => "delay before sleep",
        Kind::Point => "delay before point",
    }
}
