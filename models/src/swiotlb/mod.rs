//! The bounce-buffer pool (`kernel/dma/swiotlb.c`): which slots a mapping gets, and what is copied.
//!
//! Plain data. Nothing here takes a lock, draws a choice or touches memory: a search answers with slot
//! numbers, a bounce with the copy to be made. The one exception, for real threads, is in `alloc`.

mod adopt;
mod alloc;
mod area;
mod area_detail;
mod area_segment;
mod area_slots;
mod bounce;
mod check;
pub(crate) mod grow;
pub mod kernel;
pub mod literal;
mod literal_pool;
mod map;
mod pool;
mod presence;
mod search;
mod sizing;

pub use alloc::{
    AreaState, AreasShareSegment, Platform, PoolsSetup, ReadSections, SharedPools, SharedUsage, SharedWord,
    SlotAllocator, SlotLock, StdThreads,
};
pub use area::{Area, Search};
pub use area_detail::{Slot, SlotDetail};
pub use area_slots::SlotMap;
pub use bounce::{Bounce, BounceRules, Bounced, Copy, Direction, OffsetRule, Prefill, Warning, Way};
pub use check::Violation;
pub use grow::{
    Asker, Device, DmaPages, GrowingPools, MAX_PAGE_ORDER, PoolMapping, ZONE_DMA_LIMIT, ZONE_DMA32_LIMIT,
    Zone, alloc_tlb,
};
pub use kernel::{IoTlbMem, default_pool};
pub use literal_pool::LiteralPool;
pub use map::{MapRequest, Mapping, Prepared};
pub use pool::{AllocError, Allocation, MapError, Pool, PoolFlags, Usage};
pub use presence::{PoolReasons, PoolWish, encrypted_guest_bytes};
pub use search::{AlignTest, DmaLimits, LoopEnd, Request, SearchPlan, SearchRules, SizeRule};
pub use sizing::{
    AreaLimit, INVALID_PHYS_ADDR, IO_TLB_DEFAULT_SLABS, IO_TLB_MIN_SLABS, IO_TLB_SEGSIZE, IO_TLB_SHIFT,
    IO_TLB_SIZE, PoolDefaults, PoolSize, SizingRules, limit_nareas, nr_slots,
};
