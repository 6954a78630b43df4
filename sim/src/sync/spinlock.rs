//! Spinlocks.

use std::future::Future;

use super::LockClass;
use super::acquire::{Acquire, Taken};
use super::raw::{How, RawLock, Taking};
use crate::Cx;
use crate::context::IrqFlags;

/// A spinlock (`spinlock_t`). While it is held, and while it is waited for, other tasks of the CPU cannot run.
#[derive(Debug)]
pub struct SpinLock(RawLock);

impl From<Taken> for IrqFlags {
    fn from(_: Taken) -> Self {
        Self::saved()
    }
}

impl SpinLock {
    #[inline]
    fn acquire<'l, 'c, G>(&'l self, cx: &'c Cx, how: How, nested: bool) -> Acquire<'c, Taking<'l>, G> {
        Acquire::new(cx, Taking { lock: &self.0, how, nested })
    }

    /// A free lock (`spin_lock_init`).
    #[must_use]
    pub fn new(cx: &Cx, class: LockClass) -> Self {
        Self(RawLock::new(cx, class))
    }

    /// Takes it (`spin_lock`).
    #[inline]
    pub fn lock(&self, cx: &Cx) -> impl Future<Output = ()> {
        self.acquire(cx, How::Spinning, false)
    }

    /// Takes it while another lock of the class is held, in an order that the caller vouches for
    /// (`spin_lock_nested`).
    #[inline]
    pub fn lock_nested(&self, cx: &Cx) -> impl Future<Output = ()> {
        self.acquire(cx, How::Spinning, true)
    }

    /// Takes it if it is free (`spin_trylock`).
    pub async fn try_lock(&self, cx: &Cx) -> bool {
        cx.preempt_disable();
        let taken = self.0.try_acquire(cx, true).await;
        if !taken {
            cx.preempt_enable();
        }
        taken
    }

    /// Gives it back (`spin_unlock`).
    pub fn unlock(&self, cx: &Cx) {
        if self.0.release(cx) {
            cx.preempt_enable();
        }
    }

    /// Turns interrupts off and takes it (`spin_lock_irqsave`).
    #[inline]
    pub fn lock_irqsave(&self, cx: &Cx) -> impl Future<Output = IrqFlags> {
        self.acquire(cx, How::IrqSave, false)
    }

    /// Gives it back and restores interrupts (`spin_unlock_irqrestore`).
    pub fn unlock_irqrestore(&self, cx: &Cx, flags: IrqFlags) {
        if self.0.release(cx) {
            cx.preempt_enable();
        }
        cx.local_irq_restore(flags);
    }

    /// Turns softirqs off and takes it (`spin_lock_bh`).
    #[inline]
    pub fn lock_bh(&self, cx: &Cx) -> impl Future<Output = ()> {
        self.acquire(cx, How::Bh, false)
    }

    /// Gives it back and allows softirqs (`spin_unlock_bh`).
    pub fn unlock_bh(&self, cx: &Cx) {
        if self.0.release(cx) {
            cx.preempt_enable();
        }
        cx.local_bh_enable();
    }

    /// Reports a finding unless this context holds it (`lockdep_assert_held`).
    pub fn assert_held(&self, cx: &Cx) {
        self.0.assert_held(cx);
    }

    /// Whether this context holds it (`lockdep_is_held`).
    #[must_use]
    pub fn held_by(&self, cx: &Cx) -> bool {
        self.0.held_by(cx)
    }

    /// Whether anyone holds it.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.0.held()
    }
}
