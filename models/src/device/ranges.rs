//! What the bus above a device reaches (`dma-ranges` of the device tree).

use std::rc::Rc;

use super::{Device, DeviceNode};
use crate::kernel::Kx;
use crate::mem::Ptr;
use crate::profile::Behaviour;

mem::kobject! {
    /// A window of memory that a bus reaches; in the kernel an array of them, which ends with an empty one.
    ///
    /// Source: `include/linux/dma-direct.h: struct bus_dma_region`, v5.13.
    pub struct BusDmaRegion = "struct bus_dma_region" {
        /// Where the CPU finds it.
        cpu_start: u64 = 0x0,
        /// Where the device finds it: the same.
        dma_start: u64 = 0x8,
        /// Bytes.
        size: u64 = 0x10,
    }
    size 0x40;
}

/// Makes the map of what the bus above a device reaches, at each probe, if the firmware says something about it.
///
/// Source: `drivers/of/device.c: of_dma_configure_id()`, v5.13, v6.1.
pub(super) async fn of_dma_configure(kx: &Kx, node: &DeviceNode) {
    let Some(range) = node.spec(&kx.k).dma_range else { return };
    let _frame = kx.enter("of_dma_configure_id");
    let map = Rc::new(BusDmaRegion::default());
    map.cpu_start.set(range.start);
    map.dma_start.set(range.start);
    map.size.set(range.size);
    if let Ok(map) = kx.kzalloc(0x40, map).await {
        kx.store_ptr(node.ptr.get(), Device::dma_range_map, map).await;
    }
}

/// A driver has left the device, or has not taken it.
///
/// Source: `drivers/base/dd.c: device_unbind_cleanup()`, v6.1.
pub(super) async fn device_unbind_cleanup(kx: &Kx, node: &DeviceNode) {
    if node.spec(&kx.k).dma_range.is_some() && kx.k.has(Behaviour::RangeMapFreedAtUnbind) {
        let _frame = kx.enter("device_unbind_cleanup");
        free_map(kx, node).await;
    }
}

/// Frees the map, if there is one. Source: also `drivers/base/core.c: device_release()`.
pub(super) async fn free_map(kx: &Kx, node: &DeviceNode) {
    let dev = node.ptr.get();
    let map = kx.load(dev, Device::dma_range_map).await;
    if let Some(phys) = map.phys() {
        kx.kfree(phys, map.id).await;
    }
    kx.store_ptr(dev, Device::dma_range_map, Ptr::NULL).await;
}
