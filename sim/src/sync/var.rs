//! Plain and marked variables.

use std::cell::Cell;

use super::{Race, SyncClock};
use crate::probe::{self, Op};
use crate::{Cx, Draft, Kind, ObjId};

/// A variable that contexts share. Plain accesses that no happens-before relation orders are a data race, even if
/// nothing goes wrong this time; marked ones (`READ_ONCE`, `WRITE_ONCE`) are not.
#[derive(Debug)]
pub struct Var<T: Copy> {
    obj: ObjId,
    name: &'static str,
    value: Cell<T>,
    race: Race,
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
            race: Race::default(),
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
            let earlier = cx.sim.clocks.borrow().check_read(cx.id, &self.race, cx.function());
            self.raced(cx, earlier, "read");
        }
        self.value.get()
    }

    /// Plain store as a part of the step that was just taken.
    pub fn set(&self, cx: &Cx, value: T) {
        probe::touch(self.obj, Op::Write);
        self.put(cx, value);
    }

    fn put(&self, cx: &Cx, value: T) {
        if cx.sim.config.races {
            let earlier = cx.sim.clocks.borrow().check_write(cx.id, &self.race, cx.function());
            self.raced(cx, earlier, "write");
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

    #[inline]
    fn raced(&self, cx: &Cx, earlier: Option<(&'static str, &'static str)>, kind: &'static str) {
        if let Some((function, earlier_kind)) = earlier {
            self.report(cx, function, earlier_kind, kind);
        }
    }

    #[cold]
    fn report(&self, cx: &Cx, function: &'static str, earlier_kind: &str, kind: &str) {
        let (name, now) = (self.name, cx.function());
        let title = format!("BUG: data race on {name} in {function} ({earlier_kind}) / {now} ({kind})");
        cx.report(Draft::warning("data-race", title).object(name).discriminator(function), Vec::new);
    }
}
