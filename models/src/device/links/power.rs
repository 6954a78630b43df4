//! Links while the machine goes to sleep and wakes up.

use super::{DeviceLink, LinkState, dpm_list_mtx, srcu};
use crate::device::DeviceNode;
use crate::device::power::dpm_wait;
use crate::kernel::Kx;
use crate::mem::{Field, Ptr};

/// `mutex_lock(&dpm_list_mtx)`.
pub(in crate::device) async fn dpm_list_lock(kx: &Kx) {
    dpm_list_mtx(kx).lock(kx.cx()).await;
}

/// `mutex_unlock(&dpm_list_mtx)`.
pub(in crate::device) fn dpm_list_unlock(kx: &Kx) {
    dpm_list_mtx(kx).unlock(kx.cx());
}

/// A device goes to sleep after all that need it.
///
/// Source: `drivers/base/power/main.c: dpm_wait_for_consumers()`, v6.1, v6.12; devices have no children here.
pub(in crate::device) async fn dpm_wait_for_consumers(kx: &Kx, node: &DeviceNode, asynchronous: bool) {
    let links = node.links.consumers();
    wait_for_ends(kx, links, DeviceLink::consumer, asynchronous).await;
}

/// A device wakes up after all that it needs.
///
/// Source: `drivers/base/power/main.c: dpm_wait_for_suppliers()`, v6.1, v6.12; devices have no parents here.
pub(in crate::device) async fn dpm_wait_for_suppliers(kx: &Kx, node: &DeviceNode, asynchronous: bool) {
    let links = node.links.suppliers();
    wait_for_ends(kx, links, DeviceLink::supplier, asynchronous).await;
}

async fn wait_for_ends(
    kx: &Kx,
    links: Vec<Ptr<DeviceLink>>,
    end: Field<DeviceLink, Ptr<crate::device::Device>>,
    asynchronous: bool,
) {
    if links.is_empty() {
        return;
    }
    let reader = srcu(kx).read_lock(kx.cx());
    for link in links {
        // READ_ONCE in the kernel: nobody is probed now, so that it leaves "dormant" no more.
        let status = LinkState::of(kx.load_once(link, DeviceLink::status).await);
        if status == LinkState::Dormant {
            continue;
        }
        let other = kx.load_within(link, end).await;
        if let Some(other) = kx.k.node_of(other) {
            dpm_wait(kx, &other, asynchronous).await;
        }
    }
    srcu(kx).read_unlock(kx.cx(), reader);
}
