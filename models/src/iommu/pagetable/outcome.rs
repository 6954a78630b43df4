//! What an operation on a page table did, and how it can fail.

use std::error::Error;
use std::fmt;

use crate::mem::{DmaAddr, PhysAddr};

use super::entries::Entries;

/// A table page that is no longer part of the table, with the bits it held when it left.
///
/// The hardware may still walk it until the next flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreedPage {
    /// Where it lies.
    pub page: PhysAddr,
    /// The level of its entries.
    pub level: u32,
    /// Its entries.
    pub entries: Entries,
}

/// What a successful map did besides mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Mapped {
    /// Bytes mapped.
    pub bytes: u64,
    /// Table pages that made way, in the order in which the driver frees them. AMD's driver frees them after a
    /// flush of the range, VT-d's at once and flushes afterwards.
    pub freed: Vec<FreedPage>,
    /// AMD: the driver saw that it replaced something and flushes the range. It does not notice a leaf that
    /// replaces leaves of the same level.
    pub flushes: bool,
    /// AMD: the table grew, and the device table has to point to the new root.
    pub root_changed: bool,
    /// Leaf entries that were present and are now overwritten (AMD), or were torn down to make room.
    pub replaced: u64,
    /// VT-d: pages that were mapped already and keep their old mapping; the kernel complains about each.
    pub already_set: Vec<DmaAddr>,
    /// Arm: tables that made way for large pages; before their pages are freed, these are flushed.
    pub walks: Vec<WalkFlush>,
}

/// The driver took mapped memory for a table: it walks, and may clear, entries in somebody's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataWalk {
    /// The page taken for a table.
    pub page: PhysAddr,
    /// The level it is taken for.
    pub level: u32,
    /// First entry touched.
    pub first: usize,
    /// Last entry touched.
    pub last: usize,
}

/// Arm: a table is out of the tree, and the hardware may have cached the way to it (`io_pgtable_tlb_flush_walk()`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkFlush {
    /// The first bus address that led through the table.
    pub iova: DmaAddr,
    /// Bytes of bus addresses that did.
    pub size: u64,
}

/// Arm: neighbouring pages whose translations are to be invalidated (`io_pgtable_tlb_add_page()`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// The first one's bus address.
    pub iova: DmaAddr,
    /// Bytes of each.
    pub pgsize: u64,
    /// How many.
    pub pages: u64,
}

/// What an unmap did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Unmapped {
    /// Bytes, as the kernel counts them: not always what was mapped.
    pub bytes: u64,
    /// Table pages to be freed after the next flush (Arm: after that of `walks`), in the driver's order.
    pub freed: Vec<FreedPage>,
    /// VT-d: large pages that were cut, and so taken for tables. Empty if unmaps match maps.
    pub data_walks: Vec<DataWalk>,
    /// Arm: tables that went; the driver flushes each, and frees it then.
    pub walks: Vec<WalkFlush>,
    /// Arm: what the driver asks to be invalidated.
    pub gathered: Vec<Gathered>,
    /// Arm: where nothing was mapped; the kernel complains about each.
    pub holes: Vec<DmaAddr>,
    /// Arm: large pages of which a part was unmapped.
    pub split: u64,
}

/// Why a map failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// No page for a table (`-ENOMEM`).
    NoMemory,
    /// Unaligned, of an unsupported page size, or without any permission (`-EINVAL`).
    Invalid,
    /// Beyond what the table can address (`-EFAULT`).
    BeyondWidth,
    /// VT-d: a large page lies where a table is needed; the kernel would write entries into its memory.
    DataAsTable {
        /// The memory taken for a table.
        page: PhysAddr,
        /// The level it is taken for.
        level: u32,
    },
    /// Arm: something is mapped there already (`-EEXIST`); the kernel complains.
    Exists(DmaAddr),
    /// VT-d: the root was freed by unmapping everything at once; the kernel follows a NULL pointer.
    NullRoot,
    /// The caller handed out a page that is part of this table already.
    PageInUse(PhysAddr),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed to map: ")?;
        match self {
            Self::NoMemory => f.write_str("no memory for a table"),
            Self::Invalid => f.write_str("invalid alignment, page size or permission"),
            Self::BeyondWidth => f.write_str("address beyond the table's width"),
            Self::DataAsTable { page, level } => {
                write!(f, "data page {page} taken for a table of level {level}")
            }
            Self::Exists(at) => write!(f, "{at} is mapped already"),
            Self::NullRoot => f.write_str("NULL pointer dereference, the root table was freed"),
            Self::PageInUse(page) => write!(f, "page {page} is a table already"),
        }
    }
}

impl Error for MapError {}

/// A map that failed, and what it did before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFailure {
    /// Why.
    pub error: MapError,
    /// What was done until then; `done.bytes` is what the driver reported as mapped.
    pub done: Mapped,
    /// The roll back of what the driver reported. VT-d reports whole calls only, so that pages of a call that
    /// failed half way stay mapped.
    pub unrolled: Unmapped,
}

impl fmt::Display for MapFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (after {} bytes)", self.error, self.done.bytes)
    }
}

impl Error for MapFailure {}

/// What the hardware objects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// The entry is not present, or there is no table.
    NotPresent,
    /// The entry does not allow the access.
    Permission,
    /// The address lies beyond what the table can address.
    BeyondWidth,
    /// The entry has bits that its level may not hold.
    Reserved,
}

/// A translation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fault {
    /// What the hardware objects to.
    pub kind: FaultKind,
    /// The level of the entry it objects to, 1 for the lowest.
    pub level: u32,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to translate: {:?} at level {}", self.kind, self.level)
    }
}

impl Error for Fault {}
