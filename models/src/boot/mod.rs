//! From power-on to user space: what the boot loader and the firmware hand over, and in which order it is used.

mod early;
mod initcalls;
mod iommu_init;
mod sequence;
mod suspend;

pub use crate::scenario::{cmdline, e820};
pub use sequence::boot;
pub use suspend::pm_suspend;
