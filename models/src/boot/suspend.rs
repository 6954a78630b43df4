//! Suspend to memory.

use sim::Kind;

use super::reboot::hold_other_cpus;
use super::sequence::MS;
use crate::device::power::{Sleepers, Stage, dpm_prepare, dpm_resume, dpm_suspend};
use crate::driver::PmPhase;
use crate::iommu::core::{IommuDriver, amd_iommu_resume, amd_iommu_suspend, iommu_resume, iommu_suspend};
use crate::kernel::Kx;

/// So long the machine sleeps.
const SLEEP: u64 = 10 * MS;

/// So long tasks are waited for (`freeze_timeout_msecs`).
const FREEZE_TIMEOUT: u64 = 20_000 * MS;

/// Sends the machine to sleep, and wakes it up. If somebody is at it already, or the machine goes down, nothing is done.
///
/// Source: `kernel/power/suspend.c: pm_suspend(), enter_state(), suspend_devices_and_enter()`, v6.1, v6.12.
pub async fn pm_suspend(kx: &Kx) {
    let _frame = kx.enter("pm_suspend");
    let power = &kx.k.power;
    // Who comes second is told -EBUSY.
    if !power.transition(kx).try_lock(kx.cx()).await {
        return;
    }
    if power.stage() == Stage::Up {
        kx.log(|| "PM: suspend entry (deep)".to_owned());
        if freeze_processes(kx).await {
            suspend_devices_and_enter(kx).await;
        }
        power.set_freezing(kx, false);
        kx.log(|| "PM: suspend exit".to_owned());
    }
    power.transition(kx).unlock(kx.cx());
}

/// Tasks of user space stop where they can be stopped. Returns whether all have; if not, they are to go on.
///
/// Source: `kernel/power/process.c: freeze_processes()`, `try_to_freeze_tasks()`, v6.1, v6.12.
async fn freeze_processes(kx: &Kx) -> bool {
    let _frame = kx.enter("freeze_processes");
    let power = &kx.k.power;
    kx.step(Kind::Signal, kx.memory_label()).await;
    power.set_freezing(kx, true);
    let until = kx.now().saturating_add(FREEZE_TIMEOUT);
    let mut pause = MS;
    while power.tasks_at_work() > 0 {
        if kx.now() >= until {
            let left = power.tasks_at_work();
            kx.log(|| {
                format!("Freezing of tasks failed after 20.000 seconds ({left} tasks refusing to freeze)")
            });
            return false;
        }
        kx.sleep(pause).await;
        pause = (pause * 2).min(8 * MS);
    }
    true
}

async fn suspend_devices_and_enter(kx: &Kx) {
    let _frame = kx.enter("suspend_devices_and_enter");
    let sleepers = dpm_prepare(kx).await;
    match dpm_suspend(kx, &sleepers, PmPhase::Suspend).await {
        Ok(()) => suspend_enter(kx, &sleepers).await,
        Err(_) => {
            kx.log(|| "PM: Some devices failed to suspend, or early wake event detected".to_owned());
        }
    }
    dpm_resume(kx, &sleepers, PmPhase::Resume).await;
}

/// Source: `kernel/power/suspend.c: suspend_enter()`, v6.1, v6.12.
async fn suspend_enter(kx: &Kx, sleepers: &Sleepers) {
    let _frame = kx.enter("suspend_enter");
    if dpm_suspend(kx, sleepers, PmPhase::SuspendLate).await.is_ok() {
        if dpm_suspend(kx, sleepers, PmPhase::SuspendNoirq).await.is_ok() {
            sleep(kx).await;
        } else {
            kx.log(|| "PM: noirq suspend of devices failed".to_owned());
        }
        dpm_resume(kx, sleepers, PmPhase::ResumeNoirq).await;
    } else {
        kx.log(|| "PM: late suspend of devices failed".to_owned());
    }
    dpm_resume(kx, sleepers, PmPhase::ResumeEarly).await;
}

/// One CPU is left, and its interrupts are off; IOMMUs that are no devices are asked last, and first when the machine wakes up.
///
/// Source: `drivers/base/syscore.c: syscore_suspend(), syscore_resume()`, v6.1, v6.12.
async fn sleep(kx: &Kx) {
    let power = &kx.k.power;
    power.set_cpus_off(true);
    hold_other_cpus(kx, "cpuhp", |kx| kx.k.power.are_cpus_off()).await;
    let irqs = kx.cx().local_irq_save();
    {
        let _frame = kx.enter("syscore_suspend");
        match kx.k.iommu.registered.get() {
            Some(IommuDriver::Intel) => match iommu_suspend(kx).await {
                Ok(state) => {
                    enter(kx).await;
                    iommu_resume(kx, state).await;
                }
                Err(_) => {
                    kx.log(|| "PM: System core suspend callback iommu_suspend failed.".to_owned());
                }
            },
            Some(IommuDriver::Amd) => {
                amd_iommu_suspend(kx).await;
                enter(kx).await;
                amd_iommu_resume(kx).await;
            }
            Some(IommuDriver::Virtio | IommuDriver::Smmu) | None => enter(kx).await,
        }
    }
    power.set_asleep(kx, false);
    kx.cx().local_irq_restore(irqs);
    power.set_cpus_off(false);
}

/// The machine sleeps: devices have no power, and memory keeps what it holds. (`suspend_ops->enter()`)
async fn enter(kx: &Kx) {
    kx.step(Kind::Io, kx.memory_label()).await;
    kx.k.power.set_asleep(kx, true);
    kx.delay(SLEEP).await;
}
