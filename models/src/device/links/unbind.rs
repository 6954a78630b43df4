//! Links while a driver is unbound from a device: those who need the device go first.

use std::rc::Rc;

use super::probe::release_suppliers;
use super::{
    LinkFlags, LinkState, Presence, consumer, drop_managed, flags, set_status, status, warn, write_lock,
    write_unlock,
};
use crate::device::DeviceNode;
use crate::device::deferred::wait_for_device_probe;
use crate::device::remove::{device_release_driver, get_device, put_device};
use crate::kernel::Kx;

/// Whether anybody that needs the device is being probed, or has a driver. Whoever is not found so cannot be probed from now
/// on.
///
/// Source: `drivers/base/core.c: device_links_busy()`, v6.1, v6.12.
pub(in crate::device) async fn device_links_busy(kx: &Kx, node: &DeviceNode) -> bool {
    if !kx.k.links.in_use() {
        return false;
    }
    let _frame = kx.enter("device_links_busy");
    write_lock(kx).await;
    let mut busy = false;
    for link in node.links.consumers() {
        let state = status(kx, link).await;
        if !flags(kx, link).await.has(LinkFlags::MANAGED) {
            continue;
        }
        if matches!(state, LinkState::ConsumerProbe | LinkState::Active) {
            busy = true;
            break;
        }
        set_status(kx, link, LinkState::SupplierUnbind).await;
    }
    node.links.status.set(Presence::Unbinding);
    write_unlock(kx);
    busy
}

/// Unbinds the drivers of all who need the device, and waits for those that are being probed. The caller does not hold the
/// device's lock.
///
/// Source: `drivers/base/core.c: device_links_unbind_consumers()`, v6.1, v6.12.
pub(in crate::device) async fn device_links_unbind_consumers(kx: &Kx, node: &DeviceNode) {
    let _frame = kx.enter("device_links_unbind_consumers");
    'start: loop {
        write_lock(kx).await;
        for link in node.links.consumers() {
            let state = status(kx, link).await;
            let flags = flags(kx, link).await;
            if !flags.has(LinkFlags::MANAGED) || flags.has(LinkFlags::SYNC_STATE_ONLY) {
                continue;
            }
            if state == LinkState::ConsumerProbe {
                write_unlock(kx);
                wait_for_device_probe(kx).await;
                continue 'start;
            }
            set_status(kx, link, LinkState::SupplierUnbind).await;
            if state == LinkState::Active
                && let Some(consumer) = consumer(kx, link).await
            {
                get_device(kx, &consumer).await;
                write_unlock(kx);
                unbind(kx, &consumer).await;
                put_device(kx, &consumer).await;
                continue 'start;
            }
        }
        write_unlock(kx);
        return;
    }
}

/// A consumer may have consumers itself.
async fn unbind(kx: &Kx, consumer: &Rc<DeviceNode>) {
    let unbound: std::pin::Pin<Box<dyn Future<Output = ()> + '_>> =
        Box::pin(device_release_driver(kx, consumer));
    unbound.await;
}

/// The driver is gone.
///
/// Source: `drivers/base/core.c: device_links_driver_cleanup()`, v6.1, v6.12.
pub(in crate::device) async fn device_links_driver_cleanup(kx: &Kx, node: &DeviceNode) {
    if !kx.k.links.in_use() {
        return;
    }
    let _frame = kx.enter("device_links_driver_cleanup");
    write_lock(kx).await;
    for link in node.links.consumers() {
        let state = status(kx, link).await;
        let flags = flags(kx, link).await;
        if !flags.has(LinkFlags::MANAGED) {
            continue;
        }
        if state != LinkState::SupplierUnbind {
            warn(kx, "device_links_driver_cleanup", node, state);
        }
        if state == LinkState::SupplierUnbind && flags.has(LinkFlags::AUTOREMOVE_SUPPLIER) {
            drop_managed(kx, link).await;
        }
        // Also where it was dropped: readers and its work item keep the structure for now.
        set_status(kx, link, LinkState::Dormant).await;
    }
    release_suppliers(kx, node).await;
    write_unlock(kx);
}
