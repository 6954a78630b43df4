//! Links that the driver core makes of what the firmware says (`fw_devlink`).

use std::rc::Rc;

use super::{
    DeviceLink, LinkFlags, device_link_add, flags, fwnode_link_lock, set_flags, set_promised, write_lock,
    write_unlock,
};
use crate::boot::cmdline::FwDevlink;
use crate::device::DeviceNode;
use crate::kernel::Kx;

/// What the firmware says of two devices, by their numbers (`struct fwnode_link`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FwnodeLink {
    consumer: usize,
    supplier: usize,
}

/// Links that keep nobody from being probed (`FW_DEVLINK_FLAGS_PERMISSIVE`).
const PERMISSIVE: LinkFlags = LinkFlags(LinkFlags::INFERRED.0 | LinkFlags::SYNC_STATE_ONLY.0);

fn mode(kx: &Kx) -> FwDevlink {
    kx.k.scenario.command_line.fw_devlink
}

/// Suppliers of a device that count on this command line, by number.
///
/// Source: `drivers/of/property.c: of_link_property()`, v6.1, v6.12.
fn suppliers_of(kx: &Kx, consumer: usize) -> Vec<usize> {
    let machine = &kx.k.scenario.machine;
    let strict = kx.k.scenario.command_line.fw_devlink_strict && mode(kx) != FwDevlink::Permissive;
    let known = |bdf: &str| machine.devices.iter().position(|device| device.bdf == bdf);
    let Some(device) = machine.devices.get(consumer) else { return Vec::new() };
    let counts = device.suppliers.iter().filter(|supplier| strict || !supplier.property.is_optional());
    let mut found: Vec<usize> = counts.filter_map(|supplier| known(&supplier.bdf)).collect();
    found.retain(|index| *index != consumer);
    found.dedup();
    found
}

/// Whether `node` needs `target`, be it through others, as far as the firmware says.
///
/// Source: `drivers/base/core.c: __fw_devlink_relax_cycles()`, v6.12; `fw_devlink_relax_cycle()`, v6.1.
fn needs(kx: &Kx, node: usize, target: usize) -> bool {
    let mut seen = vec![node];
    let mut next = 0;
    while let Some(at) = seen.get(next).copied() {
        next += 1;
        for supplier in suppliers_of(kx, at) {
            if supplier == target {
                return true;
            }
            if !seen.contains(&supplier) {
                seen.push(supplier);
            }
        }
    }
    false
}

/// A device was added: links to those that it needs, as far as they are there, and from those that have waited for it.
///
/// Source: `drivers/base/core.c: fw_devlink_link_device()`, v6.1, v6.12; devices have no children here.
pub(in crate::device) async fn fw_devlink_link_device(kx: &Kx, node: &Rc<DeviceNode>) {
    if !kx.k.links.in_use() || mode(kx) == FwDevlink::Off {
        return;
    }
    let _frame = kx.enter("fw_devlink_link_device");
    fwnode_link_lock(kx).lock(kx.cx()).await;
    let own = suppliers_of(kx, node.index);
    {
        let mut wanted = kx.k.links.wanted.borrow_mut();
        for supplier in own {
            let link = FwnodeLink { consumer: node.index, supplier };
            if !wanted.contains(&link) {
                wanted.push(link);
            }
        }
    }
    let wanted = kx.k.links.wanted.borrow().clone();
    let to_consumers = wanted.iter().filter(|link| link.supplier == node.index);
    for link in to_consumers.chain(wanted.iter().filter(|link| link.consumer == node.index)) {
        let (Some(con), Some(sup)) = (kx.k.node(link.consumer), kx.k.node(link.supplier)) else { continue };
        let circle = needs(kx, link.supplier, link.consumer);
        if circle {
            kx.log(|| format!("{}: Fixed dependency cycle(s) with {}", con.bdf, sup.bdf));
        }
        let flags = match mode(kx) {
            FwDevlink::On if !circle => LinkFlags::INFERRED | LinkFlags::AUTOPROBE_CONSUMER,
            _ => PERMISSIVE,
        };
        if device_link_add(kx, &con, &sup, flags).await.is_none() {
            kx.log(|| format!("{}: Failed to create device link ({:#x}) with {}", con.bdf, flags.0, sup.bdf));
        }
        kx.k.links.wanted.borrow_mut().retain(|other| other != link);
    }
    fwnode_link_lock(kx).unlock(kx.cx());
}

/// The address of a device that must be there before this one is probed, and is not.
///
/// Source: `drivers/base/core.c: fwnode_links_check_suppliers()`, v6.1, v6.12.
pub(super) async fn wanted_supplier<'a>(kx: &'a Kx, node: &DeviceNode) -> Option<&'a str> {
    if mode(kx) != FwDevlink::On {
        return None;
    }
    fwnode_link_lock(kx).lock(kx.cx()).await;
    let wanted = kx.k.links.wanted.borrow().iter().find(|link| link.consumer == node.index).copied();
    fwnode_link_lock(kx).unlock(kx.cx());
    kx.k.scenario.machine.devices.get(wanted?.supplier).map(|device| device.bdf.as_str())
}

/// A device that has its driver needs no more links than it has.
///
/// Source: `drivers/base/core.c: fwnode_links_purge_suppliers()`, v6.1, v6.12.
pub(super) async fn purge_suppliers(kx: &Kx, node: &DeviceNode) {
    fwnode_link_lock(kx).lock(kx.cx()).await;
    kx.k.links.wanted.borrow_mut().retain(|link| link.consumer != node.index);
    fwnode_link_lock(kx).unlock(kx.cx());
}

/// All drivers have had the time to come: nobody waits any longer for a device that has none.
///
/// Source: `drivers/base/core.c: fw_devlink_drivers_done()`, `fw_devlink_unblock_consumers()`, `fw_devlink_relax_link()`,
/// v6.1, v6.12.
pub(in crate::device) async fn fw_devlink_no_driver(kx: &Kx) {
    let _frame = kx.enter("fw_devlink_drivers_done");
    let nodes: Vec<Rc<DeviceNode>> = kx.k.devices.borrow().iter().cloned().collect();
    for node in nodes.iter().filter(|node| node.present.get() && kx.k.driver_for(node).is_none()) {
        write_lock(kx).await;
        for link in node.links.consumers() {
            kx.load(link, DeviceLink::status).await;
            if flags(kx, link).await.has(LinkFlags::INFERRED) {
                set_flags(kx, link, PERMISSIVE | LinkFlags::MANAGED).await;
                set_promised(kx, link, false);
            }
        }
        write_unlock(kx);
    }
}
