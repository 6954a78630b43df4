//! Pointers to kernel objects, and the values that a field can hold.

use std::fmt;
use std::marker::PhantomData;

use super::addr::{DmaAddr, PhysAddr};

/// A value of fixed size in kernel memory, little-endian.
pub trait Raw: Copy {
    /// Size in bytes in the kernel's structure.
    const SIZE: u16;
    /// Whether the bytes mean nothing to the model: they are neither encoded nor decoded, and memory shows through.
    const OPAQUE: bool = false;

    /// The value as the kernel stores it, in the low `SIZE` bytes.
    fn to_raw(self) -> u64;

    /// What the kernel would take the low `SIZE` bytes for. Never fails: any junk is some value.
    fn from_raw(raw: u64) -> Self;
}

macro_rules! raw_integer {
    ($($type:ty: $size:literal),*) => {$(
        impl Raw for $type {
            const SIZE: u16 = $size;

            fn to_raw(self) -> u64 {
                u64::from(self)
            }

            #[expect(clippy::cast_possible_truncation, reason = "the low bytes are the value")]
            fn from_raw(raw: u64) -> Self {
                raw as $type
            }
        }
    )*};
}

raw_integer!(u32: 4, u16: 2, u8: 1);

impl Raw for u64 {
    const SIZE: u16 = 8;

    fn to_raw(self) -> u64 {
        self
    }

    fn from_raw(raw: u64) -> Self {
        raw
    }
}

impl Raw for bool {
    const SIZE: u16 = 1;

    fn to_raw(self) -> u64 {
        u64::from(self)
    }

    /// Any non-zero byte is true, as a compiled test of the byte has it.
    fn from_raw(raw: u64) -> Self {
        raw & 0xff != 0
    }
}

impl Raw for PhysAddr {
    const SIZE: u16 = 8;

    fn to_raw(self) -> u64 {
        self.0
    }

    fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

impl Raw for DmaAddr {
    const SIZE: u16 = 8;

    fn to_raw(self) -> u64 {
        self.0
    }

    fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

/// A `spinlock_t`: 4 bytes, 0 when free. Who holds it is the engine's business; a word other than 0 here is junk
/// that was decoded from trampled memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockWord(pub u32);

impl Raw for LockWord {
    const SIZE: u16 = 4;

    fn to_raw(self) -> u64 {
        u64::from(self.0)
    }

    fn from_raw(raw: u64) -> Self {
        Self(u32::from_raw(raw))
    }
}

/// `N` bytes of a structure that the model does not use: padding, or a member left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opaque<const N: u16>;

impl<const N: u16> Raw for Opaque<N> {
    const SIZE: u16 = N;
    const OPAQUE: bool = true;

    fn to_raw(self) -> u64 {
        0
    }

    fn from_raw(_: u64) -> Self {
        Self
    }
}

/// A pointer to a kernel object: where it points, and which object was meant.
///
/// The identity is what finds a use after free although the page is in use again. It is lost where the kernel makes
/// the pointer out of plain bytes; [`Heap::adopt`](super::Heap::adopt) gives such a pointer the identity of what lies
/// there now.
pub struct Ptr<T> {
    /// Kernel virtual address, 0 for NULL.
    pub addr: u64,
    /// The object's never-reused id, 0 for a pointer without identity.
    pub id: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T> Ptr<T> {
    /// The NULL pointer.
    pub const NULL: Self = Self::new(0, 0);

    /// A pointer to `addr` (kernel virtual) that means object `id`.
    #[must_use]
    pub const fn new(addr: u64, id: u32) -> Self {
        Self { addr, id, kind: PhantomData }
    }

    /// A pointer made out of a plain address: of no known object.
    #[must_use]
    pub const fn wild(addr: u64) -> Self {
        Self::new(addr, 0)
    }

    /// Whether this is the NULL pointer.
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.addr == 0
    }

    /// The physical address, if the pointer points into the direct map.
    #[must_use]
    pub const fn phys(self) -> Option<PhysAddr> {
        PhysAddr::from_virt(self.addr)
    }
}

impl<T> Clone for Ptr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Ptr<T> {}

impl<T> Default for Ptr<T> {
    fn default() -> Self {
        Self::NULL
    }
}

impl<T> PartialEq for Ptr<T> {
    fn eq(&self, other: &Self) -> bool {
        self.addr == other.addr && self.id == other.id
    }
}

impl<T> Eq for Ptr<T> {}

impl<T> fmt::Debug for Ptr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ptr({:#x}, object {})", self.addr, self.id)
    }
}

impl<T> Raw for Ptr<T> {
    const SIZE: u16 = 8;

    fn to_raw(self) -> u64 {
        self.addr
    }

    fn from_raw(raw: u64) -> Self {
        Self::wild(raw)
    }
}
