//! The PCI bus: its scan, hot plug, and the matching of drivers and devices.

use std::rc::Rc;

use sim::SpawnSpec;

use super::initialize::pci_device_add;
use super::probe::{device_attach, driver_probe_device};
use super::{DeviceNode, RegisteredDriver};
use crate::kernel::Kx;
use crate::scenario::intern;
use crate::scenario::schema::{Plugged, ProbeType, Unplugged};

/// Finds all devices that are there at boot.
///
/// Source: `drivers/acpi/pci_root.c: acpi_pci_root_add()`, `drivers/pci/probe.c: pci_scan_child_bus()`,
/// `drivers/pci/bus.c: pci_bus_add_devices()`, v5.13.
pub async fn pci_scan(kx: &Kx) {
    let _frame = kx.enter("pci_scan_child_bus");
    let machine = &kx.k.scenario.machine;
    for (index, spec) in machine.devices.iter().enumerate() {
        match spec.plugged {
            Plugged::AtBoot => add_one(kx, index).await,
            Plugged::After { ms } => later(kx, spec.bdf.as_str(), ms, index, true),
        }
        if let Unplugged::After { ms } = spec.unplugged {
            later(kx, spec.bdf.as_str(), ms, index, false);
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
    if kx.k.node(index).is_none() && index < kx.k.scenario.machine.devices.len() {
        add_one(kx, index).await;
    }
}

async fn add_one(kx: &Kx, index: usize) {
    let spec = &kx.k.scenario.machine.devices[index];
    let node = Rc::new(DeviceNode::new(kx, index, &spec.bdf));
    if pci_device_add(kx, &node).await.is_err() {
        kx.log(|| format!("pci {}: out of memory", node.bdf));
        return;
    }
    let _frame = kx.enter("pci_bus_add_device");
    node.match_driver.set(true);
    device_attach(kx, &node).await;
}

/// Makes a driver known and offers it all devices.
///
/// Source: `drivers/base/driver.c: driver_register()`, `drivers/base/bus.c: bus_add_driver()`,
/// `drivers/base/dd.c: driver_attach()`, v5.13.
pub async fn driver_register(kx: &Kx, index: usize) {
    let _frame = kx.enter("driver_register");
    kx.step(sim::Kind::Signal, kx.memory_label()).await;
    kx.k.drivers.borrow_mut().push(RegisteredDriver { index });
    let driver = &kx.k.scenario.drivers[index];
    let nodes: Vec<Rc<DeviceNode>> = kx.k.devices.borrow().iter().cloned().collect();
    for node in nodes {
        let matches = node.spec(&kx.k).driver.as_deref() == Some(driver.name.as_str());
        if !matches || !node.match_driver.get() || !node.present.get() {
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
