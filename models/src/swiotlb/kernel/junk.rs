//! The slot algorithms over a descriptor that is no pool any more: every read gives what lies there now, every write
//! lands in somebody else's memory.

use sim::Draft;

use super::map::Found;
use super::object::{IO_TLB_SLOT_SIZE, IoTlbMem};
use crate::kernel::Kx;
use crate::mem::{Field, Kobject, PhysAddr, Ptr, Raw};
use crate::swiotlb::literal::{self, PoolView, SlotView, Walk};
use crate::swiotlb::{DmaLimits, MapRequest, Prepared, SearchPlan, SearchRules};

/// Slots that a walk may look at. A search in junk either finds something soon, or leaves mapped memory, or has a
/// cursor that never comes back.
const BUDGET: u64 = 20_000;

/// An access to memory that is not there.
struct Unmapped {
    addr: u64,
    access: &'static str,
}

struct JunkPool<'a> {
    kx: &'a Kx,
    mem: Ptr<IoTlbMem>,
    /// First address written, with the object that it hit.
    written: Option<(u64, u32)>,
}

impl JunkPool<'_> {
    fn read(&self, addr: u64, size: u16) -> Result<u64, Unmapped> {
        match self.kx.k.image.mapped(addr) {
            Some(phys) => Ok(self.kx.raw_read(phys, size)),
            None => Err(Unmapped { addr, access: "read" }),
        }
    }

    fn write(&mut self, addr: u64, bytes: &[u8]) -> Result<(), Unmapped> {
        let phys = self.kx.k.image.writable(addr).ok_or(Unmapped { addr, access: "write" })?;
        let hit = self.kx.raw_write(phys, bytes);
        if self.written.is_none_or(|(_, victim)| victim == 0 && hit != 0) {
            self.written = Some((addr, hit));
        }
        Ok(())
    }

    fn field<V: Raw>(&self, field: Field<IoTlbMem, V>) -> Result<u64, Unmapped> {
        self.read(self.field_addr(field), field.size)
    }

    fn field_addr<V>(&self, field: Field<IoTlbMem, V>) -> u64 {
        self.mem.addr.wrapping_add(field.offset(IoTlbMem::layout(self.kx.k.layout_variant())))
    }

    fn slot(&self, slot: i64, offset: u64) -> u64 {
        let table = self.mem.addr.wrapping_add(0x38);
        table.wrapping_add(slot.cast_unsigned().wrapping_mul(IO_TLB_SLOT_SIZE)).wrapping_add(offset)
    }
}

fn low32(value: u64) -> u32 {
    u32::from_raw(value)
}

impl SlotView for JunkPool<'_> {
    type Error = Unmapped;

    fn list(&mut self, slot: i64) -> Result<u32, Unmapped> {
        self.read(self.slot(slot, 16), 4).map(low32)
    }

    fn set_list(&mut self, slot: i64, list: u32) -> Result<(), Unmapped> {
        self.write(self.slot(slot, 16), &list.to_le_bytes())
    }

    fn alloc_size(&mut self, slot: i64) -> Result<u64, Unmapped> {
        self.read(self.slot(slot, 8), 8)
    }

    fn set_alloc_size(&mut self, slot: i64, bytes: u64) -> Result<(), Unmapped> {
        self.write(self.slot(slot, 8), &bytes.to_le_bytes())
    }

    fn orig_addr(&mut self, slot: i64) -> Result<u64, Unmapped> {
        self.read(self.slot(slot, 0), 8)
    }

    fn set_orig_addr(&mut self, slot: i64, addr: u64) -> Result<(), Unmapped> {
        self.write(self.slot(slot, 0), &addr.to_le_bytes())
    }

    fn pad_slots(&mut self, _: i64) -> Result<u16, Unmapped> {
        Ok(0)
    }

    fn set_pad_slots(&mut self, _: i64, _: u16) -> Result<(), Unmapped> {
        Ok(())
    }
}

impl PoolView for JunkPool<'_> {
    fn start(&mut self) -> Result<u64, Unmapped> {
        self.field(IoTlbMem::start)
    }

    fn nareas(&mut self) -> Result<Option<u32>, Unmapped> {
        Ok(None)
    }

    fn area_nslabs(&mut self) -> Result<u64, Unmapped> {
        self.field(IoTlbMem::nslabs)
    }

    fn used(&mut self, _: u32) -> Result<u64, Unmapped> {
        self.field(IoTlbMem::used)
    }

    fn set_used(&mut self, _: u32, used: u64) -> Result<(), Unmapped> {
        self.write(self.field_addr(IoTlbMem::used), &used.to_le_bytes())
    }

    fn index(&mut self, _: u32) -> Result<u32, Unmapped> {
        self.field(IoTlbMem::index).map(low32)
    }

    fn set_index(&mut self, _: u32, index: u32) -> Result<(), Unmapped> {
        self.write(self.field_addr(IoTlbMem::index), &index.to_le_bytes())
    }
}

fn report_writes(kx: &Kx, written: Option<(u64, u32)>) {
    let Some((addr, victim)) = written else { return };
    let type_name = kx.k.mem.borrow().heap.record(victim).map_or("", |record| record.type_name);
    let title = format!("wild write to {addr:016x}: slots of a pool that is no more");
    kx.report(Draft::warning("wild-write", title).object(type_name).ending("wild write"), || {
        let mut details = Vec::new();
        kx.k.explain_memory(addr, kx.sim(), &mut details);
        details
    });
}

/// The search.
pub(super) async fn find_slots(
    kx: &Kx,
    mem: Ptr<IoTlbMem>,
    limits: DmaLimits,
    request: &MapRequest,
) -> Found {
    kx.step(sim::Kind::Read, kx.memory_label()).await;
    let rules = SearchRules::v5_13();
    let Some(prepared) = Prepared::new(rules, limits, request) else { return Found::Full };
    let mut view = JunkPool { kx, mem, written: None };
    let mut budget = BUDGET;
    let outcome = view.start().and_then(|start| {
        let plan = SearchPlan::new(rules, limits, PhysAddr(start), &prepared.request);
        let walk = literal::find_slots(&mut view, &plan, 0, &mut budget)?;
        if let Walk::Found(index) = walk {
            literal::record_origin(&mut view, i64::from(index), plan.nslots, 0, request.orig_addr)?;
            let tlb = start.wrapping_add(u64::from(index) << crate::swiotlb::IO_TLB_SHIFT);
            return Ok(Found::Foreign(PhysAddr(tlb.wrapping_add(u64::from(prepared.offset)))));
        }
        Ok(match walk {
            Walk::Full | Walk::Found(_) => Found::Full,
            Walk::Bug => Found::Bug,
            Walk::Budget => Found::Hang,
        })
    });
    let written = view.written;
    report_writes(kx, written);
    match outcome {
        Ok(Found::Full) => {
            let title = "swiotlb reports a full pool from numbers that belong to somebody else".to_owned();
            kx.report(
                Draft::warning("bogus-full", title)
                    .object(IoTlbMem::TYPE_NAME)
                    .ending("false \"buffer is full\""),
                Vec::new,
            );
            Found::Full
        }
        Ok(found) => found,
        Err(unmapped) => {
            kx.page_fault(unmapped.addr, unmapped.access).await;
            Found::Full
        }
    }
}

/// The release of slots.
pub(super) async fn release_slots(kx: &Kx, mem: Ptr<IoTlbMem>, limits: DmaLimits, tlb_addr: PhysAddr) {
    kx.step(sim::Kind::Write, kx.memory_label()).await;
    let mut view = JunkPool { kx, mem, written: None };
    let mut budget = BUDGET;
    let outcome = literal::release_slots(&mut view, SearchRules::v5_13(), limits, tlb_addr, &mut budget);
    let written = view.written;
    report_writes(kx, written);
    if let Err(unmapped) = outcome {
        kx.page_fault(unmapped.addr, unmapped.access).await;
    }
}

/// The copy into slots that are not there.
pub(super) async fn wild_copy(kx: &Kx, to: PhysAddr, from: PhysAddr, size: u64) {
    let _frame = kx.enter("swiotlb_bounce");
    kx.step(sim::Kind::Write, kx.memory_label()).await;
    let virt = to.virt();
    if kx.k.image.writable(virt).is_none() {
        kx.page_fault(virt, "write").await;
        return;
    }
    let hit = kx.k.mem.borrow_mut().heap.copy(to, from, size).unwrap_or(0);
    report_writes(kx, Some((virt, hit)));
}
