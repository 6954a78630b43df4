//! Making links.

use std::rc::Rc;

use super::{
    DeviceLink, LinkFlags, LinkState, Presence, dpm_list_mtx, flags, set_flags, set_promised, set_status,
    write_lock, write_unlock,
};
use crate::device::DeviceNode;
use crate::device::remove::get_device;
use crate::kernel::Kx;
use crate::mem::Ptr;

/// `sizeof(struct device_link)`.
const DEVICE_LINK_SIZE: u64 = 0x358;

/// Makes a link, or changes the one that there is so that it lives as long as both who asked for it need.
///
/// The consumer and all that depend on it move to the end of the list by which the machine is put to sleep and shut down.
///
/// Source: `drivers/base/core.c: device_link_add()`, v6.1, v6.12. What power management does about it is left out.
///
/// Returns `None` if the flags contradict one another, the supplier is not there, needs the consumer itself, or there is no
/// memory.
pub async fn device_link_add(
    kx: &Kx,
    con: &Rc<DeviceNode>,
    sup: &Rc<DeviceNode>,
    wanted: LinkFlags,
) -> Option<Ptr<DeviceLink>> {
    let _frame = kx.enter("device_link_add");
    if con.index == sup.index || !wanted.are_valid() {
        return None;
    }
    let mut wanted = wanted;
    if !wanted.has(LinkFlags::STATELESS) {
        wanted = wanted | LinkFlags::MANAGED;
    }
    write_lock(kx).await;
    dpm_list_mtx(kx).lock(kx.cx()).await;
    let link = add_locked(kx, con, sup, wanted).await;
    dpm_list_mtx(kx).unlock(kx.cx());
    write_unlock(kx);
    link
}

async fn add_locked(
    kx: &Kx,
    con: &Rc<DeviceNode>,
    sup: &Rc<DeviceNode>,
    mut wanted: LinkFlags,
) -> Option<Ptr<DeviceLink>> {
    let sync_only = wanted.has(LinkFlags::SYNC_STATE_ONLY);
    if !sup.present.get() || !sync_only && device_is_dependent(kx, con, sup) {
        return None;
    }
    if sync_only && !matches!(con.links.status(), Presence::NoDriver | Presence::Probing) {
        return None;
    }
    if wanted.has(LinkFlags::AUTOREMOVE_SUPPLIER) {
        wanted = wanted.without(LinkFlags::AUTOREMOVE_CONSUMER);
    }
    for link in sup.links.consumers() {
        let at = kx.load(link, DeviceLink::consumer).await;
        if at == con.ptr.get() {
            if change(kx, link, con, sup, wanted).await {
                device_reorder_to_tail(kx, con);
            }
            return Some(link);
        }
    }
    let object = Rc::new(DeviceLink::default());
    let link = kx.kzalloc(DEVICE_LINK_SIZE, Rc::clone(&object)).await.ok()?;
    get_device(kx, sup).await;
    get_device(kx, con).await;
    // Nobody else sees it before it is on the lists.
    object.supplier.set(sup.ptr.get());
    object.consumer.set(con.ptr.get());
    object.flags.set(wanted.0);
    object.kref.set(1);
    let state = if wanted.has(LinkFlags::STATELESS) {
        LinkState::None
    } else {
        LinkState::initial(con.links.status(), sup.links.status())
    };
    object.status.set(state.number());
    object.promised.set(matches!(state, LinkState::ConsumerProbe | LinkState::Active));
    kx.step(sim::Kind::Write, kx.label(link.id, 0)).await;
    sup.links.consumers.borrow_mut().push(link);
    con.links.suppliers.borrow_mut().push(link);
    if sync_only {
        kx.note(|| format!("{}: linked as a sync state only consumer to {}", con.bdf, sup.bdf));
        return Some(link);
    }
    device_reorder_to_tail(kx, con);
    kx.note(|| format!("{}: linked as a consumer to {}, {}", con.bdf, sup.bdf, state.name()));
    Some(link)
}

/// A link that there is serves one more. Returns whether the consumer has to move to the end of the lists.
async fn change(
    kx: &Kx,
    link: Ptr<DeviceLink>,
    con: &DeviceNode,
    sup: &DeviceNode,
    wanted: LinkFlags,
) -> bool {
    let old = flags(kx, link).await;
    let mut new = old;
    if !wanted.has(LinkFlags::INFERRED) {
        new = new.without(LinkFlags::INFERRED);
    }
    if wanted.has(LinkFlags::PM_RUNTIME) {
        new = new | LinkFlags::PM_RUNTIME;
    }
    if wanted.has(LinkFlags::STATELESS) {
        let count = kx.load_within(link, DeviceLink::kref).await;
        kx.store(link, DeviceLink::kref, count + 1).await;
        set_flags(kx, link, new | LinkFlags::STATELESS).await;
        return old.has(LinkFlags::SYNC_STATE_ONLY) && !old.has(LinkFlags::STATELESS);
    }
    let removes = LinkFlags::AUTOREMOVE_CONSUMER | LinkFlags::AUTOREMOVE_SUPPLIER;
    if wanted.has(LinkFlags::AUTOREMOVE_SUPPLIER) {
        if new.has(LinkFlags::AUTOREMOVE_CONSUMER) {
            new = new.without(LinkFlags::AUTOREMOVE_CONSUMER) | LinkFlags::AUTOREMOVE_SUPPLIER;
        }
    } else if !wanted.has(LinkFlags::AUTOREMOVE_CONSUMER) {
        new = new.without(removes);
    }
    if !old.has(LinkFlags::MANAGED) {
        let count = kx.load_within(link, DeviceLink::kref).await;
        kx.store(link, DeviceLink::kref, count + 1).await;
        new = new | LinkFlags::MANAGED;
        let state = LinkState::initial(con.links.status(), sup.links.status());
        set_status(kx, link, state).await;
        set_promised(kx, link, matches!(state, LinkState::ConsumerProbe | LinkState::Active));
    }
    let reorders = new.has(LinkFlags::SYNC_STATE_ONLY) && !wanted.has(LinkFlags::SYNC_STATE_ONLY);
    if reorders {
        new = new.without(LinkFlags::SYNC_STATE_ONLY);
    }
    set_flags(kx, link, new).await;
    reorders
}

/// Whether `target` needs `node`, or one that needs `node`. The caller holds `device_links_lock`.
///
/// Source: `drivers/base/core.c: device_is_dependent()`, v6.1, v6.12; no device has children here.
fn device_is_dependent(kx: &Kx, node: &Rc<DeviceNode>, target: &DeviceNode) -> bool {
    dependants(kx, node).contains(&target.index)
}

/// A device and all that need it, each behind those that it needs. The kernel comes by a device once for each way that leads
/// to it and moves it each time: what counts is the last. That order, backwards, is the one in which a walk that takes the
/// links from their ends leaves the devices.
fn dependants(kx: &Kx, node: &Rc<DeviceNode>) -> Vec<usize> {
    let (mut seen, mut left) = (Vec::new(), Vec::new());
    walk(kx, node, &mut seen, &mut left);
    left.reverse();
    left
}

fn walk(kx: &Kx, node: &Rc<DeviceNode>, seen: &mut Vec<usize>, left: &mut Vec<usize>) {
    if seen.contains(&node.index) {
        return;
    }
    seen.push(node.index);
    for link in node.links.consumers().into_iter().rev() {
        let flags = LinkFlags(kx.peek(link, DeviceLink::flags).unwrap_or(0));
        let consumer = kx.peek(link, DeviceLink::consumer).and_then(|dev| kx.k.node_of(dev));
        if let Some(consumer) = consumer.filter(|_| !flags.is_sync_state_only()) {
            walk(kx, &consumer, seen, left);
        }
    }
    left.push(node.index);
}

/// A device that is probed again moves behind those that it may have waited for, and all that need it with it. That is one
/// step with whatever comes before it.
///
/// Source: `drivers/base/core.c: device_pm_move_to_tail()`, v6.1, v6.12.
pub(in crate::device) fn device_pm_move_to_tail(kx: &Kx, node: &Rc<DeviceNode>) {
    // Where there are no links nobody else goes by the list while devices are probed.
    if kx.k.links.in_use() {
        dpm_list_mtx(kx).pass(kx.cx());
    }
    device_reorder_to_tail(kx, node);
}

/// Moves a device and all that need it to the ends of `dpm_list` and `devices_kset`. The caller holds `device_links_lock` and
/// `dpm_list_mtx`.
///
/// Source: `drivers/base/core.c: device_reorder_to_tail()`, v6.1, v6.12.
fn device_reorder_to_tail(kx: &Kx, node: &Rc<DeviceNode>) {
    let moved = dependants(kx, node);
    let mut order = kx.k.links.order.borrow_mut();
    for index in moved {
        // One that is not added yet comes to the end when it is.
        if let Some(at) = order.iter().position(|other| *other == index) {
            order.remove(at);
            order.push(index);
        }
    }
}
