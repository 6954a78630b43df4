//! In which order CPUs see one another's stores.
//!
//! Fields of kernel objects are sequentially consistent. What the kernel reads without a lock and orders with barriers
//! is a [`Shared`]: on a machine that promises little ([`MemoryOrder::Weak`]) a store may stay in its CPU's store
//! buffer for a while, and a load may give what was there a while ago. Both are choices; the first answer is always
//! "at once". Barriers end both, and so does what synchronises: the engine tells of it ([`sim::sync::Ordering`]).
//!
//! Source: `Documentation/memory-barriers.txt`. Stores become visible to all other CPUs at one time (multi-copy
//! atomicity), and no CPU sees a location go back in time (coherence).

use sim::cell::{Cell, RefCell};
use std::rc::Rc;

use sim::choices::Stream;
use sim::sync::{Order, Ordering};
use sim::{Kind, Nanos, ObjId};

use super::Kx;
use crate::scenario::schema::{Machine, MemoryOrder};

/// Longest time that a store stays in a store buffer, and greatest age of what a load gives.
const WINDOW: Nanos = 2_000;
/// Into how many parts it is cut for a choice.
const PARTS: u64 = 8;

/// What one CPU has seen, and what others have not seen of it.
#[derive(Debug, Default)]
struct CpuView {
    /// When it last made sure to see what is visible.
    read_at: Nanos,
    /// Its stores that others may not see yet: from when on they do.
    buffered: Vec<Rc<Cell<Nanos>>>,
}

/// The store buffers of all CPUs, and how far each has seen.
#[derive(Debug)]
pub struct StoreOrder {
    weak: bool,
    cpus: RefCell<Vec<CpuView>>,
}

impl StoreOrder {
    /// All buffers empty.
    #[must_use]
    pub fn new(machine: &Machine) -> Self {
        let views = (0..machine.cpus).map(|_| CpuView::default()).collect();
        Self { weak: machine.memory_order == MemoryOrder::Weak, cpus: RefCell::new(views) }
    }

    /// Has the engine tell of what synchronises, where that matters.
    pub(super) fn listen(self: &Rc<Self>, sim: &sim::Sim) {
        if self.weak {
            sim.on_ordering(Rc::clone(self) as Rc<dyn Ordering>);
        }
    }

    fn with<R>(&self, cpu: u8, f: impl FnOnce(&mut CpuView) -> R) -> Option<R> {
        self.cpus.borrow_mut().get_mut(usize::from(cpu)).map(f)
    }

    /// All that a CPU has stored is visible from now on.
    fn drain(&self, cpu: u8, now: Nanos) {
        self.with(cpu, |view| {
            for seen in view.buffered.drain(..) {
                seen.set(seen.get().min(now));
            }
        });
    }
}

/// Locks, completions, wake-ups, work, timers and the start of a context order what they order in the kernel: who acquires
/// sees at least what was visible when the other one released.
impl Ordering for StoreOrder {
    fn released(&self, cpu: u8, now: Nanos) {
        self.drain(cpu, now);
    }

    fn acquired(&self, cpu: u8, since: Nanos) {
        self.with(cpu, |view| view.read_at = view.read_at.max(since));
    }
}

impl Kx {
    /// A full barrier (`smp_mb`): stores before it are visible to all before anything after it is done.
    pub async fn smp_mb(&self) {
        self.step(Kind::Point, self.memory_label()).await;
        self.order_stores();
        self.order_loads();
    }

    /// A read barrier (`smp_rmb`): loads after it see what was visible to loads before it.
    pub async fn smp_rmb(&self) {
        self.step(Kind::Point, self.memory_label()).await;
        self.order_loads();
    }

    /// Stores before are visible before what comes next: part of giving a lock back, of waking somebody, and of a store
    /// to a device's register.
    pub fn order_stores(&self) {
        if self.k.order.weak {
            self.k.order.drain(self.cpu(), self.now());
        }
    }

    /// When it is, where that matters: on a machine that orders all stores nothing depends on it.
    fn time_of_order(&self) -> Nanos {
        if self.k.order.weak { self.now() } else { 0 }
    }

    fn order_loads(&self) {
        if !self.k.order.weak {
            return;
        }
        let now = self.now();
        self.k.order.with(self.cpu(), |view| view.read_at = now);
    }
}

/// A store, and who sees it.
#[derive(Debug)]
struct Store<T> {
    value: T,
    cpu: u8,
    /// From when on other CPUs see it.
    seen: Rc<Cell<Nanos>>,
}

/// A variable that is read without a lock: its value, and as long as they can still be seen, its former values.
#[derive(Debug)]
pub struct Shared<T> {
    /// The oldest that anybody can see first.
    stores: RefCell<Vec<Store<T>>>,
    /// By CPU, as of when it has read: it cannot read what is older.
    read: RefCell<Vec<Nanos>>,
    /// Who finds what was stored with a release sees what was done before it, by the address alone.
    published: Order,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { stores: RefCell::default(), read: RefCell::default(), published: Order::default() }
    }
}

impl<T: Clone + Default + PartialEq> Shared<T> {
    /// The value that was stored last, be it visible or not: for those who hold the lock under which it is stored, and
    /// for oracles.
    #[must_use]
    pub fn last(&self) -> T {
        self.stores.borrow().last().map_or_else(T::default, |store| store.value.clone())
    }

    /// A store that nothing orders (`WRITE_ONCE`).
    pub async fn write_once(&self, kx: &Kx, label: ObjId, value: T) {
        kx.step(Kind::Write, label).await;
        let now = kx.time_of_order();
        let settled = |store: &Store<T>| store.value == value && store.seen.get() <= now;
        if self.stores.borrow().last().is_some_and(settled) {
            return;
        }
        let parts = if kx.k.order.weak {
            kx.choose_for(Stream::Injection, "time in the store buffer", PARTS + 1, label)
        } else {
            0
        };
        let late = parts * WINDOW / PARTS;
        let seen = Rc::new(Cell::new(now + late));
        if late > 0 {
            kx.injected(|| format!("the store stays in the store buffer, {late} ns at most"));
            kx.k.order.with(kx.cpu(), |view| view.buffered.push(Rc::clone(&seen)));
        }
        self.push(kx, Store { value, cpu: kx.cpu(), seen });
    }

    /// A store that comes after all stores before it (`smp_store_release`, `rcu_assign_pointer`).
    pub async fn store_release(&self, kx: &Kx, label: ObjId, value: T) {
        kx.step(Kind::Write, label).await;
        kx.order_stores();
        self.published.release(kx.cx());
        self.push(kx, Store { value, cpu: kx.cpu(), seen: Rc::new(Cell::new(kx.time_of_order())) });
    }

    fn push(&self, kx: &Kx, store: Store<T>) {
        let now = kx.time_of_order();
        let mut stores = self.stores.borrow_mut();
        // Nobody can look behind a store that all have been seeing for so long.
        let oldest = if kx.k.order.weak { now.saturating_sub(WINDOW) } else { now };
        let keep = stores.iter().rposition(|old| old.seen.get() <= oldest).unwrap_or(0);
        stores.drain(..keep);
        stores.push(store);
    }

    /// A load that nothing orders (`READ_ONCE`).
    pub async fn read_once(&self, kx: &Kx, label: ObjId) -> T {
        kx.step(Kind::Read, label).await;
        self.published.acquire(kx.cx());
        if !kx.k.order.weak {
            return self.last();
        }
        let (cpu, now) = (kx.cpu(), kx.now());
        let as_of = self.as_of(kx, label);
        {
            let mut read = self.read.borrow_mut();
            let slot = usize::from(cpu);
            if read.len() <= slot {
                read.resize(slot + 1, 0);
            }
            read[slot] = as_of;
        }
        if as_of < now {
            kx.injected(|| format!("the load gives what was there {} ns ago", now - as_of));
        }
        let stores = self.stores.borrow();
        let found = stores.iter().rev().find(|store| store.cpu == cpu || store.seen.get() <= as_of);
        found.map_or_else(T::default, |store| store.value.clone())
    }

    /// As of when this CPU reads now.
    fn as_of(&self, kx: &Kx, label: ObjId) -> Nanos {
        let (cpu, now) = (kx.cpu(), kx.now());
        let barrier = kx.k.order.with(cpu, |view| view.read_at).unwrap_or(now);
        let before = self.read.borrow().get(usize::from(cpu)).copied().unwrap_or(0);
        let floor = barrier.max(before).max(now.saturating_sub(WINDOW));
        let fresh = |store: &Store<T>| {
            let seen = store.seen.get();
            store.cpu != cpu && floor < seen && seen <= now
        };
        if !self.stores.borrow().iter().any(fresh) {
            return now;
        }
        let parts = kx.choose_for(Stream::Injection, "age of what is read", PARTS + 1, label);
        (now - (parts * WINDOW / PARTS).min(now)).max(floor)
    }
}
