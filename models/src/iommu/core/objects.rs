//! `struct iommu_domain`, `struct iommu_group`.

use std::cell::{Cell, OnceCell, RefCell};

use sim::sync::{LockClass, Mutex};

use crate::iommu::dma::FlushQueue;
use crate::iommu::iova::IovaDomain;
use crate::iommu::pagetable::PageTable;
use crate::mem::Ptr;

/// Class of `group->mutex`.
pub(super) const GROUP_LOCK: LockClass = LockClass::new(3, "&group->mutex");

/// Class of `iommu_probe_device_lock`.
pub(super) const PROBE_LOCK: LockClass = LockClass::new(6, "iommu_probe_device_lock");

/// A cached translation of one page, with what it was used for so far.
#[derive(Clone, Copy, Debug)]
pub struct TlbEntry {
    /// Page of the bus address.
    pub page: u64,
    /// Page of memory.
    pub frame: u64,
    /// Reads are known to be allowed.
    pub readable: bool,
    /// Writes are known to be allowed.
    pub writable: bool,
}

/// What a translated domain consists of besides its structure.
#[derive(Debug)]
pub struct Cookie {
    /// Addresses.
    pub iovad: IovaDomain,
    /// Translations.
    pub table: PageTable,
    /// Addresses that wait for a flush; `None` in strict mode.
    pub fq: Option<FlushQueue>,
    /// Translations that the hardware has cached.
    pub iotlb: Vec<TlbEntry>,
    /// Where `iotlb` is overwritten next.
    pub iotlb_next: usize,
}

crate::kobject! {
    /// A translation that devices can be attached to. Source: `include/linux/iommu.h: struct iommu_domain`, v5.13.
    pub struct IommuDomain = "struct iommu_domain" {
        /// `IOMMU_DOMAIN_*`.
        type_: u32 = 0x0,
        /// Operations.
        ops: u64 = 0x8,
        /// Supported page sizes.
        pgsize_bitmap: u64 = 0x10,
        /// DMA-API data; 0 for none.
        iova_cookie: u64 = 0x40,
    }
    beside {
        /// Addresses and translations.
        cookie: RefCell<Option<Cookie>>,
        /// Number for logs and hardware tags.
        id: Cell<u16>,
    }
    size 0x50;
}

crate::kobject! {
    /// Devices that cannot be told apart by the IOMMU. Source: `drivers/iommu/iommu.c: struct iommu_group`, v5.13.
    pub struct IommuGroup = "struct iommu_group" {
        /// Number, as in the log.
        id: u32 = 0x118,
        /// The domain for the DMA API.
        default_domain: Ptr<IommuDomain> = 0x120,
        /// The domain now in use.
        domain: Ptr<IommuDomain> = 0x128,
    }
    beside {
        /// `group->mutex`.
        mutex: OnceCell<Mutex>,
        /// Its devices, by number.
        members: RefCell<Vec<usize>>,
        /// The scenario's isolation number, if the group stands for one.
        isolation: Cell<Option<u32>>,
        /// Drivers that use the group for the DMA API (`owner_cnt`).
        owners: Cell<u32>,
    }
    size 0x140;
}
