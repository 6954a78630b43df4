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
//!
//! ```
//! use std::sync::Mutex;
//! use models::mem::PhysAddr;
//! use models::swiotlb::{AreaState, DmaLimits, PoolSize, Request, Search, SearchPlan, SearchRules, SlotAllocator};
//!
//! // 64 MiB in four areas.
//! let size = PoolSize { nslabs: 32_768, nareas: 4 };
//! let slots = SlotAllocator::<Mutex<AreaState>>::new(size, true).unwrap();
//! let request = Request { orig_addr: PhysAddr(0x1234_5000), alloc_size: 4096, alloc_align_mask: 0 };
//! let plan = SearchPlan::new(SearchRules::v6_12(), DmaLimits::default(), PhysAddr(0x400_0000), &request);
//!
//! std::thread::scope(|scope| {
//!     for cpu in 0..4 {
//!         let (slots, plan) = (&slots, &plan);
//!         scope.spawn(move || {
//!             let Search::Found { slot, nslots } = slots.find_slots(cpu, plan) else { panic!("full") };
//!             assert!(slots.release(slot, nslots));
//!         });
//!     }
//! });
//! assert_eq!(slots.used(), 0);
//! ```

mod pools;
mod rcu_list;
mod slots;
mod sync;
mod usage;

pub use pools::{PoolsSetup, SharedPools};
pub use slots::{AreaState, AreasShareSegment, SlotAllocator};
pub use sync::{Platform, ReadSections, SharedWord, SlotLock, StdThreads};
pub use usage::SharedUsage;
