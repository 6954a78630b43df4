//! The machine goes down.

use sim::Kind;

use super::bus;
use crate::device::deferred::wait_for_device_probe;
use crate::kernel::Kx;

/// Shuts all devices down, the last of `devices_kset` first: consumers stand behind their suppliers there. Nobody is bound any
/// more from here on.
///
/// Source: `drivers/base/core.c: device_shutdown()`, v6.1, v6.12; no device has a parent here, and no class has a
/// `shutdown_pre`.
pub async fn device_shutdown(kx: &Kx) {
    let _frame = kx.enter("device_shutdown");
    wait_for_device_probe(kx).await;
    kx.k.power.block_probing(true);
    loop {
        // devices_kset->list_lock
        kx.step(Kind::Atomic, kx.memory_label()).await;
        let Some(index) = kx.k.links.take_last() else { return };
        // One that is being pulled out is on its way anyhow.
        let Some(node) = kx.k.node(index) else { continue };
        // Its node outlives it: no reference is taken.
        node.lock.lock(kx.cx()).await;
        if node.present.get() {
            bus::shutdown(kx, &node).await;
        }
        node.lock.unlock(kx.cx());
    }
}
