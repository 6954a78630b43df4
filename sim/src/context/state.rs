//! What the engine knows of one context.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::cpu::Cpu;
use super::sim::Objects;
use crate::label::{CtxId, CtxSet, MAX_CONTEXTS, Name, ObjId};
use crate::sync::{Clocks, LockClass};
use crate::{Label, Nanos};

/// What kind of execution a context is; decides what may interrupt it and whether it may sleep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// A task on a CPU: preemptible while it holds nothing that forbids it.
    #[default]
    Task,
    /// A softirq on a CPU: interrupted by hard interrupts only, may not sleep.
    Softirq,
    /// A hard interrupt on a CPU: interrupted by nothing on that CPU, may not sleep.
    Hardirq,
    /// A device: not on any CPU.
    Device,
}

/// How to start a context.
#[derive(Clone, Copy, Debug)]
pub struct SpawnSpec {
    /// Its name; a second one of the same name gets a number.
    pub name: &'static str,
    /// What it is.
    pub class: Class,
    /// The CPU it runs on; ignored for [`Class::Device`].
    pub cpu: u8,
    /// A daemon does not keep the run alive, nor do timers that start daemons; it may be left waiting at the end. It
    /// goes on until it waits or sleeps, so that it finishes what it has begun.
    pub daemon: bool,
}

impl SpawnSpec {
    /// A task on `cpu`.
    #[must_use]
    pub const fn task(name: &'static str, cpu: u8) -> Self {
        Self { name, class: Class::Task, cpu, daemon: false }
    }

    /// A hard interrupt on `cpu`.
    #[must_use]
    pub const fn hardirq(name: &'static str, cpu: u8) -> Self {
        Self { name, class: Class::Hardirq, cpu, daemon: false }
    }

    /// A softirq on `cpu`.
    #[must_use]
    pub const fn softirq(name: &'static str, cpu: u8) -> Self {
        Self { name, class: Class::Softirq, cpu, daemon: false }
    }

    /// A device.
    #[must_use]
    pub const fn device(name: &'static str) -> Self {
        Self { name, class: Class::Device, cpu: 0, daemon: false }
    }

    /// The same, as a daemon.
    #[must_use]
    pub const fn daemon(mut self) -> Self {
        self.daemon = true;
        self
    }
}

/// Why a context cannot go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It can.
    #[default]
    None,
    /// It wants a lock or an event.
    Object { obj: ObjId, spinning: bool },
    /// It waits for the clock.
    Clock(Nanos),
    /// It spins on something that nobody will change.
    Forever { why: &'static str },
}

/// A lock that a context holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) class: LockClass,
    pub(crate) obj: ObjId,
    pub(crate) read: bool,
}

/// All slots.
pub(crate) type Slots = [Slot; MAX_CONTEXTS];
/// What is announced, by slot.
pub(crate) type Announced = [Cell<Label>; MAX_CONTEXTS];

pub(crate) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A slot and the context in it.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) future: RefCell<Option<Task>>,
    pub(crate) name: Cell<Name>,
    pub(crate) serial: Cell<u32>,
    pub(crate) class: Cell<Class>,
    pub(crate) cpu: Cell<u8>,
    pub(crate) irq_off: Cell<u8>,
    pub(crate) preempt_off: Cell<u8>,
    pub(crate) bh_off: Cell<u8>,
    pub(crate) rcu_nesting: Cell<u8>,
    /// How many grace periods had begun when the outermost section was entered.
    pub(crate) rcu_since: Cell<u64>,
    pub(crate) started: Cell<bool>,
    pub(crate) wait: Cell<Wait>,
    pub(crate) steps: Cell<u64>,
    /// The context's own steps when it last turned interrupts off.
    pub(crate) irqs_off_at: Cell<u64>,
    pub(crate) last: Cell<Label>,
    pub(crate) frames: RefCell<Vec<&'static str>>,
    pub(crate) held: RefCell<Vec<Held>>,
}

/// Memory that a run leaves to the next one on its thread, with nothing in it that a run could see: to ask for it anew
/// cost a short run half of its time.
#[derive(Default)]
pub(super) struct Spare {
    pub(super) slots: Option<Rc<Slots>>,
    /// What contexts announced, by slot.
    pub(super) pending: Option<Rc<Announced>>,
    pub(super) clocks: Clocks,
    pub(super) objects: Objects,
    pub(super) names: Vec<(&'static str, u32)>,
    pub(super) cpus: Vec<Cpu>,
}

thread_local! {
    static SPARE: Cell<Spare> = Cell::new(Spare::default());
}

impl Spare {
    /// Memory for a run.
    pub(super) fn take() -> Self {
        SPARE.take()
    }

    /// The run is over; `used` is the set of slots in which a context was. They are emptied: nothing of a run is seen
    /// by another.
    pub(super) fn give_back(mut self, used: CtxSet) {
        for id in used.iter() {
            if let Some(slots) = &self.slots {
                slots[id.index()].empty();
            }
            if let Some(pending) = &self.pending {
                pending[id.index()].set(START);
            }
        }
        self.clocks.clear();
        self.objects.clear();
        self.names.clear();
        self.cpus.clear();
        // A thread that ends has no spare memory any more.
        let _ = SPARE.try_with(|spare| spare.set(self));
    }
}

/// Empty slots.
pub(super) fn new_slots() -> Rc<Slots> {
    Rc::new(std::array::from_fn(|_| Slot::default()))
}

/// Nothing announced.
pub(super) fn nothing_announced() -> Rc<Announced> {
    Rc::new(std::array::from_fn(|_| Cell::new(START)))
}

impl Slot {
    /// Nothing is left in it that a run could see: what is not emptied here is set when a context begins.
    fn empty(&self) {
        self.frames.borrow_mut().clear();
        self.held.borrow_mut().clear();
        drop(self.future.take());
        self.started.set(false);
        self.wait.set(Wait::None);
        self.last.set(START);
    }

    pub(crate) fn begin(&self, spec: &SpawnSpec, name: Name, serial: u32) {
        self.name.set(name);
        self.serial.set(serial);
        self.class.set(spec.class);
        self.cpu.set(spec.cpu);
        self.irq_off.set(0);
        self.preempt_off.set(0);
        self.bh_off.set(0);
        self.rcu_nesting.set(0);
        self.rcu_since.set(0);
        self.started.set(false);
        self.wait.set(Wait::None);
        self.steps.set(0);
        self.irqs_off_at.set(0);
        self.last.set(START);
        let mut frames = self.frames.borrow_mut();
        frames.clear();
        // Call paths are this deep as a rule: grown once, not in three steps.
        frames.reserve(16);
        self.held.borrow_mut().clear();
    }

    /// The context's steps since interrupts went off on its CPU; 0 while they are on.
    pub(crate) fn steps_with_irqs_off(&self) -> u64 {
        match self.class.get() {
            Class::Hardirq => self.steps.get(),
            Class::Task | Class::Softirq if self.irq_off.get() > 0 => {
                self.steps.get() - self.irqs_off_at.get()
            }
            Class::Task | Class::Softirq | Class::Device => 0,
        }
    }

    /// Whether it keeps other tasks off its CPU.
    pub(crate) const fn keeps_cpu(&self) -> bool {
        self.irq_off.get() | self.preempt_off.get() | self.bh_off.get() != 0
    }

    /// Whether a context of this class in this state may not sleep, and why.
    #[inline]
    pub(crate) fn atomic_reason(&self) -> Option<&'static str> {
        let off = [&self.irq_off, &self.preempt_off, &self.bh_off, &self.rcu_nesting];
        if self.class.get() == Class::Task && off.iter().all(|depth| depth.get() == 0) {
            return None;
        }
        self.atomic_by()
    }

    fn atomic_by(&self) -> Option<&'static str> {
        match self.class.get() {
            Class::Hardirq => Some("in_hardirq"),
            Class::Softirq => Some("in_softirq"),
            Class::Device => None,
            Class::Task if self.irq_off.get() > 0 => Some("irqs_disabled"),
            Class::Task if self.preempt_off.get() > 0 => Some("in_atomic"),
            Class::Task if self.bh_off.get() > 0 => Some("bh_disabled"),
            Class::Task if self.rcu_nesting.get() > 0 => Some("rcu_read_lock_held"),
            Class::Task => None,
        }
    }
}

pub(crate) const START: Label = Label::new(crate::Kind::Start, ObjId::NONE);

impl Default for Name {
    fn default() -> Self {
        Self::new("")
    }
}

impl Default for Label {
    fn default() -> Self {
        START
    }
}

/// No context.
pub(crate) const NOBODY: u8 = u8::MAX;

pub(crate) const fn ctx(raw: u8) -> Option<CtxId> {
    if raw == NOBODY { None } else { Some(CtxId(raw)) }
}
