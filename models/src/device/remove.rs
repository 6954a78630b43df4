//! Unbinding and removal.

use std::rc::Rc;

use super::bus::rescan_remove_lock;
use super::ranges::{device_unbind_cleanup, free_map};
use super::{Device, DeviceNode};
use crate::driver;
use crate::iommu::core::{iommu_device_unuse_default_domain, iommu_release_device};
use crate::kernel::Kx;
use crate::mem::Ptr;

/// Takes the driver away from a device.
///
/// Source: `drivers/base/dd.c: __device_release_driver()`, v5.13.
pub async fn device_release_driver(kx: &Kx, node: &Rc<DeviceNode>) {
    let _frame = kx.enter("device_release_driver_internal");
    node.lock.lock(kx.cx()).await;
    let instance = node.instance.borrow_mut().take();
    if let Some(instance) = instance {
        // __device_release_driver: "must be called with @dev lock held".
        node.lock.assert_held(kx.cx());
        let _frame = kx.enter("pci_device_remove");
        driver::remove(kx, &instance).await;
        iommu_device_unuse_default_domain(kx, node).await;
        device_unbind_cleanup(kx, node).await;
        kx.store(node.ptr.get(), Device::driver, 0).await;
        node.bound.set(None);
        kx.k.ledger.check_unbound(kx, node);
    }
    node.lock.unlock(kx.cx());
}

/// A device is gone, or is about to go: its driver first, then the structure with its last reference.
///
/// Source: `drivers/pci/remove.c: pci_stop_and_remove_bus_device()`, `drivers/base/core.c: device_del()`, v5.13.
pub async fn pci_stop_and_remove(kx: &Kx, node: &Rc<DeviceNode>) {
    let _frame = kx.enter("pci_stop_and_remove_bus_device");
    rescan_remove_lock(kx).lock(kx.cx()).await;
    if node.present.replace(false) {
        device_release_driver(kx, node).await;
        let _del = kx.enter("device_del");
        iommu_release_device(kx, node).await;
        put_device(kx, node).await;
    }
    rescan_remove_lock(kx).unlock(kx.cx());
}

/// Drops a reference; the last one frees the structure.
///
/// Source: `drivers/base/core.c: put_device()`, `drivers/pci/probe.c: pci_release_dev()`, v5.13.
pub(super) async fn put_device(kx: &Kx, node: &DeviceNode) {
    let dev = node.ptr.get();
    // refcount_dec_and_test: nobody else has a reference whom it could be ordered with.
    let count = kx.load_once(dev, Device::kref).await;
    kx.store_once(dev, Device::kref, count.saturating_sub(1)).await;
    if count == 1 {
        let _frame = kx.enter("pci_release_dev");
        if node.spec(&kx.k).dma_range.is_some() {
            free_map(kx, node).await;
        }
        let parms = kx.load(dev, Device::dma_parms).await;
        if let Some(phys) = parms.phys() {
            kx.kfree(phys, parms.id).await;
        }
        if let Some(phys) = dev.phys() {
            kx.kfree(phys, dev.id).await;
        }
        node.ptr.set(Ptr::NULL);
    }
}
