//! Sizes, orders and errors of slab caches.

use std::collections::VecDeque;
use std::fmt;

use super::addr::{PAGE_SIZE, PhysAddr, PhysRange};
use super::zone::BuddyError;

/// Object sizes of the kmalloc caches with SLUB on x86-64. Source: `mm/slab_common.c: kmalloc_info`, v6.1.
pub const KMALLOC_SIZES: [u32; 13] = [8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192];

pub(super) const KMALLOC_NAMES: [&str; 13] = [
    "kmalloc-8",
    "kmalloc-16",
    "kmalloc-32",
    "kmalloc-64",
    "kmalloc-96",
    "kmalloc-128",
    "kmalloc-192",
    "kmalloc-256",
    "kmalloc-512",
    "kmalloc-1k",
    "kmalloc-2k",
    "kmalloc-4k",
    "kmalloc-8k",
];

pub(super) const DMA_KMALLOC_NAMES: [&str; 13] = [
    "dma-kmalloc-8",
    "dma-kmalloc-16",
    "dma-kmalloc-32",
    "dma-kmalloc-64",
    "dma-kmalloc-96",
    "dma-kmalloc-128",
    "dma-kmalloc-192",
    "dma-kmalloc-256",
    "dma-kmalloc-512",
    "dma-kmalloc-1k",
    "dma-kmalloc-2k",
    "dma-kmalloc-4k",
    "dma-kmalloc-8k",
];

/// Largest order that a slab tries to do with (`slub_max_order`).
const MAX_SLAB_ORDER: u32 = 3;
/// Bounds of the number of slabs that stay on a cache's list. Source: `mm/slub.c: MIN_PARTIAL`, v6.1.
const MIN_PARTIAL: u32 = 5;
const MAX_PARTIAL: u32 = 10;

/// A slab cache, by its number in a [`SlabAllocator`](super::SlabAllocator).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheId(pub u32);

/// An object that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabObject {
    /// Its address.
    pub addr: PhysAddr,
    /// Size of its slot in bytes (`ksize()`): at least what was asked for.
    pub size: u64,
    /// The pages that were taken from the page allocator to serve this call, for the shadow.
    pub new_slab: Option<PhysRange>,
}

/// What became of a freed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabFreed {
    /// The object's slot.
    pub range: PhysRange,
    /// The pages that went back to the page allocator, for the shadow.
    pub released: Option<PhysRange>,
}

/// What is wrong with a request to the slab allocator. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlabError {
    /// The page allocator has nothing left.
    NoMemory,
    /// `kmalloc(0)`: the kernel returns a pointer that must not be followed.
    ZeroSize,
    /// Larger than the largest block of the page allocator, or than a slot of the named cache.
    TooLarge {
        /// The size in bytes.
        size: u64,
    },
    /// There is no such cache.
    NoCache {
        /// Its number.
        cache: CacheId,
    },
    /// The object is free already.
    DoubleFree {
        /// The object.
        addr: PhysAddr,
    },
    /// The address lies in no slab.
    NotSlab {
        /// The address.
        addr: PhysAddr,
    },
    /// The address lies inside an object, or behind the last one.
    NotAnObject {
        /// The address.
        addr: PhysAddr,
    },
    /// The page allocator refused.
    Pages(BuddyError),
}

impl From<BuddyError> for SlabError {
    fn from(error: BuddyError) -> Self {
        Self::Pages(error)
    }
}

impl fmt::Display for SlabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("out of memory"),
            Self::ZeroSize => f.write_str("an allocation of no bytes"),
            Self::TooLarge { size } => {
                write!(f, "an allocation of {size} bytes is larger than any block or slot")
            }
            Self::NoCache { cache } => write!(f, "there is no slab cache {}", cache.0),
            Self::DoubleFree { addr } => write!(f, "the object at {addr} is free already"),
            Self::NotSlab { addr } => write!(f, "{addr} lies in no slab"),
            Self::NotAnObject { addr } => write!(f, "no object begins at {addr}"),
            Self::Pages(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SlabError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Pages(error) => Some(error),
            Self::NoMemory
            | Self::ZeroSize
            | Self::TooLarge { .. }
            | Self::NoCache { .. }
            | Self::DoubleFree { .. }
            | Self::NotSlab { .. }
            | Self::NotAnObject { .. } => None,
        }
    }
}

/// `struct kmem_cache`.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) name: &'static str,
    /// Bytes of a slot.
    pub(super) size: u32,
    pub(super) order: u8,
    /// Slots of a slab.
    pub(super) objects: u16,
    /// Empty slabs go back when this many are on the list.
    pub(super) min_partial: usize,
    /// The slab from which each CPU allocates.
    pub(super) active: Vec<Option<u32>>,
    /// Slabs with free slots of which no CPU allocates, the next to be used first.
    pub(super) partial: VecDeque<u32>,
}

impl Cache {
    pub(super) fn new(name: &'static str, size: u32, cpus: u32) -> Self {
        let order = slab_order(size, cpus);
        let objects = objects_in(u32::from(order), size);
        let min_partial = (size.max(1).ilog2() / 2).clamp(MIN_PARTIAL, MAX_PARTIAL);
        Self {
            name,
            size,
            order,
            objects: u16::try_from(objects).unwrap_or(u16::MAX),
            min_partial: min_partial as usize,
            active: vec![None; cpus as usize],
            partial: VecDeque::new(),
        }
    }
}

/// Slots of `size` bytes in a block.
fn objects_in(order: u32, size: u32) -> u32 {
    u32::try_from((PAGE_SIZE << order) / u64::from(size.max(1))).unwrap_or(u32::MAX)
}

/// log2 of the pages that hold `bytes`: `get_order()`.
pub(super) fn order_for(bytes: u64) -> u8 {
    let pages = bytes.div_ceil(PAGE_SIZE).max(1);
    u8::try_from(pages.next_power_of_two().trailing_zeros()).unwrap_or(u8::MAX)
}

/// Order of a cache's slabs: the smallest that holds enough objects, depending on the number of CPUs, and wastes
/// little; first the demand for little waste is given up, then that for many objects.
/// Source: `mm/slub.c: calculate_order()`, v6.1.
fn slab_order(size: u32, cpus: u32) -> u8 {
    let fits = |objects: u32, waste_part: u64| {
        let least = order_for(u64::from(objects) * u64::from(size));
        (u32::from(least)..=MAX_SLAB_ORDER).find(|&order| {
            let slab = PAGE_SIZE << order;
            slab % u64::from(size.max(1)) <= slab / waste_part
        })
    };
    let wanted = 4 * (u32::BITS - cpus.max(1).leading_zeros() + 1);
    let most = wanted.min(objects_in(MAX_SLAB_ORDER, size));
    let found =
        (2..=most).rev().find_map(|objects| [16, 8, 4].into_iter().find_map(|part| fits(objects, part)));
    let order = found.or_else(|| fits(1, 1));
    order.and_then(|order| u8::try_from(order).ok()).unwrap_or_else(|| order_for(u64::from(size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/proc/slabinfo` of an ordinary machine with 8 CPUs: pages per slab.
    #[test]
    fn orders_are_those_of_a_real_machine() {
        let orders = KMALLOC_SIZES.map(|size| slab_order(size, 8));
        assert_eq!(orders, [0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 3, 3, 3]);
        assert_eq!(Cache::new("kmalloc-192", 192, 8).objects, 21);
    }
}
