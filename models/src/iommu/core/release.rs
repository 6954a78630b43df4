//! A device leaves.

use super::domain::iommu_domain_free;
use super::firmware::dev_iommu_free;
use super::group::{pass, with_group};
use super::state::write_entry;
use super::{DeviceEntry, IommuDriver, IommuGroup, smmu};
use crate::device::{Device, DeviceNode};
use crate::kernel::Kx;
use crate::mem::Ptr;
use crate::profile::Behaviour;

/// The device is gone: its translation is blocked, and it leaves its group.
///
/// Source: `drivers/iommu/iommu.c: iommu_release_device()`, `iommu_group_remove_device()`, v5.13.
pub async fn iommu_release_device(kx: &Kx, node: &DeviceNode) {
    let group = node.group.get();
    if group.is_null() {
        return;
    }
    let _frame = kx.enter("iommu_release_device");
    kx.step(sim::Kind::Io, kx.memory_label()).await;
    write_entry(kx, node.index, DeviceEntry::Blocked).await;
    smmu::released(kx, node.index);
    pass(kx, group);
    with_group(kx, group, |object: &IommuGroup| {
        object.members.borrow_mut().retain(|index| *index != node.index);
    });
    kx.store_ptr(node.ptr.get(), Device::iommu_group, Ptr::NULL).await;
    if kx.k.has(Behaviour::DmaIommuFlag) {
        // iommu_deinit_device.
        kx.store(node.ptr.get(), Device::dma_iommu, false).await;
    }
    node.group.set(Ptr::NULL);
    if kx.k.iommu.registered.get().is_some_and(IommuDriver::by_firmware) {
        dev_iommu_free(kx, node.ptr.get()).await;
    }
    let empty = with_group(kx, group, |object| object.members.borrow().is_empty());
    if empty == Some(true) {
        iommu_group_release(kx, group).await;
    }
}

/// The last device has left: the group goes, and its default domain.
///
/// Source: `drivers/iommu/iommu.c: iommu_group_release()`, v5.13, v6.1; `iommu_deinit_device()`, v6.12.
async fn iommu_group_release(kx: &Kx, group: Ptr<IommuGroup>) {
    let _frame = kx.enter("iommu_group_release");
    kx.k.iommu.groups.borrow_mut().retain(|other| *other != group);
    let default = kx.load(group, IommuGroup::default_domain).await;
    if !default.is_null() {
        iommu_domain_free(kx, default).await;
    }
    if let Some(phys) = group.phys() {
        kx.kfree(phys, group.id).await;
    }
}
