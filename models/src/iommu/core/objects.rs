//! `struct iommu_domain`, `struct iommu_group`.

use sim::cell::{Cell, OnceCell, RefCell};

use sim::sync::{LockClass, Mutex, SpinLock};

use super::smmu::WalkCache;
use crate::iommu::dma::{DepotWork, FlushQueue};
use crate::iommu::iova::{IovaDomain, IovaPfn, Plenty};
use crate::iommu::pagetable::PageTable;
use crate::kernel::Kx;
use crate::mem::Ptr;
use crate::oracle::Beside;

/// Class of `group->mutex`.
pub(super) const GROUP_LOCK: LockClass = LockClass::new(3, "&group->mutex");

/// Class of `iommu_probe_device_lock`.
pub(super) const PROBE_LOCK: LockClass = LockClass::new(6, "iommu_probe_device_lock");

/// Class of `domain->lock` of AMD's driver.
pub(crate) const DOMAIN_LOCK: LockClass = LockClass::new(20, "&domain->lock");

/// Who uses a group (`owner`, `owner_cnt`), which `group->mutex` protects.
pub(super) const OWNER: Beside = Beside { label: 31, name: "struct iommu_group.owner_cnt" };

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
    /// Whether they have been set up for a device (`iovad->start_pfn` is not 0).
    pub initialised: bool,
    /// First and last page frames of what is no memory for devices.
    pub reserved: Vec<(IovaPfn, IovaPfn)>,
    /// Translations.
    pub table: PageTable,
    /// The last address that the table's levels lead to (`geometry.aperture_end`); `None`: all 64 bits.
    pub aperture_end: Option<u64>,
    /// Addresses that wait for a flush; `None` in strict mode.
    pub fq: Option<FlushQueue>,
    /// What trims the depots of the address caches.
    pub depot: DepotWork,
    /// Translations that the hardware has cached.
    pub iotlb: Vec<TlbEntry>,
    /// Where `iotlb` is overwritten next.
    pub iotlb_next: usize,
    /// Walks that an SMMU has cached.
    pub walks: WalkCache,
}

impl Cookie {
    /// No device gets an address from `lo` to `hi` (`reserve_iova`).
    pub(super) fn reserve_iova(&mut self, lo: IovaPfn, hi: IovaPfn) {
        self.reserved.push((lo, hi));
        self.iovad.reserve_iova(lo, hi, &mut Plenty);
    }

    /// Whether the range that begins here was reserved.
    #[must_use]
    pub fn is_reserved(&self, lo: IovaPfn) -> bool {
        self.reserved.iter().any(|(first, last)| (*first..=*last).contains(&lo))
    }
}

mem::kobject! {
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
        /// Which of the machine's SMMUs its devices are behind (`smmu_domain->smmu`).
        smmu: Cell<usize>,
        /// `domain->lock` of AMD's driver, once somebody took it.
        lock: OnceCell<SpinLock>,
    }
    size 0x50;
}

mem::kobject! {
    /// What the IOMMU core keeps of a device. Source: `include/linux/iommu.h: struct dev_iommu`, v6.1.
    pub struct DevIommu = "struct dev_iommu" {
        /// What the firmware says of it.
        fwspec: Ptr<IommuFwspec> = 0x28,
        /// Its IOMMU; 0 before that is known.
        iommu_dev: u64 = 0x30,
    }
    size 0x48;
}

mem::kobject! {
    /// Behind which IOMMU the firmware says that a device is, and under which number. Source: `include/linux/iommu.h:
    /// struct iommu_fwspec`, v6.1.
    pub struct IommuFwspec = "struct iommu_fwspec" {
        /// The IOMMU's node in the firmware's tables.
        iommu_fwnode: u64 = 0x8,
        /// Numbers that follow.
        num_ids: u32 = 0x14,
    }
    size 0x20;
}

mem::kobject! {
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
        /// It has had more than one at a time.
        was_shared: Cell<bool>,
        /// The scenario's isolation number, if the group stands for one.
        isolation: Cell<Option<u32>>,
        /// Whether somebody has claimed it for himself (`owner`).
        owner: Cell<bool>,
        /// Drivers that use the group for the DMA API (`owner_cnt`).
        owners: Cell<u32>,
    }
    size 0x140;
}

/// Does something with the translations of a living domain.
pub(crate) fn with_cookie<R>(
    kx: &Kx,
    domain: Ptr<IommuDomain>,
    f: impl FnOnce(&mut Cookie) -> R,
) -> Option<R> {
    let object = kx.k.mem.object(domain).ok()?;
    let mut cookie = object.cookie.borrow_mut();
    cookie.as_mut().map(f)
}
