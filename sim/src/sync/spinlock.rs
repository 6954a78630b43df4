//! Spinlocks.

use super::LockClass;
use super::raw::RawLock;
use crate::Cx;
use crate::context::IrqFlags;

/// A spinlock (`spinlock_t`). While it is held, and while it is waited for, other tasks of the CPU cannot run.
#[derive(Debug)]
pub struct SpinLock(RawLock);

impl SpinLock {
    /// A free lock (`spin_lock_init`).
    #[must_use]
    pub fn new(cx: &Cx, class: LockClass) -> Self {
        Self(RawLock::new(cx, class))
    }

    /// Takes it (`spin_lock`).
    pub async fn lock(&self, cx: &Cx) {
        cx.preempt_disable();
        self.0.acquire(cx, true, false).await;
    }

    /// Takes it while another lock of the class is held, in an order that the caller vouches for
    /// (`spin_lock_nested`).
    pub async fn lock_nested(&self, cx: &Cx) {
        cx.preempt_disable();
        self.0.acquire(cx, true, true).await;
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
    pub async fn lock_irqsave(&self, cx: &Cx) -> IrqFlags {
        let flags = cx.local_irq_save();
        cx.preempt_disable();
        self.0.acquire(cx, true, false).await;
        flags
    }

    /// Gives it back and restores interrupts (`spin_unlock_irqrestore`).
    pub fn unlock_irqrestore(&self, cx: &Cx, flags: IrqFlags) {
        if self.0.release(cx) {
            cx.preempt_enable();
        }
        cx.local_irq_restore(flags);
    }

    /// Turns softirqs off and takes it (`spin_lock_bh`).
    pub async fn lock_bh(&self, cx: &Cx) {
        cx.local_bh_disable();
        cx.preempt_disable();
        self.0.acquire(cx, true, false).await;
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
