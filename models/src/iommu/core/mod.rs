//! The IOMMU core and its drivers: groups, default domains, attaching, and the hardware's view of each device.
//!
//! Sources: `drivers/iommu/iommu.c`, `drivers/iommu/amd/{init,iommu}.c`, `drivers/iommu/intel/iommu.c`, v5.13. Arm's SMMUs,
//! whose tables nobody locks and whose hardware reads more tables than page tables, are in `smmu/`.

mod amd;
mod attach;
mod copied;
mod domain;
mod down;
mod firmware;
mod flush;
mod group;
mod hardware;
mod objects;
mod policy;
mod probe;
mod queue;
mod recorded;
mod release;
mod smmu;
mod state;
mod topology;
mod unit;
mod vtd;

pub use amd::{amd_iommu_detect, amd_iommu_init};
pub use attach::{
    Errno, amd_iommu_init_device, iommu_attach_group, iommu_detach_group, iommu_group_claim_dma_owner,
    iommu_group_release_dma_owner, user_domain_alloc, user_domain_free, user_map, user_unmap,
};
pub use copied::iommu_deferred_attach;
pub use domain::{DomainType, iommu_get_dma_domain, msi_window};
pub use down::{amd_iommu_resume, amd_iommu_suspend, iommu_shutdown, iommu_unit_pm, iommu_unit_shutdown};
pub use firmware::{dma_configure, load_iommu_modules};
pub use flush::iotlb_flush_domain;
pub use hardware::fault_lines;
pub use hardware::{DmaTarget, device_access};
pub use objects::{Cookie, DevIommu, IommuDomain, IommuFwspec, IommuGroup, TlbEntry};
pub use policy::{DomainPolicy, amd_translates, intel_translates};
pub use probe::domain_type_of;
pub use probe::{
    ComeAgain, Refused, bus_set_iommu, iommu_bus_notifier_add, iommu_device_unuse_default_domain,
    iommu_device_use_default_domain,
};
pub use queue::CommandQueue;
pub use release::iommu_release_device;
pub use smmu::WalkCache;
pub use state::{DeviceEntry, Instances, IommuCore, IommuDriver};
pub use topology::{PciAddress, PciFunction, PciGroups, PciKind};
pub use unit::{iommu_unit_bound, iommu_unit_probe, iommu_unit_remove, is_bound_for_good};
pub use vtd::{detect_intel_iommu, intel_iommu_init, iommu_resume, iommu_suspend};

/// For dma-iommu.
pub(crate) mod internal {
    pub(crate) use super::domain::{free_table_page, table_page};
    pub(crate) use super::flush::iotlb_flush_range;
    pub(crate) use super::hardware::peek_translation;
    pub(crate) use super::objects::{DOMAIN_LOCK, with_cookie};
    pub(crate) use super::smmu::{is_smmu, map as smmu_map, unmap as smmu_unmap};
}
