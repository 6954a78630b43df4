//! Device links: which device cannot work without which other one, so that the driver core probes, unbinds and shuts down
//! in an order that works.
//!
//! A machine in which nobody names a supplier has no links, and then nothing here takes a step: all lists would be empty.
//!
//! Source: `drivers/base/core.c`, v6.1, v6.12.

mod add;
mod firmware;
mod object;
mod probe;
mod remove;
mod unbind;

use std::fmt;
use std::rc::Rc;

use sim::cell::{OnceCell, RefCell};
use sim::sync::{LockClass, Mutex, Srcu};

use crate::device::DeviceNode;
use crate::kernel::Kx;
use crate::mem::Ptr;

pub use crate::scenario::LinkFlags;
pub use add::device_link_add;
pub(super) use firmware::{fw_devlink_link_device, fw_devlink_no_driver};
pub use object::{DeviceLink, LinkState, NodeLinks, Presence};
pub(super) use probe::{
    device_links_check_suppliers, device_links_driver_bound, device_links_no_driver, pm_runtime_get_suppliers,
};
pub use remove::device_link_remove;
pub(super) use remove::{device_links_purge, drop_managed};
pub(super) use unbind::{device_links_busy, device_links_driver_cleanup, device_links_unbind_consumers};

/// Class of `device_links_lock`.
const DEVICE_LINKS_LOCK: LockClass = LockClass::new(8, "device_links_lock");

/// Class of `dpm_list_mtx`.
const DPM_LIST_MTX: LockClass = LockClass::new(9, "dpm_list_mtx");

/// Class of `fwnode_link_lock`.
const FWNODE_LINK_LOCK: LockClass = LockClass::new(10, "fwnode_link_lock");

/// The links of a machine, and the orders that follow from them.
pub struct DeviceLinks {
    in_use: bool,
    lock: OnceCell<Mutex>,
    dpm_list_mtx: OnceCell<Mutex>,
    fwnode_link_lock: OnceCell<Mutex>,
    srcu: OnceCell<Srcu>,
    /// Devices in the order in which the machine is woken up, and against which it is sent to sleep (`dpm_list`), by
    /// number. `devices_kset` is in the same order here, and is walked backwards to shut the machine down.
    order: RefCell<Vec<usize>>,
    /// What the firmware says and is no link yet: numbers of the consumer and of the supplier, and the property's place in
    /// the consumer's list (`fwnode->suppliers`).
    wanted: RefCell<Vec<firmware::FwnodeLink>>,
}

impl fmt::Debug for DeviceLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceLinks").field("in_use", &self.in_use).finish_non_exhaustive()
    }
}

impl DeviceLinks {
    /// No links; `in_use` if there can be some.
    #[must_use]
    pub fn new(in_use: bool) -> Self {
        Self {
            in_use,
            lock: OnceCell::new(),
            dpm_list_mtx: OnceCell::new(),
            fwnode_link_lock: OnceCell::new(),
            srcu: OnceCell::new(),
            order: RefCell::default(),
            wanted: RefCell::default(),
        }
    }

    /// Whether anything of this machine or its drivers makes links.
    #[must_use]
    pub const fn in_use(&self) -> bool {
        self.in_use
    }

    /// Numbers of the devices in the order of `dpm_list` and `devices_kset`.
    #[must_use]
    pub fn order(&self) -> Vec<usize> {
        self.order.borrow().clone()
    }

    /// A device is added at the end of both lists (`device_pm_add`).
    pub(super) fn device_added(&self, node: &DeviceNode) {
        let mut order = self.order.borrow_mut();
        order.retain(|index| *index != node.index);
        order.push(node.index);
    }

    /// It leaves them (`device_pm_remove`).
    pub(super) fn device_removed(&self, node: &DeviceNode) {
        self.order.borrow_mut().retain(|index| *index != node.index);
    }
}

/// `device_links_write_lock()`.
async fn write_lock(kx: &Kx) {
    mutex(kx).lock(kx.cx()).await;
}

/// `device_links_write_unlock()`.
fn write_unlock(kx: &Kx) {
    mutex(kx).unlock(kx.cx());
}

fn mutex(kx: &Kx) -> &Mutex {
    kx.k.links.lock.get_or_init(|| Mutex::new(kx.cx(), DEVICE_LINKS_LOCK))
}

/// `device_pm_lock()`.
fn dpm_list_mtx(kx: &Kx) -> &Mutex {
    kx.k.links.dpm_list_mtx.get_or_init(|| Mutex::new(kx.cx(), DPM_LIST_MTX))
}

fn fwnode_link_lock(kx: &Kx) -> &Mutex {
    kx.k.links.fwnode_link_lock.get_or_init(|| Mutex::new(kx.cx(), FWNODE_LINK_LOCK))
}

/// `device_links_srcu`.
fn srcu(kx: &Kx) -> &Srcu {
    kx.k.links.srcu.get_or_init(|| Srcu::new(kx.cx(), "device_links_srcu"))
}

async fn status(kx: &Kx, link: Ptr<DeviceLink>) -> LinkState {
    LinkState::of(kx.load(link, DeviceLink::status).await)
}

async fn set_status(kx: &Kx, link: Ptr<DeviceLink>, state: LinkState) {
    kx.store(link, DeviceLink::status, state.number()).await;
}

/// Flags change under `device_links_lock`, which the caller holds: reading them is part of the step before.
async fn flags(kx: &Kx, link: Ptr<DeviceLink>) -> LinkFlags {
    LinkFlags(kx.load_within(link, DeviceLink::flags).await)
}

async fn set_flags(kx: &Kx, link: Ptr<DeviceLink>, flags: LinkFlags) {
    kx.store(link, DeviceLink::flags, flags.0).await;
}

/// The device at the supplier's end. The link holds a reference to it.
async fn supplier(kx: &Kx, link: Ptr<DeviceLink>) -> Option<Rc<DeviceNode>> {
    let dev = kx.load_within(link, DeviceLink::supplier).await;
    kx.k.node_of(dev)
}

/// The device at the consumer's end. The link holds a reference to it.
async fn consumer(kx: &Kx, link: Ptr<DeviceLink>) -> Option<Rc<DeviceNode>> {
    let dev = kx.load_within(link, DeviceLink::consumer).await;
    kx.k.node_of(dev)
}

/// `WARN_ON(link->status ...)` of the driver core.
fn warn(kx: &Kx, function: &'static str, node: &DeviceNode, state: LinkState) {
    let title = format!("WARNING: {function}: a link of {} is {}", node.bdf, state.name());
    kx.report(sim::Draft::warning("warn-on", title).discriminator(function), Vec::new);
}

/// Notes for the oracle whether the consumer's driver may rely on the supplier's.
fn set_promised(kx: &Kx, link: Ptr<DeviceLink>, promised: bool) {
    if let Ok(object) = kx.k.mem.object(link) {
        object.promised.set(promised);
    }
}
