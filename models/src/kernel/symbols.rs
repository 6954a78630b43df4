//! Addresses in the kernel's own image, as far as they matter: operation tables that pointers point at, the per-CPU
//! areas, and what is mapped at all.

use crate::boot::e820::MemoryMap;
use crate::mem::{PhysAddr, PhysRange};
use crate::scenario::schema::Machine;

/// Virtual address of the kernel image without randomisation (`__START_KERNEL`).
pub(super) const IMAGE_BASE: u64 = 0xffff_ffff_8100_0000;

/// End of code and constants in the image (`__end_rodata`), as far from its start as in usual builds.
const RODATA_END: u64 = 0x180_0000;

/// Objects of the kernel image that the models point at. The distances are ours; only their being in the image counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symbol {
    /// `iommu_dma_ops`.
    IommuDmaOps,
    /// `pci_bus_type`.
    PciBusType,
    /// The static default pool (`io_tlb_default_mem`, 5.15 and later).
    IoTlbDefaultMem,
    /// First copy of the per-CPU data, used before the per-CPU areas exist (`__per_cpu_load`).
    PerCpuLoad,
}

impl Symbol {
    /// Its address (kernel virtual).
    #[must_use]
    pub const fn addr(self) -> u64 {
        IMAGE_BASE
            + match self {
                Self::IommuDmaOps => 0x10a_8c40,
                Self::PciBusType => 0x16b_9e20,
                Self::IoTlbDefaultMem => 0x1c3_0d80,
                Self::PerCpuLoad => 0x1a0_0000,
            }
    }
}

/// Offset of `qnodes` in the per-CPU area, from the crash of July 2021: RCX minus the per-CPU base.
pub(super) const QNODES_OFFSET: u64 = 0x2d580;
/// `sizeof(struct qnode)` with paravirtual spinlocks.
pub(super) const QNODE_SIZE: u64 = 32;

/// The kernel image and the RAM around it.
#[derive(Clone, Debug)]
pub struct KernelImage {
    image: PhysRange,
    ram: Vec<PhysRange>,
}

impl KernelImage {
    /// Of this machine, with the RAM that its map and the command line give.
    #[must_use]
    pub fn new(machine: &Machine, map: &MemoryMap) -> Self {
        let ram = map.usable().collect();
        Self { image: PhysRange::new(PhysAddr(machine.kernel_image.start), machine.kernel_image.size), ram }
    }

    /// The memory behind a kernel virtual address, if it is mapped: the direct map of RAM, and the image.
    #[must_use]
    pub fn mapped(&self, virt: u64) -> Option<PhysAddr> {
        if let Some(offset) = virt.checked_sub(IMAGE_BASE)
            && offset < self.image.size()
        {
            return Some(PhysAddr(self.image.start.0 + offset));
        }
        PhysAddr::from_virt(virt).filter(|phys| self.ram.iter().any(|ram| ram.contains(*phys)))
    }

    /// The same for a store: code and constants are read-only (`CONFIG_STRICT_KERNEL_RWX`).
    #[must_use]
    pub fn writable(&self, virt: u64) -> Option<PhysAddr> {
        let read_only = virt.checked_sub(IMAGE_BASE).is_some_and(|offset| offset < RODATA_END);
        if read_only { None } else { self.mapped(virt) }
    }

    /// Whether this is memory of code and constants.
    #[must_use]
    pub fn is_read_only(&self, phys: PhysAddr) -> bool {
        self.image.contains(phys) && phys.0 - self.image.start.0 < RODATA_END
    }

    /// Whether the machine has RAM there that the kernel uses.
    #[must_use]
    pub fn is_ram(&self, phys: PhysAddr) -> bool {
        self.ram.iter().any(|ram| ram.contains(phys))
    }

    /// The error code of a page fault, in words.
    #[must_use]
    pub fn fault_code(&self, virt: u64, write: bool) -> &'static str {
        match (self.mapped(virt).is_some(), write) {
            (true, _) => "0x0003) - permissions violation",
            (false, true) => "0x0002) - not-present page",
            (false, false) => "0x0000) - not-present page",
        }
    }

    /// The image's memory.
    #[must_use]
    pub const fn range(&self) -> PhysRange {
        self.image
    }

    /// Physical address of an image symbol.
    #[must_use]
    pub const fn phys(&self, symbol: Symbol) -> PhysAddr {
        PhysAddr(self.image.start.0 + (symbol.addr() - IMAGE_BASE))
    }

    /// Whether an address could be one at all (48-bit canonical).
    #[must_use]
    pub const fn canonical(virt: u64) -> bool {
        let top = virt >> 47;
        top == 0 || top == 0x1_ffff
    }
}
