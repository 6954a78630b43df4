//! Plain and marked variables.

use std::cell::Cell;

use super::{Access, Accesses, SyncClock, Unordered};
use crate::probe::{self, Op};
use crate::{Cx, Kind, ObjId};

/// A variable that contexts share. Plain accesses that no happens-before relation orders are a data race, even if
/// nothing goes wrong this time; marked ones (`READ_ONCE`, `WRITE_ONCE`) are not.
#[derive(Debug)]
pub struct Var<T: Copy> {
    obj: ObjId,
    name: &'static str,
    value: Cell<T>,
    accesses: Accesses,
    clock: SyncClock,
}

impl<T: Copy> Var<T> {
    /// A variable called `name`.
    #[must_use]
    pub fn new(cx: &Cx, name: &'static str, value: T) -> Self {
        Self {
            obj: cx.sim.object(name),
            name,
            value: Cell::new(value),
            accesses: Accesses::default(),
            clock: SyncClock::default(),
        }
    }

    /// Plain load.
    pub async fn load(&self, cx: &Cx) -> T {
        cx.step(Kind::Read, self.obj).await;
        self.get(cx)
    }

    /// Plain store.
    pub async fn store(&self, cx: &Cx, value: T) {
        cx.step(Kind::Write, self.obj).await;
        self.put(cx, value);
    }

    /// Plain load as a part of the step that was just taken.
    pub fn get(&self, cx: &Cx) -> T {
        if cx.sim.config.races {
            // Which reads the oracle remembers depends on their order.
            probe::touch(self.obj, Op::Write);
        }
        if let Some(earlier) = self.accesses.note(cx, Access::READ, || self.obj) {
            self.raced(cx, Access::READ, &earlier);
        }
        self.value.get()
    }

    /// Plain store as a part of the step that was just taken.
    pub fn set(&self, cx: &Cx, value: T) {
        probe::touch(self.obj, Op::Write);
        self.put(cx, value);
    }

    fn put(&self, cx: &Cx, value: T) {
        if let Some(earlier) = self.accesses.note(cx, Access::WRITE, || self.obj) {
            self.raced(cx, Access::WRITE, &earlier);
        }
        self.value.set(value);
    }

    /// Marked load (`READ_ONCE`): orders nothing.
    pub async fn read_once(&self, cx: &Cx) -> T {
        cx.step(Kind::Read, self.obj).await;
        self.value.get()
    }

    /// Marked store (`WRITE_ONCE`): orders nothing.
    pub async fn write_once(&self, cx: &Cx, value: T) {
        cx.step(Kind::Write, self.obj).await;
        self.value.set(value);
    }

    /// Load that acquires what the store it reads has released (`smp_load_acquire`).
    pub async fn load_acquire(&self, cx: &Cx) -> T {
        cx.step(Kind::Read, self.obj).await;
        cx.sim.acquire(cx.id, &self.clock);
        self.value.get()
    }

    /// Store that releases what came before it (`smp_store_release`).
    pub async fn store_release(&self, cx: &Cx, value: T) {
        cx.step(Kind::Write, self.obj).await;
        cx.sim.release(cx.id, &self.clock);
        self.value.set(value);
    }

    /// Value without an access: for set-up, oracles and reports.
    #[must_use]
    pub fn peek(&self) -> T {
        probe::touch(self.obj, Op::Read);
        self.value.get()
    }

    /// Sets the value without an access: for set-up.
    pub fn init(&self, value: T) {
        probe::touch(self.obj, Op::Write);
        self.value.set(value);
    }

    #[cold]
    fn raced(&self, cx: &Cx, access: Access, earlier: &Unordered) {
        earlier.report(cx, access, self.name, self.obj, Vec::new);
    }
}
