//! Mutexes.

use super::LockClass;
use super::raw::RawLock;
use crate::Cx;

/// A mutex (`struct mutex`): waiting for it sleeps.
#[derive(Debug)]
pub struct Mutex(RawLock);

impl Mutex {
    /// A free mutex.
    #[must_use]
    pub fn new(cx: &Cx, class: LockClass) -> Self {
        Self(RawLock::new(cx, class))
    }

    /// Takes it (`mutex_lock`).
    pub async fn lock(&self, cx: &Cx) {
        cx.might_sleep();
        self.0.acquire(cx, false, false).await;
    }

    /// Takes it while another one of the class is held, in an order that the caller vouches for
    /// (`mutex_lock_nested`).
    pub async fn lock_nested(&self, cx: &Cx) {
        cx.might_sleep();
        self.0.acquire(cx, false, true).await;
    }

    /// Takes it if it is free (`mutex_trylock`).
    pub async fn try_lock(&self, cx: &Cx) -> bool {
        self.0.try_acquire(cx, false).await
    }

    /// Gives it back (`mutex_unlock`).
    pub fn unlock(&self, cx: &Cx) {
        self.0.release(cx);
    }

    /// For a model whose step stands for a whole section under this mutex: orders as taking it and giving it back would.
    pub fn pass(&self, cx: &Cx) {
        self.0.pass(cx);
    }

    /// Reports a finding unless this context holds it (`lockdep_assert_held`).
    pub fn assert_held(&self, cx: &Cx) {
        self.0.assert_held(cx);
    }

    /// Whether this context holds it.
    #[must_use]
    pub fn held_by(&self, cx: &Cx) -> bool {
        self.0.held_by(cx)
    }
}
