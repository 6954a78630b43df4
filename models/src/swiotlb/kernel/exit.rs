//! Tearing the default pool down.

use super::init::pool_is_fixed;
use super::object::{IO_TLB_SLOT_SIZE, IoTlbArea, IoTlbMem};
use crate::kernel::{Kx, SwiotlbForce};
use crate::mem::{PAGE_SIZE, PhysAddr, PhysRange, Ptr, Source, align_up};
use crate::profile::Behaviour;
use crate::run::TornDown;
use crate::swiotlb::IO_TLB_SHIFT;

/// Gives the default pool up, since an IOMMU makes it unnecessary.
///
/// What goes back to the page allocator differs: the descriptor with its slots (`heap-pool-object`: and every copy of
/// the pointer to it dangles from here on), or the slots of a static descriptor; with or without the bounce buffer.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_exit()`, v5.13 to v5.15, v6.1, v6.12.
pub async fn swiotlb_exit(kx: &Kx) {
    let _frame = kx.enter("swiotlb_exit");
    let mem = kx.k.globals.io_tlb_default_mem.get();
    if mem.is_null() {
        return;
    }
    if kx.k.has(Behaviour::ForceKeepsPool) && kx.k.globals.swiotlb_force.get() == SwiotlbForce::Force {
        return;
    }
    let nslabs = kx.load(mem, IoTlbMem::nslabs).await;
    let fixed = pool_is_fixed(kx);
    if fixed && nslabs == 0 {
        return;
    }
    if kx.k.has(Behaviour::SwiotlbExitMessage) {
        kx.log(|| "software IO TLB: tearing down default memory pool".to_owned());
    }
    let why =
        kx.k.globals
            .decision("swiotlb")
            .map_or_else(String::new, |decision| format!("{} ({})", decision.text, decision.by));
    kx.k.facts.borrow_mut().torn_down = Some(TornDown { at: kx.stamp(), frames: kx.frames(), why });
    let start = kx.load(mem, IoTlbMem::start).await;
    let Ok(object) = kx.k.mem.object(mem) else { return };
    object.publish();
    free_areas(kx, &object).await;
    if kx.k.has(Behaviour::SwiotlbExitFreesBuffer) {
        let bytes = align_up(nslabs << IO_TLB_SHIFT, PAGE_SIZE);
        // set_memory_encrypted
        kx.mark_shared(PhysRange::new(start, bytes), false);
        kx.memblock_free_late(start, bytes).await;
    }
    let slots = object.slots_at.get();
    if fixed {
        kx.memblock_free_late(slots.0, align_up(nslabs * IO_TLB_SLOT_SIZE, PAGE_SIZE)).await;
        // memset of the whole structure: no slots means no pool.
        zero(kx, mem).await;
        object.lock_of().clear();
        *object.pool.borrow_mut() = None;
        return;
    }
    leave_slots_behind(kx, mem, nslabs);
    let phys = mem.phys().unwrap_or(PhysAddr(0));
    kx.memblock_free_late(phys, align_up(0x38 + nslabs * IO_TLB_SLOT_SIZE, PAGE_SIZE)).await;
    kx.k.globals.io_tlb_default_mem.set(Ptr::NULL);
    kx.note_global("io_tlb_default_mem", 0);
}

/// The areas go first. They fill no page, so the page allocator gets nothing of it.
async fn free_areas(kx: &Kx, object: &IoTlbMem) {
    let areas = object.areas.take();
    let Some(base) = areas.first().and_then(|area| area.phys()) else { return };
    let site = kx.site();
    for area in &areas[1..] {
        let _ = kx.k.mem.borrow_mut().heap.free_object(area.id, site);
    }
    kx.memblock_free_late(base, IoTlbArea::SIZE * areas.len() as u64).await;
}

async fn zero(kx: &Kx, mem: Ptr<IoTlbMem>) {
    kx.store(mem, IoTlbMem::start, PhysAddr(0)).await;
    kx.store(mem, IoTlbMem::end, PhysAddr(0)).await;
    kx.store(mem, IoTlbMem::nslabs, 0).await;
    kx.store(mem, IoTlbMem::used, 0).await;
    kx.store(mem, IoTlbMem::index, 0).await;
    kx.store(mem, IoTlbMem::late_alloc, false).await;
    kx.store(mem, IoTlbMem::force_bounce, false).await;
}

/// The slot records stay in memory as they were: whoever follows a stale pointer finds them until the pages are
/// written again.
fn leave_slots_behind(kx: &Kx, mem: Ptr<IoTlbMem>, nslabs: u64) {
    let Some(phys) = mem.phys() else { return };
    let table = phys.wrapping_add(0x38);
    let bytes = nslabs * IO_TLB_SLOT_SIZE;
    let _ = kx.k.mem.borrow_mut().heap.write_at(table, bytes, Source::SlotTable, 0);
}
