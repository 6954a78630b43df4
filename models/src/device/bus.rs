//! The PCI bus: its scan, hot plug, and the matching of drivers and devices.

use std::rc::Rc;

use sim::SpawnSpec;
use sim::choices::Stream;
use sim::sync::{LockClass, Mutex};

use super::initialize::pci_device_add;
use super::probe::{device_attach, driver_probe_device};
use super::{DeviceNode, RegisteredDriver};
use crate::kernel::Kx;
use crate::scenario::intern;
use crate::scenario::schema::{Bus, Plugged, ProbeType, Unplugged};

/// Class of `pci_rescan_remove_lock`.
const RESCAN_REMOVE_LOCK: LockClass = LockClass::new(4, "pci_rescan_remove_lock");

/// Devices that injection pulls out are gone so many milliseconds after the bus scan.
const LATEST_PULL: u64 = 8_000;

/// Finds all devices that are there at boot.
///
/// Source: `drivers/acpi/pci_root.c: acpi_pci_root_add()`, `drivers/pci/probe.c: pci_scan_child_bus()`,
/// `drivers/pci/bus.c: pci_bus_add_devices()`, v5.13.
pub async fn pci_scan(kx: &Kx) {
    let _frame = kx.enter("pci_scan_child_bus");
    let machine = &kx.k.scenario.machine;
    rescan_remove_lock(kx).lock(kx.cx()).await;
    for (index, spec) in machine.devices.iter().enumerate() {
        match spec.plugged {
            Plugged::AtBoot => add_one(kx, index).await,
            Plugged::After { ms } => later(kx, spec.bdf.as_str(), ms, index, true),
        }
        if let Unplugged::After { ms } = spec.unplugged {
            later(kx, spec.bdf.as_str(), ms, index, false);
        }
    }
    rescan_remove_lock(kx).unlock(kx.cx());
    pull_out(kx);
}

/// `pci_rescan_remove_lock`: devices come and go one at a time.
///
/// Source: `drivers/pci/probe.c: pci_lock_rescan_remove()`, v5.13.
pub(super) fn rescan_remove_lock(kx: &Kx) -> &Mutex {
    kx.k.pci_rescan_remove_lock.get_or_init(|| Mutex::new(kx.cx(), RESCAN_REMOVE_LOCK))
}

/// Injection: pulls some of the devices out at some time.
fn pull_out(kx: &Kx) {
    let per_mille = kx.k.draws.hot_unplug;
    let Some(spec) = kx.k.scenario.inject.hot_unplug.as_ref().filter(|_| per_mille > 0) else { return };
    let mut left = spec.devices;
    for (index, device) in kx.k.scenario.machine.devices.iter().enumerate() {
        if left == 0 {
            return;
        }
        if device.driver.is_some() && kx.chance(Stream::Injection, "device pulled out", per_mille) {
            left -= 1;
            let ms = kx.choose(Stream::Injection, "when it is pulled out", LATEST_PULL);
            kx.injected(|| format!("{} is pulled out after {ms} ms", device.bdf));
            later(kx, device.bdf.as_str(), ms, index, false);
        }
    }
}

/// The hot-plug thread of one slot.
fn later(kx: &Kx, bdf: &str, ms: u64, index: usize, plug: bool) {
    let name = intern(&format!("pciehp {bdf}")).unwrap_or("pciehp");
    let k = Rc::clone(&kx.k);
    kx.spawn(SpawnSpec::task(name, 0), move |cx| async move {
        let kx = Kx::new(cx, k);
        let _frame = kx.enter("pciehp_ist");
        kx.sleep(ms * 1_000_000).await;
        // The port's service sleeps with the machine.
        kx.k.power.wait_until_thawed(&kx).await;
        if kx.k.power.is_over() {
            return;
        }
        if plug {
            pci_rescan_one(&kx, index).await;
        } else if let Some(node) = kx.k.node(index) {
            super::remove::pci_stop_and_remove(&kx, &node).await;
        }
    });
}

/// A device appears while the system runs.
///
/// Source: `drivers/pci/hotplug/pciehp_pci.c: pciehp_configure_device()`, v5.13.
pub async fn pci_rescan_one(kx: &Kx, index: usize) {
    let _frame = kx.enter("pciehp_configure_device");
    rescan_remove_lock(kx).lock(kx.cx()).await;
    if kx.k.node(index).is_none() && index < kx.k.scenario.machine.devices.len() {
        add_one(kx, index).await;
    }
    rescan_remove_lock(kx).unlock(kx.cx());
}

async fn add_one(kx: &Kx, index: usize) {
    let spec = &kx.k.scenario.machine.devices[index];
    let node = Rc::new(DeviceNode::new(kx, index, &spec.bdf));
    if pci_device_add(kx, &node).await.is_err() {
        kx.log(|| format!("pci {}: out of memory", node.bdf));
        return;
    }
    let platform = spec.bus == Bus::Platform;
    let _frame = kx.enter(if platform { "bus_probe_device" } else { "pci_bus_add_device" });
    node.matches_now(kx);
    device_attach(kx, &node).await;
}

/// Makes a driver known and offers it all devices.
///
/// Source: `drivers/base/driver.c: driver_register()`, `drivers/base/bus.c: bus_add_driver()`,
/// `drivers/base/dd.c: driver_attach()`, v5.13.
pub async fn driver_register(kx: &Kx, index: usize) {
    let _frame = kx.enter("driver_register");
    if kx.k.power.is_over() {
        return;
    }
    kx.step(sim::Kind::Signal, kx.memory_label()).await;
    kx.k.klist.pass(kx.cx());
    kx.k.drivers.borrow_mut().push(RegisteredDriver { index });
    let driver = &kx.k.scenario.drivers[index];
    let nodes: Vec<Rc<DeviceNode>> = kx.k.devices.borrow().iter().cloned().collect();
    for node in nodes {
        let matches = node.spec(&kx.k).driver.as_deref() == Some(driver.name.as_str());
        if !matches || !node.can_match(kx) || !node.present.get() {
            continue;
        }
        if driver.probe_type == ProbeType::Async {
            let name = intern(&format!("kworker/u16:probe {}", node.bdf)).unwrap_or("kworker");
            let k = Rc::clone(&kx.k);
            let cpu = u8::try_from(node.index).unwrap_or(0);
            kx.spawn(SpawnSpec::task(name, cpu), move |cx| async move {
                let kx = Kx::new(cx, k);
                let _frame = kx.enter("__driver_attach_async_helper");
                driver_probe_device(&kx, &node, index).await;
            });
        } else {
            let _frame = kx.enter("__driver_attach");
            driver_probe_device(kx, &node, index).await;
        }
    }
}
