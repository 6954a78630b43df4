//! A device that cannot work without another one: the driver core promises that the other one's driver is there while its own is.

use sim::Draft;

use crate::device::links::{DeviceLink, LinkFlags, Presence};
use crate::device::{Device, DeviceNode};
use crate::kernel::Kx;
use crate::mem::{Kobject, Ptr};

/// A device's driver is about to be taken away: nobody who was promised it may still have a driver, not even one that only
/// gives back what it took.
///
/// Source: `Documentation/driver-api/device_link.rst`; what is asked is whether `dev->driver` is set, not what links say.
pub fn check_consumers_gone(kx: &Kx, node: &DeviceNode) {
    for link in node.links.consumers() {
        let Some(consumer) = relying(kx, link) else { continue };
        if kx.peek(consumer, Device::driver).is_none_or(|driver| driver == 0) {
            continue;
        }
        let name = kx.k.dev_string(consumer);
        let title = format!(
            "the driver of {} is unbound, and {name}, which cannot work without it, has its driver",
            node.bdf
        );
        let draft = Draft::warning("supplier-gone", title).object(DeviceLink::TYPE_NAME);
        kx.report(draft.discriminator("unbound before its consumer"), Vec::new);
    }
}

/// A driver was bound to a device in reliance on this link: the supplier must have its own, or be about to.
pub fn check_supplier_there(kx: &Kx, link: Ptr<DeviceLink>, node: &DeviceNode) {
    let supplier = kx.peek(link, DeviceLink::supplier).and_then(|dev| kx.k.node_of(dev));
    let there = supplier.as_ref().is_some_and(|supplier| {
        supplier.bound.get().is_some() || supplier.links.status() == Presence::Probing
    });
    if there || relying(kx, link).is_none() {
        return;
    }
    let supplier = supplier.map_or("a device that is gone", |supplier| supplier.bdf);
    let title =
        format!("{} has got a driver, and {supplier}, which it cannot work without, has none", node.bdf);
    let draft = Draft::warning("supplier-gone", title).object(DeviceLink::TYPE_NAME);
    kx.report(draft.discriminator("bound without its supplier"), Vec::new);
}

/// The consumer of a link, if it was promised the supplier.
fn relying(kx: &Kx, link: Ptr<DeviceLink>) -> Option<Ptr<Device>> {
    let object = kx.k.mem.object(link).ok()?;
    let managed = LinkFlags(object.flags.get()).has(LinkFlags::MANAGED);
    (managed && object.promised.get()).then(|| object.consumer.get())
}
