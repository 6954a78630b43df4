//! What all exclusive locks share.

use std::cell::Cell;

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

    /// Takes the lock. A context that wants a held lock is not eligible until it is released; then the scheduler
    /// decides which of the waiting ones gets it, which covers every order of arrival.
    pub(super) async fn acquire(&self, cx: &Cx, spinning: bool, nested: bool) {
        cx.sim.check_lock_order(cx.id, self.class, self.obj, nested);
        let bit = cx.id.bit();
        probe::touch(probe::wait_of(cx.id), Op::Write);
        loop {
            self.waiters.set(self.waiters.get() | bit);
            if self.owner.get().is_some() {
                cx.sim.check_deadlock(cx.id, self.obj, spinning);
                cx.block_on(self.obj, spinning).await;
                cx.step_now(Kind::Acquire, self.obj).await;
            } else {
                cx.step(Kind::Acquire, self.obj).await;
            }
            if self.owner.get().is_none() {
                break;
            }
        }
        let others = self.waiters.get() & !bit;
        self.waiters.set(others);
        self.owner.set(Some(cx.id));
        cx.sim.unpark(cx.id);
        cx.sim.wait_for(others, self.obj, spinning);
        cx.hold(Held { class: self.class, obj: self.obj, read: false });
        cx.sim.clocks.borrow_mut().acquire(cx.id, &self.clock);
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
        cx.sim.clocks.borrow_mut().acquire(cx.id, &self.clock);
        true
    }

    /// Gives the lock back. `false`, and a finding, if this context does not hold it.
    pub(super) fn release(&self, cx: &Cx) -> bool {
        if cx.sim.stopped() {
            return true;
        }
        probe::touch(self.obj, Op::Release);
        if self.owner.get() != Some(cx.id) || !cx.unhold(self.obj) {
            cx.report(
                Draft::warning(
                    "unlock-not-held",
                    format!("BUG: {} releases {} that it does not hold", cx.name(), self.class.name),
                )
                .discriminator(self.class.name),
                Vec::new,
            );
            return false;
        }
        cx.sim.mix(u64::from(self.obj.0) << 16 | 0xff);
        cx.sim.clocks.borrow_mut().release(cx.id, &self.clock);
        self.owner.set(None);
        cx.sim.retry(self.waiters.get());
        true
    }

    /// Orders as taking it and giving it back would.
    pub(super) fn pass(&self, cx: &Cx) {
        let mut clocks = cx.sim.clocks.borrow_mut();
        clocks.acquire(cx.id, &self.clock);
        clocks.release_shared(cx.id, &self.clock);
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
