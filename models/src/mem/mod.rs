//! The modelled memory: typed addresses, and everything that lies at them.

mod addr;

pub use addr::{DmaAddr, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, Pfn, PhysAddr, PhysRange, align_down, align_up};
