//! `device_initialize`, `device_add`.

use std::rc::Rc;

use super::links::fw_devlink_link_device;
use super::{Device, DeviceDmaParameters, DeviceNode};
use crate::iommu::core::iommu_bus_notifier_add;
use crate::kernel::{Kx, NoMemory};
use crate::profile::Behaviour;
use crate::scenario::schema::Bus;
use crate::swiotlb::default_pool;

/// Bytes that a PCI device takes (`struct pci_dev`, in which `struct device` lies).
const PCI_DEV_SIZE: u64 = 2048;

/// Makes a fresh `struct device` usable.
///
/// With `device-pool-pointer` it copies the pointer to the default bounce pool, whatever becomes of that pool later.
///
/// Source: `drivers/base/core.c: device_initialize()`, v5.13, next of June 2021.
pub async fn device_initialize(kx: &Kx, node: &DeviceNode) {
    let _frame = kx.enter("device_initialize");
    let dev = node.ptr.get();
    kx.store(dev, Device::kref, 1).await;
    if kx.k.has(Behaviour::DevicePoolPointer) {
        let pool = default_pool(kx);
        kx.store_ptr(dev, Device::dma_io_tlb_mem, pool).await;
    }
}

/// Allocates a PCI device and sets it up, up to and including `device_add`.
///
/// Source: `drivers/pci/probe.c: pci_device_add()`, v5.13.
///
/// # Errors
/// There is no memory for it.
pub(super) async fn pci_device_add(kx: &Kx, node: &Rc<DeviceNode>) -> Result<(), NoMemory> {
    let dev = {
        let _frame = kx.enter("pci_alloc_dev");
        kx.kzalloc(PCI_DEV_SIZE, Rc::new(Device::default())).await?
    };
    node.ptr.set(dev);
    let _frame = kx.enter("pci_device_add");
    device_initialize(kx, node).await;
    let parms = match kx.kzalloc(16, Rc::new(DeviceDmaParameters::default())).await {
        Ok(parms) => parms,
        Err(error) => {
            super::remove::put_device(kx, node).await;
            return Err(error);
        }
    };
    // Set before anybody else can see the device: no step is needed.
    let spec = node.spec(&kx.k);
    kx.poke(parms, DeviceDmaParameters::max_segment_size, 65536);
    kx.poke(parms, DeviceDmaParameters::segment_boundary_mask, 0xffff_ffff);
    kx.poke(dev, Device::dma_parms, parms);
    kx.poke(dev, Device::dma_mask, if spec.no_dma_mask { 0 } else { 0xffff_ffff });
    kx.poke(dev, Device::coherent_dma_mask, 0xffff_ffff);
    kx.poke(dev, Device::bus_dma_limit, spec.bus_dma_limit.unwrap_or(0));
    device_add(kx, node).await;
    Ok(())
}

/// Makes the device known: it is on the bus's list before the notifiers have been told.
///
/// Source: `drivers/base/core.c: device_add()`, v5.13.
async fn device_add(kx: &Kx, node: &Rc<DeviceNode>) {
    let _frame = kx.enter("device_add");
    kx.step(sim::Kind::Signal, kx.memory_label()).await;
    kx.k.klist.pass(kx.cx());
    {
        let mut devices = kx.k.devices.borrow_mut();
        if let Ok(object) = kx.k.mem.object(node.ptr.get()) {
            object.place.set(devices.len());
        }
        devices.push(Rc::clone(node));
    }
    kx.k.links.device_added(node);
    let platform = node.spec(&kx.k).bus == Bus::Platform;
    // platform_match has no gate of its own.
    if platform {
        node.matches_now(kx);
    }
    let bus = if platform { "platform" } else { "pci" };
    kx.log(|| format!("{bus} {}: {}", node.bdf, describe(node.spec(&kx.k))));
    let window = kx.k.draws.probe_before_init;
    if window > 0 {
        // The hypothesis to be tested: drivers may be matched although the set-up is not finished.
        node.matches_now(kx);
        let wait = kx.choose(sim::choices::Stream::Injection, "window before initialisation", window);
        kx.injected(|| format!("{} can be matched {wait} ns before its set-up ends", node.bdf));
        kx.delay(wait).await;
    }
    iommu_bus_notifier_add(kx, node).await;
    fw_devlink_link_device(kx, node).await;
    // dev_set_ready_to_probe: under the device's lock.
    node.lock.pass(kx.cx());
    node.announced.release(kx.cx());
    node.ready.set(true);
}

fn describe(spec: &crate::scenario::schema::Device) -> String {
    format!("[{:04x}:{:04x}] {}", spec.vendor_id, spec.device_id, spec.class)
}
