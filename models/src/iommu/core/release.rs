//! A device leaves.

use super::group::with_group;
use super::{DeviceEntry, IommuGroup};
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
    kx.k.iommu.set_entry(node.index, DeviceEntry::Blocked);
    with_group(kx, group, |object: &IommuGroup| {
        object.members.borrow_mut().retain(|index| *index != node.index);
    });
    kx.store_ptr(node.ptr.get(), Device::iommu_group, Ptr::NULL).await;
    if kx.k.has(Behaviour::DmaIommuFlag) {
        // iommu_deinit_device.
        kx.store(node.ptr.get(), Device::dma_iommu, false).await;
    }
    node.group.set(Ptr::NULL);
}
