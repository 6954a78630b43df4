//! When all that need a device have their drivers, its driver is told (`sync_state`): what the boot loader left on, and nobody
//! has asked for since, can go.
//!
//! Source: `drivers/base/core.c`, v6.1, v6.12. A machine in whose drivers there is none takes no step for it.

use std::rc::Rc;

use sim::cell::{Cell, RefCell};

use super::{DeviceLink, LinkFlags, LinkState, flags, status, write_lock, write_unlock};
use crate::device::DeviceNode;
use crate::driver;
use crate::kernel::Kx;
use crate::profile::Version;

/// Who is to be looked at when nothing holds it back any more.
#[derive(Debug)]
pub(super) struct Settling {
    /// `defer_sync_state_count`: until the last of the initcalls nobody is told.
    held_back: Cell<u32>,
    /// `deferred_sync`.
    deferred: RefCell<Vec<Rc<DeviceNode>>>,
}

impl Default for Settling {
    fn default() -> Self {
        Self { held_back: Cell::new(1), deferred: RefCell::default() }
    }
}

/// Source: `include/linux/device.h: dev_has_sync_state()`, v6.1, v6.12.
fn has_sync_state(kx: &Kx, node: &DeviceNode) -> bool {
    node.instance.borrow().as_ref().is_some_and(|instance| driver::has_sync_state(kx, instance))
}

/// A device has got its driver, or one that needs it has. The caller holds `device_links_lock`, and tells those on `list` when
/// it has given that back.
///
/// Source: `drivers/base/core.c: __device_links_queue_sync_state()`, `__device_links_supplier_defer_sync()`, v6.1, v6.12.
pub(super) async fn queue_sync_state(kx: &Kx, node: &Rc<DeviceNode>, list: &mut Vec<Rc<DeviceNode>>) {
    if !has_sync_state(kx, node) {
        return;
    }
    let settling = &kx.k.links.settling;
    if settling.held_back.get() > 0 {
        let mut deferred = settling.deferred.borrow_mut();
        if !deferred.iter().any(|other| Rc::ptr_eq(other, node)) {
            deferred.push(Rc::clone(node));
        }
        return;
    }
    if node.links.state_synced.get() {
        return;
    }
    for link in node.links.consumers() {
        let state = status(kx, link).await;
        if flags(kx, link).await.has(LinkFlags::MANAGED) && state != LinkState::Active {
            return;
        }
    }
    node.links.state_synced.set(true);
    list.push(Rc::clone(node));
}

/// Tells drivers, under their devices' locks; the caller holds that of `held` already.
///
/// Source: `drivers/base/core.c: device_links_flush_sync_list()`, v6.1, v6.12.
pub(super) async fn flush_sync_list(kx: &Kx, list: Vec<Rc<DeviceNode>>, held: Option<&DeviceNode>) {
    for node in list {
        let lock = held.is_none_or(|held| held.index != node.index);
        match held {
            // Device locks have no order of their own (`lockdep_set_novalidate_class`).
            Some(_) if lock => node.lock.lock_nested(kx.cx()).await,
            None => node.lock.lock(kx.cx()).await,
            Some(_) => {}
        }
        let instance = node.instance.borrow().clone();
        if let Some(instance) = instance.filter(|_| node.bound.get().is_some()) {
            let _frame = kx.enter("dev_sync_state");
            kx.log(|| format!("{}: sync_state", node.bdf));
            driver::sync_state(kx, &instance).await;
        }
        if lock {
            node.lock.unlock(kx.cx());
        }
    }
}

/// The initcalls are over: nothing is held back any longer.
///
/// Source: `drivers/base/core.c: sync_state_resume_initcall()`, `device_links_supplier_sync_state_resume()`, v6.1, v6.12.
pub async fn sync_state_resume_initcall(kx: &Kx) {
    let settling = &kx.k.links.settling;
    settling.held_back.set(settling.held_back.get().saturating_sub(1));
    let deferred = settling.deferred.take();
    if deferred.is_empty() {
        return;
    }
    let _frame = kx.enter("device_links_supplier_sync_state_resume");
    write_lock(kx).await;
    let mut list = Vec::new();
    for node in deferred {
        queue_sync_state(kx, &node, &mut list).await;
    }
    write_unlock(kx);
    flush_sync_list(kx, list, None).await;
}

/// All drivers have had the time to come. Who still waits for one that needs it is told now, with
/// `fw_devlink.sync_state=timeout`, or goes on waiting.
///
/// Source: `drivers/base/core.c: fw_devlink_probing_done()`, `fw_devlink_dev_sync_state()`, v6.12 (6.4 on).
pub(in crate::device) async fn fw_devlink_probing_done(kx: &Kx) {
    if kx.k.profile().version.base() < Version::V6_4 {
        return;
    }
    let nodes: Vec<_> = kx.k.devices.borrow().iter().cloned().collect();
    let waiting: Vec<_> = nodes
        .into_iter()
        .filter(|node| node.present.get() && has_sync_state(kx, node) && !node.links.state_synced.get())
        .collect();
    if waiting.is_empty() {
        return;
    }
    let _frame = kx.enter("fw_devlink_probing_done");
    let mut list = Vec::new();
    write_lock(kx).await;
    for node in waiting {
        for link in node.links.consumers() {
            let state = status(kx, link).await;
            let managed = flags(kx, link).await.has(LinkFlags::MANAGED);
            if !managed || state == LinkState::Active || node.links.state_synced.get() {
                continue;
            }
            if !kx.k.scenario.command_line.sync_state_timeout {
                let consumer = kx.load_within(link, DeviceLink::consumer).await;
                let consumer = kx.k.node_of(consumer).map_or("?", |consumer| consumer.bdf);
                kx.log(|| format!("{}: sync_state() pending due to {consumer}", node.bdf));
                continue;
            }
            kx.log(|| format!("{}: Timed out. Forcing sync_state()", node.bdf));
            node.links.state_synced.set(true);
            list.push(Rc::clone(&node));
        }
    }
    write_unlock(kx);
    flush_sync_list(kx, list, None).await;
}
