//! Devices go to sleep, and wake up.
//!
//! Source: `drivers/base/power/main.c`, v6.12. In 6.1 those that may go on beside others begin to wake up in their turn; here
//! they begin at once, as from 6.9 on.

use std::rc::Rc;

use sim::SpawnSpec;

use super::bus;
use super::node::is_async;
use crate::device::DeviceNode;
use crate::device::deferred::{driver_deferred_probe_trigger, wait_for_device_probe};
use crate::device::links::{dpm_list_lock, dpm_list_unlock, dpm_wait_for_consumers, dpm_wait_for_suppliers};
use crate::driver::PmPhase;
use crate::kernel::Kx;
use crate::scenario::intern;

/// The devices that take part, in the order of `dpm_list`.
#[derive(Debug)]
pub struct Sleepers(Vec<Rc<DeviceNode>>);

/// Nobody is bound any more; all devices are on the list of those that go to sleep.
///
/// Source: `drivers/base/power/main.c: dpm_prepare()`, v6.1, v6.12.
pub async fn dpm_prepare(kx: &Kx) -> Sleepers {
    let _frame = kx.enter("dpm_prepare");
    wait_for_device_probe(kx).await;
    kx.k.power.block_probing(true);
    dpm_list_lock(kx).await;
    let listed = kx.k.links.order();
    let nodes: Vec<_> = listed.into_iter().filter_map(|index| kx.k.node(index)).collect();
    dpm_list_unlock(kx);
    for node in &nodes {
        node.lock.lock(kx.cx()).await;
        node.power.depth.set(0);
        node.lock.unlock(kx.cx());
    }
    Sleepers(nodes)
}

/// Suspends all devices, through all phases. `between` is called before the last one, when interrupts of devices go.
///
/// # Errors
/// A driver refused; the devices that have been suspended are to be resumed.
pub async fn dpm_suspend(kx: &Kx, sleepers: &Sleepers, phase: PmPhase) -> Result<(), u32> {
    let _frame = kx.enter(function(phase));
    if phase == PmPhase::SuspendNoirq {
        kx.k.power.hold_irqs(kx, true);
    }
    kx.k.power.async_error.set(0);
    dpm_list_lock(kx).await;
    for node in sleepers.0.iter().rev() {
        if spawn_async(kx, node, phase) {
            continue;
        }
        dpm_list_unlock(kx);
        device_suspend(kx, node, phase, false).await;
        dpm_list_lock(kx).await;
        if kx.k.power.async_error.get() != 0 {
            break;
        }
    }
    dpm_list_unlock(kx);
    async_synchronize_full(kx).await;
    match kx.k.power.async_error.get() {
        0 => Ok(()),
        error => Err(error),
    }
}

/// Resumes all devices that have been through the phase that this one undoes.
pub async fn dpm_resume(kx: &Kx, sleepers: &Sleepers, phase: PmPhase) {
    let _frame = kx.enter(function(phase));
    dpm_list_lock(kx).await;
    for node in &sleepers.0 {
        node.power.async_in_progress.set(spawn_async(kx, node, phase));
    }
    for node in &sleepers.0 {
        if node.power.async_in_progress.get() {
            continue;
        }
        dpm_list_unlock(kx);
        device_resume(kx, node, phase, false).await;
        dpm_list_lock(kx).await;
    }
    dpm_list_unlock(kx);
    async_synchronize_full(kx).await;
    match phase {
        PmPhase::ResumeNoirq => kx.k.power.hold_irqs(kx, false),
        // dpm_complete: who was to be bound meanwhile is tried again.
        PmPhase::Resume => {
            let _frame = kx.enter("dpm_complete");
            kx.k.power.block_probing(false);
            driver_deferred_probe_trigger(kx).await;
        }
        _ => {}
    }
}

const fn function(phase: PmPhase) -> &'static str {
    match phase {
        PmPhase::Suspend => "dpm_suspend",
        PmPhase::SuspendLate => "dpm_suspend_late",
        PmPhase::SuspendNoirq => "dpm_suspend_noirq",
        PmPhase::ResumeNoirq => "dpm_resume_noirq",
        PmPhase::ResumeEarly => "dpm_resume_early",
        PmPhase::Resume => "dpm_resume",
    }
}

/// How many phases of a suspend are behind a device when this one is done, or is to be undone.
const fn depth(phase: PmPhase) -> u8 {
    match phase {
        PmPhase::Suspend | PmPhase::Resume => 1,
        PmPhase::SuspendLate | PmPhase::ResumeEarly => 2,
        PmPhase::SuspendNoirq | PmPhase::ResumeNoirq => 3,
    }
}

/// Begins a device's operation in a context of its own, if that may be.
///
/// Source: `drivers/base/power/main.c: dpm_async_fn()`, v6.12.
fn spawn_async(kx: &Kx, node: &Rc<DeviceNode>, phase: PmPhase) -> bool {
    node.power.begin();
    if !is_async(kx, node) {
        return false;
    }
    let name = intern(&format!("kworker/u16:async {}", node.bdf)).unwrap_or("kworker");
    let power = &kx.k.power;
    power.async_left.set(power.async_left.get() + 1);
    let (k, node) = (Rc::clone(&kx.k), Rc::clone(node));
    // Any CPU but those that are held: there are none yet, or no more.
    let cpu = u8::try_from(node.index % usize::from(kx.k.cpus().max(1))).unwrap_or(0);
    kx.spawn(SpawnSpec::task(name, cpu), move |cx| async move {
        let kx = Kx::new(cx, k);
        if phase.wakes() {
            device_resume(&kx, &node, phase, true).await;
        } else {
            device_suspend(&kx, &node, phase, true).await;
        }
        let power = &kx.k.power;
        power.async_left.set(power.async_left.get() - 1);
        power.async_done(&kx).wake_all(kx.cx());
    });
    true
}

/// Source: `kernel/async.c: async_synchronize_full()`, v6.12.
async fn async_synchronize_full(kx: &Kx) {
    let power = &kx.k.power;
    while power.async_left.get() > 0 {
        power.async_done(kx).wait(kx.cx()).await;
    }
    power.async_done(kx).see(kx.cx());
}

/// One device goes to sleep, after all that need it.
///
/// Source: `drivers/base/power/main.c: device_suspend()`, `device_suspend_late()`, `device_suspend_noirq()`, v6.12.
async fn device_suspend(kx: &Kx, node: &Rc<DeviceNode>, phase: PmPhase, asynchronous: bool) {
    let _frame = kx.enter("device_suspend");
    dpm_wait_for_consumers(kx, node, asynchronous).await;
    let error = &kx.k.power.async_error;
    if error.get() == 0 && node.present.get() {
        let locked = phase == PmPhase::Suspend;
        if locked {
            node.lock.lock(kx.cx()).await;
        }
        match bus::callback(kx, node, phase).await {
            Ok(()) => node.power.depth.set(depth(phase)),
            Err(errno) => {
                kx.log(|| format!("{}: PM: failed to suspend: error -{errno}", node.bdf));
                error.set(errno);
            }
        }
        if locked {
            node.lock.unlock(kx.cx());
        }
    }
    node.power.complete(kx);
}

/// One device wakes up, after all that it needs.
///
/// Source: `drivers/base/power/main.c: device_resume_noirq()`, `device_resume_early()`, `device_resume()`, v6.12.
async fn device_resume(kx: &Kx, node: &Rc<DeviceNode>, phase: PmPhase, asynchronous: bool) {
    let _frame = kx.enter("device_resume");
    if node.present.get() && node.power.depth.get() >= depth(phase) {
        dpm_wait_for_suppliers(kx, node, asynchronous).await;
        let locked = phase == PmPhase::Resume;
        if locked {
            node.lock.lock(kx.cx()).await;
        }
        if let Err(errno) = bus::callback(kx, node, phase).await {
            kx.log(|| format!("{}: PM: failed to resume: error -{errno}", node.bdf));
        }
        node.power.depth.set(depth(phase) - 1);
        if locked {
            node.lock.unlock(kx.cx());
        }
    }
    node.power.complete(kx);
}
