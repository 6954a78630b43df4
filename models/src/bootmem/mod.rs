//! What early boot makes of memblock's lists: which node has which memory, and which zone has which page.
//!
//! Everything here is a pure function of a [`crate::memblock::Memblock`] and of what the firmware and the command line
//! say. It is what decides where boot's allocations land on a machine with several nodes, and which numbers the kernel
//! prints of its memory.
//!
//! * [`numa`]: the firmware's blocks are trimmed and joined, and memblock's regions get their nodes;
//! * [`emulation`]: `numa=fake=` splits them once more;
//! * [`movable`]: where `kernelcore=`, `movablecore=` and `movable_node` let `ZONE_MOVABLE` begin;
//! * [`zones`]: sizes of zones and nodes, and the pages that exist without memory behind them;
//! * [`pages`]: how many pages are free when the kernel counts them for the first time.
//!
//! Sources are named as of v6.12, unless they say another version.

pub mod emulation;
pub mod movable;
pub mod numa;
pub mod pages;
pub mod zones;

pub use emulation::{Emulated, emulate};
pub use movable::{CoreSize, MovableRequest};
pub use numa::{Meminfo, NumaBlock, NumaRules, Overlap, Union};
pub use zones::{NodeZones, Unavailable, Zone, ZoneMap, ZoneSize};
