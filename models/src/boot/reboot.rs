//! The machine goes down: for the firmware, or for another kernel.

use std::rc::Rc;

use sim::{Kind, SpawnSpec};

use super::sequence::MS;
use crate::device::power::{Stage, device_shutdown};
use crate::iommu::core::iommu_shutdown;
use crate::kernel::Kx;
use crate::scenario::schema::Reboot;

/// So long another CPU is waited for (`native_stop_other_cpus`); then it gets an NMI.
const STOP_TIMEOUT: u64 = 1_000 * MS;

/// So long it takes another kernel to come to its drivers, which reset their devices.
const NEXT_KERNEL: u64 = 200 * MS;

/// Takes the machine down.
///
/// Source: `kernel/reboot.c: kernel_restart()`, `kernel_power_off()`, `kernel/kexec_core.c: kernel_kexec()`, v6.1, v6.12.
pub async fn kernel_reboot(kx: &Kx, how: Reboot) {
    let function = match how {
        Reboot::Restart => "kernel_restart",
        Reboot::PowerOff => "kernel_power_off",
        Reboot::Kexec => "kernel_kexec",
    };
    let _frame = kx.enter(function);
    kx.k.power.transition(kx).lock(kx.cx()).await;
    if kx.k.power.stage() == Stage::Up {
        if how == Reboot::Kexec {
            kx.k.power.set_kexec();
        }
        // kernel_restart_prepare, kernel_shutdown_prepare
        kx.k.power.set_stage(Stage::GoingDown);
        device_shutdown(kx).await;
        kx.log(|| {
            let line = match how {
                Reboot::Restart => "reboot: Restarting system",
                Reboot::PowerOff => "reboot: Power down",
                Reboot::Kexec => "kexec_core: Starting new kernel",
            };
            line.to_owned()
        });
        machine_shutdown(kx, how).await;
    }
    kx.k.power.transition(kx).unlock(kx.cx());
}

/// One CPU is left, with interrupts off; the IOMMU is turned off, and the machine is handed over.
///
/// Source: `arch/x86/kernel/reboot.c: native_machine_shutdown()`, `arch/x86/kernel/machine_kexec_64.c: machine_kexec()`, v6.1,
/// v6.12.
async fn machine_shutdown(kx: &Kx, how: Reboot) {
    let _frame = kx.enter("native_machine_shutdown");
    let irqs = kx.cx().local_irq_save();
    hold_other_cpus(kx, "reboot", |kx| !kx.k.power.is_over()).await;
    iommu_shutdown(kx).await;
    if how == Reboot::Kexec {
        let _frame = kx.enter("machine_kexec");
        kx.step(Kind::Io, kx.memory_label()).await;
        kx.k.power.set_stage(Stage::NextKernel);
        kx.delay(NEXT_KERNEL).await;
    }
    // The firmware, or the next kernel's drivers, have all devices now.
    kx.k.power.set_stage(Stage::Over);
    kx.k.power.wake_all(kx);
    kx.cx().local_irq_restore(irqs);
}

/// Holds all other CPUs in an interrupt for as long as `held`, and waits until they are there. What they were at stays as it is.
///
/// Source: `arch/x86/kernel/smp.c: native_stop_other_cpus()`, `kernel/cpu.c: freeze_secondary_cpus()`, v6.1, v6.12.
pub(super) async fn hold_other_cpus(kx: &Kx, name: &'static str, held: fn(&Kx) -> bool) {
    let power = &kx.k.power;
    let own = kx.cpu();
    let others = kx.k.cpus().saturating_sub(1);
    power.held_cpus.set(0);
    for cpu in (0..kx.k.cpus()).filter(|cpu| *cpu != own) {
        let k = Rc::clone(&kx.k);
        kx.spawn(SpawnSpec::hardirq(name, cpu), move |cx| async move {
            let kx = Kx::new(cx, k);
            kx.k.power.held_cpus.set(kx.k.power.held_cpus.get() + 1);
            while held(&kx) {
                kx.delay(5 * MS).await;
            }
        });
    }
    let until = kx.now().saturating_add(STOP_TIMEOUT);
    while power.held_cpus.get() < u32::from(others) && kx.now() < until {
        kx.delay(MS / 10).await;
    }
}
