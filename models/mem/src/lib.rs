//! The modelled memory: typed addresses, and everything that lies at them.
//!
//! * [`Content`]: what was last written at each byte, as extents of provenance;
//! * [`Shadow`]: who owns each page and byte, and every object that ever lived;
//! * [`Heap`]: both, with the live typed objects; [`kobject!`](crate::kobject) declares their types;
//! * [`PageAllocator`]: the free pages, per zone, order and CPU;
//! * [`SlabAllocator`]: objects of less than a page, by size class or named cache;
//! * [`Memory`]: all of them, kept in step.
//!
//! All are plain data: no engine, no clock, no choice. What is not determined is a parameter of the call.

mod addr;
mod buddy;
mod check;
mod content;
mod extents;
mod freelist;
mod heap;
mod layout;
mod memory;
mod object;
mod pagemap;
mod piece;
mod ptr;
mod shadow;
mod slab;
mod slab_cache;
mod source;
mod zone;

pub use addr::{
    DIRECT_MAP_SIZE, DmaAddr, PAGE_MASK, PAGE_OFFSET, PAGE_SHIFT, PAGE_SIZE, Pfn, PhysAddr, PhysRange,
    align_down, align_up,
};
pub use buddy::PageAllocator;
pub use check::BrokenList;
pub use content::{Content, ContentError, MAX_LEN, PHYS_END};
pub use extents::Extents;
pub use heap::{Access, Dangling, Fault, Heap};
#[doc(hidden)]
pub use layout::field_index;
pub use layout::{Field, FieldInfo, Kobject, Layout};
pub use memory::{Memory, MemoryError};
pub use object::{ObjectRecord, ObjectTable, Site};
pub use ptr::{LockWord, Opaque, Ptr, Raw};
pub use shadow::{Owner, PageOwner, Shadow, ShadowError};
pub use slab::{SlabAllocator, SlabContext};
pub use slab_cache::{CacheId, KMALLOC_SIZES, SlabError, SlabFreed, SlabObject};
pub use source::{JunkClass, Source};
pub use zone::{BuddyError, Gfp, MAX_PAGE_ORDER, PageState, PcpLimits, Placement, ZoneKind};
