//! Atomic variables.

use std::cell::Cell;

use super::SyncClock;
use crate::probe::{self, Op};
use crate::{Cx, Kind, ObjId};

/// An atomic counter (`atomic_long_t`). Operations that return a value order what is around them; a mere read or set
/// does not.
#[derive(Debug)]
pub struct Atomic {
    obj: ObjId,
    value: Cell<i64>,
    clock: SyncClock,
}

impl Atomic {
    /// A counter called `name`.
    #[must_use]
    pub fn new(cx: &Cx, name: &'static str, value: i64) -> Self {
        Self { obj: cx.sim.object(name), value: Cell::new(value), clock: SyncClock::default() }
    }

    /// The value (`atomic_read`).
    pub async fn read(&self, cx: &Cx) -> i64 {
        cx.step(Kind::Read, self.obj).await;
        self.value.get()
    }

    /// Sets the value (`atomic_set`).
    pub async fn set(&self, cx: &Cx, value: i64) {
        cx.step(Kind::Write, self.obj).await;
        self.value.set(value);
    }

    /// Adds and returns the sum (`atomic_add_return`).
    pub async fn add_return(&self, cx: &Cx, n: i64) -> i64 {
        self.ordered(cx).await;
        let sum = self.value.get().wrapping_add(n);
        self.value.set(sum);
        sum
    }

    /// Subtracts one and tells whether that gave zero (`atomic_dec_and_test`).
    pub async fn dec_and_test(&self, cx: &Cx) -> bool {
        self.add_return(cx, -1).await == 0
    }

    /// Stores `new` if the value is `old`; returns what it was (`atomic_cmpxchg`).
    pub async fn compare_exchange(&self, cx: &Cx, old: i64, new: i64) -> i64 {
        self.ordered(cx).await;
        let was = self.value.get();
        if was == old {
            self.value.set(new);
        }
        was
    }

    /// Value without an access: for oracles and reports.
    #[must_use]
    pub fn peek(&self) -> i64 {
        probe::touch(self.obj, Op::Read);
        self.value.get()
    }

    async fn ordered(&self, cx: &Cx) {
        cx.step(Kind::Atomic, self.obj).await;
        cx.sim.acquire(cx.id, &self.clock);
        cx.sim.release_shared(cx.id, &self.clock);
        // Those that return a value are full barriers, whoever else uses the variable.
        cx.sim.full_barrier(cx.id);
    }
}
