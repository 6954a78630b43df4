//! `struct io_tlb_mem` of linux-next, June 2021: the structure that everybody still pointed to.

use super::addr::PhysAddr;
use super::ptr::{LockWord, Ptr};

crate::kobject! {
    /// The pool descriptor of linux-next of June 2021, at af452ec1b1a3. Source: `include/linux/swiotlb.h`.
    ///
    /// The slots (24 bytes each) follow at 0x38 in the same allocation and are not part of the cells.
    pub struct IoTlbMem = "struct io_tlb_mem" {
        /// First byte of the bounce buffer.
        start: PhysAddr = 0x00,
        /// One past its last byte.
        end: PhysAddr = 0x08,
        /// Number of slots of 2 KiB.
        nslabs: u64 = 0x10,
        /// Number of slots in use.
        used: u64 = 0x18,
        /// Slot at which the next search begins.
        index: u32 = 0x20,
        /// Protects the slots.
        lock: LockWord = 0x24,
        /// The debugfs directory.
        debugfs: Ptr<()> = 0x28,
        /// Whether it was allocated from the page allocator, and not from memblock.
        late_alloc: bool = 0x30,
        /// Whether every mapping must bounce.
        force_bounce: bool = 0x31,
        /// Whether it serves allocations (restricted DMA).
        for_alloc: bool = 0x32,
    }
    size 0x38;
}

/// Size of one `struct io_tlb_slot` in the same tree: `orig_addr`, `alloc_size`, `list`.
pub const IO_TLB_SLOT_SIZE: u64 = 24;
