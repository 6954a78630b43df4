//! What threads are held apart by: locks, words, barriers, grace periods.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError, RwLock};

use super::AreaState;

/// A lock around what it protects (`spinlock_t` and the fields that its comment names).
pub trait SlotLock<T = AreaState> {
    /// An open lock.
    fn new(state: T) -> Self;
    /// Runs `step` with the lock held.
    fn with<R>(&self, step: impl FnOnce(&mut T) -> R) -> R;
}

impl<T> SlotLock<T> for Mutex<T> {
    fn new(state: T) -> Self {
        Self::new(state)
    }

    fn with<R>(&self, step: impl FnOnce(&mut T) -> R) -> R {
        // A step that panicked has left counters that are wrong for one mapping, not for memory.
        step(&mut self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A word that threads share without a lock. The methods are the kernel's accesses, by their names.
pub trait SharedWord {
    /// A word of this value.
    fn new(value: u64) -> Self;
    /// Load that orders nothing (`READ_ONCE`, `atomic_long_read`).
    fn read_once(&self) -> u64;
    /// Store that orders nothing (`WRITE_ONCE`).
    fn write_once(&self, value: u64);
    /// Load of a link, before whatever is read through it (`rcu_dereference`).
    fn rcu_dereference(&self) -> u64;
    /// Store of a link, after whatever was written to what it leads to (`rcu_assign_pointer`).
    fn rcu_assign(&self, value: u64);
    /// Adds modulo 2^64 and returns the sum, fully ordered (`atomic_long_add_return`).
    fn add_return(&self, n: u64) -> u64;
    /// Stores `new` if the word is `old`, fully ordered (`atomic_long_try_cmpxchg`).
    ///
    /// # Errors
    ///
    /// What it is instead of `old`; nothing is stored then.
    fn try_cmpxchg(&self, old: u64, new: u64) -> Result<(), u64>;
}

impl SharedWord for AtomicU64 {
    fn new(value: u64) -> Self {
        Self::new(value)
    }

    fn read_once(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }

    fn write_once(&self, value: u64) {
        self.store(value, Ordering::Relaxed);
    }

    fn rcu_dereference(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    fn rcu_assign(&self, value: u64) {
        self.store(value, Ordering::Release);
    }

    fn add_return(&self, n: u64) -> u64 {
        self.fetch_add(n, Ordering::SeqCst).wrapping_add(n)
    }

    fn try_cmpxchg(&self, old: u64, new: u64) -> Result<(), u64> {
        self.compare_exchange(old, new, Ordering::SeqCst, Ordering::Relaxed).map(drop)
    }
}

/// Sections whose readers are waited for before what they may look at is freed (RCU).
pub trait ReadSections {
    /// Without readers.
    fn new() -> Self;
    /// Runs `section` as a reader (`rcu_read_lock`, `rcu_read_unlock`).
    fn read<R>(&self, section: impl FnOnce() -> R) -> R;
    /// Waits until every reader that is inside now has left (`synchronize_rcu`).
    fn synchronize(&self);
}

/// Readers share the lock; who waits for them takes it alone, for a moment.
impl ReadSections for RwLock<()> {
    fn new() -> Self {
        Self::new(())
    }

    fn read<R>(&self, section: impl FnOnce() -> R) -> R {
        let _inside = Self::read(self).unwrap_or_else(PoisonError::into_inner);
        section()
    }

    fn synchronize(&self) {
        drop(self.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What a growing allocator is made of.
pub trait Platform {
    /// A shared word.
    type Word: SharedWord;
    /// A lock.
    type Lock<T>: SlotLock<T>;
    /// Readers of lists.
    type Rcu: ReadSections;
    /// Orders everything before it before everything behind it (`smp_mb`).
    fn smp_mb();
    /// Orders loads before it before loads behind it (`smp_rmb`).
    fn smp_rmb();
}

/// Threads of the standard library.
#[derive(Clone, Copy, Debug)]
pub struct StdThreads;

impl Platform for StdThreads {
    type Word = AtomicU64;
    type Lock<T> = Mutex<T>;
    type Rcu = RwLock<()>;

    fn smp_mb() {
        fence(Ordering::SeqCst);
    }

    fn smp_rmb() {
        fence(Ordering::Acquire);
    }
}
