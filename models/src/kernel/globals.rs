//! The modelled kernel's global variables.

use sim::cell::{Cell, RefCell};

use sim::Nanos;

use crate::mem::{PhysAddr, Ptr};
use crate::swiotlb::IoTlbMem;

/// How far the boot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// memblock is the allocator.
    #[default]
    Memblock,
    /// The page allocator has taken over; memblock's lists still exist.
    PageAllocator,
    /// memblock's lists are gone (`memblock_discard`); only `memblock_free_late` is legal.
    Discarded,
    /// User space runs.
    Running,
}

/// `swiotlb=force`, `swiotlb=noforce`, or neither.
///
/// Source: `include/linux/swiotlb.h: enum swiotlb_force`, v5.13.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SwiotlbForce {
    /// Bounce when a device cannot reach the memory.
    #[default]
    Normal,
    /// Bounce always.
    Force,
    /// Never bounce; there is no pool.
    NoForce,
}

/// A decision of the boot that later code paths act on, kept for reports.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// What was decided about.
    pub about: &'static str,
    /// By which function.
    pub by: &'static str,
    /// When.
    pub at: Nanos,
    /// What, and why.
    pub text: &'static str,
}

/// Global variables, with the kernel's names.
#[derive(Debug, Default)]
pub struct Globals {
    /// How far the boot is.
    pub phase: Cell<Phase>,
    /// `swiotlb` (x86): whether bounce buffers are wanted.
    pub swiotlb: Cell<bool>,
    /// Whether the pool's entry of the table was detected (`IOMMU_DETECTED`), so that its late part runs.
    pub swiotlb_detected: Cell<bool>,
    /// `swiotlb_force`.
    pub swiotlb_force: Cell<SwiotlbForce>,
    /// `io_tlb_default_mem`, where it is a pointer.
    pub io_tlb_default_mem: Cell<Ptr<IoTlbMem>>,
    /// Pools of devices of their own, by where they lie.
    pub restricted_pools: RefCell<Vec<(PhysAddr, Ptr<IoTlbMem>)>>,
    /// `default_nslabs`.
    pub default_nslabs: Cell<u64>,
    /// `no_iommu`.
    pub no_iommu: Cell<bool>,
    /// `iommu_detected`.
    pub iommu_detected: Cell<bool>,
    /// `iommu_def_domain_type == IOMMU_DOMAIN_IDENTITY`.
    pub default_passthrough: Cell<bool>,
    /// `iommu_dma_strict`.
    pub iommu_dma_strict: Cell<bool>,
    /// `sme_me_mask != 0`.
    pub sme_active: Cell<bool>,
    /// `sev_active()`.
    pub sev_active: Cell<bool>,
    /// `is_secure_guest()` of POWER, `is_prot_virt_guest()` of s390: the host sees only what is shared with it.
    pub secure_guest: Cell<bool>,
    /// `no_iotlb_memory`: boot found no memory for the pool (until v5.13).
    pub no_iotlb_memory: Cell<bool>,
    /// Whether the pool may lie anywhere (`SWIOTLB_ANY`; `svm_swiotlb_init()` before v5.19).
    pub swiotlb_any: Cell<bool>,
    /// `__per_cpu_offset[]` of the possible CPUs (kernel virtual).
    pub per_cpu_offset: RefCell<Vec<u64>>,
    /// Whether a message that is printed once was printed.
    pub printed: RefCell<Vec<&'static str>>,
    /// Decisions, in order.
    pub decisions: RefCell<Vec<Decision>>,
    /// End of RAM: `max_possible_pfn` as an address.
    pub max_ram: Cell<PhysAddr>,
    /// When user space starts; 0 until it does.
    pub user_space_at: Cell<Nanos>,
}

impl Globals {
    /// The last decision about something.
    #[must_use]
    pub fn decision(&self, about: &str) -> Option<Decision> {
        self.decisions.borrow().iter().rev().find(|decision| decision.about == about).copied()
    }

    /// Whether a message that is printed once is to be printed now.
    #[must_use]
    pub fn once(&self, message: &'static str) -> bool {
        let mut printed = self.printed.borrow_mut();
        let new = !printed.contains(&message);
        if new {
            printed.push(message);
        }
        new
    }
}
