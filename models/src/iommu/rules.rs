//! What the IOMMU core decides from numbers alone.

/// Whether a driver may attach a domain of its own to a device: only if the device is alone in its group
/// (else `-EINVAL`).
///
/// Source: `drivers/iommu/iommu.c: iommu_attach_device()`, v5.13 to v6.12.
#[must_use]
pub const fn iommu_attach_device_allowed(devices_in_group: usize) -> bool {
    devices_in_group == 1
}
