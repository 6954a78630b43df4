//! What is checked when everything has settled.

use sim::Draft;

use crate::kernel::Kx;
use crate::profile::Behaviour;

/// The checks at the end of a run.
pub fn end_of_run(kx: &Kx) {
    let _frame = kx.enter("end of run");
    check_pool(kx);
}

/// The default pool's counters must agree with its slots.
fn check_pool(kx: &Kx) {
    let mem = kx.k.globals.io_tlb_default_mem.get();
    let object = kx.k.mem.borrow().heap.get(mem);
    let Ok(object) = object else { return };
    let pool = object.pool.borrow();
    let Some(pool) = pool.as_ref() else { return };
    if let Some(violation) = pool.violation() {
        let title = format!("swiotlb: {violation:?}");
        kx.report(Draft::warning("slots-inconsistent", title).object("struct io_tlb_mem"), Vec::new);
    }
    let counted = object.used.get();
    if counted != pool.used() && !kx.k.has(Behaviour::GlobalPoolVariables) {
        let title = format!("swiotlb: the descriptor counts {counted} slots in use, the slots say {}", pool.used());
        kx.report(Draft::warning("slots-inconsistent", title).object("struct io_tlb_mem"), Vec::new);
    }
}
