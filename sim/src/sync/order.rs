//! Who is told when contexts synchronise: a model of memory in which CPUs see one another's stores late.
//!
//! What one context releases another one acquires, by a lock, a completion, a wake-up, work, a timer, or by starting it. The
//! engine's own objects are sequentially consistent; a model's variables may be less than that, and must keep this order.
//!
//! Source: `Documentation/memory-barriers.txt`, "Implicit kernel memory barriers", v6.12.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use super::SyncClock;
use crate::context::{Class, Sim};
use crate::{CtxId, Nanos};

/// Is told of what synchronises, by the CPUs on which it happens. Devices have none, and nothing is told of them.
pub trait Ordering {
    /// All that a CPU has stored so far is visible to all from now on, and before whatever it stores next.
    fn released(&self, cpu: u8, now: Nanos);
    /// What a CPU loads from now on is as of this moment, or newer.
    fn acquired(&self, cpu: u8, since: Nanos);
}

/// Who is told in a run; nobody in most.
#[derive(Default)]
pub(crate) struct Listener {
    on: Cell<bool>,
    told: RefCell<Option<Rc<dyn Ordering>>>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.on.get()).finish()
    }
}

impl Sim {
    /// Has `ordering` told, from now on, of everything that synchronises contexts.
    pub fn on_ordering(&self, ordering: Rc<dyn Ordering>) {
        *self.ordering.told.borrow_mut() = Some(ordering);
        self.ordering.on.set(true);
    }

    /// What others released into `clock` happened before what `id` does from now on.
    #[inline]
    pub(crate) fn acquire(&self, id: CtxId, clock: &SyncClock) {
        self.clocks.borrow_mut().acquire(id, clock);
        if self.ordering.on.get() {
            self.told(id, |ordering, cpu| ordering.acquired(cpu, clock.released_at()));
        }
    }

    /// What `id` did so far happens before what is done by those who acquire `clock`.
    #[inline]
    pub(crate) fn release(&self, id: CtxId, clock: &SyncClock) {
        self.clocks.borrow_mut().release(id, clock);
        self.stamp(id, clock);
    }

    /// A release that keeps what others have released before.
    #[inline]
    pub(crate) fn release_shared(&self, id: CtxId, clock: &SyncClock) {
        self.clocks.borrow_mut().release_shared(id, clock);
        self.stamp(id, clock);
    }

    #[inline]
    fn stamp(&self, id: CtxId, clock: &SyncClock) {
        if self.ordering.on.get() {
            clock.set_released_at(self.now());
            self.told(id, |ordering, cpu| ordering.released(cpu, self.now()));
        }
    }

    /// `parent` starts `child`.
    pub(crate) fn fork(&self, parent: Option<CtxId>, child: CtxId) {
        self.clocks.borrow_mut().fork(parent, child);
        if self.ordering.on.get() {
            let now = self.now();
            if let Some(parent) = parent {
                self.told(parent, |ordering, cpu| ordering.released(cpu, now));
            }
            self.told(child, |ordering, cpu| ordering.acquired(cpu, now));
        }
    }

    /// `id` gives its CPU up or gets it back (`schedule()`), or changes an atomic variable and learns its value.
    pub(crate) fn full_barrier(&self, id: CtxId) {
        if self.ordering.on.get() {
            let now = self.now();
            self.told(id, |ordering, cpu| {
                ordering.released(cpu, now);
                ordering.acquired(cpu, now);
            });
        }
    }

    #[cold]
    fn told(&self, id: CtxId, tell: impl FnOnce(&dyn Ordering, u8)) {
        let slot = self.slot(id);
        if slot.class.get() == Class::Device {
            return;
        }
        if let Some(ordering) = &*self.ordering.told.borrow() {
            tell(&**ordering, slot.cpu.get());
        }
    }
}
