//! Newtypes for the kernel's address spaces, so that one is never taken for another.

use std::fmt;

/// log2 of the page size. Source: `arch/x86/include/asm/page_types.h`.
pub const PAGE_SHIFT: u32 = 12;
/// Page size in bytes.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;
/// Clears the offset within a page.
pub const PAGE_MASK: u64 = !(PAGE_SIZE - 1);

/// Rounds `value` down to a multiple of `align`, which must be a power of two.
#[must_use]
pub const fn align_down(value: u64, align: u64) -> u64 {
    debug_assert!(align.is_power_of_two());
    value & !(align - 1)
}

/// Rounds `value` up to a multiple of `align` (a power of two), wrapping as the kernel's `ALIGN` does.
#[must_use]
pub const fn align_up(value: u64, align: u64) -> u64 {
    debug_assert!(align.is_power_of_two());
    value.wrapping_add(align - 1) & !(align - 1)
}

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The address `bytes` further on, or `None` past the end of the address space.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// The address `bytes` further on, modulo 2^64, as C arithmetic has it.
            #[must_use]
            pub const fn wrapping_add(self, bytes: u64) -> Self {
                Self(self.0.wrapping_add(bytes))
            }

            /// Offset within its page.
            #[must_use]
            pub const fn page_offset(self) -> u64 {
                self.0 & (PAGE_SIZE - 1)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

address! {
    /// A physical address as the CPU sees it (`phys_addr_t`).
    PhysAddr
}
address! {
    /// An address as a device puts it on its bus (`dma_addr_t`): physical, or an IOVA.
    DmaAddr
}

impl PhysAddr {
    /// The page frame that holds this address.
    #[must_use]
    pub const fn pfn(self) -> Pfn {
        Pfn(self.0 >> PAGE_SHIFT)
    }
}

/// A page frame number: a physical address divided by the page size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pfn(pub u64);

impl Pfn {
    /// First byte of the frame.
    #[must_use]
    pub const fn phys(self) -> PhysAddr {
        PhysAddr(self.0 << PAGE_SHIFT)
    }
}

/// A half-open range of physical memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysRange {
    /// First byte.
    pub start: PhysAddr,
    /// One past the last byte.
    pub end: PhysAddr,
}

impl PhysRange {
    /// The range of `size` bytes from `start`. Saturates at the end of the address space.
    #[must_use]
    pub const fn new(start: PhysAddr, size: u64) -> Self {
        Self { start, end: PhysAddr(start.0.saturating_add(size)) }
    }

    /// Length in bytes.
    #[must_use]
    pub const fn size(self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// Whether `addr` lies inside.
    #[must_use]
    pub const fn contains(self, addr: PhysAddr) -> bool {
        self.start.0 <= addr.0 && addr.0 < self.end.0
    }
}

/// Where x86-64 maps all physical memory with 4-level page tables and without KASLR.
/// Source: `Documentation/x86/x86_64/mm.rst`, v6.1.
pub const PAGE_OFFSET: u64 = 0xffff_8880_0000_0000;
/// Size of that direct map: 64 TiB.
pub const DIRECT_MAP_SIZE: u64 = 1 << 46;

impl PhysAddr {
    /// The kernel virtual address of this byte in the direct map (`__va()`), wrapping as C does.
    #[must_use]
    pub const fn virt(self) -> u64 {
        self.0.wrapping_add(PAGE_OFFSET)
    }

    /// The physical address of a direct-map address (`__pa()`), or `None` for any other address.
    #[must_use]
    pub const fn from_virt(virt: u64) -> Option<Self> {
        let phys = virt.wrapping_sub(PAGE_OFFSET);
        if phys < DIRECT_MAP_SIZE { Some(Self(phys)) } else { None }
    }
}

/// Pages from `first` up to the one that holds the last byte before `end`, which lies behind the start of `first`.
#[inline]
pub(super) const fn pages_to(first: Pfn, end: u64) -> u64 {
    end.div_ceil(PAGE_SIZE) - first.0
}
