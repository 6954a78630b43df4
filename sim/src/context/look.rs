//! A look at a run in the middle of it: what each context does, holds and waits for.

use std::rc::Rc;

use super::state::{NOBODY, ctx};
use super::{Class, Cx, Ended, Sim, Wait};
use crate::sync::LockDep;
use crate::{CtxId, Kind, Name, Nanos};

/// What a context does at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It was chosen, and takes the next step.
    Next,
    /// It could go on.
    Ready,
    /// Another context keeps its CPU.
    Barred {
        /// Which.
        by: Name,
    },
    /// It waits for a lock or an event.
    Waits {
        /// Which.
        object: Name,
        /// Whether it spins.
        spinning: bool,
        /// Who holds it, if it is a lock.
        holders: Vec<Name>,
    },
    /// It lets time pass.
    Sleeps {
        /// Until when.
        until: Nanos,
    },
    /// It spins on something that nobody will change.
    Spins {
        /// On what.
        on: &'static str,
    },
}

/// A lock that a context holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldLock {
    /// Its class.
    pub class: &'static str,
    /// The lock.
    pub lock: Name,
    /// Whether it is shared with other readers.
    pub read: bool,
}

/// A context at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextState {
    /// Its name.
    pub name: Name,
    /// What kind of execution it is.
    pub class: Class,
    /// Its CPU, if it runs on one.
    pub cpu: Option<u8>,
    /// Steps it has taken.
    pub steps: u64,
    /// What it does.
    pub doing: Doing,
    /// The step that it takes next: what it announced; nothing if it waits for the clock.
    pub next: Option<(Kind, Name)>,
    /// Whether it is part of a wait-for cycle.
    pub deadlocked: bool,
    /// Call stack, innermost first.
    pub frames: Vec<&'static str>,
    /// Locks, in the order in which it took them.
    pub held: Vec<HeldLock>,
    /// Depths: interrupts, softirqs, preemption turned off, RCU read sides.
    pub off: Depths,
}

/// How often a context has turned something off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depths {
    /// Interrupts.
    pub irqs: u8,
    /// Softirqs.
    pub softirqs: u8,
    /// Preemption.
    pub preemption: u8,
    /// RCU read sides that it is in.
    pub rcu: u8,
}

/// A class of locks that was taken while another was held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOrder {
    /// Held.
    pub held: &'static str,
    /// Taken.
    pub taken: &'static str,
    /// In which function, the first time.
    pub function: &'static str,
    /// By which context.
    pub context: String,
}

/// Called with the handle of a context once a run has come to a step.
pub(super) type Look = Box<dyn FnOnce(Cx)>;

impl Sim {
    /// Has `look` called when `step` steps were taken and all that belongs to them was done, and ends the run there. If
    /// the run takes just so many steps, that is at its end, before what [`Sim::at_end`] has called. If it takes fewer,
    /// `look` is never called.
    ///
    /// It may look at everything, but not await. What it changes changes nothing, since the run is over.
    pub fn look_at(&self, step: u64, look: impl FnOnce(Cx) + 'static) {
        self.look_step.set(step);
        self.next_look.set(self.next_look.get().min(step.saturating_add(1)));
        *self.look.borrow_mut() = Some(Box::new(look));
    }

    /// The context `id` has begun the step after the one that was asked for: takes that back, looks, and stops.
    #[cold]
    pub(super) fn look_now(&self, id: CtxId) {
        let slot = self.slot(id);
        slot.steps.set(slot.steps.get() - 1);
        // Who was blocked announces nothing anew.
        self.pending[id.index()].set(slot.last.get());
        self.steps.set(self.steps.get() - 1);
        self.now.set(self.now.get() - self.config.step_ns);
        self.call_look(id);
        self.abandoned.set(true);
        self.stop(Ended::Stopped);
    }

    /// The run is over: if it took as many steps as were asked for, looks.
    pub(super) fn look_at_end(&self) {
        if self.steps.get() == self.look_step.get() {
            self.current.set(NOBODY);
            self.call_look(CtxId(0));
        }
    }

    fn call_look(&self, id: CtxId) {
        let look = self.look.borrow_mut().take();
        if let (Some(look), Some(sim)) = (look, self.this.upgrade()) {
            look(Cx { sim, id });
        }
    }

    /// Every context that began and has not ended, in the order in which they began.
    #[must_use]
    pub fn contexts_now(self: &Rc<Self>) -> Vec<ContextState> {
        let mut all: Vec<CtxId> = self.alive().iter().collect();
        all.sort_by_key(|id| self.slot(*id).serial.get());
        all.into_iter().map(|id| self.context_now(id)).collect()
    }

    fn context_now(&self, id: CtxId) -> ContextState {
        let slot = self.slot(id);
        let doing = match self.wait_of(id) {
            Wait::Object { obj, spinning } => Doing::Waits {
                object: self.object_name(obj),
                spinning,
                holders: self.lock_owners(obj).iter().map(|owner| self.name_of(owner)).collect(),
            },
            Wait::Clock(until) => Doing::Sleeps { until },
            Wait::Forever { why } => Doing::Spins { on: why },
            Wait::None => match self.barred_by(id) {
                _ if ctx(self.current.get()) == Some(id) => Doing::Next,
                Some(by) => Doing::Barred { by: self.name_of(by) },
                None => Doing::Ready,
            },
        };
        let pending = self.pending[id.index()].get();
        let announced = !matches!(doing, Doing::Sleeps { .. } | Doing::Spins { .. });
        ContextState {
            name: self.name_of(id),
            class: slot.class.get(),
            cpu: (slot.class.get() != Class::Device).then(|| slot.cpu.get()),
            steps: slot.steps.get(),
            next: announced.then(|| (pending.kind, self.object_name(pending.obj))),
            doing,
            deadlocked: self.deadlocked.get() & id.bit() != 0,
            frames: slot.frames.borrow().iter().rev().copied().collect(),
            held: slot
                .held
                .borrow()
                .iter()
                .map(|held| HeldLock {
                    class: held.class.name,
                    lock: self.object_name(held.obj),
                    read: held.read,
                })
                .collect(),
            off: Depths {
                irqs: slot.irq_off.get(),
                softirqs: slot.bh_off.get(),
                preemption: slot.preempt_off.get(),
                rcu: slot.rcu_nesting.get(),
            },
        }
    }

    /// The orders in which classes of locks were taken so far, as they came up.
    #[must_use]
    pub fn lock_order(&self) -> Vec<LockOrder> {
        self.lockdep.borrow().as_deref().map(LockDep::order).unwrap_or_default()
    }
}
