//! What the driver core keeps of a device and of a driver.

use sim::cell::{Cell, RefCell};
use std::rc::Rc;

use sim::sync::{LockClass, Mutex};

use super::Device;
use super::links::NodeLinks;
use super::power::NodePower;
use crate::driver::Instance;
use crate::iommu::core::IommuGroup;
use crate::kernel::{Kernel, Kx};
use crate::mem::Ptr;
use crate::scenario::intern;
use crate::scenario::schema;

/// Class of `dev->mutex`.
const DEVICE_LOCK: LockClass = LockClass::new(1, "&dev->mutex");

/// A device in the driver core's eyes.
#[derive(Debug)]
pub struct DeviceNode {
    /// Number in the driver core's list, and in the machine's.
    pub index: usize,
    /// Its address on the bus: its name.
    pub bdf: &'static str,
    /// The structure.
    pub ptr: Cell<Ptr<Device>>,
    /// `device_lock`.
    pub lock: Mutex,
    /// Whether drivers can be matched with it (`match_driver`).
    pub match_driver: Cell<bool>,
    /// What was done before `match_driver` was set. The flag is a plain bit (`drivers/pci/pci-driver.c: pci_bus_match()`
    /// reads it without a lock); that whoever finds it set sees the rest is taken for granted there, and here.
    pub(super) matchable: sim::sync::Order,
    /// What was done before user space was told of it.
    pub(crate) announced: sim::sync::Order,
    /// Who drops the last reference sees what all others did before they dropped theirs (`refcount_dec_and_test`).
    pub(crate) references: sim::sync::Order,
    /// Whether `device_add` has finished with it (`ready_to_probe`).
    pub ready: Cell<bool>,
    /// Whether it is there at all.
    pub present: Cell<bool>,
    /// Number of the bound driver.
    pub bound: Cell<Option<usize>>,
    /// The driver's state for this device.
    pub instance: RefCell<Option<Rc<Instance>>>,
    /// Its group (also held by the structure; kept here for facts and teardown).
    pub group: Cell<Ptr<IommuGroup>>,
    /// How its mappings were made.
    pub path: Cell<&'static str>,
    /// Mappings made, bounced, failed.
    pub counts: Cell<(u64, u64, u64)>,
    /// Why its last mapping failed, in the kernel's words.
    pub why_failed: Cell<&'static str>,
    /// Whether addresses above 4 GiB are used, as there was none below (`!dev->iommu->pci_32bit_workaround`).
    pub dac: Cell<bool>,
    /// Whether it has taken its group for the DMA API.
    pub owns_dma: Cell<bool>,
    /// Whether its probe waits for something.
    pub deferred: Cell<bool>,
    /// How often its probe was put off for its IOMMU.
    pub deferrals: Cell<u32>,
    /// Whom it needs, and who needs it.
    pub links: NodeLinks,
    /// Whether it sleeps, and whether it can do DMA.
    pub power: NodePower,
}

impl DeviceNode {
    /// A device that was just found.
    pub(super) fn new(kx: &Kx, index: usize, bdf: &str) -> Self {
        Self {
            index,
            bdf: intern(bdf).unwrap_or("device"),
            ptr: Cell::new(Ptr::NULL),
            lock: Mutex::new(kx.cx(), DEVICE_LOCK),
            match_driver: Cell::new(false),
            matchable: sim::sync::Order::default(),
            announced: sim::sync::Order::default(),
            references: sim::sync::Order::default(),
            ready: Cell::new(false),
            present: Cell::new(true),
            bound: Cell::new(None),
            instance: RefCell::new(None),
            group: Cell::new(Ptr::NULL),
            path: Cell::new(""),
            counts: Cell::new((0, 0, 0)),
            why_failed: Cell::new(""),
            dac: Cell::new(false),
            owns_dma: Cell::new(false),
            deferred: Cell::new(false),
            deferrals: Cell::new(0),
            links: NodeLinks::default(),
            power: NodePower::default(),
        }
    }

    /// What the scenario says of it.
    #[must_use]
    pub fn spec<'a>(&self, k: &'a Kernel) -> &'a schema::Device {
        &k.scenario.machine.devices[self.index]
    }

    /// Drivers can be matched with it from now on.
    pub(super) fn matches_now(&self, kx: &Kx) {
        self.matchable.release(kx.cx());
        self.match_driver.set(true);
    }

    /// Whether drivers can be matched with it.
    pub(super) fn can_match(&self, kx: &Kx) -> bool {
        let set = self.match_driver.get();
        if set {
            self.matchable.acquire(kx.cx());
        }
        set
    }

    /// Counts a mapping.
    pub fn count(&self, bounced: bool, failed: bool) {
        let (maps, bounces, failures) = self.counts.get();
        self.counts.set((maps + 1, bounces + u64::from(bounced), failures + u64::from(failed)));
    }
}

impl Kx {
    /// A device that user space asks for by its name, as the bus's list has it. Once `device_add` has told user space of
    /// it, that has seen all that was done until then.
    ///
    /// Source: `drivers/base/bus.c: bus_find_device()`, `drivers/base/core.c: device_add()` (`KOBJ_ADD`), v6.12.
    pub(crate) fn find_device(&self, index: usize) -> Option<Rc<DeviceNode>> {
        self.k.klist.pass(self.cx());
        let node = self.k.node(index)?;
        if node.ready.get() {
            node.announced.acquire(self.cx());
        }
        Some(node)
    }
}

/// A registered driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisteredDriver {
    /// Number in the scenario's list.
    pub index: usize,
}

impl Kernel {
    /// The driver core's view of the device of a structure, also while the device is being removed.
    #[must_use]
    pub fn node_of(&self, dev: Ptr<Device>) -> Option<Rc<DeviceNode>> {
        let place = self.mem.look(dev, |device| device.place.get()).ok()?;
        self.devices.borrow().get(place).cloned()
    }

    /// The device with this number in the machine's list, if the bus scan has met it.
    #[must_use]
    pub fn node(&self, index: usize) -> Option<Rc<DeviceNode>> {
        self.devices.borrow().iter().find(|node| node.index == index && node.present.get()).cloned()
    }

    /// The registered driver that wants a device, by its number (`dev->can_match`).
    #[must_use]
    pub fn driver_for(&self, node: &DeviceNode) -> Option<usize> {
        let wanted = node.spec(self).driver.as_deref()?;
        let named = |driver: &&RegisteredDriver| self.scenario.drivers[driver.index].name == wanted;
        self.drivers.borrow().iter().find(named).map(|driver| driver.index)
    }

    /// A device as the log names it: its driver, or else its bus, and its address.
    ///
    /// Source: `drivers/base/core.c: dev_driver_string()`, `dev_printk()`, all versions.
    #[must_use]
    pub fn dev_string(&self, dev: Ptr<Device>) -> String {
        let Some(node) = self.node_of(dev) else { return "(NULL device *)".to_owned() };
        let driver = node.instance.borrow().as_ref().map(|instance| instance.driver);
        let name = driver.map_or("pci", |index| self.scenario.drivers[index].name.as_str());
        format!("{name} {}", node.bdf)
    }

    /// Name of the device whose structure this object is.
    #[must_use]
    pub fn device_name(&self, id: u32) -> Option<&'static str> {
        self.devices.borrow().iter().find(|node| node.ptr.get().id == id && id != 0).map(|node| node.bdf)
    }
}
