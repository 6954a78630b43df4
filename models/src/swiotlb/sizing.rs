//! Constants of the pool, and how its size and its number of areas are chosen.

/// log2 of the size of a slot. Source: `include/linux/swiotlb.h`, all versions.
pub const IO_TLB_SHIFT: u32 = 11;
/// Bytes in a slot. Source: `include/linux/swiotlb.h`, all versions.
pub const IO_TLB_SIZE: u64 = 1 << IO_TLB_SHIFT;
/// Slots in a segment; no mapping crosses the edge of one. Source: `include/linux/swiotlb.h`.
pub const IO_TLB_SEGSIZE: u32 = 128;
/// Slots in the default pool of 64 MiB (`IO_TLB_DEFAULT_SIZE`). Source: `include/linux/swiotlb.h`.
pub const IO_TLB_DEFAULT_SLABS: u64 = (64 << 20) >> IO_TLB_SHIFT;
/// Slots in the smallest pool that boot settles for, 1 MiB. Source: `kernel/dma/swiotlb.c`.
pub const IO_TLB_MIN_SLABS: u64 = (1 << 20) >> IO_TLB_SHIFT;
/// What `orig_addr` holds while no mapping is recorded (`INVALID_PHYS_ADDR`).
pub const INVALID_PHYS_ADDR: u64 = u64::MAX;

/// Number of slots that hold `bytes`, rounded up, wrapping as the kernel's 64-bit sum does.
///
/// Source: `kernel/dma/swiotlb.c: nr_slots()`.
#[must_use]
pub const fn nr_slots(bytes: u64) -> u64 {
    bytes.wrapping_add(IO_TLB_SIZE - 1) / IO_TLB_SIZE
}

/// The low 32 bits, as an assignment to `unsigned int` keeps them.
#[expect(clippy::cast_possible_truncation, reason = "dropping the upper half is the point")]
pub(super) const fn low32(value: u64) -> u32 {
    value as u32
}

/// Numbers of slots and of areas in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolSize {
    /// Slots.
    pub nslabs: u32,
    /// Areas; 1 in a kernel without.
    pub nareas: u32,
}

impl PoolSize {
    /// Slots in each area; the last slots of a pool may lie in none.
    ///
    /// Source: `kernel/dma/swiotlb.c: swiotlb_init_io_tlb_pool()`, v6.12.
    #[must_use]
    pub const fn area_nslabs(self) -> u32 {
        match self.nslabs.checked_div(self.nareas) {
            Some(slots) => slots,
            None => 0,
        }
    }

    /// Bytes in the pool.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        (self.nslabs as u64) << IO_TLB_SHIFT
    }
}
