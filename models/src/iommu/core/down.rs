//! What IOMMUs do when the machine goes down, goes to sleep or wakes up.

use sim::Kind;

use super::flush::{Scope, invalidate};
use super::unit::{let_through, unit};
use super::{DeviceEntry, IommuDriver, smmu};
use crate::device::DeviceNode;
use crate::driver::PmPhase;
use crate::kernel::Kx;
use crate::profile::Behaviour;

/// The machine is about to be reset, or another kernel follows: the IOMMU is turned off. Who still does DMA reaches memory at
/// the addresses that were meant for the IOMMU.
///
/// Source: `drivers/iommu/amd/init.c: disable_iommus()`, `drivers/iommu/intel/iommu.c: intel_iommu_shutdown()`, v6.1, v6.12
/// (`x86_platform.iommu_shutdown`).
pub async fn iommu_shutdown(kx: &Kx) {
    let function = match kx.k.iommu.registered.get() {
        Some(IommuDriver::Amd) => "disable_iommus",
        Some(IommuDriver::Intel) => "intel_iommu_shutdown",
        // Those are devices, and have been shut down as such.
        Some(IommuDriver::Virtio | IommuDriver::Smmu) | None => return,
    };
    let _frame = kx.enter(function);
    kx.step(Kind::Io, kx.memory_label()).await;
    kx.k.iommu.translation_off.set(true);
}

/// An IOMMU of AMD goes out of the way of the firmware.
///
/// Source: `drivers/iommu/amd/init.c: amd_iommu_suspend()`, v6.1, v6.12.
pub async fn amd_iommu_suspend(kx: &Kx) {
    let _frame = kx.enter("amd_iommu_suspend");
    kx.step(Kind::Io, kx.memory_label()).await;
    kx.k.iommu.translation_off.set(true);
}

/// It is set up again, with the tables that it had, and drops all that it has cached.
///
/// Source: `drivers/iommu/amd/init.c: amd_iommu_resume()`, `early_enable_iommu()`, v6.1, v6.12.
pub async fn amd_iommu_resume(kx: &Kx) {
    let _frame = kx.enter("amd_iommu_resume");
    translate_again(kx).await;
}

/// Turns translation on again, with the tables that there are.
pub(super) async fn translate_again(kx: &Kx) {
    kx.step(Kind::Io, kx.memory_label()).await;
    flush_all(kx);
    kx.k.iommu.translation_off.set(false);
}

/// The hardware drops the cached translations of all domains.
pub(super) fn flush_all(kx: &Kx) {
    let entries = kx.k.iommu.entries.borrow().clone();
    let mut dropped = Vec::new();
    for entry in entries {
        if let DeviceEntry::Domain(domain) = entry
            && !dropped.contains(&domain)
        {
            invalidate(kx, domain, Scope::Domain);
            dropped.push(domain);
        }
    }
}

/// An IOMMU that is a device is shut down as one: it lets everything through. Returns whether the device is one, and anything
/// was done.
///
/// Source: `drivers/iommu/arm/arm-smmu/arm-smmu.c: arm_smmu_device_shutdown()`,
/// `drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c: arm_smmu_device_shutdown()`, `drivers/virtio/virtio.c:
/// virtio_dev_shutdown()`, v6.1, v6.12.
pub async fn iommu_unit_shutdown(kx: &Kx, node: &DeviceNode) -> bool {
    let Some((driver, number)) = unit(kx, node) else { return false };
    let function = match driver {
        IommuDriver::Smmu => "arm_smmu_device_shutdown",
        IommuDriver::Virtio if kx.k.has(Behaviour::VirtioResetOnShutdown) => "virtio_dev_shutdown",
        _ => return false,
    };
    let _frame = kx.enter(function);
    kx.step(Kind::Io, kx.memory_label()).await;
    if driver == IommuDriver::Smmu && smmu::v3(kx).is_none() {
        kx.log(|| format!("arm-smmu {}: disabling translation", node.bdf));
    }
    let_through(kx, number);
    true
}

/// One phase of a suspend or a resume for an IOMMU that is a device. An SMMU's clocks are off while it is suspended; when it
/// wakes up it is reset and gets its tables again. Returns whether the device is one that takes part.
///
/// Source: `drivers/iommu/arm/arm-smmu/arm-smmu.c: arm_smmu_pm_suspend()`, `arm_smmu_pm_resume()`, v6.1, v6.12; the drivers of
/// SMMUv3s and of virtio-iommus have nothing of the kind.
pub async fn iommu_unit_pm(kx: &Kx, node: &DeviceNode, phase: PmPhase) -> bool {
    let Some((IommuDriver::Smmu, _)) = unit(kx, node) else { return false };
    if smmu::v3(kx).is_some() {
        return false;
    }
    match phase {
        PmPhase::Suspend => {
            let _frame = kx.enter("arm_smmu_pm_suspend");
            kx.step(Kind::Io, kx.memory_label()).await;
        }
        PmPhase::Resume => {
            let _frame = kx.enter("arm_smmu_pm_resume");
            kx.step(Kind::Io, kx.memory_label()).await;
            flush_all(kx);
        }
        _ => {}
    }
    true
}
