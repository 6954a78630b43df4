//! Suspend to memory, as far as an IOMMU takes part: drivers are not asked, and other CPUs are not stopped.

use sim::Kind;

use crate::iommu::core::{IommuDriver, iommu_resume, iommu_suspend};
use crate::kernel::Kx;

/// Sends the machine to sleep, and wakes it up.
///
/// Source: `kernel/power/suspend.c: pm_suspend(), suspend_enter()`, `drivers/base/syscore.c: syscore_suspend(),
/// syscore_resume()`, v6.1, v6.12.
pub async fn pm_suspend(kx: &Kx) {
    let _frame = kx.enter("pm_suspend");
    kx.log(|| "PM: suspend entry (deep)".to_owned());
    {
        let _frame = kx.enter("suspend_enter");
        let irqs = kx.cx().local_irq_save();
        let _frame = kx.enter("syscore_suspend");
        if kx.k.iommu.registered.get() == Some(IommuDriver::Intel) {
            match iommu_suspend(kx).await {
                Ok(state) => {
                    kx.step(Kind::Io, kx.memory_label()).await;
                    iommu_resume(kx, state).await;
                }
                Err(_) => {
                    kx.log(|| "PM: System core suspend callback iommu_suspend failed.".to_owned());
                }
            }
        }
        kx.cx().local_irq_restore(irqs);
    }
    kx.log(|| "PM: suspend exit".to_owned());
}
