//! Links while a driver is bound to a device.

use std::rc::Rc;

use super::firmware::{purge_suppliers, wanted_supplier};
use super::sync_state::{flush_sync_list, queue_sync_state};
use super::{
    DeviceLink, LinkFlags, LinkState, Presence, drop_managed, flags, set_promised, set_status, srcu, status,
    supplier, warn, write_lock, write_unlock,
};
use crate::device::DeviceNode;
use crate::device::deferred::driver_deferred_probe_add;
use crate::iommu::core::ComeAgain;
use crate::kernel::Kx;
use crate::mem::Ptr;
use crate::oracle::check_supplier_there;

/// Wakes those up that a device needs, as far as links are concerned: it reads them under SRCU, with nothing else held.
///
/// Source: `drivers/base/power/runtime.c: pm_runtime_get_suppliers()`, v6.1, v6.12. What is awake is not modelled.
pub(in crate::device) async fn pm_runtime_get_suppliers(kx: &Kx, node: &DeviceNode) {
    if !kx.k.links.in_use() {
        return;
    }
    let _frame = kx.enter("pm_runtime_get_suppliers");
    let reader = srcu(kx).read_lock(kx.cx());
    for link in node.links.suppliers() {
        let flags = LinkFlags(kx.load(link, DeviceLink::flags).await);
        if flags.has(LinkFlags::PM_RUNTIME) {
            kx.load(link, DeviceLink::supplier).await;
        }
    }
    srcu(kx).read_unlock(kx.cx(), reader);
}

/// May this device be probed? Only if all that it needs are there; they are then kept from going until its probe is over.
///
/// Source: `drivers/base/core.c: device_links_check_suppliers()`, v6.1, v6.12.
///
/// # Errors
/// One that it needs has no driver yet (`-EPROBE_DEFER`).
pub(in crate::device) async fn device_links_check_suppliers(
    kx: &Kx,
    node: &DeviceNode,
) -> Result<(), ComeAgain> {
    if !kx.k.links.in_use() {
        return Ok(());
    }
    let _frame = kx.enter("device_links_check_suppliers");
    if let Some(supplier) = wanted_supplier(kx, node).await {
        kx.note(|| format!("{}: wait for supplier {supplier}", node.bdf));
        return Err(ComeAgain);
    }
    write_lock(kx).await;
    let mut result = Ok(());
    for link in node.links.suppliers() {
        let state = status(kx, link).await;
        let flags = flags(kx, link).await;
        if !flags.has(LinkFlags::MANAGED) {
            continue;
        }
        if state != LinkState::Available && !flags.has(LinkFlags::SYNC_STATE_ONLY) {
            missing_supplier(kx, node).await;
            let supplier = supplier(kx, link).await.map_or("?", |supplier| supplier.bdf);
            kx.note(|| format!("{}: supplier {supplier} not ready", node.bdf));
            result = Err(ComeAgain);
            break;
        }
        set_status(kx, link, LinkState::ConsumerProbe).await;
        set_promised(kx, link, !flags.has(LinkFlags::SYNC_STATE_ONLY));
    }
    // The kernel says so even if it is not to be probed now.
    node.links.status.set(Presence::Probing);
    write_unlock(kx);
    result
}

/// Not all are there: those that were found before are released.
///
/// Source: `drivers/base/core.c: device_links_missing_supplier()`, v6.1, v6.12.
async fn missing_supplier(kx: &Kx, node: &DeviceNode) {
    for link in node.links.suppliers() {
        if status(kx, link).await != LinkState::ConsumerProbe {
            continue;
        }
        let bound = supplier(kx, link).await.is_some_and(|node| node.links.status() == Presence::Bound);
        set_status(kx, link, if bound { LinkState::Available } else { LinkState::Dormant }).await;
        set_promised(kx, link, false);
    }
}

/// A driver is bound to a device: those that need it may be probed now, and those that it needs are in use.
///
/// Source: `drivers/base/core.c: device_links_driver_bound()`, v6.1, v6.12.
pub(in crate::device) async fn device_links_driver_bound(kx: &Kx, node: &Rc<DeviceNode>) {
    if !kx.k.links.in_use() {
        return;
    }
    let _frame = kx.enter("device_links_driver_bound");
    purge_suppliers(kx, node).await;
    write_lock(kx).await;
    let mut autoprobe = Vec::new();
    for link in node.links.consumers() {
        let state = status(kx, link).await;
        let flags = flags(kx, link).await;
        if !flags.has(LinkFlags::MANAGED) || matches!(state, LinkState::ConsumerProbe | LinkState::Active) {
            continue;
        }
        if state != LinkState::Dormant {
            warn(kx, "device_links_driver_bound", node, state);
        }
        set_status(kx, link, LinkState::Available).await;
        if flags.has(LinkFlags::AUTOPROBE_CONSUMER) {
            autoprobe.extend(super::consumer(kx, link).await);
        }
    }
    for consumer in autoprobe {
        driver_deferred_probe_add(kx, &consumer).await;
    }
    let mut settled = Vec::new();
    queue_sync_state(kx, node, &mut settled).await;
    for link in node.links.suppliers() {
        let state = status(kx, link).await;
        let flags = flags(kx, link).await;
        if !flags.has(LinkFlags::MANAGED) {
            continue;
        }
        let supplier = peek_supplier(kx, link);
        if flags.has(LinkFlags::SYNC_STATE_ONLY) {
            drop_managed(kx, link).await;
        } else {
            if state == LinkState::ConsumerProbe {
                check_supplier_there(kx, link, node);
            } else {
                warn(kx, "device_links_driver_bound", node, state);
            }
            set_status(kx, link, LinkState::Active).await;
        }
        if let Some(supplier) = supplier {
            queue_sync_state(kx, &supplier, &mut settled).await;
        }
    }
    node.links.status.set(Presence::Bound);
    write_unlock(kx);
    flush_sync_list(kx, settled, Some(node)).await;
}

/// The device at the supplier's end, which nothing but the end of the link changes.
fn peek_supplier(kx: &Kx, link: Ptr<DeviceLink>) -> Option<Rc<DeviceNode>> {
    kx.peek(link, DeviceLink::supplier).and_then(|dev| kx.k.node_of(dev))
}

/// Its links to those that it needs, when a device has no driver any more. The caller holds `device_links_lock`.
///
/// Source: `drivers/base/core.c: __device_links_no_driver()`, v6.1, v6.12.
pub(super) async fn release_suppliers(kx: &Kx, node: &DeviceNode) {
    for link in node.links.suppliers().into_iter().rev() {
        let state = status(kx, link).await;
        let flags = flags(kx, link).await;
        if !flags.has(LinkFlags::MANAGED) {
            continue;
        }
        if flags.has(LinkFlags::AUTOREMOVE_CONSUMER) {
            drop_managed(kx, link).await;
            continue;
        }
        if !matches!(state, LinkState::ConsumerProbe | LinkState::Active) {
            continue;
        }
        let bound = supplier(kx, link).await.is_some_and(|node| node.links.status() == Presence::Bound);
        set_status(kx, link, if bound { LinkState::Available } else { LinkState::Dormant }).await;
    }
    node.links.status.set(Presence::NoDriver);
}

/// A probe has failed.
///
/// Source: `drivers/base/core.c: device_links_no_driver()`, v6.1, v6.12.
pub(in crate::device) async fn device_links_no_driver(kx: &Kx, node: &DeviceNode) {
    if !kx.k.links.in_use() {
        return;
    }
    let _frame = kx.enter("device_links_no_driver");
    write_lock(kx).await;
    for link in node.links.consumers() {
        let state = status(kx, link).await;
        let managed = flags(kx, link).await.has(LinkFlags::MANAGED);
        if managed && matches!(state, LinkState::ConsumerProbe | LinkState::Active) {
            set_status(kx, link, LinkState::Dormant).await;
        }
    }
    release_suppliers(kx, node).await;
    write_unlock(kx);
}
