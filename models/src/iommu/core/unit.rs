//! An IOMMU that is a device like others: it has a driver, which can be unbound, and devices that need it.

use std::rc::Rc;

use super::firmware::{change, instance_bound, named, probe_instance};
use super::release::iommu_release_device;
use super::{ComeAgain, DeviceEntry, IommuDriver, smmu};
use crate::device::DeviceNode;
use crate::device::links::{LinkFlags, device_link_add};
use crate::kernel::Kx;
use crate::profile::Behaviour;

/// The number of the device that is the machine's IOMMU of this number.
pub(super) fn unit_device(kx: &Kx, number: usize) -> Option<usize> {
    let is_it =
        |device: &crate::scenario::schema::Device| device.is_iommu.is_some_and(|n| n as usize == number);
    kx.k.scenario.machine.devices.iter().position(is_it)
}

/// Which IOMMU a device is, and its driver.
pub(super) fn unit(kx: &Kx, node: &DeviceNode) -> Option<(IommuDriver, usize)> {
    let number = usize::try_from(node.spec(&kx.k).is_iommu?).ok()?;
    let (driver, _) = named(kx.k.scenario.machine.iommu)?;
    Some((driver, number))
}

/// Whether sysfs has no files to bind and unbind the driver of this device: so it is with an SMMU's
/// (`suppress_bind_attrs`).
///
/// Source: `drivers/iommu/arm/arm-smmu/arm-smmu.c: arm_smmu_driver`, v6.1, v6.12.
#[must_use]
pub fn is_bound_for_good(kx: &Kx, node: &DeviceNode) -> bool {
    unit(kx, node).is_some_and(|(driver, _)| driver == IommuDriver::Smmu)
}

/// A driver's probe of a device that is an IOMMU goes on: it registers with the core. Any other device is none of its
/// business.
///
/// # Errors
/// A device behind it is not ready (`-EPROBE_DEFER`).
pub async fn iommu_unit_probe(kx: &Kx, node: &DeviceNode) -> Result<(), ComeAgain> {
    match unit(kx, node) {
        Some((driver, number)) => probe_instance(kx, driver, number).await,
        None => Ok(()),
    }
}

/// It is bound: who asks for it finds it from now on.
pub async fn iommu_unit_bound(kx: &Kx, node: &DeviceNode) {
    if let Some((_, number)) = unit(kx, node) {
        instance_bound(kx, number).await;
    }
}

/// An IOMMU's driver is unbound. Since the core walks the buses for each IOMMU it gives up the devices behind this one;
/// before, nobody told them. Then the hardware is reset, and lets everything through.
///
/// Source: `drivers/iommu/virtio-iommu.c: viommu_remove()`, `drivers/iommu/arm/arm-smmu/arm-smmu.c:
/// arm_smmu_device_remove()`, `drivers/iommu/iommu.c: iommu_device_unregister(), remove_iommu_group()`, v5.15, v6.1, v6.12.
pub async fn iommu_unit_remove(kx: &Kx, node: &DeviceNode) {
    let Some((driver, number)) = unit(kx, node) else { return };
    let smmu = driver == IommuDriver::Smmu;
    let _frame = kx.enter(if smmu { "arm_smmu_device_remove" } else { "viommu_remove" });
    let bit = 1_u32 << number;
    kx.step(sim::Kind::Signal, kx.memory_label()).await;
    change(kx, |instances| instances.registered &= !bit);
    if kx.k.has(Behaviour::IommuRegisterWalksBuses) {
        let _frame = kx.enter("iommu_device_unregister");
        let nodes: Vec<Rc<DeviceNode>> = kx.k.devices.borrow().iter().cloned().collect();
        for client in nodes.iter().filter(|client| is_behind(kx, client, number)) {
            iommu_release_device(kx, client).await;
        }
    }
    kx.step(sim::Kind::Io, kx.memory_label()).await;
    change(kx, |instances| instances.bound &= !bit);
    let_through(kx, number);
    kx.log(|| format!("{}: device removed", node.bdf));
}

/// The IOMMU of this number is turned off: addresses of the devices behind it go to memory as they are.
pub(super) fn let_through(kx: &Kx, number: usize) {
    for (index, device) in kx.k.scenario.machine.devices.iter().enumerate() {
        if device.iommu_instance as usize == number && !device.outside_iommu {
            smmu::switched_off(kx, index);
            kx.k.iommu.set_entry(index, DeviceEntry::Off);
        }
    }
}

fn is_behind(kx: &Kx, client: &DeviceNode, number: usize) -> bool {
    client.spec(&kx.k).iommu_instance as usize == number && !client.group.get().is_null()
}

/// An SMMU's driver takes a device on: it must not go before the device's driver.
///
/// Source: `drivers/iommu/arm/arm-smmu/arm-smmu.c: arm_smmu_probe_device()`, v6.1, v6.12.
pub(super) async fn link_to_unit(kx: &Kx, node: &DeviceNode) {
    let number = node.spec(&kx.k).iommu_instance as usize;
    let supplier = unit_device(kx, number).and_then(|index| kx.k.node(index));
    if let (Some(supplier), Some(consumer)) = (supplier, kx.k.node(node.index)) {
        let flags = LinkFlags::PM_RUNTIME | LinkFlags::AUTOREMOVE_SUPPLIER;
        let _ = device_link_add(kx, &consumer, &supplier, flags).await;
    }
}
