//! How far the machine as a whole is on its way.

use std::fmt;

use sim::cell::{Cell, OnceCell};
use sim::sync::{LockClass, Mutex, WaitQueue};

use crate::kernel::Kx;

/// Class of `system_transition_mutex`.
const SYSTEM_TRANSITION_MUTEX: LockClass = LockClass::new(13, "system_transition_mutex");

/// How far the machine is on its way down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It runs.
    #[default]
    Up,
    /// It goes down (`SYSTEM_RESTART`, `SYSTEM_POWER_OFF`).
    GoingDown,
    /// Another kernel has taken over, and has not come to its drivers yet: all memory is its own.
    NextKernel,
    /// It is off, or another kernel has all devices: what contexts do from here on is nobody's.
    Over,
}

/// State of the machine as a whole.
#[derive(Default)]
pub struct Power {
    stage: Cell<Stage>,
    /// `kexec_in_progress`.
    kexec: Cell<bool>,
    /// The machine sleeps: devices have no power.
    asleep: Cell<bool>,
    /// Devices' interrupts are held back (`suspend_device_irqs`).
    irqs_held: Cell<bool>,
    /// `defer_all_probes`.
    probing_blocked: Cell<bool>,
    /// Tasks are to freeze, or are frozen (`pm_freezing`).
    freezing: Cell<bool>,
    /// Tasks of user space, and those of them that are frozen or will be before they do anything.
    tasks: Cell<u32>,
    frozen: Cell<u32>,
    /// All CPUs but one are off.
    cpus_off: Cell<bool>,
    /// CPUs that are held in a loop of their own.
    pub(crate) held_cpus: Cell<u32>,
    /// Devices that rest.
    quiet: Cell<u32>,
    /// Operations of devices that go on in contexts of their own.
    pub(super) async_left: Cell<u32>,
    /// The first error of one of them; 0 for none.
    pub(super) async_error: Cell<u32>,
    async_done: OnceCell<WaitQueue>,
    transition: OnceCell<Mutex>,
    thawed: OnceCell<WaitQueue>,
}

impl fmt::Debug for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Power").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Power {
    /// How far it is on its way down.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Goes on to the next stage.
    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.set(stage);
    }

    /// Whether the machine is off: nothing counts any more.
    #[inline]
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stage.get() == Stage::Over
    }

    /// Whether another kernel is to follow at once.
    #[must_use]
    pub fn is_kexec(&self) -> bool {
        self.kexec.get()
    }

    /// Says so.
    pub(crate) fn set_kexec(&self) {
        self.kexec.set(true);
    }

    /// Whether the machine sleeps.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.asleep.get()
    }

    /// Goes to sleep or wakes up; then devices that wait go on.
    pub(crate) fn set_asleep(&self, kx: &Kx, asleep: bool) {
        self.asleep.set(asleep);
        if !asleep {
            self.wake_devices(kx);
        }
    }

    /// Whether all CPUs but one are off.
    #[must_use]
    pub fn are_cpus_off(&self) -> bool {
        self.cpus_off.get()
    }

    /// Turns them off or on.
    pub(crate) fn set_cpus_off(&self, off: bool) {
        self.cpus_off.set(off);
    }

    /// Whether no driver may be bound now.
    #[must_use]
    pub fn is_probing_blocked(&self) -> bool {
        self.probing_blocked.get()
    }

    /// Source: `drivers/base/dd.c: device_block_probing()`, `device_unblock_probing()`, v6.1, v6.12.
    pub(crate) fn block_probing(&self, blocked: bool) {
        self.probing_blocked.set(blocked);
    }

    /// Whether any device rests.
    #[must_use]
    pub fn has_quiet(&self) -> bool {
        self.quiet.get() > 0
    }

    pub(super) fn count_quiet(&self, was: bool, is: bool) {
        let quiet = self.quiet.get();
        self.quiet.set(quiet + u32::from(is && !was) - u32::from(was && !is));
    }

    /// `system_transition_mutex`.
    pub(crate) fn transition(&self, kx: &Kx) -> &Mutex {
        self.transition.get_or_init(|| Mutex::new(kx.cx(), SYSTEM_TRANSITION_MUTEX))
    }

    pub(super) fn async_done(&self, kx: &Kx) -> &WaitQueue {
        self.async_done.get_or_init(|| WaitQueue::new(kx.cx(), "async_done"))
    }

    fn thawed(&self, kx: &Kx) -> &WaitQueue {
        self.thawed.get_or_init(|| WaitQueue::new(kx.cx(), "thawed"))
    }

    /// Holds back the interrupts of devices, or lets them come again.
    pub(crate) fn hold_irqs(&self, kx: &Kx, held: bool) {
        self.irqs_held.set(held);
        if !held {
            self.thawed(kx).wake_all(kx.cx());
        }
    }

    /// A device's interrupt comes when interrupts of devices do.
    pub(crate) async fn wait_for_irqs(&self, kx: &Kx) {
        while self.irqs_held.get() && !self.is_over() {
            self.thawed(kx).wait(kx.cx()).await;
        }
    }

    /// Who waits for power looks again.
    pub(crate) fn wake_devices(&self, kx: &Kx) {
        for node in kx.k.devices.borrow().iter() {
            node.power.wake(kx);
        }
    }

    /// Everybody who waits for something that comes no more goes on.
    pub(crate) fn wake_all(&self, kx: &Kx) {
        self.wake_devices(kx);
        self.thawed(kx).wake_all(kx.cx());
        let nodes: Vec<_> = kx.k.devices.borrow().iter().cloned().collect();
        for node in nodes {
            if let Some(instance) = node.instance.borrow().as_ref() {
                crate::driver::wake_all(kx, instance);
            }
        }
    }

    /// A task of user space begins, or ends.
    pub(crate) fn count_task(&self, begins: bool) {
        self.tasks.set(if begins { self.tasks.get() + 1 } else { self.tasks.get().saturating_sub(1) });
    }

    /// Tells tasks to freeze, or lets them go on.
    pub(crate) fn set_freezing(&self, kx: &Kx, freezing: bool) {
        self.freezing.set(freezing);
        if !freezing {
            self.thawed(kx).wake_all(kx.cx());
        }
    }

    /// Tasks that are neither frozen nor asleep, but for the one that asks.
    pub(crate) fn tasks_at_work(&self) -> u32 {
        self.tasks.get().saturating_sub(1).saturating_sub(self.frozen.get())
    }

    /// A task sleeps so that it can be frozen there (`freezable` sleeps), or wakes up.
    pub(crate) fn count_frozen(&self, frozen: bool) {
        self.frozen.set(if frozen { self.frozen.get() + 1 } else { self.frozen.get().saturating_sub(1) });
    }

    /// Where a task can be frozen.
    ///
    /// Source: `include/linux/freezer.h: try_to_freeze()`, v6.1, v6.12.
    pub(crate) async fn try_to_freeze(&self, kx: &Kx) {
        if !self.freezing.get() {
            return;
        }
        self.count_frozen(true);
        self.wait_until_thawed(kx).await;
        self.count_frozen(false);
    }

    /// Waits until tasks may go on.
    pub(crate) async fn wait_until_thawed(&self, kx: &Kx) {
        while self.freezing.get() && !self.is_over() {
            self.thawed(kx).wait(kx.cx()).await;
        }
    }
}
