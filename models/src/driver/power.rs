//! What a driver does when the machine goes down, goes to sleep, or has all that need its device.

use std::rc::Rc;

use sim::sync::WaitQueue;

use super::exec::{Flow, run_block};
use super::instance::{Env, Instance, wait_all};
use super::program::Block;
use crate::kernel::Kx;

/// Where the machine is on its way to sleep and back.
///
/// Source: `drivers/base/power/main.c`, v6.1, v6.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PmPhase {
    /// `dpm_suspend`.
    Suspend,
    /// `dpm_suspend_late`.
    SuspendLate,
    /// `dpm_noirq_suspend_devices`.
    SuspendNoirq,
    /// `dpm_noirq_resume_devices`.
    ResumeNoirq,
    /// `dpm_resume_early`.
    ResumeEarly,
    /// `dpm_resume`.
    Resume,
}

impl PmPhase {
    /// Whether the machine wakes up.
    #[must_use]
    pub const fn wakes(self) -> bool {
        matches!(self, Self::ResumeNoirq | Self::ResumeEarly | Self::Resume)
    }
}

/// Where a queue may rest: if it is to, it waits until its device has done what it asked for, and then until it may go on.
pub(super) async fn rest(kx: &Kx, env: &Env) {
    let instance = &env.instance;
    if !instance.halted.get() || env.is_probe || env.is_irq() || kx.atomic_reason().is_some() {
        return;
    }
    wait_all(kx, env).await;
    instance.resting.set(instance.resting.get() + 1);
    instance.idle.wake_all(kx);
    while instance.halted.get() && !instance.going.get() && !kx.k.power.is_over() {
        instance.awake.get_or_init(|| WaitQueue::new(kx.cx(), "driver awake")).wait(kx).await;
    }
    instance.resting.set(instance.resting.get() - 1);
}

/// Has a device's queues rest, as `blk_mq_quiesce_queue` and `netif_device_detach` do, and waits until they do.
async fn halt(kx: &Kx, instance: &Instance) {
    instance.halted.set(true);
    while instance.resting.get() < instance.running.get() && !kx.k.power.is_over() {
        instance.idle.wait(kx).await;
    }
    instance.idle.see(kx);
}

/// Lets them go on.
fn go_on(kx: &Kx, instance: &Instance) {
    instance.halted.set(false);
    wake_resting(kx, instance);
}

/// Queues that rest look again.
pub(super) fn wake_resting(kx: &Kx, instance: &Instance) {
    if let Some(awake) = instance.awake.get() {
        awake.wake_all(kx);
    }
}

/// When the machine is off: whoever rests need not wait any longer.
pub fn wake_all(kx: &Kx, instance: &Instance) {
    wake_resting(kx, instance);
    instance.idle.wake_all(kx);
}

async fn call(kx: &Kx, instance: &Rc<Instance>, body: Block) -> Result<(), u32> {
    let env = Env::new(kx, instance, true);
    match run_block(kx, &env, &body).await {
        Flow::Next => Ok(()),
        Flow::Return(errno) => Err(errno),
    }
}

/// The driver's `shutdown`. Returns whether it has one.
pub async fn shutdown(kx: &Kx, instance: &Rc<Instance>) -> bool {
    let Some(body) = instance.program(kx).shutdown.clone() else { return false };
    halt(kx, instance).await;
    let _ = call(kx, instance, body).await;
    true
}

/// Whether a driver has a `struct dev_pm_ops`.
#[must_use]
pub fn has_pm(kx: &Kx, instance: &Instance) -> bool {
    instance.program(kx).pm.is_some()
}

/// The driver's callback for one phase.
///
/// # Errors
/// The positive error number that it returns: the machine does not go to sleep then.
pub async fn pm_callback(kx: &Kx, instance: &Rc<Instance>, phase: PmPhase) -> Result<(), u32> {
    let Some(pm) = instance.program(kx).pm.clone() else { return Ok(()) };
    if phase == PmPhase::Suspend {
        halt(kx, instance).await;
    }
    let done = call(kx, instance, std::sync::Arc::clone(&pm[phase as usize])).await;
    if phase == PmPhase::Resume || phase == PmPhase::Suspend && done.is_err() {
        go_on(kx, instance);
    }
    done
}

/// Whether a driver has a `sync_state`.
#[must_use]
pub fn has_sync_state(kx: &Kx, instance: &Instance) -> bool {
    instance.program(kx).sync_state.is_some()
}

/// The driver's `sync_state`.
pub async fn sync_state(kx: &Kx, instance: &Rc<Instance>) {
    if let Some(body) = instance.program(kx).sync_state.clone() {
        let _ = call(kx, instance, body).await;
    }
}
