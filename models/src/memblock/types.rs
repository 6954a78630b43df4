//! The small words of memblock: nodes, flags, regions, bounds and errors.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

use crate::mem::{PhysAddr, PhysRange};

/// No byte at or above this address can ever be in a list. Source: `include/linux/limits.h: PHYS_ADDR_MAX`.
pub(super) const PHYS_ADDR_MAX: u64 = u64::MAX;

/// A NUMA node number as memblock keeps it. Source: `include/linux/numa.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub i32);

impl NodeId {
    /// "Any node will do". Source: `include/linux/numa.h: NUMA_NO_NODE`.
    pub const NO_NODE: Self = Self(-1);
    /// "Not assigned to a node": one past the largest node with `CONFIG_NODES_SHIFT=10`.
    /// Source: `include/linux/numa.h: MAX_NUMNODES`.
    pub const MAX_NUMNODES: Self = Self(1024);

    /// Whether this names a node. Source: `include/linux/numa.h: numa_valid_node(), v6.12`.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 >= 0 && self.0 < Self::MAX_NUMNODES.0
    }
}

/// Attributes of a region. Source: `include/linux/memblock.h: enum memblock_flags`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemblockFlags(pub u32);

impl MemblockFlags {
    /// Plain memory. Source: `MEMBLOCK_NONE`.
    pub const NONE: Self = Self(0);
    /// May be unplugged later. Source: `MEMBLOCK_HOTPLUG`.
    pub const HOTPLUG: Self = Self(0x1);
    /// Kept twice by the hardware. Source: `MEMBLOCK_MIRROR`.
    pub const MIRROR: Self = Self(0x2);
    /// Has no place in the kernel's direct mapping. Source: `MEMBLOCK_NOMAP`.
    pub const NOMAP: Self = Self(0x4);
    /// Added by a driver and not by firmware. Source: `MEMBLOCK_DRIVER_MANAGED`.
    pub const DRIVER_MANAGED: Self = Self(0x8);
    /// Reserved, with page structures left uninitialised. Source: `MEMBLOCK_RSRV_NOINIT`, v6.12.
    pub const RSRV_NOINIT: Self = Self(0x10);

    /// Whether any of `other`'s bits is set here.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for MemblockFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for MemblockFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for MemblockFlags {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for MemblockFlags {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl fmt::Debug for MemblockFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemblockFlags({:#x})", self.0)
    }
}

/// Which of the two lists. Source: `include/linux/memblock.h: struct memblock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemblockType {
    /// `memblock.memory`: the RAM that the kernel may use.
    Memory,
    /// `memblock.reserved`: what is taken, whether it is RAM or not.
    Reserved,
}

impl MemblockType {
    /// The name in kernel messages. Source: `struct memblock_type: name`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Reserved => "reserved",
        }
    }
}

/// One entry of a list. Source: `include/linux/memblock.h: struct memblock_region`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    /// First byte.
    pub base: PhysAddr,
    /// Length in bytes; never 0 in a list.
    pub size: u64,
    /// Attributes.
    pub flags: MemblockFlags,
    /// The node, or [`NodeId::MAX_NUMNODES`] while unassigned.
    pub nid: NodeId,
}

impl Region {
    /// Bytes that one entry takes in the kernel's array: decides how much memory a grown list takes.
    /// Source: `sizeof(struct memblock_region)` on a 64-bit kernel with `CONFIG_NUMA`.
    pub const BYTES: u64 = 24;

    /// One past the last byte.
    #[must_use]
    pub const fn end(&self) -> PhysAddr {
        self.base.wrapping_add(self.size)
    }

    /// The bytes covered.
    #[must_use]
    pub const fn range(&self) -> PhysRange {
        PhysRange::new(self.base, self.size)
    }
}

/// Where an allocation may lie: the `start` and `end`, or `min_addr` and `max_addr`, of the kernel's allocation
/// functions, special values included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Lowest first byte.
    pub min: PhysAddr,
    /// Highest end; 0 and 1 stand for the current limit.
    pub max: PhysAddr,
}

impl Bounds {
    /// Up to the current limit. Source: `include/linux/memblock.h: MEMBLOCK_ALLOC_ACCESSIBLE`.
    pub const ACCESSIBLE: Self = Self { min: PhysAddr(0), max: PhysAddr(0) };
    /// Up to the current limit, not tracked by kmemleak. Source: `MEMBLOCK_ALLOC_NOLEAKTRACE`.
    pub const NOLEAKTRACE: Self = Self { min: PhysAddr(0), max: PhysAddr(1) };
    /// No upper limit. Source: `MEMBLOCK_ALLOC_ANYWHERE`.
    pub const ANYWHERE: Self = Self { min: PhysAddr(0), max: PhysAddr(PHYS_ADDR_MAX) };

    /// Below 4 GiB. Source: `include/linux/memblock.h: ARCH_LOW_ADDRESS_LIMIT` of most architectures.
    pub const LOW: Self = Self { min: PhysAddr(0), max: PhysAddr(0xffff_ffff) };

    /// From `min` to `max`.
    #[must_use]
    pub const fn between(min: PhysAddr, max: PhysAddr) -> Self {
        Self { min, max }
    }

    /// From the start of memory to `max`.
    #[must_use]
    pub const fn below(max: PhysAddr) -> Self {
        Self { min: PhysAddr(0), max }
    }
}

/// The kernel would not have gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fatal {
    /// A region was to be inserted into a full list. Source: `BUG_ON` of `memblock_insert_region()`.
    InsertIntoFullList(MemblockType),
    /// Neighbours overlap or are out of order. Source: `BUG_ON` of `memblock_merge_regions()`.
    NeighboursOverlap {
        /// The list.
        list: MemblockType,
        /// Where the first of the two begins.
        base: PhysAddr,
    },
    /// The memory found for a grown list could not be reserved. Source: `BUG_ON` of `memblock_double_array()`.
    GrownListNotReserved(MemblockType),
    /// A list is full and may not grow yet. Source: `panic()` of `memblock_double_array()`, v6.12.
    CannotResize(MemblockType),
}

impl Fatal {
    /// Whether the kernel stops with `panic()` and its message, and not on a failed assertion.
    #[must_use]
    pub const fn is_panic(self) -> bool {
        matches!(self, Self::CannotResize(_))
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InsertIntoFullList(list) => {
                write!(f, "BUG in memblock_insert_region: the {} list is full", list.name())
            }
            Self::NeighboursOverlap { list, base } => {
                write!(f, "BUG in memblock_merge_regions: {} regions overlap at {base}", list.name())
            }
            Self::GrownListNotReserved(list) => {
                write!(f, "BUG in memblock_double_array: no room to reserve the grown {} list", list.name())
            }
            Self::CannotResize(list) => write!(f, "panic: memblock: cannot resize {} array", list.name()),
        }
    }
}

/// Why a request was not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemblockError {
    /// `-ENOMEM`, or address 0 from an allocation: an ordinary answer, which the caller handles.
    NoMemory,
    /// The kernel stops here. The lists are left as they were at that moment and mean nothing any more.
    Fatal(Fatal),
    /// The modelled kernel has no such function.
    NotInThisKernel,
}

impl From<Fatal> for MemblockError {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal)
    }
}

impl fmt::Display for MemblockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("out of memory"),
            Self::Fatal(fatal) => fatal.fmt(f),
            Self::NotInThisKernel => f.write_str("the modelled kernel has no such function"),
        }
    }
}

impl std::error::Error for MemblockError {}

impl std::error::Error for Fatal {}

/// Drops a failure that the kernel's caller does not look at, and keeps the one that ends the run.
pub(super) fn unless_fatal<T>(result: Result<T, MemblockError>) -> Result<Option<T>, Fatal> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MemblockError::Fatal(fatal)) => Err(fatal),
        Err(MemblockError::NoMemory | MemblockError::NotInThisKernel) => Ok(None),
    }
}

/// Cuts `size` so that `base + size` does not pass the end of the address space.
/// Source: `mm/memblock.c: memblock_cap_size()`.
pub(super) const fn cap_size(base: PhysAddr, size: u64) -> u64 {
    let room = PHYS_ADDR_MAX - base.0;
    if size < room { size } else { room }
}

/// Rounds as the kernel does for every `align`, powers of two or not, modulo 2^64.
/// Source: `include/linux/math.h: round_up()`.
pub(super) const fn round_up(value: u64, align: u64) -> u64 {
    (value.wrapping_sub(1) | align.wrapping_sub(1)).wrapping_add(1)
}

/// Rounds as the kernel does for every `align`, powers of two or not.
/// Source: `include/linux/math.h: round_down()`.
pub(super) const fn round_down(value: u64, align: u64) -> u64 {
    value & !align.wrapping_sub(1)
}
