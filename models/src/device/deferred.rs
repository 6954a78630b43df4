//! Probes that are put off until another device has got its driver.
//!
//! Source: `drivers/base/dd.c`, v6.1, v6.12. A machine without device links puts probes off by a time instead
//! (`super::probe`): nothing in it says what they wait for.

use std::fmt;
use std::rc::Rc;

use sim::cell::{Cell, OnceCell, RefCell};
use sim::sync::{LockClass, Mutex, WaitQueue};
use sim::{DelayedWork, Work};

use super::DeviceNode;
use super::links::{device_pm_move_to_tail, fw_devlink_no_driver, fw_devlink_probing_done};
use super::probe::device_attach;
use crate::kernel::Kx;

/// Class of `deferred_probe_mutex`.
const DEFERRED_PROBE_MUTEX: LockClass = LockClass::new(11, "deferred_probe_mutex");

/// `driver_deferred_probe_timeout`, in nanoseconds.
const TIMEOUT: u64 = 10_000_000_000;

/// Devices that are to be probed again.
#[derive(Default)]
pub struct DeferredProbes {
    mutex: OnceCell<Mutex>,
    /// Those that wait for somebody (`deferred_probe_pending_list`).
    pending: RefCell<Vec<Rc<DeviceNode>>>,
    /// Those that are tried again now (`deferred_probe_active_list`).
    active: RefCell<Vec<Rc<DeviceNode>>>,
    /// How often somebody has got a driver (`deferred_trigger_count`).
    triggers: Cell<u32>,
    /// Probes that go on (`probe_count`).
    probes: Cell<u32>,
    /// `probe_waitqueue`.
    idle: OnceCell<WaitQueue>,
    work: OnceCell<Work>,
    timeout: OnceCell<DelayedWork>,
    /// Whether the initcalls are over (`driver_deferred_probe_enable`).
    enabled: Cell<bool>,
}

impl fmt::Debug for DeferredProbes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferredProbes").field("pending", &self.pending).finish_non_exhaustive()
    }
}

impl DeferredProbes {
    /// Addresses of the devices that wait (`/sys/kernel/debug/devices_deferred`).
    #[must_use]
    pub fn pending(&self) -> Vec<&'static str> {
        self.pending.borrow().iter().map(|node| node.bdf).collect()
    }
}

fn mutex(kx: &Kx) -> &Mutex {
    kx.k.deferred.mutex.get_or_init(|| Mutex::new(kx.cx(), DEFERRED_PROBE_MUTEX))
}

fn idle(kx: &Kx) -> &WaitQueue {
    kx.k.deferred.idle.get_or_init(|| WaitQueue::new(kx.cx(), "probe_waitqueue"))
}

fn work(kx: &Kx) -> &Work {
    kx.k.deferred.work.get_or_init(|| {
        let k = Rc::downgrade(&kx.k);
        Work::new(kx.cx(), "kworker/u16:deferred_probe", move |cx| {
            let k = k.upgrade();
            async move {
                if let Some(k) = k {
                    deferred_probe_work_func(&Kx::new(cx, k)).await;
                }
            }
        })
    })
}

/// A probe that goes on, until it is dropped.
#[derive(Debug)]
pub(super) struct Probing<'a> {
    kx: &'a Kx,
    triggers: u32,
}

impl<'a> Probing<'a> {
    pub(super) fn begin(kx: &'a Kx) -> Self {
        let deferred = &kx.k.deferred;
        deferred.probes.set(deferred.probes.get() + 1);
        Self { kx, triggers: deferred.triggers.get() }
    }

    /// Its device is to be tried again. If somebody got a driver meanwhile, that may have been what it waits for.
    ///
    /// Source: `drivers/base/dd.c: driver_probe_device()`, v6.1, v6.12.
    pub(super) async fn defer(&self, node: &Rc<DeviceNode>) {
        driver_deferred_probe_add(self.kx, node).await;
        if self.kx.k.deferred.triggers.get() != self.triggers {
            driver_deferred_probe_trigger(self.kx).await;
        }
    }
}

impl Drop for Probing<'_> {
    fn drop(&mut self) {
        let deferred = &self.kx.k.deferred;
        deferred.probes.set(deferred.probes.get().saturating_sub(1));
        if self.kx.k.links.in_use() || deferred.idle.get().is_some() {
            idle(self.kx).wake_all(self.kx.cx());
        }
    }
}

/// Source: `drivers/base/dd.c: driver_deferred_probe_add()`, v6.1, v6.12.
pub(super) async fn driver_deferred_probe_add(kx: &Kx, node: &Rc<DeviceNode>) {
    if kx.k.driver_for(node).is_none() {
        return;
    }
    mutex(kx).lock(kx.cx()).await;
    let listed =
        |list: &RefCell<Vec<Rc<DeviceNode>>>| list.borrow().iter().any(|other| Rc::ptr_eq(other, node));
    if !listed(&kx.k.deferred.pending) && !listed(&kx.k.deferred.active) {
        kx.k.deferred.pending.borrow_mut().push(Rc::clone(node));
        kx.note(|| format!("{}: added to deferred list", node.bdf));
    }
    mutex(kx).unlock(kx.cx());
}

/// Source: `drivers/base/dd.c: driver_deferred_probe_del()`, v6.1, v6.12.
pub(super) async fn driver_deferred_probe_del(kx: &Kx, node: &Rc<DeviceNode>) {
    if !kx.k.links.in_use() {
        return;
    }
    mutex(kx).lock(kx.cx()).await;
    for list in [&kx.k.deferred.pending, &kx.k.deferred.active] {
        list.borrow_mut().retain(|other| !Rc::ptr_eq(other, node));
    }
    mutex(kx).unlock(kx.cx());
}

/// Somebody has got a driver: all who wait are tried again.
///
/// Source: `drivers/base/dd.c: driver_deferred_probe_trigger()`, v6.1, v6.12.
pub(super) async fn driver_deferred_probe_trigger(kx: &Kx) {
    let deferred = &kx.k.deferred;
    if !kx.k.links.in_use() || !deferred.enabled.get() {
        return;
    }
    mutex(kx).lock(kx.cx()).await;
    deferred.triggers.set(deferred.triggers.get().wrapping_add(1));
    let waiting = deferred.pending.take();
    deferred.active.borrow_mut().extend(waiting);
    mutex(kx).unlock(kx.cx());
    work(kx).queue(kx.cx(), kx.cpu()).await;
}

/// Source: `drivers/base/dd.c: deferred_probe_work_func()`, v6.1, v6.12.
async fn deferred_probe_work_func(kx: &Kx) {
    let _frame = kx.enter("deferred_probe_work_func");
    loop {
        mutex(kx).lock(kx.cx()).await;
        let next = {
            let mut active = kx.k.deferred.active.borrow_mut();
            (!active.is_empty()).then(|| active.remove(0))
        };
        mutex(kx).unlock(kx.cx());
        let Some(node) = next else { return };
        if node.match_driver.get() && node.present.get() {
            device_pm_move_to_tail(kx, &node);
            let _frame = kx.enter("bus_probe_device");
            device_attach(kx, &node).await;
        }
    }
}

/// Waits until nobody is being probed, and nobody is about to be.
///
/// Source: `drivers/base/dd.c: wait_for_device_probe()`, v6.1, v6.12.
pub(super) async fn wait_for_device_probe(kx: &Kx) {
    let _frame = kx.enter("wait_for_device_probe");
    work(kx).flush(kx.cx()).await;
    while kx.k.deferred.probes.get() > 0 {
        idle(kx).wait(kx.cx()).await;
    }
}

/// The built-in drivers are there: from now on a bound driver lets those who wait be tried again, and in some seconds nobody
/// waits for a device without a driver any more.
///
/// Source: `drivers/base/dd.c: deferred_probe_initcall()`, v6.1, v6.12.
pub async fn deferred_probe_initcall(kx: &Kx) {
    if !kx.k.links.in_use() {
        return;
    }
    let _frame = kx.enter("deferred_probe_initcall");
    kx.k.deferred.enabled.set(true);
    driver_deferred_probe_trigger(kx).await;
    work(kx).flush(kx.cx()).await;
    let k = Rc::downgrade(&kx.k);
    let timeout = kx.k.deferred.timeout.get_or_init(|| {
        DelayedWork::new(kx.cx(), "kworker/u16:probe_timeout", 0, move |cx| {
            let k = k.upgrade();
            async move {
                if let Some(k) = k {
                    deferred_probe_timeout_work_func(&Kx::new(cx, k)).await;
                }
            }
        })
    });
    timeout.queue(kx.cx(), TIMEOUT).await;
}

/// Source: `drivers/base/dd.c: deferred_probe_timeout_work_func()`, v6.1, v6.12.
async fn deferred_probe_timeout_work_func(kx: &Kx) {
    let _frame = kx.enter("deferred_probe_timeout_work_func");
    fw_devlink_no_driver(kx).await;
    driver_deferred_probe_trigger(kx).await;
    work(kx).flush(kx.cx()).await;
    for bdf in kx.k.deferred.pending() {
        kx.log(|| format!("{bdf}: deferred probe pending"));
    }
    fw_devlink_probing_done(kx).await;
}
