//! Mutexes.

use std::future::Future;

use super::LockClass;
use super::acquire::Acquire;
use super::raw::{How, RawLock, Taking};
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
    #[inline]
    pub fn lock(&self, cx: &Cx) -> impl Future<Output = ()> {
        Acquire::new(cx, Taking { lock: &self.0, how: How::Sleeping, nested: false })
    }

    /// Takes it while another one of the class is held, in an order that the caller vouches for
    /// (`mutex_lock_nested`).
    #[inline]
    pub fn lock_nested(&self, cx: &Cx) -> impl Future<Output = ()> {
        Acquire::new(cx, Taking { lock: &self.0, how: How::Sleeping, nested: true })
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
