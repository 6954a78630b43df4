//! What is checked when everything has settled.

use sim::Draft;

use crate::kernel::{Kx, seconds};
use crate::mem::{Kobject, PhysRange, Ptr};
use crate::profile::Behaviour;
use crate::swiotlb::IoTlbMem;

/// The checks at the end of a run.
pub fn end_of_run(kx: &Kx) {
    let _frame = kx.enter("end of run");
    check_pool(kx, kx.k.globals.io_tlb_default_mem.get());
    for (_, mem) in kx.k.globals.restricted_pools.borrow().iter() {
        check_pool(kx, *mem);
    }
    check_forgotten(kx);
}

/// An object to which the last pointer was given up is lost.
fn check_forgotten(kx: &Kx) {
    for (holder, by) in kx.k.forgotten() {
        let record = kx.k.mem.borrow().heap.record(holder.target).cloned();
        let Some(record) = record else { continue };
        let title = format!(
            "memory leak: {} of {} bytes, allocated in {} at {}: nothing points at it since {} changed {}.{}",
            record.type_name,
            record.range.size(),
            record.alloc.func,
            seconds(record.alloc.time_ns),
            by.func,
            holder.holder,
            holder.field
        );
        let draft = Draft::warning("memory-leak", title).object(record.type_name).discriminator(by.func);
        kx.report(draft, || {
            let mut details = Vec::new();
            kx.k.explain_object(holder.target, kx.sim(), &mut details);
            details
        });
    }
}

/// A pool's counters must agree with its slots, and slots in use must belong to somebody.
fn check_pool(kx: &Kx, mem: Ptr<IoTlbMem>) {
    let object = kx.k.mem.borrow().heap.get(mem);
    let Ok(object) = object else { return };
    let pool = object.pool.borrow();
    let Some(pool) = pool.as_ref() else { return };
    if let Some(violation) = pool.violation() {
        let title = format!("swiotlb: {violation:?}");
        kx.report(Draft::warning("slots-inconsistent", title).object(IoTlbMem::TYPE_NAME), Vec::new);
    }
    let counted = object.used.get();
    if counted != pool.used() && !kx.k.has(Behaviour::GlobalPoolVariables) {
        let title =
            format!("swiotlb: the descriptor counts {counted} slots in use, the slots say {}", pool.used());
        kx.report(Draft::warning("slots-inconsistent", title).object(IoTlbMem::TYPE_NAME), Vec::new);
    }
    let buffer = PhysRange { start: object.start.get(), end: object.end.get() };
    if pool.used() > 0 && !kx.k.ledger.reaches(buffer) {
        let title = format!("swiotlb: {} slots are in use, and no mapping leads to them", pool.used());
        kx.report(Draft::warning("slots-lost", title).object(IoTlbMem::TYPE_NAME), Vec::new);
    }
}
