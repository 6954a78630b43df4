//! `struct io_tlb_mem`.

use std::cell::{Cell, RefCell};

use sim::sync::LockClass;

use crate::kernel::LockCell;
use crate::mem::{LockWord, PhysAddr, Ptr};
use crate::swiotlb::Pool;

/// Class of `mem->lock`.
pub const POOL_LOCK: LockClass = LockClass::new(2, "&mem->lock");

/// Class of `area->lock`.
pub const AREA_LOCK: LockClass = LockClass::new(5, "&area->lock");

/// Bytes of a slot record behind the structure (`struct io_tlb_slot`).
pub const IO_TLB_SLOT_SIZE: u64 = 24;

crate::kobject! {
    /// Descriptor of a bounce pool; where the pool is one object from memblock, its slots follow at once.
    ///
    /// Source: `include/linux/swiotlb.h: struct io_tlb_mem`, linux-next of June 2021. In 5.13 and 5.14 the last two
    /// flags are missing.
    pub struct IoTlbMem = "struct io_tlb_mem" {
        /// First byte of the bounce buffer.
        start: PhysAddr = 0x00,
        /// One past its last byte.
        end: PhysAddr = 0x08,
        /// Number of slots.
        nslabs: u64 = 0x10,
        /// Slots in use.
        used: u64 = 0x18,
        /// Where the next search begins.
        index: u32 = 0x20,
        /// Protects the slots.
        lock: LockWord = 0x24,
        /// Directory in debugfs.
        debugfs: Ptr<()> = 0x28,
        /// Whether it was set up after boot.
        late_alloc: bool = 0x30,
        /// Whether everything bounces.
        force_bounce: bool = 0x31,
        /// Whether coherent memory comes from it too.
        for_alloc: bool = 0x32,
    }
    beside {
        /// The slots, while the pool lives.
        pool: RefCell<Option<Pool>>,
        /// The lock, while the pool lives.
        spinlock: LockCell,
        /// Where the slot records lie if not behind the structure: address and heap id.
        slots_at: Cell<(PhysAddr, u32)>,
        /// Heap id of the bounce buffer.
        buffer_id: Cell<u32>,
        /// Its areas, where pools have them (`mem->areas`).
        areas: RefCell<Vec<Ptr<IoTlbArea>>>,
    }
    size 0x38;
}

crate::kobject! {
    /// One area of a pool. Source: `kernel/dma/swiotlb.c: struct io_tlb_area`, v6.1, v6.12.
    pub struct IoTlbArea = "struct io_tlb_area" {
        /// Slots in use.
        used: u64 = 0x0,
        /// Where the next search begins, counted from the area's first slot.
        index: u32 = 0x8,
        /// Protects the area's slots and counters.
        lock: LockWord = 0xc,
    }
    beside {
        /// The lock.
        spinlock: LockCell,
    }
    size 0x10;
}

impl IoTlbArea {
    /// Bytes of one (`sizeof(struct io_tlb_area)`).
    pub const SIZE: u64 = 0x10;

    /// The engine's side of `area->lock`.
    #[must_use]
    pub const fn lock_of(&self) -> &LockCell {
        &self.spinlock
    }
}

impl IoTlbMem {
    /// The engine's side of `mem->lock`.
    #[must_use]
    pub const fn lock_of(&self) -> &LockCell {
        &self.spinlock
    }

    /// Brings the counters in memory in line with the slots.
    pub fn publish(&self) {
        if let Some(pool) = self.pool.borrow().as_ref() {
            self.used.set(pool.used());
            self.index.set(pool.areas().first().map_or(0, crate::swiotlb::Area::index));
        }
    }
}
