//! The slot allocator for callers on real threads.
//!
//! The search is that of [`super::Pool`]; what is added is what holds threads apart. All of it is generic over the
//! locks, words and barriers ([`Platform`]), so that loom checks the code that others run.
//!
//! | what | for |
//! |---|---|
//! | [`SlotAllocator`] | one pool of a fixed size |
//! | [`SharedPools`] | pools that come and go, as with `CONFIG_SWIOTLB_DYNAMIC` |
//! | [`SharedUsage`] | slots in use and their high-water mark |

mod pools;
mod rcu_list;
mod slots;
mod sync;
mod usage;

pub use pools::{PoolsSetup, SharedPools};
pub use slots::{AreaState, AreasShareSegment, SlotAllocator};
pub use sync::{Platform, ReadSections, SharedWord, SlotLock, StdThreads};
pub use usage::SharedUsage;
