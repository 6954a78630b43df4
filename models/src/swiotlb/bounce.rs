//! Which bytes a bounce moves: decided here, moved by whoever holds the memory.

use super::area_detail::Slot;
use super::pool::Pool;
use super::search::DmaLimits;
use super::sizing::{INVALID_PHYS_ADDR, IO_TLB_SHIFT, IO_TLB_SIZE};
use crate::mem::PhysAddr;

/// Who writes to the buffer (`enum dma_data_direction`). Source: `include/linux/dma-direction.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both sides (`DMA_BIDIRECTIONAL`, 0).
    Bidirectional,
    /// The CPU (`DMA_TO_DEVICE`, 1).
    ToDevice,
    /// The device (`DMA_FROM_DEVICE`, 2).
    FromDevice,
    /// Nobody (`DMA_NONE`, 3).
    None,
}

impl Direction {
    /// Whether the device may read what the CPU wrote.
    #[must_use]
    pub const fn reaches_device(self) -> bool {
        matches!(self, Self::Bidirectional | Self::ToDevice)
    }

    /// Whether the CPU may read what the device wrote.
    #[must_use]
    pub const fn reaches_cpu(self) -> bool {
        matches!(self, Self::Bidirectional | Self::FromDevice)
    }
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the original into the slots.
    ToSlots,
    /// From the slots to the original.
    ToOriginal,
}

/// A copy to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Copy {
    /// Physical address on the original side.
    pub orig: PhysAddr,
    /// Bytes from the start of the pool on the other.
    pub slot_off: u64,
    /// Bytes to copy, not 0.
    pub len: u64,
    /// Which way.
    pub way: Way,
}

/// What `swiotlb_bounce()` warns of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Warning {
    /// The address lies before the mapping's first byte; nothing is copied (v5.14 to v6.9-rc3).
    BeforeStart,
    /// The address lies behind the mapping's last byte; nothing is copied (v5.14 to v6.9-rc3).
    BehindEnd,
    /// More bytes were asked for than the mapping has left; the rest is not copied.
    Overflow,
}

/// Outcome of one bounce: a copy, a warning, both or neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounce {
    /// The copy to be made.
    pub copy: Option<Copy>,
    /// What the kernel warns of.
    pub warning: Option<Warning>,
}

/// When a new mapping is filled from the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefill {
    /// When the device is to read it: what a device may write keeps old bytes. v5.10 to v5.16.
    Outgoing,
    /// Always, save with the attribute that promised to overwrite it all. v5.17-rc6 and rc7.
    UnlessOverwrite,
    /// Always. Since v5.17-rc8.
    Always,
}

/// What an address inside a slot means to a bounce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetRule {
    /// It is added to the original; sizes are not compared. v5.10.
    Unchecked,
    /// It is lost: the copy begins at the slot's original. v5.12, v5.10.38.
    Dropped,
    /// It must lie within the mapping. v5.13 to v6.9-rc3.
    Bounded,
    /// It may be negative, as in the first bytes of a slot that is not the mapping's first. Since v6.9-rc4.
    Signed,
}

/// The behaviours of one version in what `swiotlb_bounce()` and its callers copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BounceRules {
    /// When a mapping is filled.
    pub prefill: Prefill,
    /// `swiotlb_sync_single_for_device()` copies for every direction (v5.17-rc8 and v5.17 only).
    pub sync_for_device_always: bool,
    /// What an address inside a slot means.
    pub offset: OffsetRule,
}

impl BounceRules {
    /// Source: `kernel/dma/swiotlb.c: swiotlb_bounce(), swiotlb_tbl_sync_single()`, v5.10.
    #[must_use]
    pub const fn v5_10() -> Self {
        Self { prefill: Prefill::Outgoing, sync_for_device_always: false, offset: OffsetRule::Unchecked }
    }

    /// Source: `kernel/dma/swiotlb.c: swiotlb_bounce()`, v5.12.
    #[must_use]
    pub const fn v5_12() -> Self {
        Self { offset: OffsetRule::Dropped, ..Self::v5_10() }
    }

    /// Source: `kernel/dma/swiotlb.c: swiotlb_bounce()`, v5.13 to v5.16.
    #[must_use]
    pub const fn v5_13() -> Self {
        Self { offset: OffsetRule::Bounded, ..Self::v5_10() }
    }

    /// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_map_single()`, v5.17-rc6.
    #[must_use]
    pub const fn v5_17_rc6() -> Self {
        Self { prefill: Prefill::UnlessOverwrite, ..Self::v5_13() }
    }

    /// Source: `kernel/dma/swiotlb.c: swiotlb_sync_single_for_device()`, v5.17-rc8 and v5.17.
    #[must_use]
    pub const fn v5_17() -> Self {
        Self { prefill: Prefill::Always, sync_for_device_always: true, ..Self::v5_13() }
    }

    /// Source: `kernel/dma/swiotlb.c: swiotlb_bounce()`, v5.18 to v6.9-rc3.
    #[must_use]
    pub const fn v5_18() -> Self {
        Self { prefill: Prefill::Always, ..Self::v5_13() }
    }

    /// Source: `kernel/dma/swiotlb.c: swiotlb_bounce()`, v6.9-rc4 to v6.12.
    #[must_use]
    pub const fn v6_9_rc4() -> Self {
        Self { offset: OffsetRule::Signed, ..Self::v5_18() }
    }

    /// Whether a new mapping is filled; `overwrite` is `DMA_ATTR_OVERWRITE`, which only v5.17-rc6 knew.
    ///
    /// Source: the end of `kernel/dma/swiotlb.c: swiotlb_tbl_map_single()`, all versions.
    #[must_use]
    pub const fn copies_on_map(&self, dir: Direction, overwrite: bool) -> bool {
        match self.prefill {
            Prefill::Outgoing => dir.reaches_device(),
            Prefill::UnlessOverwrite => dir.reaches_device() || !overwrite,
            Prefill::Always => true,
        }
    }

    /// Whether an unmap copies back.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_tbl_unmap_single()`, all versions.
    #[must_use]
    pub const fn copies_on_unmap(dir: Direction, skip_cpu_sync: bool) -> bool {
        !skip_cpu_sync && dir.reaches_cpu()
    }

    /// Whether `swiotlb_sync_single_for_device()` copies, or `None` where the kernel stops.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_sync_single_for_device()`, by version.
    #[must_use]
    pub const fn copies_for_device(&self, dir: Direction) -> Option<bool> {
        match dir {
            _ if self.sync_for_device_always => Some(true),
            Direction::ToDevice | Direction::Bidirectional => Some(true),
            Direction::FromDevice => Some(false),
            Direction::None => None,
        }
    }

    /// Whether `swiotlb_sync_single_for_cpu()` copies, or `None` where the kernel stops.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_sync_single_for_cpu()`, all versions.
    #[must_use]
    pub const fn copies_for_cpu(dir: Direction) -> Option<bool> {
        match dir {
            Direction::FromDevice | Direction::Bidirectional => Some(true),
            Direction::ToDevice => Some(false),
            Direction::None => None,
        }
    }

    /// The copy that a bounce of `size` bytes at `tlb_addr` makes, from what is recorded for its slot.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_bounce()`, by version.
    #[must_use]
    pub fn bounce(&self, limits: DmaLimits, slot: &Bounced, size: u64, way: Way) -> Bounce {
        let Some(orig) = slot.orig_addr else {
            return Bounce::default();
        };
        let within = slot.tlb_addr.0 & (IO_TLB_SIZE - 1);
        // As a C int: both parts are below a slot's size.
        let distance = within.wrapping_sub(u64::from(limits.align_offset(orig)));
        let left = slot.alloc_size.wrapping_sub(distance);
        let (distance, left) = match self.offset {
            OffsetRule::Unchecked => (distance, u64::MAX),
            OffsetRule::Dropped => (0, slot.alloc_size),
            OffsetRule::Bounded if distance.cast_signed() < 0 => {
                return Bounce { copy: None, warning: Some(Warning::BeforeStart) };
            }
            OffsetRule::Bounded if distance > slot.alloc_size => {
                return Bounce { copy: None, warning: Some(Warning::BehindEnd) };
            }
            OffsetRule::Bounded | OffsetRule::Signed => (distance, left),
        };
        let len = size.min(left);
        let copy = Copy {
            orig: orig.wrapping_add(distance),
            slot_off: slot.tlb_addr.0.wrapping_sub(slot.pool_start.0),
            len,
            way,
        };
        Bounce { copy: (len > 0).then_some(copy), warning: (size > left).then_some(Warning::Overflow) }
    }
}

/// What a bounce reads before it copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounced {
    /// The address that was asked for.
    pub tlb_addr: PhysAddr,
    /// Start of its pool.
    pub pool_start: PhysAddr,
    /// `orig_addr` of its slot, or none recorded.
    pub orig_addr: Option<PhysAddr>,
    /// `alloc_size` of its slot, bytes modulo 2^64.
    pub alloc_size: u64,
}

impl Bounced {
    /// Looks the slot of `tlb_addr` up in `pool`.
    ///
    /// Source: the head of `kernel/dma/swiotlb.c: swiotlb_bounce()`, all versions.
    #[must_use]
    pub fn of(pool: &Pool, tlb_addr: PhysAddr) -> Self {
        let index = tlb_addr.0.wrapping_sub(pool.start().0) >> IO_TLB_SHIFT;
        let slot = u32::try_from(index).map_or(Slot::FREE, |slot| pool.slots().slot(slot));
        Self {
            tlb_addr,
            pool_start: pool.start(),
            orig_addr: (slot.orig_addr != INVALID_PHYS_ADDR).then_some(PhysAddr(slot.orig_addr)),
            alloc_size: slot.alloc_size,
        }
    }
}
