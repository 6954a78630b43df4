//! The state in which a run ends, as text: what two runs that are the same to a search must have in common.

use std::fmt::Write as _;

use crate::kernel::Kx;
use crate::mem::PhysAddr;

/// So many bytes of each buffer are looked at.
const LOOKED_AT: usize = 512;

/// Everything that later runs could depend on, without times and counts of steps: those differ between runs that differ
/// in the order of steps alone.
pub(super) fn state_of(kx: &Kx) -> String {
    let mut out = String::new();
    memory(kx, &mut out);
    devices(kx, &mut out);
    kx.k.ledger.describe(&mut out);
    for (object, field, target) in kx.k.holdings() {
        let _ = writeln!(out, "object {object} {field} -> {target}");
    }
    let _ = writeln!(out, "{:?}", kx.k.iommu.entries.borrow());
    out
}

fn memory(kx: &Kx, out: &mut String) {
    let mem = kx.k.mem.borrow();
    let _ = writeln!(out, "{:?}", mem.pages());
    let _ = writeln!(out, "{:?}", mem.slabs());
    for (id, record) in mem.heap.shadow().objects().iter() {
        let _ = writeln!(out, "{id} {} {:?} {}", record.type_name, record.range, record.alive);
        if !record.alive {
            continue;
        }
        if let Some(text) = mem.heap.describe(id) {
            let _ = writeln!(out, "  {text}");
        }
        let mut bytes = [0; LOOKED_AT];
        let size = usize::try_from(record.range.size()).unwrap_or(LOOKED_AT).min(LOOKED_AT);
        mem.heap.read_bytes(PhysAddr(record.range.start.0), &mut bytes[..size]);
        let _ = writeln!(out, "  {:x?}", &bytes[..size]);
    }
}

fn devices(kx: &Kx, out: &mut String) {
    for node in kx.k.devices.borrow().iter() {
        let _ = writeln!(
            out,
            "{} {:?} {:?} {} {} {:?} {:?} {} {} {}",
            node.bdf,
            node.counts.get(),
            node.bound.get(),
            node.present.get(),
            node.ready.get(),
            node.group.get(),
            node.ptr.get(),
            node.path.get(),
            node.why_failed.get(),
            node.deferred.get(),
        );
    }
}
