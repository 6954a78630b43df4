//! An IOMMU's page table, as pure data: AMD's version 1 tables, VT-d's second-level ones, and Arm's of stage 1.
//!
//! Sources: `drivers/iommu/amd/io_pgtable.c`, `drivers/iommu/intel/iommu.c`, `drivers/iommu/io-pgtable-arm.c`,
//! `drivers/iommu/iommu.c`, v6.12.
//!
//! Entries are kept as the hardware's bits, in pages that have physical addresses. The caller hands out those
//! pages and gets them back, with what they contained, when a table is freed: who reuses such a page while the
//! hardware may still walk it is for the caller to model, and [`Entry::decode`] reads any bits as the hardware
//! would. Nothing in here flushes; a result tells what the driver would have to flush.
//!
//! Levels count as the hardware does: level 1 holds the entries of 4 KiB pages.

mod amd;
mod arm;
mod entries;
mod entry;
mod outcome;
mod split;
mod table;
mod tables;
mod vtd;

pub use amd::RootSeen;
pub use arm::Missing;
pub use entries::{ENTRIES, Entries};
pub use entry::{Access, Entry, Format, Prot};
pub use outcome::{
    DataWalk, Fault, FaultKind, FreedPage, Gathered, MapError, MapFailure, Mapped, Unmapped, WalkFlush,
};
pub use split::{AMD_IOMMU_PGSIZES, AMD_IOMMU_PGSIZES_4K, ARM_PGSIZES, VTD_PGSIZES, iommu_pgsize};
pub use table::{Leaf, PageTable};
