//! What all exclusive locks share.

use std::cell::Cell;

use super::acquire::Lock;
use super::{LockClass, SyncClock};
use crate::context::Held;
use crate::probe::{self, Op};
use crate::{CtxId, Cx, Draft, Kind, ObjId};

/// An exclusive lock without its rules about interrupts and sleeping.
#[derive(Debug)]
pub(super) struct RawLock {
    pub(super) obj: ObjId,
    pub(super) class: LockClass,
    owner: Cell<Option<CtxId>>,
    waiters: Cell<u64>,
    clock: SyncClock,
}

/// What taking an exclusive lock forbids until it is given back, and how it is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// Nothing: who waits sleeps.
    Sleeping,
    /// Other tasks of the CPU; who waits spins.
    Spinning,
    /// The same and interrupts, with what they were before.
    IrqSave,
    /// The same as [`How::Spinning`] and softirqs.
    Bh,
}

/// An exclusive lock as it is being taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taking<'a> {
    pub(super) lock: &'a RawLock,
    pub(super) how: How,
    pub(super) nested: bool,
}

impl Lock for Taking<'_> {
    #[inline]
    fn obj(self) -> ObjId {
        self.lock.obj
    }

    #[inline]
    fn class(self) -> LockClass {
        self.lock.class
    }

    #[inline]
    fn spinning(self) -> bool {
        !matches!(self.how, How::Sleeping)
    }

    #[inline]
    fn nested(self) -> bool {
        self.nested
    }

    #[inline]
    fn enter(self, cx: &Cx) {
        match self.how {
            How::Sleeping => return cx.might_sleep(),
            How::Spinning => {}
            How::IrqSave => {
                let _flags = cx.local_irq_save();
            }
            How::Bh => cx.local_bh_disable(),
        }
        cx.preempt_disable();
    }

    #[inline]
    fn want(self, id: CtxId) {
        self.lock.waiters.set(self.lock.waiters.get() | id.bit());
    }

    #[inline]
    fn busy(self) -> bool {
        self.lock.owner.get().is_some()
    }

    #[inline(never)]
    fn take(self, cx: &Cx) {
        let lock = self.lock;
        let others = lock.waiters.get() & !cx.id.bit();
        lock.waiters.set(others);
        lock.owner.set(Some(cx.id));
        cx.sim.unpark(cx.id);
        cx.sim.wait_for(others, lock.obj, self.spinning());
        cx.hold(Held { class: lock.class, obj: lock.obj, read: false });
        cx.sim.acquire(cx.id, &lock.clock);
    }
}

impl RawLock {
    pub(super) fn new(cx: &Cx, class: LockClass) -> Self {
        Self {
            obj: cx.sim.object(class.name),
            class,
            owner: Cell::new(None),
            waiters: Cell::new(0),
            clock: SyncClock::default(),
        }
    }

    /// Takes the lock if it is free.
    pub(super) async fn try_acquire(&self, cx: &Cx, spinning: bool) -> bool {
        cx.sim.check_lock_usage(cx.id, self.class);
        cx.step(Kind::Atomic, self.obj).await;
        if self.owner.get().is_some() {
            return false;
        }
        probe::touch(self.obj, Op::Try);
        self.owner.set(Some(cx.id));
        cx.sim.wait_for(self.waiters.get(), self.obj, spinning);
        cx.hold(Held { class: self.class, obj: self.obj, read: false });
        cx.sim.acquire(cx.id, &self.clock);
        true
    }

    /// Gives the lock back. `false`, and a finding, if this context does not hold it.
    pub(super) fn release(&self, cx: &Cx) -> bool {
        if cx.sim.stopped() {
            return true;
        }
        probe::touch(self.obj, Op::Release);
        if self.owner.get() != Some(cx.id) || !cx.unhold(self.obj) {
            self.not_held(cx);
            return false;
        }
        cx.sim.mix(u64::from(self.obj.0) << 16 | 0xff);
        cx.sim.release(cx.id, &self.clock);
        self.owner.set(None);
        cx.sim.retry(self.waiters.get());
        true
    }

    #[cold]
    fn not_held(&self, cx: &Cx) {
        let title = format!("BUG: {} releases {} that it does not hold", cx.name(), self.class.name);
        cx.report(Draft::warning("unlock-not-held", title).discriminator(self.class.name), Vec::new);
    }

    /// Orders as taking it and giving it back would.
    pub(super) fn pass(&self, cx: &Cx) {
        cx.sim.acquire(cx.id, &self.clock);
        cx.sim.release_shared(cx.id, &self.clock);
    }

    /// Reports a finding unless this context holds the lock.
    pub(super) fn assert_held(&self, cx: &Cx) {
        if !self.held_by(cx) && !cx.sim.stopped() {
            let title = format!(
                "WARNING: {} is in {}, which needs {}, and does not hold it",
                cx.name(),
                cx.function(),
                self.class.name
            );
            cx.report(Draft::warning("lock-not-held", title).discriminator(self.class.name), Vec::new);
        }
    }

    pub(super) fn held_by(&self, cx: &Cx) -> bool {
        // An owner that ended without giving it back may have left its slot to this context.
        self.owner.get() == Some(cx.id) && cx.holds(self.obj)
    }

    pub(super) fn held(&self) -> bool {
        probe::touch(self.obj, Op::Read);
        self.owner.get().is_some()
    }
}
