//! Taking links away, and freeing them when nobody looks at them any more.

use std::rc::Rc;

use sim::{Draft, Work};

use super::{
    DeviceLink, LinkFlags, LinkState, consumer, flags, mutex, set_flags, set_status, srcu, supplier,
    write_lock, write_unlock,
};
use crate::device::DeviceNode;
use crate::device::remove::put_device;
use crate::kernel::Kx;
use crate::mem::Ptr;

/// A driver takes back a stateless link that it has made.
///
/// Source: `drivers/base/core.c: device_link_remove()`, `device_link_put_kref()`, v6.1, v6.12.
pub async fn device_link_remove(kx: &Kx, con: &DeviceNode, sup: &DeviceNode) {
    let _frame = kx.enter("device_link_remove");
    write_lock(kx).await;
    for link in sup.links.consumers() {
        if kx.load(link, DeviceLink::consumer).await != con.ptr.get() {
            continue;
        }
        if flags(kx, link).await.has(LinkFlags::STATELESS) {
            put_kref(kx, link).await;
        } else if con.present.get() {
            let title = "WARNING: Unable to drop a managed device link reference".to_owned();
            kx.report(Draft::warning("warn-on", title).discriminator("device_link_put_kref"), Vec::new);
        } else {
            device_link_del(kx, link).await;
        }
        break;
    }
    write_unlock(kx);
}

/// `kref_put(&link->kref, __device_link_del)`: counting is atomic.
async fn put_kref(kx: &Kx, link: Ptr<DeviceLink>) {
    let count = kx.load(link, DeviceLink::kref).await;
    kx.poke(link, DeviceLink::kref, count.saturating_sub(1));
    if count == 1 {
        device_link_del(kx, link).await;
    }
}

/// The driver core looks after it no more.
///
/// Source: `drivers/base/core.c: device_link_drop_managed()`, v6.1, v6.12.
pub(in crate::device) async fn drop_managed(kx: &Kx, link: Ptr<DeviceLink>) {
    let old = flags(kx, link).await;
    set_flags(kx, link, old.without(LinkFlags::MANAGED)).await;
    set_status(kx, link, LinkState::None).await;
    put_kref(kx, link).await;
}

/// Takes a link off both lists. Readers may be at it still: it is freed by a work item, which waits for them. The caller holds
/// `device_links_lock`.
///
/// Source: `drivers/base/core.c: __device_link_del()`, `devlink_dev_release()`, v6.1, v6.12.
async fn device_link_del(kx: &Kx, link: Ptr<DeviceLink>) {
    let _frame = kx.enter("__device_link_del");
    mutex(kx).assert_held(kx.cx());
    let (sup, con) = (supplier(kx, link).await, consumer(kx, link).await);
    kx.step(sim::Kind::Write, kx.label(link.id, 0)).await;
    for node in [&sup, &con].into_iter().flatten() {
        node.links.consumers.borrow_mut().retain(|other| *other != link);
        node.links.suppliers.borrow_mut().retain(|other| *other != link);
    }
    let k = Rc::downgrade(&kx.k);
    let work = Work::new(kx.cx(), "kworker/u16:device_link", move |cx| {
        let (k, sup, con) = (k.upgrade(), sup.clone(), con.clone());
        async move {
            let Some(k) = k else { return };
            device_link_release_fn(&Kx::new(cx, k), link, con, sup).await;
        }
    });
    work.queue(kx.cx(), kx.cpu()).await;
}

/// Source: `drivers/base/core.c: device_link_release_fn()`, v6.1, v6.12.
async fn device_link_release_fn(
    kx: &Kx,
    link: Ptr<DeviceLink>,
    con: Option<Rc<DeviceNode>>,
    sup: Option<Rc<DeviceNode>>,
) {
    let _frame = kx.enter("device_link_release_fn");
    srcu(kx).synchronize(kx.cx()).await;
    for node in [con, sup].into_iter().flatten() {
        put_device(kx, &node).await;
    }
    if let Some(phys) = link.phys() {
        kx.kfree(phys, link.id).await;
    }
}

/// A device is gone: its links go with it.
///
/// Source: `drivers/base/core.c: device_links_purge()`, v6.1, v6.12.
pub(in crate::device) async fn device_links_purge(kx: &Kx, node: &DeviceNode) {
    if !kx.k.links.in_use() {
        return;
    }
    let _frame = kx.enter("device_links_purge");
    write_lock(kx).await;
    for link in node.links.suppliers().into_iter().rev().chain(node.links.consumers().into_iter().rev()) {
        device_link_del(kx, link).await;
    }
    write_unlock(kx);
}
