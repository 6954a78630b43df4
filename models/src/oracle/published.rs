//! What readers without a lock can find may go only when nobody can look at it any more.

use sim::Draft;

use crate::kernel::Kx;
use crate::mem::{Kobject, Ptr};
use crate::swiotlb::kernel::{IoTlbMem, IoTlbPool, PoolPtr};

/// A pool is freed: it must be off all lists, and since it went off its list a grace period must have passed. Whether a
/// reader is there this time does not matter.
pub fn check_unpublished(kx: &Kx, pool: Ptr<IoTlbPool>) {
    let wrong = if is_listed(kx, pool) {
        "it is still on a list"
    } else {
        let off = kx.k.mem.object(pool).ok().and_then(|object| object.unlisted.get());
        match off {
            Some(since) if !kx.cx().poll_state_synchronize_rcu(since) => {
                "no grace period has passed since it went off its list"
            }
            _ => return,
        }
    };
    let title = format!("a pool is freed that readers under RCU can find: {wrong}");
    let draft = Draft::warning("freed-before-grace-period", title).object(IoTlbPool::TYPE_NAME);
    kx.report(draft.discriminator(wrong), Vec::new);
}

fn is_listed(kx: &Kx, pool: Ptr<IoTlbPool>) -> bool {
    let pool = PoolPtr::Added(pool);
    let in_allocator = |mem: Ptr<IoTlbMem>| {
        let object = kx.k.mem.object(mem).ok();
        object.and_then(|object| object.growth.get().map(|growth| growth.pools().contains(&pool)))
    };
    let devices = kx.k.devices.borrow();
    in_allocator(kx.k.globals.io_tlb_default_mem.get()) == Some(true)
        || devices.iter().any(|node| {
            let dev = kx.k.mem.object(node.ptr.get());
            dev.is_ok_and(|dev| dev.io_tlb.transient_pools().contains(&pool))
        })
}
