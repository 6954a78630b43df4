//! The modelled memory: typed addresses, and everything that lies at them.
//!
//! * [`Content`]: what was last written at each byte, as extents of provenance;
//! * [`Shadow`]: who owns each page and byte, and every object that ever lived;
//! * [`Heap`]: both, with the live typed objects; [`kobject!`](crate::kobject) declares their types.
//!
//! All are plain data: no engine, no clock, no choice. What is not determined is a parameter of the call.

mod addr;
mod content;
mod extents;
mod heap;
mod io_tlb_mem;
mod layout;
mod object;
mod pagemap;
mod ptr;
mod shadow;
mod source;

pub use addr::{
    DIRECT_MAP_SIZE, DmaAddr, PAGE_MASK, PAGE_OFFSET, PAGE_SHIFT, PAGE_SIZE, Pfn, PhysAddr, PhysRange,
    align_down, align_up,
};
pub use content::{Content, ContentError, MAX_LEN, PHYS_END};
pub use extents::Extents;
pub use heap::{Access, Dangling, Fault, Heap};
pub use io_tlb_mem::{IO_TLB_SLOT_SIZE, IoTlbMem};
#[doc(hidden)]
pub use layout::field_index;
pub use layout::{Field, FieldInfo, Kobject, Layout};
pub use object::{ObjectRecord, ObjectTable, Site};
pub use ptr::{LockWord, Opaque, Ptr, Raw};
pub use shadow::{Owner, PageOwner, Shadow, ShadowError};
pub use source::{JunkClass, Source};
