//! The kernel's ways to synchronise, as the engine models them, and the oracles that watch every use: lock order,
//! wait-for graph, interrupt safety, sleeping in atomic context, happens-before.
//!
//! Locking is explicit: `lock().await`, and a synchronous `unlock()`. A missing unlock must be expressible, since it
//! is one of the bugs to be found.

mod acquire;
mod atomic;
mod clocks;
mod completion;
mod lockdep;
mod mutex;
mod order;
mod race;
mod raw;
mod rcu;
mod rwsem;
mod spinlock;
mod srcu;
mod var;
mod waitqueue;

pub use atomic::Atomic;
pub(crate) use clocks::{Clocks, SyncClock};
pub use completion::Completion;
pub use lockdep::LockClass;
pub(crate) use lockdep::{LockDep, LockUsage};
pub use mutex::Mutex;
pub(crate) use order::Listener;
pub use order::Ordering;
pub(crate) use race::AccessLog;
pub use race::{Access, Accesses, Order, Unordered};
pub(crate) use rcu::Rcu;
pub use rwsem::RwSem;
pub use spinlock::SpinLock;
pub use srcu::{Srcu, SrcuReader};
pub use var::Var;
pub use waitqueue::WaitQueue;
