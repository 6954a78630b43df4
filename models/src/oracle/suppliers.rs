//! A device that cannot work without another one: the driver core promises that the other one's driver is there while its own is.

use sim::Draft;

use crate::device::links::{DeviceLink, LinkFlags, Presence};
use crate::device::power::Quiet;
use crate::device::{Device, DeviceNode};
use crate::kernel::Kx;
use crate::mem::{Kobject, Ptr};
use crate::scenario::schema;

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

/// A device does DMA: nobody whom it cannot work without may rest. Who that is follows from the machine (what the firmware says
/// that drivers cannot do without, and the IOMMU, if it is a device) and from what drivers have said by links, not from the
/// order in which the driver core goes by them.
pub fn check_suppliers_awake(kx: &Kx, node: &DeviceNode) {
    if !kx.k.power.has_quiet() {
        return;
    }
    let spec = node.spec(&kx.k);
    let machine = &kx.k.scenario.machine;
    let needed = spec.suppliers.iter().filter(|supplier| !supplier.property.is_optional());
    let named = needed.filter_map(|supplier| machine.devices.iter().position(|d| d.bdf == supplier.bdf));
    let behind = |unit: &schema::Device| {
        !spec.outside_iommu && unit.is_iommu == Some(spec.iommu_instance) && unit.bdf != spec.bdf
    };
    let unit = machine.devices.iter().position(behind).filter(|_| !node.group.get().is_null());
    let linked = node.links.suppliers().into_iter().filter_map(|link| {
        let flags = LinkFlags(kx.peek(link, DeviceLink::flags)?);
        let supplier = kx.k.node_of(kx.peek(link, DeviceLink::supplier)?)?;
        (!flags.is_sync_state_only() && !flags.has(LinkFlags::INFERRED)).then_some(supplier.index)
    });
    for index in named.chain(unit).chain(linked) {
        let Some(supplier) = kx.k.node(index) else { continue };
        let quiet = supplier.power.quiet();
        if quiet != Quiet::Awake {
            let title = format!(
                "{} does DMA, and {}, which it cannot work without, is {}",
                node.bdf,
                supplier.bdf,
                quiet.name()
            );
            let draft = Draft::warning("supplier-asleep", title).object("struct device");
            kx.report(draft.discriminator(quiet.name()), Vec::new);
        }
    }
}

/// The consumer of a link, if it was promised the supplier.
fn relying(kx: &Kx, link: Ptr<DeviceLink>) -> Option<Ptr<Device>> {
    let object = kx.k.mem.object(link).ok()?;
    let managed = LinkFlags(object.flags.get()).has(LinkFlags::MANAGED);
    (managed && object.promised.get()).then(|| object.consumer.get())
}
