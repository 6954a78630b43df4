//! Intel VT-d.

use super::{DeviceEntry, IommuDriver, bus_set_iommu};
use crate::kernel::Kx;
use crate::profile::Behaviour;
use crate::scenario::schema::Iommu;

/// Looks for the IOMMU in the firmware's tables, and whether it is to be used.
///
/// Source: `drivers/iommu/intel/dmar.c: detect_intel_iommu()`, v5.13.
#[must_use]
pub fn detect_intel_iommu(kx: &Kx) -> bool {
    let globals = &kx.k.globals;
    let Iommu::Vtd { platform_opt_in, .. } = kx.k.scenario.machine.iommu else { return false };
    let config = &kx.k.profile().config;
    if globals.no_iommu.get() || globals.iommu_detected.get() || !config.intel_iommu {
        return false;
    }
    let enabled = kx.k.scenario.command_line.intel_iommu.enable;
    let on = enabled.unwrap_or(config.intel_iommu_default_on || platform_opt_in);
    if !on {
        return false;
    }
    globals.iommu_detected.set(true);
    kx.k.iommu.detected.set(Some(IommuDriver::Intel));
    true
}

/// Turns the IOMMU on and hands it all devices. Up to 5.10 it also gave bounce buffers up.
///
/// Source: `drivers/iommu/intel/iommu.c: intel_iommu_init()`, v5.13.
pub async fn intel_iommu_init(kx: &Kx) {
    let _frame = kx.enter("intel_iommu_init");
    kx.log(|| "DMAR: IOMMU enabled".to_owned());
    for index in 0..kx.k.scenario.machine.devices.len() {
        kx.k.iommu.set_entry(index, DeviceEntry::Blocked);
    }
    kx.delay(20_000_000).await;
    if kx.k.has(Behaviour::IntelIommuSwiotlbVeto) {
        let untrusted = kx.k.scenario.machine.devices.iter().any(|device| device.untrusted);
        kx.k.globals.swiotlb.set(untrusted);
        kx.decide(
            "swiotlb",
            if untrusted {
                "swiotlb = 1: there are untrusted devices"
            } else {
                "swiotlb = 0: no device is untrusted"
            },
        );
    }
    let _ = bus_set_iommu(kx, IommuDriver::Intel).await;
    kx.log(|| "DMAR: Intel(R) Virtualization Technology for Directed I/O".to_owned());
}
