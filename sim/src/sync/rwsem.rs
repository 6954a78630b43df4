//! Reader-writer semaphores.

use std::cell::Cell;
use std::future::Future;

use super::acquire::{Acquire, Lock};
use super::{LockClass, SyncClock};
use crate::context::Held;
use crate::probe::{self, Op};
use crate::{CtxId, Cx, Draft, ObjId};

/// A reader-writer semaphore (`struct rw_semaphore`): many readers or one writer; waiting sleeps. A waiting writer
/// does not keep new readers out: the kernel's hand-over rules only narrow the orders that are possible here.
#[derive(Debug)]
pub struct RwSem {
    obj: ObjId,
    class: LockClass,
    writer: Cell<Option<CtxId>>,
    readers: Cell<u64>,
    waiting_readers: Cell<u64>,
    waiting_writers: Cell<u64>,
    clock: SyncClock,
}

impl RwSem {
    /// A free semaphore.
    #[must_use]
    pub fn new(cx: &Cx, class: LockClass) -> Self {
        Self {
            obj: cx.sim.object(class.name),
            class,
            writer: Cell::new(None),
            readers: Cell::new(0),
            waiting_readers: Cell::new(0),
            waiting_writers: Cell::new(0),
            clock: SyncClock::default(),
        }
    }

    /// Takes it for reading (`down_read`).
    #[inline]
    pub fn down_read(&self, cx: &Cx) -> impl Future<Output = ()> {
        Acquire::new(cx, Taking::<false>(self))
    }

    /// Gives it back (`up_read`).
    pub fn up_read(&self, cx: &Cx) {
        if cx.sim.stopped() {
            return;
        }
        probe::touch(self.obj, Op::ReleaseShared);
        if self.readers.get() & cx.id.bit() == 0 || !cx.unhold(self.obj) {
            self.not_held(cx);
            return;
        }
        if !cx.holds(self.obj) {
            self.readers.set(self.readers.get() & !cx.id.bit());
        }
        cx.sim.release_shared(cx.id, &self.clock);
        self.let_go(cx);
    }

    /// Takes it for writing (`down_write`).
    #[inline]
    pub fn down_write(&self, cx: &Cx) -> impl Future<Output = ()> {
        Acquire::new(cx, Taking::<true>(self))
    }

    /// Gives it back (`up_write`).
    pub fn up_write(&self, cx: &Cx) {
        if cx.sim.stopped() {
            return;
        }
        probe::touch(self.obj, Op::ReleaseShared);
        if self.writer.get() != Some(cx.id) || !cx.unhold(self.obj) {
            self.not_held(cx);
            return;
        }
        self.writer.set(None);
        cx.sim.release(cx.id, &self.clock);
        self.let_go(cx);
    }

    /// It was taken, and `others` cannot have it now.
    fn taken(&self, cx: &Cx, others: u64, read: bool) {
        cx.sim.unpark(cx.id);
        cx.sim.wait_for(others, self.obj, false);
        cx.hold(Held { class: self.class, obj: self.obj, read });
        cx.sim.acquire(cx.id, &self.clock);
    }

    fn let_go(&self, cx: &Cx) {
        cx.sim.mix(u64::from(self.obj.0) << 16 | 0xff);
        let mut set = self.waiting_readers.get();
        if self.readers.get() == 0 {
            set |= self.waiting_writers.get();
        }
        cx.sim.retry(set);
    }

    fn not_held(&self, cx: &Cx) {
        let title = format!("BUG: {} releases {} that it does not hold", cx.name(), self.class.name);
        cx.report(Draft::warning("unlock-not-held", title).discriminator(self.class.name), Vec::new);
    }
}

/// The semaphore as somebody takes it: to write, or to read beside others.
#[derive(Clone, Copy, Debug)]
struct Taking<'a, const WRITES: bool>(&'a RwSem);

impl<const WRITES: bool> Taking<'_, WRITES> {
    /// Who waits to take it in this way.
    const fn waiting(&self) -> &Cell<u64> {
        if WRITES { &self.0.waiting_writers } else { &self.0.waiting_readers }
    }
}

impl<const WRITES: bool> Lock for Taking<'_, WRITES> {
    fn obj(self) -> ObjId {
        self.0.obj
    }

    fn class(self) -> LockClass {
        self.0.class
    }

    fn spinning(self) -> bool {
        false
    }

    fn nested(self) -> bool {
        false
    }

    fn enter(self, cx: &Cx) {
        cx.might_sleep();
    }

    fn want(self, id: CtxId) {
        self.waiting().set(self.waiting().get() | id.bit());
    }

    fn busy(self) -> bool {
        self.0.writer.get().is_some() || WRITES && self.0.readers.get() != 0
    }

    fn take(self, cx: &Cx) {
        self.waiting().set(self.waiting().get() & !cx.id.bit());
        let writers = self.0.waiting_writers.get();
        if WRITES {
            self.0.writer.set(Some(cx.id));
            self.0.taken(cx, writers | self.0.waiting_readers.get(), false);
        } else {
            self.0.readers.set(self.0.readers.get() | cx.id.bit());
            self.0.taken(cx, writers, true);
        }
    }
}
