//! `Cx`: what a code path sees of the engine.

use std::fmt;
use std::future::Future;
use std::rc::Rc;

use super::Sim;
use super::state::{Held, Wait};
use super::step::State;
use super::{Block, Class, SpawnSpec, Step};
use crate::choices::Stream;
use crate::trace::EventKind;
use crate::{CtxId, Kind, Label, Name, Nanos, ObjId};

/// A context's handle on the engine. The context's root owns it; code paths get `&Cx`.
#[derive(Clone)]
pub struct Cx {
    pub(crate) sim: Rc<Sim>,
    pub(crate) id: CtxId,
}

impl fmt::Debug for Cx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cx({})", self.name())
    }
}

/// A function on the modelled call stack; left when this is dropped.
#[derive(Debug)]
#[must_use = "the function is left when this is dropped"]
pub struct Frame<'a> {
    cx: &'a Cx,
    function: &'static str,
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        if self.cx.sim.stopped() {
            return;
        }
        self.cx.sim.slot(self.cx.id).frames.borrow_mut().pop();
        if self.cx.sim.config.record {
            self.cx.sim.event_of(self.cx.id, EventKind::Leave(self.function));
        }
    }
}

/// Interrupt state saved by [`Cx::local_irq_save`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "interrupts stay off until these flags are restored"]
pub struct IrqFlags(());

impl IrqFlags {
    /// What is to be restored by whoever took a lock that saved them.
    pub(crate) const fn saved() -> Self {
        Self(())
    }
}

impl Cx {
    /// The engine.
    #[must_use]
    pub fn sim(&self) -> &Rc<Sim> {
        &self.sim
    }

    /// This context.
    #[must_use]
    pub fn id(&self) -> CtxId {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> Name {
        self.sim.slot(self.id).name.get()
    }

    /// Its serial number, never used again in this run; see [`Sim::context_name`].
    #[must_use]
    pub fn serial(&self) -> u32 {
        self.sim.slot(self.id).serial.get()
    }

    /// What kind of context it is.
    #[must_use]
    pub fn class(&self) -> Class {
        self.sim.slot(self.id).class.get()
    }

    /// CPU number (`smp_processor_id`); 0 for a device.
    #[must_use]
    pub fn cpu(&self) -> u8 {
        self.sim.slot(self.id).cpu.get()
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.sim.now()
    }

    /// Virtual time for the record: what is done with it must not show in what the run does or finds, since a search
    /// takes runs for the same that differ in it.
    #[must_use]
    pub fn stamp(&self) -> Nanos {
        self.sim.now.get()
    }

    /// Announces that this context is about to do `kind` to `obj`, and goes on when it is chosen.
    #[inline]
    pub fn step(&self, kind: Kind, obj: ObjId) -> Step<'_> {
        Step { sim: &self.sim, id: self.id, label: Label::new(kind, obj), state: State::Fresh }
    }

    /// A step that was announced before this context was blocked: having been chosen to go on, it takes it at once.
    #[inline]
    pub(crate) fn step_now(&self, kind: Kind, obj: ObjId) -> Step<'_> {
        Step { sim: &self.sim, id: self.id, label: Label::new(kind, obj), state: State::Chosen }
    }

    /// A preemption point.
    #[inline]
    pub fn point(&self) -> Step<'_> {
        self.step(Kind::Point, ObjId::NONE)
    }

    pub(crate) fn block_on(&self, obj: ObjId, spinning: bool) -> Block<'_> {
        Block { sim: &self.sim, id: self.id, wait: Wait::Object { obj, spinning }, polled: false }
    }

    /// Lets `time` pass without keeping the CPU. Not allowed in atomic context.
    pub async fn sleep(&self, time: Nanos) {
        self.might_sleep();
        self.sim.full_barrier(self.id);
        self.delay(time).await;
        self.sim.full_barrier(self.id);
    }

    /// Lets `time` pass while keeping whatever is kept (`udelay`): other contexts of this CPU run only if they may
    /// preempt this one.
    pub async fn delay(&self, time: Nanos) {
        let until = self.now().saturating_add(time);
        self.sim.wake_at(self.id, until);
        Block { sim: &self.sim, id: self.id, wait: Wait::Clock(until), polled: false }.await;
    }

    /// Spins on a memory word that nobody will change. The progress oracle finds it at the end of the run.
    pub async fn spin_forever(&self, why: &'static str) {
        loop {
            Block { sim: &self.sim, id: self.id, wait: Wait::Forever { why }, polled: false }.await;
        }
    }

    /// Enters a function: it stands on the call stack of findings until the frame is dropped.
    #[inline]
    pub fn enter(&self, function: &'static str) -> Frame<'_> {
        self.sim.slot(self.id).frames.borrow_mut().push(function);
        if self.sim.searching {
            self.sim.search_enters(function);
        }
        if self.sim.config.record {
            self.sim.event_of(self.id, EventKind::Enter(function));
        }
        if self.sim.config.coverage
            && let Some(coverage) = &mut *self.sim.coverage.borrow_mut()
        {
            coverage.entered(function);
        }
        Frame { cx: self, function }
    }

    /// The call stack, innermost first.
    #[must_use]
    pub fn frames(&self) -> Vec<&'static str> {
        self.sim.slot(self.id).frames.borrow().iter().rev().copied().collect()
    }

    /// The innermost function.
    #[must_use]
    pub fn function(&self) -> &'static str {
        self.sim.slot(self.id).frames.borrow().last().copied().unwrap_or("")
    }

    /// Starts another context.
    pub fn spawn<F: Future<Output = ()> + 'static>(
        &self,
        spec: SpawnSpec,
        body: impl FnOnce(Self) -> F,
    ) -> Option<CtxId> {
        self.sim.spawn(spec, body)
    }

    /// A choice of one among `of` alternatives, 0 being the simplest. `what` says what is decided.
    #[must_use]
    pub fn choose(&self, stream: Stream, what: &'static str, of: u64) -> u64 {
        let taken = self.sim.value(Some(self.id), stream, what, of, ObjId::NONE);
        self.exercised(stream, what, taken != 0);
        taken
    }

    fn exercised(&self, stream: Stream, what: &'static str, fired: bool) {
        if stream == Stream::Injection
            && let Some(coverage) = &mut *self.sim.coverage.borrow_mut()
        {
            coverage.injection(what, fired);
        }
    }

    /// The same, about an object.
    #[must_use]
    pub fn choose_for(&self, stream: Stream, what: &'static str, of: u64, obj: ObjId) -> u64 {
        self.sim.value(Some(self.id), stream, what, of, obj)
    }

    /// Whether something happens that happens in `per_mille` of a thousand cases. "No" is the simplest answer.
    #[must_use]
    pub fn chance(&self, stream: Stream, what: &'static str, per_mille: u64) -> bool {
        if stream == Stream::Injection && !self.sim.injecting() {
            return false;
        }
        // The unlikely answers are the high ones, so that "no" is answer 0 and needs no record.
        if per_mille == 0 {
            return false;
        }
        let drawn = self.sim.value_of(Some(self.id), stream, what, 1000, ObjId::NONE, &[0, 999]);
        let happens = drawn >= 1000_u64.saturating_sub(per_mille);
        self.exercised(stream, what, happens);
        happens
    }

    /// A line of the modelled kernel's log. The text is made only if someone reads it.
    pub fn log(&self, text: impl FnOnce() -> String) {
        if self.sim.config.record {
            self.sim.event_of(self.id, EventKind::Log(text()));
        }
    }

    /// A remark for the trace.
    pub fn note(&self, text: impl FnOnce() -> String) {
        if self.sim.config.record {
            self.sim.event_of(self.id, EventKind::Note(text()));
        }
    }

    /// A quantity of a model, for the trace: its value from now on.
    pub fn counter(&self, name: &'static str, value: impl FnOnce() -> u64) {
        if self.sim.config.record {
            self.sim.event_of(self.id, EventKind::Counter { name: name.into(), value: value() });
        }
    }

    /// The same for one of several things of a kind: `(what is counted, how many)`.
    pub fn counter_of(&self, counter: impl FnOnce() -> (String, u64)) {
        if self.sim.config.record {
            let (name, value) = counter();
            self.sim.event_of(self.id, EventKind::Counter { name: name.into(), value });
        }
    }

    /// Part of a space of numbers has somebody from here on, for the trace: `(space, start, length, who)`.
    pub fn interval_begins(&self, interval: impl FnOnce() -> (String, u64, u64, String)) {
        self.interval(true, interval);
    }

    /// It has him no longer.
    pub fn interval_ends(&self, interval: impl FnOnce() -> (String, u64, u64, String)) {
        self.interval(false, interval);
    }

    fn interval(&self, begins: bool, interval: impl FnOnce() -> (String, u64, u64, String)) {
        if self.sim.config.record {
            let (space, start, len, what) = interval();
            self.sim.event_of(self.id, EventKind::Interval { space, start, len, what, begins });
        }
    }

    /// An injection that a model made, for the trace.
    pub fn injected(&self, text: impl FnOnce() -> String) {
        if self.sim.config.record {
            self.sim.event_of(self.id, EventKind::Injected(text()));
        }
    }

    /// Whether sleeping is forbidden here, and why.
    #[must_use]
    pub fn atomic_reason(&self) -> Option<&'static str> {
        self.sim.slot(self.id).atomic_reason()
    }

    /// Whether interrupts are off on this CPU.
    #[must_use]
    pub fn irqs_disabled(&self) -> bool {
        let slot = self.sim.slot(self.id);
        slot.irq_off.get() > 0 || slot.class.get() == Class::Hardirq
    }

    /// Whether a lock of any kind is held.
    #[must_use]
    pub fn locks_held(&self) -> usize {
        self.sim.slot(self.id).held.borrow().len()
    }

    /// Turns interrupts off on this CPU.
    pub fn local_irq_save(&self) -> IrqFlags {
        let slot = self.sim.slot(self.id);
        if slot.irq_off.get() == 0 {
            slot.irqs_off_at.set(slot.steps.get());
        }
        slot.irq_off.set(slot.irq_off.get() + 1);
        self.sim.cpu_depth_changed(self.id);
        IrqFlags(())
    }

    /// Undoes [`Cx::local_irq_save`].
    pub fn local_irq_restore(&self, _: IrqFlags) {
        let slot = self.sim.slot(self.id);
        slot.irq_off.set(slot.irq_off.get().saturating_sub(1));
        self.sim.cpu_depth_changed(self.id);
    }

    /// Forbids other tasks on this CPU.
    pub fn preempt_disable(&self) {
        let slot = self.sim.slot(self.id);
        slot.preempt_off.set(slot.preempt_off.get() + 1);
        self.sim.cpu_depth_changed(self.id);
    }

    /// Undoes [`Cx::preempt_disable`].
    pub fn preempt_enable(&self) {
        let slot = self.sim.slot(self.id);
        slot.preempt_off.set(slot.preempt_off.get().saturating_sub(1));
        self.sim.cpu_depth_changed(self.id);
    }

    /// Forbids softirqs on this CPU.
    pub fn local_bh_disable(&self) {
        let slot = self.sim.slot(self.id);
        slot.bh_off.set(slot.bh_off.get() + 1);
        self.sim.cpu_depth_changed(self.id);
    }

    /// Undoes [`Cx::local_bh_disable`].
    pub fn local_bh_enable(&self) {
        let slot = self.sim.slot(self.id);
        slot.bh_off.set(slot.bh_off.get().saturating_sub(1));
        self.sim.cpu_depth_changed(self.id);
    }

    #[inline]
    pub(crate) fn hold(&self, held: Held) {
        if self.sim.config.record {
            self.recorded(EventKind::Took { lock: self.sim.object_name(held.obj) });
        }
        self.sim.slot(self.id).held.borrow_mut().push(held);
    }

    /// Out of line, since most runs are not recorded.
    #[cold]
    fn recorded(&self, event: EventKind) {
        self.sim.event_of(self.id, event);
    }

    pub(crate) fn holds(&self, obj: ObjId) -> bool {
        self.sim.slot(self.id).held.borrow().iter().any(|held| held.obj == obj)
    }

    /// Forgets a held lock. `false` if it is not held.
    #[inline]
    pub(crate) fn unhold(&self, obj: ObjId) -> bool {
        let mut held = self.sim.slot(self.id).held.borrow_mut();
        // Nearly always the one that was taken last.
        if held.last().is_some_and(|held| held.obj == obj) {
            held.pop();
        } else if let Some(at) = held.iter().rposition(|held| held.obj == obj) {
            held.remove(at);
        } else {
            return false;
        }
        drop(held);
        if self.sim.config.record {
            self.recorded(EventKind::Released { lock: self.sim.object_name(obj) });
        }
        true
    }
}
