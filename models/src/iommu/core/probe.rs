//! Devices meet the IOMMU driver: when it registers, and when they appear later.

use std::rc::Rc;

use super::group::{
    alloc_default_domain, attach_to_group, iommu_group_get_for_dev, lock, unlock, with_group,
};
use super::{DomainType, IommuDomain, IommuDriver, IommuGroup, iommu_get_dma_domain};
use crate::device::{Device, DeviceNode};
use crate::kernel::{Kx, Symbol};

/// An IOMMU driver registers with the bus: all devices so far are grouped, then each group gets its default domain and
/// its devices are attached.
///
/// Source: `drivers/iommu/iommu.c: bus_set_iommu()`, `bus_iommu_probe()`, v5.13.
pub async fn bus_set_iommu(kx: &Kx, driver: IommuDriver) {
    let _frame = kx.enter("bus_set_iommu");
    kx.k.iommu.registered.set(Some(driver));
    let _walk = kx.enter("bus_iommu_probe");
    let nodes: Vec<Rc<DeviceNode>> = kx.k.devices.borrow().iter().cloned().collect();
    for node in &nodes {
        if node.present.get() && node.group.get().is_null() {
            let _ = iommu_group_get_for_dev(kx, node).await;
        }
    }
    let groups: Vec<_> = kx.k.iommu.groups.borrow().clone();
    for group in groups {
        lock(kx, group).await;
        let made = alloc_default_domain(kx, group).await;
        let members = with_group(kx, group, |object| object.members.borrow().clone()).unwrap_or_default();
        let members: Vec<_> = members.into_iter().filter_map(|index| kx.k.node(index)).collect();
        if made.is_ok() {
            for node in &members {
                attach_to_group(kx, group, node).await;
            }
        }
        unlock(kx, group);
        for node in &members {
            probe_finalize(kx, node).await;
        }
    }
}

/// A device appears while an IOMMU driver is registered.
///
/// Source: `drivers/iommu/iommu.c: iommu_bus_notifier()`, `iommu_probe_device()`, v5.13.
pub async fn iommu_bus_notifier_add(kx: &Kx, node: &Rc<DeviceNode>) {
    if kx.k.iommu.registered.get().is_none() {
        return;
    }
    let _frame = kx.enter("iommu_probe_device");
    let Ok(group) = iommu_group_get_for_dev(kx, node).await else { return };
    let made = alloc_default_domain(kx, group).await;
    if made.is_ok() {
        lock(kx, group).await;
        attach_to_group(kx, group, node).await;
        unlock(kx, group);
    }
    probe_finalize(kx, node).await;
}

/// The driver chooses the device's DMA operations by the type of its domain.
///
/// Source: `drivers/iommu/amd/iommu.c: amd_iommu_probe_finalize()`, `drivers/iommu/intel/iommu.c:
/// intel_iommu_probe_finalize()`, `drivers/iommu/dma-iommu.c: iommu_setup_dma_ops()`, v5.13.
async fn probe_finalize(kx: &Kx, node: &DeviceNode) {
    let _frame = kx.enter(match kx.k.iommu.registered.get() {
        Some(IommuDriver::Intel) => "intel_iommu_probe_finalize",
        Some(IommuDriver::Amd) | None => "amd_iommu_probe_finalize",
    });
    let dev = node.ptr.get();
    let domain = iommu_get_dma_domain(kx, dev).await;
    let type_ =
        if domain.is_null() { None } else { DomainType::of(kx.load(domain, IommuDomain::type_).await) };
    let ops = if type_.is_some_and(DomainType::is_dma) { Symbol::IommuDmaOps.addr() } else { 0 };
    kx.store(dev, Device::dma_ops, ops).await;
}

/// Type of a device's default domain, for facts.
#[must_use]
pub fn domain_type_of(kx: &Kx, node: &DeviceNode) -> &'static str {
    let domain = kx.peek(node.group.get(), IommuGroup::default_domain);
    let type_ = domain.and_then(|domain| kx.peek(domain, IommuDomain::type_)).and_then(DomainType::of);
    type_.map_or("", DomainType::sysfs)
}
