//! What the bits of one entry mean.

use crate::mem::{PAGE_SHIFT, PhysAddr};

/// Address bits that one level resolves.
pub(super) const LEVEL_BITS: u32 = 9;
/// Address bits of an entry: 51 to 12.
const ADDR_MASK: u64 = 0x000f_ffff_ffff_f000;

/// Present. Source: `drivers/iommu/amd/amd_iommu_types.h: IOMMU_PTE_PR`.
pub(super) const AMD_PR: u64 = 1;
/// Coherent. Source: `drivers/iommu/amd/amd_iommu_types.h: IOMMU_PTE_FC`.
const AMD_FC: u64 = 1 << 60;
/// Readable. Source: `drivers/iommu/amd/amd_iommu_types.h: IOMMU_PTE_IR`.
const AMD_IR: u64 = 1 << 61;
/// Writable. Source: `drivers/iommu/amd/amd_iommu_types.h: IOMMU_PTE_IW`.
const AMD_IW: u64 = 1 << 62;
/// "Next level" of a leaf whose size is written into its address. Source: `PAGE_MODE_7_LEVEL`, same file.
pub(super) const AMD_SIZED_LEAF: u64 = 7;

/// Source: `drivers/iommu/intel/iommu.h: DMA_PTE_READ`.
const VTD_READ: u64 = 1;
/// Source: `drivers/iommu/intel/iommu.h: DMA_PTE_WRITE`.
const VTD_WRITE: u64 = 2;
/// Source: `drivers/iommu/intel/iommu.h: DMA_PTE_LARGE_PAGE`.
const VTD_LARGE: u64 = 1 << 7;
/// The highest level at which VT-d knows large pages: 1 GiB.
const VTD_LARGE_LEVELS: u32 = 3;

/// Valid. Source: `drivers/iommu/io-pgtable-arm.c: ARM_LPAE_PTE_VALID`.
const ARM_VALID: u64 = 1;
/// A table, or at the lowest level a page. Source: `ARM_LPAE_PTE_TYPE_TABLE`, `ARM_LPAE_PTE_TYPE_PAGE`.
const ARM_TYPE_TABLE: u64 = 3;
/// A large page. Source: `ARM_LPAE_PTE_TYPE_BLOCK`.
const ARM_TYPE_BLOCK: u64 = 1;
const ARM_TYPE_MASK: u64 = 3;
/// Address bits of an entry: 47 to 12. Source: `ARM_LPAE_PTE_ADDR_MASK`.
const ARM_ADDR_MASK: u64 = 0x0000_ffff_ffff_f000;
/// Memory that is cached, by its place in the list of attributes (`ARM_LPAE_MAIR_ATTR_IDX_CACHE`).
const ARM_ATTR_CACHE: u64 = 1 << 2;
/// Unprivileged accesses are allowed. Source: `ARM_LPAE_PTE_AP_UNPRIV`.
const ARM_AP_UNPRIV: u64 = 1 << 6;
/// Read-only. Source: `ARM_LPAE_PTE_AP_RDONLY`.
const ARM_AP_RDONLY: u64 = 1 << 7;
/// Inner shareable. Source: `ARM_LPAE_PTE_SH_IS`.
const ARM_SH_IS: u64 = 3 << 8;
/// Was accessed: the hardware refuses entries without it. Source: `ARM_LPAE_PTE_AF`.
const ARM_AF: u64 = 1 << 10;
/// Belongs to one ASID. Source: `ARM_LPAE_PTE_nG`.
const ARM_NG: u64 = 1 << 11;
/// What a part of a large page inherits from it. Source: `ARM_LPAE_PTE_ATTR_MASK`, v6.12.
const ARM_ATTR_MASK: u64 = 0x3ff << 2 | 3 << 53 | 1 << 51;
/// The highest level at which a 4 KiB granule knows large pages: 1 GiB.
const ARM_LARGE_LEVELS: u32 = 3;

/// log2 of the bytes that one entry of `level` covers.
pub(super) const fn level_shift(level: u32) -> u32 {
    PAGE_SHIFT + LEVEL_BITS * (level - 1)
}

/// Bytes that one entry of `level` covers.
pub(super) const fn level_bytes(level: u32) -> u64 {
    1 << level_shift(level)
}

/// Index of the entry for `addr` in a table of `level`.
pub(super) fn slot(addr: u64, level: u32) -> usize {
    usize::try_from((addr >> level_shift(level)) & 0x1ff).unwrap_or_default()
}

/// Which directions a mapping allows, seen from the device. Source: `include/linux/iommu.h: IOMMU_READ`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prot {
    /// The device may read memory.
    pub read: bool,
    /// The device may write memory.
    pub write: bool,
}

impl Prot {
    /// Neither direction.
    pub const NONE: Self = Self { read: false, write: false };
    /// The device may only read.
    pub const READ: Self = Self { read: true, write: false };
    /// The device may only write.
    pub const WRITE: Self = Self { read: false, write: true };
    /// Both directions.
    pub const READ_WRITE: Self = Self { read: true, write: true };

    /// Whether `access` is allowed.
    #[must_use]
    pub const fn allows(self, access: Access) -> bool {
        match access {
            Access::Read => self.read,
            Access::Write => self.write,
        }
    }
}

/// What a device does at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// It reads memory.
    Read,
    /// It writes memory.
    Write,
}

/// The layout of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// AMD's host page table, version 1. Source: `drivers/iommu/amd/io_pgtable.c`.
    AmdV1,
    /// VT-d's second-level (second-stage) table. Source: `drivers/iommu/intel/iommu.c`.
    VtdSecondLevel,
    /// Arm's stage 1 table in the long format, with a granule of 4 KiB. Source: `drivers/iommu/io-pgtable-arm.c`.
    ArmLpaeS1,
}

/// An entry, as the hardware reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Not present.
    Empty,
    /// Refers to a table of the next lower level.
    Table {
        /// The table's page.
        page: PhysAddr,
        /// What may be done below.
        prot: Prot,
    },
    /// Maps memory.
    Leaf {
        /// First byte of the mapped memory, aligned to `size`.
        phys: PhysAddr,
        /// Bytes mapped; on AMD more than one entry covers if the same leaf is repeated in its neighbours.
        size: u64,
        /// What may be done.
        prot: Prot,
    },
    /// Bits that this level may not hold; the kernel writes none such.
    Reserved,
}

impl Entry {
    /// Reads `raw` as an entry of a table of `level` (1 to 6).
    ///
    /// Sources: `drivers/iommu/amd/amd_iommu_types.h: PM_PTE_LEVEL(), PTE_PAGE_SIZE()`,
    /// `drivers/iommu/intel/iommu.h: dma_pte_present(), dma_pte_superpage()`, `drivers/iommu/io-pgtable-arm.c: iopte_leaf()`,
    /// v6.12.
    #[must_use]
    pub const fn decode(format: Format, level: u32, raw: u64) -> Self {
        match format {
            Format::AmdV1 => Self::decode_amd(level, raw),
            Format::VtdSecondLevel => Self::decode_vtd(level, raw),
            Format::ArmLpaeS1 => Self::decode_arm(level, raw),
        }
    }

    const fn decode_amd(level: u32, raw: u64) -> Self {
        if raw & AMD_PR == 0 {
            return Self::Empty;
        }
        let prot = Prot { read: raw & AMD_IR != 0, write: raw & AMD_IW != 0 };
        let next_level = amd_next_level(raw);
        if next_level == 0 {
            let size = level_bytes(level);
            return Self::Leaf { phys: PhysAddr(raw & ADDR_MASK & !(size - 1)), size, prot };
        }
        if next_level == AMD_SIZED_LEAF {
            let size = amd_leaf_size(raw);
            return Self::Leaf { phys: PhysAddr(raw & ADDR_MASK & !(size - 1)), size, prot };
        }
        if next_level + 1 == level as u64 {
            return Self::Table { page: PhysAddr(raw & ADDR_MASK), prot };
        }
        // The hardware could skip levels; Linux neither writes nor follows such entries.
        Self::Reserved
    }

    const fn decode_vtd(level: u32, raw: u64) -> Self {
        if !vtd_present(raw) {
            return Self::Empty;
        }
        let prot = Prot { read: raw & VTD_READ != 0, write: raw & VTD_WRITE != 0 };
        if level == 1 || vtd_superpage(raw) {
            if level > VTD_LARGE_LEVELS {
                return Self::Reserved;
            }
            let size = level_bytes(level);
            return Self::Leaf { phys: PhysAddr(raw & ADDR_MASK & !(size - 1)), size, prot };
        }
        Self::Table { page: PhysAddr(raw & ADDR_MASK), prot }
    }

    const fn decode_arm(level: u32, raw: u64) -> Self {
        if raw & ARM_VALID == 0 {
            return Self::Empty;
        }
        let table = raw & ARM_TYPE_MASK == ARM_TYPE_TABLE;
        if level > 1 && table {
            return Self::Table { page: arm_addr(raw), prot: Prot::READ_WRITE };
        }
        if level > ARM_LARGE_LEVELS || level == 1 && !table {
            return Self::Reserved;
        }
        // A device's accesses are unprivileged, and it can read whatever it can write.
        let read = raw & ARM_AF != 0 && raw & ARM_AP_UNPRIV != 0;
        let prot = Prot { read, write: read && raw & ARM_AP_RDONLY == 0 };
        let size = level_bytes(level);
        Self::Leaf { phys: PhysAddr(raw & ARM_ADDR_MASK & !(size - 1)), size, prot }
    }
}

/// The level of the table an AMD entry refers to; 0 and 7 mark leaves. Source: `PM_PTE_LEVEL()`.
pub(super) const fn amd_next_level(raw: u64) -> u64 {
    (raw >> 9) & 7
}

/// The size, in bytes, that an AMD leaf has written into its address. Source: `PTE_PAGE_SIZE()`.
pub(super) const fn amd_leaf_size(raw: u64) -> u64 {
    // The lowest clear bit at or above bit 12 stands for half of the size. Bits above the address are left out,
    // so that junk gives a size, too.
    1 << (1 + (!((raw & ADDR_MASK) | 0xfff)).trailing_zeros())
}

/// Neighbouring entries that repeat an AMD leaf of `size` bytes. Source: `PAGE_SIZE_PTE_COUNT()`.
pub(super) const fn amd_repeats(size: u64) -> usize {
    1 << ((size.trailing_zeros() - PAGE_SHIFT) % LEVEL_BITS)
}

/// The level whose entries hold leaves of `size` bytes. Source: `PAGE_SIZE_LEVEL()`, which counts from 0.
pub(super) const fn amd_leaf_level(size: u64) -> u32 {
    (size.trailing_zeros() - PAGE_SHIFT) / LEVEL_BITS + 1
}

/// An AMD entry for a table, written in a table of `level`. Source: `PM_LEVEL_PDE()`.
pub(super) const fn amd_table(level: u32, page: PhysAddr) -> u64 {
    (page.0 & ADDR_MASK) | ((level as u64 - 1) << 9) | AMD_PR | AMD_IR | AMD_IW
}

/// An AMD leaf. Source: `drivers/iommu/amd/io_pgtable.c: iommu_v1_map_pages()`.
pub(super) const fn amd_leaf(phys: PhysAddr, size: u64, prot: Prot) -> u64 {
    let mut raw = if amd_repeats(size) > 1 {
        (((phys.0 | (size - 1)) & !(size >> 1)) & ADDR_MASK) | (AMD_SIZED_LEAF << 9)
    } else {
        phys.0 & ADDR_MASK
    };
    raw |= AMD_PR | AMD_FC;
    if prot.read {
        raw |= AMD_IR;
    }
    if prot.write {
        raw |= AMD_IW;
    }
    raw
}

/// Source: `drivers/iommu/intel/iommu.h: dma_pte_present()`.
pub(super) const fn vtd_present(raw: u64) -> bool {
    raw & (VTD_READ | VTD_WRITE) != 0
}

/// Source: `drivers/iommu/intel/iommu.h: dma_pte_superpage()`.
pub(super) const fn vtd_superpage(raw: u64) -> bool {
    raw & VTD_LARGE != 0
}

/// The page that a VT-d entry refers to. Source: `drivers/iommu/intel/iommu.h: dma_pte_addr()`.
pub(super) const fn vtd_addr(raw: u64) -> PhysAddr {
    PhysAddr(raw & ADDR_MASK)
}

/// A VT-d entry for a table.
pub(super) const fn vtd_table(page: PhysAddr) -> u64 {
    (page.0 & ADDR_MASK) | VTD_READ | VTD_WRITE
}

/// A VT-d leaf at `level`. Source: `drivers/iommu/intel/iommu.c: __domain_mapping()`, v6.12.
///
/// The driver sets the first-level "present" bit in every leaf, and that is the second level's read bit: memory
/// mapped for writing only can be read as well.
pub(super) const fn vtd_leaf(phys: PhysAddr, level: u32, prot: Prot) -> u64 {
    let mut raw = (phys.0 & ADDR_MASK) | VTD_READ;
    if prot.write {
        raw |= VTD_WRITE;
    }
    if level > 1 {
        raw |= VTD_LARGE;
    }
    raw
}

/// The page that an Arm entry refers to. Source: `drivers/iommu/io-pgtable-arm.c: iopte_to_paddr()`.
pub(super) const fn arm_addr(raw: u64) -> PhysAddr {
    PhysAddr(raw & ARM_ADDR_MASK)
}

/// An Arm entry for a table. Source: `drivers/iommu/io-pgtable-arm.c: arm_lpae_install_table()`.
pub(super) const fn arm_table(page: PhysAddr) -> u64 {
    (page.0 & ARM_ADDR_MASK) | ARM_TYPE_TABLE
}

/// What a part of an Arm leaf has in common with it. Source: `drivers/iommu/io-pgtable-arm.c: iopte_prot()`.
pub(super) const fn arm_attributes(raw: u64) -> u64 {
    raw & ARM_ATTR_MASK
}

/// An Arm leaf at `level` with these attributes. Source: `drivers/iommu/io-pgtable-arm.c: __arm_lpae_init_pte()`.
pub(super) const fn arm_leaf_of(phys: PhysAddr, level: u32, attributes: u64) -> u64 {
    let type_ = if level == 1 { ARM_TYPE_TABLE } else { ARM_TYPE_BLOCK };
    (phys.0 & ARM_ADDR_MASK) | attributes | type_
}

/// An Arm leaf at `level`, for a device that is coherent. Stage 1 knows no memory that can only be written: who may write may
/// read.
///
/// Source: `drivers/iommu/io-pgtable-arm.c: arm_lpae_prot_to_pte()`, v6.12.
pub(super) const fn arm_leaf(phys: PhysAddr, level: u32, prot: Prot) -> u64 {
    let mut attributes = ARM_NG | ARM_AP_UNPRIV | ARM_ATTR_CACHE | ARM_SH_IS | ARM_AF;
    if prot.read && !prot.write {
        attributes |= ARM_AP_RDONLY;
    }
    arm_leaf_of(phys, level, attributes)
}
