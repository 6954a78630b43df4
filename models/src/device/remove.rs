//! Unbinding and removal.

use std::rc::Rc;

use super::bus::rescan_remove_lock;
use super::deferred::driver_deferred_probe_del;
use super::links::{
    device_links_busy, device_links_driver_cleanup, device_links_purge, device_links_unbind_consumers,
};
use super::ranges::{device_unbind_cleanup, free_map};
use super::{Device, DeviceNode};
use crate::driver;
use crate::iommu::core::{iommu_device_unuse_default_domain, iommu_release_device, iommu_unit_remove};
use crate::kernel::Kx;
use crate::mem::Ptr;
use crate::oracle::check_consumers_gone;
use crate::profile::Behaviour;

/// Takes the driver away from a device.
///
/// Source: `drivers/base/dd.c: __device_release_driver()`, v5.13.
pub async fn device_release_driver(kx: &Kx, node: &Rc<DeviceNode>) {
    let _frame = kx.enter("device_release_driver_internal");
    node.lock.lock(kx.cx()).await;
    let driver = node.bound.get();
    while driver.is_some() && device_links_busy(kx, node).await {
        node.lock.unlock(kx.cx());
        device_links_unbind_consumers(kx, node).await;
        node.lock.lock(kx.cx()).await;
        // Somebody else may have unbound it meanwhile.
        if node.bound.get() != driver {
            node.lock.unlock(kx.cx());
            return;
        }
    }
    let instance = node.instance.borrow_mut().take();
    if let Some(instance) = instance {
        // __device_release_driver: "must be called with @dev lock held".
        node.lock.assert_held(kx.cx());
        check_consumers_gone(kx, node);
        let _frame = kx.enter("pci_device_remove");
        driver::remove(kx, &instance).await;
        iommu_unit_remove(kx, node).await;
        iommu_device_unuse_default_domain(kx, node).await;
        let links_last = kx.k.has(Behaviour::LinksUpdatedAfterCleanup);
        if !links_last {
            device_links_driver_cleanup(kx, node).await;
        }
        driver::free_managed(kx, &instance).await;
        device_unbind_cleanup(kx, node).await;
        kx.store(node.ptr.get(), Device::driver, 0).await;
        node.bound.set(None);
        if links_last {
            device_links_driver_cleanup(kx, node).await;
        }
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
        driver_deferred_probe_del(kx, node).await;
        device_links_purge(kx, node).await;
        kx.k.links.device_removed(node);
        iommu_release_device(kx, node).await;
        put_device(kx, node).await;
    }
    rescan_remove_lock(kx).unlock(kx.cx());
}

/// Takes a reference (`get_device`): counting is atomic.
pub(super) async fn get_device(kx: &Kx, node: &DeviceNode) {
    let count = kx.load(node.ptr.get(), Device::kref).await;
    kx.poke(node.ptr.get(), Device::kref, count + 1);
}

/// Drops a reference; the last one frees the structure.
///
/// Source: `drivers/base/core.c: put_device()`, `drivers/pci/probe.c: pci_release_dev()`, v5.13.
pub(super) async fn put_device(kx: &Kx, node: &DeviceNode) {
    let dev = node.ptr.get();
    // refcount_dec_and_test: counting is atomic.
    let count = kx.load_once(dev, Device::kref).await;
    if kx.k.links.in_use() {
        kx.poke(dev, Device::kref, count.saturating_sub(1));
    } else {
        kx.store_once(dev, Device::kref, count.saturating_sub(1)).await;
    }
    node.references.pass(kx.cx());
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
