//! What loom offers to the allocator, and what is missing in the twins.

use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::sync::{Mutex, RwLock};
use models::swiotlb::{Platform, ReadSections, SharedWord, SlotLock};

/// A lock that loom knows.
pub(crate) struct Locked<T>(pub(crate) Mutex<T>);

impl<T> SlotLock<T> for Locked<T> {
    fn new(state: T) -> Self {
        Self(Mutex::new(state))
    }

    fn with<R>(&self, step: impl FnOnce(&mut T) -> R) -> R {
        step(&mut self.0.lock().unwrap())
    }
}

/// Broken: each load and store happens at once, but nothing holds them together.
pub(crate) struct Unlocked<T>(Mutex<T>);

impl<T: Clone> SlotLock<T> for Unlocked<T> {
    fn new(state: T) -> Self {
        Self(Mutex::new(state))
    }

    fn with<R>(&self, step: impl FnOnce(&mut T) -> R) -> R {
        let mut copy = self.0.lock().unwrap().clone();
        let result = step(&mut copy);
        *self.0.lock().unwrap() = copy;
        result
    }
}

/// Nothing is missing.
pub(crate) const SOUND: u8 = 0;
/// `smp_mb()` after the flag was set, before the address is passed on.
pub(crate) const WITHOUT_MB: u8 = 1;
/// `smp_rmb()` between the address and the flag.
pub(crate) const WITHOUT_RMB: u8 = 2;
/// The release of a link to a new pool.
pub(crate) const RELAXED_PUBLICATION: u8 = 3;

/// A word that loom knows.
pub(crate) struct Word<const MISSING: u8>(AtomicU64);

impl<const MISSING: u8> SharedWord for Word<MISSING> {
    fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    fn read_once(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn write_once(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn rcu_dereference(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn rcu_assign(&self, value: u64) {
        let order = if MISSING == RELAXED_PUBLICATION { Ordering::Relaxed } else { Ordering::Release };
        self.0.store(value, order);
    }

    fn add_return(&self, n: u64) -> u64 {
        self.0.fetch_add(n, Ordering::SeqCst).wrapping_add(n)
    }

    fn try_cmpxchg(&self, old: u64, new: u64) -> Result<(), u64> {
        self.0.compare_exchange(old, new, Ordering::SeqCst, Ordering::Relaxed).map(drop)
    }
}

/// Readers that are waited for.
pub(crate) struct Waits(RwLock<()>);

impl ReadSections for Waits {
    fn new() -> Self {
        Self(RwLock::new(()))
    }

    fn read<R>(&self, section: impl FnOnce() -> R) -> R {
        let _inside = self.0.read().unwrap();
        section()
    }

    fn synchronize(&self) {
        drop(self.0.write().unwrap());
    }
}

/// Readers that nobody waits for: broken where pools are freed, and otherwise without what a lock would order.
pub(crate) struct NoGracePeriod;

impl ReadSections for NoGracePeriod {
    fn new() -> Self {
        Self
    }

    fn read<R>(&self, section: impl FnOnce() -> R) -> R {
        section()
    }

    fn synchronize(&self) {}
}

/// Loom's threads, with something missing.
pub(crate) struct Loom<const MISSING: u8, R>(std::marker::PhantomData<R>);

impl<const MISSING: u8, R: ReadSections> Platform for Loom<MISSING, R> {
    type Word = Word<MISSING>;
    type Lock<T> = Locked<T>;
    type Rcu = R;

    fn smp_mb() {
        if MISSING != WITHOUT_MB {
            fence(Ordering::SeqCst);
        }
    }

    fn smp_rmb() {
        if MISSING != WITHOUT_RMB {
            fence(Ordering::Acquire);
        }
    }
}
