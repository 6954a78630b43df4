//! What the IOMMU core and the hardware keep.

use sim::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use sim::sync::Mutex;

use super::copied::{CopiedTlb, entry_at_boot};
use super::queue::CommandQueue;
use super::smmu::{CommandQueues, Streams, install, is_live};
use super::{IommuDomain, IommuGroup};
use crate::kernel::Kx;
use crate::mem::Ptr;
use crate::scenario::schema::Device;

/// Which driver took charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IommuDriver {
    /// AMD-Vi.
    Amd,
    /// Intel VT-d.
    Intel,
    /// The paravirtual IOMMU.
    Virtio,
    /// Arm's SMMU.
    Smmu,
}

impl IommuDriver {
    /// Whether the firmware says which device is behind which IOMMU, so that a device needs a `struct iommu_fwspec`.
    #[must_use]
    pub const fn by_firmware(self) -> bool {
        matches!(self, Self::Virtio | Self::Smmu)
    }
}

/// What became of the IOMMUs that the firmware names, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instances {
    /// Registered with the core (`iommu_device_list`).
    pub registered: u32,
    /// Bound to their driver (`klist_devices` of the driver).
    pub bound: u32,
}

/// The hardware's entry for one device (AMD: device table; VT-d: context entry; SMMUv3: what follows from stream table entry
/// and context descriptor).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceEntry {
    /// No IOMMU is on: addresses go to memory as they are.
    #[default]
    Off,
    /// The IOMMU is on, and the device has no translation: everything faults.
    Blocked,
    /// Addresses go to memory as they are.
    Identity,
    /// Addresses are translated by this domain.
    Domain(Ptr<IommuDomain>),
    /// Addresses are translated by a domain of the kernel before, which crashed.
    Copied,
    /// The same, copied in another format than the hardware reads: everything faults.
    Misread,
    /// An SMMUv3 finds no valid entry for the device in its stream table: everything faults.
    BadStream,
    /// It finds one, and no valid context descriptor: everything faults.
    BadContext,
}

/// State of the subsystem.
#[derive(Debug)]
pub struct IommuCore {
    /// The driver that was detected, and registers later.
    pub detected: Cell<Option<IommuDriver>>,
    /// The driver that has registered with the bus.
    pub registered: Cell<Option<IommuDriver>>,
    /// The IOMMUs that the firmware names.
    pub instances: Cell<Instances>,
    /// Hardware entries by device number.
    pub entries: RefCell<Vec<DeviceEntry>>,
    /// Translation is turned off, whatever the entries say: the machine goes down, or sleeps.
    pub translation_off: Cell<bool>,
    /// All groups, in the order of their numbers.
    pub groups: RefCell<Vec<Ptr<IommuGroup>>>,
    /// Domains that there are, for an IOMMU that has room for so many.
    pub viommu_domains: Cell<u32>,
    /// The next domain's number.
    pub next_domain: Cell<u16>,
    /// VT-d's domain of all memory at its own address, for units that cannot pass addresses through.
    pub si_domain: Cell<Option<Ptr<IommuDomain>>>,
    /// Translations of the kernel before in the hardware's cache.
    pub(super) copied_tlb: CopiedTlb,
    /// The command queue, once somebody used it.
    pub queue: OnceCell<Rc<CommandQueue>>,
    /// The command queues of SMMUv3s.
    pub(super) command_queues: CommandQueues,
    /// What the hardware of SMMUv3s reads about each device.
    pub(super) streams: Streams,
    /// `iommu_probe_device_lock`, once somebody took it.
    pub probe_lock: OnceCell<Mutex>,
}

impl IommuCore {
    /// Nothing yet, for these devices.
    #[must_use]
    pub fn new(devices: &[Device]) -> Self {
        let at_boot = |device: &Device| entry_at_boot(device.in_flight.as_ref());
        Self {
            detected: Cell::new(None),
            registered: Cell::new(None),
            instances: Cell::new(Instances::default()),
            entries: RefCell::new(devices.iter().map(at_boot).collect()),
            translation_off: Cell::new(false),
            groups: RefCell::new(Vec::new()),
            viommu_domains: Cell::new(0),
            next_domain: Cell::new(1),
            si_domain: Cell::new(None),
            copied_tlb: CopiedTlb::default(),
            queue: OnceCell::new(),
            command_queues: CommandQueues::default(),
            streams: Streams::default(),
            probe_lock: OnceCell::new(),
        }
    }

    /// The hardware's entry for a device.
    #[must_use]
    pub fn entry(&self, index: usize) -> DeviceEntry {
        if self.translation_off.get() {
            return DeviceEntry::Off;
        }
        self.entries.borrow().get(index).copied().unwrap_or_default()
    }

    /// Sets the hardware's entry for a device. Where that is tables in memory, software writes those: see `write_entry`.
    pub fn set_entry(&self, index: usize, entry: DeviceEntry) {
        if let Some(slot) = self.entries.borrow_mut().get_mut(index) {
            *slot = entry;
        }
    }
}

/// Software makes a device's accesses go by `entry`: one word for most hardware, and several in turn for an SMMUv3.
pub(super) async fn write_entry(kx: &Kx, device: usize, entry: DeviceEntry) {
    if is_live(kx, device) {
        install(kx, device, entry).await;
    } else {
        kx.k.iommu.set_entry(device, entry);
    }
}
