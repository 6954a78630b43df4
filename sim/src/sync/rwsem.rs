//! Reader-writer semaphores.

use std::cell::Cell;

use super::{LockClass, SyncClock};
use crate::context::Held;
use crate::probe::{self, Op};
use crate::{CtxId, Cx, Draft, Kind, ObjId};

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
    pub async fn down_read(&self, cx: &Cx) {
        cx.might_sleep();
        cx.sim.check_lock_order(cx.id, self.class, self.obj, false);
        probe::touch(probe::wait_of(cx.id), Op::Write);
        loop {
            self.waiting_readers.set(self.waiting_readers.get() | cx.id.bit());
            if self.writer.get().is_some() {
                cx.sim.check_deadlock(cx.id, self.obj, false);
                cx.block_on(self.obj, false).await;
                cx.step_now(Kind::Acquire, self.obj).await;
            } else {
                cx.step(Kind::Acquire, self.obj).await;
            }
            if self.writer.get().is_none() {
                break;
            }
        }
        self.waiting_readers.set(self.waiting_readers.get() & !cx.id.bit());
        self.readers.set(self.readers.get() | cx.id.bit());
        cx.sim.unpark(cx.id);
        cx.sim.wait_for(self.waiting_writers.get(), self.obj, false);
        cx.hold(Held { class: self.class, obj: self.obj, read: true });
        cx.sim.acquire(cx.id, &self.clock);
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
    pub async fn down_write(&self, cx: &Cx) {
        cx.might_sleep();
        cx.sim.check_lock_order(cx.id, self.class, self.obj, false);
        probe::touch(probe::wait_of(cx.id), Op::Write);
        loop {
            self.waiting_writers.set(self.waiting_writers.get() | cx.id.bit());
            if self.writer.get().is_some() || self.readers.get() != 0 {
                cx.sim.check_deadlock(cx.id, self.obj, false);
                cx.block_on(self.obj, false).await;
                cx.step_now(Kind::Acquire, self.obj).await;
            } else {
                cx.step(Kind::Acquire, self.obj).await;
            }
            if self.writer.get().is_none() && self.readers.get() == 0 {
                break;
            }
        }
        self.waiting_writers.set(self.waiting_writers.get() & !cx.id.bit());
        self.writer.set(Some(cx.id));
        cx.sim.unpark(cx.id);
        cx.sim.wait_for(self.waiting_writers.get() | self.waiting_readers.get(), self.obj, false);
        cx.hold(Held { class: self.class, obj: self.obj, read: false });
        cx.sim.acquire(cx.id, &self.clock);
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
