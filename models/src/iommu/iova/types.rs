//! The vocabulary: page frames of the bus address space, ranges of them, and what can go wrong.

use std::error::Error;
use std::fmt;

/// A page frame of I/O virtual address space: a bus address divided by the domain's granule.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IovaPfn(pub u64);

impl fmt::Debug for IovaPfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IovaPfn({:#x})", self.0)
    }
}

impl fmt::Display for IovaPfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A range of page frames, both ends included. Source: `include/linux/iova.h: struct iova`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IovaRange {
    /// First page frame.
    pub lo: IovaPfn,
    /// Last page frame.
    pub hi: IovaPfn,
}

impl IovaRange {
    /// The range of `lo` to `hi`, both included.
    #[must_use]
    pub const fn new(lo: u64, hi: u64) -> Self {
        Self { lo: IovaPfn(lo), hi: IovaPfn(hi) }
    }

    /// Length in pages. Source: `include/linux/iova.h: iova_size()`.
    #[must_use]
    pub const fn pages(self) -> u64 {
        self.hi.0.wrapping_sub(self.lo.0).wrapping_add(1)
    }

    /// Whether `pfn` lies inside.
    #[must_use]
    pub const fn contains(self, pfn: IovaPfn) -> bool {
        self.lo.0 <= pfn.0 && pfn.0 <= self.hi.0
    }
}

/// A possible CPU, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu(pub u32);

impl Cpu {
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a search begins: a remembered node of the ordered ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachedNode {
    /// The sentinel above all ranges.
    Anchor,
    /// The range that begins here.
    Range(IovaPfn),
    /// A NULL pointer: somebody freed the sentinel.
    Null,
}

/// Why a domain could not be initialised. Source: `drivers/iommu/iova.c: init_iova_domain()`, a `BUG_ON`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitBug {
    /// The granule, in bytes, is above the page size or not a power of two.
    Granule(u64),
}

impl fmt::Display for InitBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granule(bytes) => {
                write!(f, "failed to initialise an IOVA domain: granule of {bytes} bytes (kernel BUG)")
            }
        }
    }
}

impl Error for InitBug {}

/// Why an allocation gave no usable address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocError {
    /// No gap is large enough, or the size is remembered as too large, or there is no memory for the range.
    NoSpace,
    /// A size of 0 pages: the kernel shifts by 64 here, so its answer depends on the compiler.
    ZeroSize,
    /// The range begins at page 0, which `alloc_iova_fast` cannot tell from failure: its caller gives up and the
    /// range stays allocated for ever.
    PageZero(IovaRange),
    /// The kernel follows a NULL pointer: the domain's sentinel was freed, or it has no caches.
    NullPointer,
    /// The kernel's search never ends: the second pass looks just like the first.
    Endless,
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self {
            Self::NoSpace => "no space",
            Self::ZeroSize => "size of zero pages",
            Self::PageZero(_) => "page zero, taken for a failure",
            Self::NullPointer => "NULL pointer dereference",
            Self::Endless => "endless search",
        };
        write!(f, "failed to allocate an IOVA: {reason}")
    }
}

impl Error for AllocError {}

/// The kernel follows a NULL pointer: the domain's sentinel was freed, or it has no caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NullPointer;

impl fmt::Display for NullPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed to free an IOVA: NULL pointer dereference")
    }
}

impl Error for NullPointer {}

impl From<NullPointer> for AllocError {
    fn from(_: NullPointer) -> Self {
        Self::NullPointer
    }
}

/// A `WARN_ON` of the kernel that fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IovaWarning {
    /// A cached page frame belongs to no range: it was put into a cache twice, or freed behind the cache.
    /// Source: `drivers/iommu/iova.c: iova_magazine_free_pfns()`.
    StrayCached(IovaPfn),
    /// A range was reserved where another already begins; it is reported but not stored.
    /// Source: `drivers/iommu/iova.c: iova_insert_rbtree()`.
    SameStart(IovaPfn),
    /// A reservation outside what the granule can express. Source: `drivers/iommu/iova.c: reserve_iova()`.
    Nonsensical(IovaRange),
}
