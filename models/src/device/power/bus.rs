//! What the buses do with one device.

use std::rc::Rc;

use sim::Kind;

use super::Quiet;
use crate::device::DeviceNode;
use crate::driver::{self, PmPhase};
use crate::iommu::core::{iommu_unit_pm, iommu_unit_shutdown};
use crate::kernel::Kx;
use crate::scenario::schema::Bus;

/// Takes one device down. The caller holds its lock.
///
/// A PCI device that another kernel is to follow for may do no DMA from here on; otherwise the firmware will reset it. The
/// platform bus has nothing of the kind.
///
/// Source: `drivers/pci/pci-driver.c: pci_device_shutdown()`, `drivers/base/platform.c: platform_shutdown()`, v6.1, v6.12.
pub(super) async fn shutdown(kx: &Kx, node: &Rc<DeviceNode>) {
    node.lock.assert_held(kx.cx());
    let pci = node.spec(&kx.k).bus == Bus::Pci;
    let _frame = kx.enter(if pci { "pci_device_shutdown" } else { "platform_shutdown" });
    let instance = node.instance.borrow().clone();
    if let Some(instance) = instance.filter(|_| node.bound.get().is_some()) {
        let own = driver::shutdown(kx, &instance).await;
        let unit = iommu_unit_shutdown(kx, node).await;
        if own || unit {
            node.power.set_quiet(kx, Quiet::ShutDown);
        }
    }
    if pci && kx.k.power.is_kexec() {
        kx.step(Kind::Io, kx.memory_label()).await;
        node.power.set_master(kx, false);
    }
}

/// One phase of a suspend or a resume for one device.
///
/// A PCI device whose driver knows nothing of it is disabled, and enabled again. The platform bus asks the driver, and does
/// nothing by itself.
///
/// Source: `drivers/pci/pci-driver.c: pci_pm_suspend()`, `pci_pm_default_suspend()`, `pci_pm_suspend_noirq()`,
/// `pci_pm_resume_noirq()`, `pci_pm_resume()`, `pci_pm_reenable_device()`, `drivers/base/platform.c: platform_pm_suspend()`,
/// v6.1, v6.12.
///
/// # Errors
/// The error number of the driver's callback.
pub(super) async fn callback(kx: &Kx, node: &Rc<DeviceNode>, phase: PmPhase) -> Result<(), u32> {
    let pci = node.spec(&kx.k).bus == Bus::Pci;
    let instance = node.instance.borrow().clone().filter(|_| node.bound.get().is_some());
    let aware = instance.as_ref().is_some_and(|instance| driver::has_pm(kx, instance));
    if phase == PmPhase::ResumeNoirq && pci && aware {
        kx.step(Kind::Io, kx.memory_label()).await;
        node.power.set_master(kx, true);
    }
    if let Some(instance) = instance.filter(|_| aware) {
        driver::pm_callback(kx, &instance, phase).await?;
    }
    let unit = iommu_unit_pm(kx, node, phase).await;
    match phase {
        PmPhase::Suspend if pci && !aware => {
            kx.step(Kind::Io, kx.memory_label()).await;
            node.power.set_master(kx, false);
            node.power.set_quiet(kx, Quiet::Suspended);
        }
        PmPhase::Suspend if aware || unit => node.power.set_quiet(kx, Quiet::Suspended),
        PmPhase::SuspendNoirq if pci && aware => {
            kx.step(Kind::Io, kx.memory_label()).await;
            node.power.set_master(kx, false);
        }
        PmPhase::Resume => {
            if pci && !aware {
                kx.step(Kind::Io, kx.memory_label()).await;
                node.power.set_master(kx, true);
            }
            node.power.set_quiet(kx, Quiet::Awake);
        }
        _ => {}
    }
    Ok(())
}
