//! Running operations on the model.

use std::sync::Mutex;

use models::mem::PhysAddr;
use models::swiotlb::{
    AreaState, BounceRules, DmaLimits, MapRequest, Pool, PoolSize, Prepared, SearchPlan, SearchRules,
    SlotAllocator, SlotLock, Way,
};

use super::{FULL, Op, Sequence};

/// Bytes of the original buffers, which lie at this address.
pub(crate) const BUFFERS: u64 = 0x1_0000_0000;
/// So many of them exist.
pub(crate) const BUFFERS_LEN: usize = 16 << 20;

const RULES: SearchRules = SearchRules::v6_12();

/// The bytes of slots and buffers, for runs that copy.
pub(crate) struct Memory {
    slots: Vec<u8>,
    buffers: Vec<u8>,
}

impl Memory {
    /// Zeroes.
    pub(crate) fn new(nslabs: u32) -> Self {
        Self { slots: vec![0; nslabs as usize * 2048], buffers: vec![0; BUFFERS_LEN] }
    }
}

/// One pool and what is mapped in it.
pub(crate) struct Machine {
    pool: Pool,
    mapped: Vec<(u64, u64, u32)>,
    memory: Option<Memory>,
}

fn limits(min_align_mask: u32, seg_boundary_mask: u64) -> DmaLimits {
    DmaLimits { min_align_mask, seg_boundary_mask }
}

impl Machine {
    /// An unused pool; with `copies`, mappings copy both ways.
    pub(crate) fn new(sequence: &Sequence, copies: bool) -> Self {
        let size = PoolSize { nslabs: sequence.nslabs, nareas: sequence.nareas };
        Self {
            pool: Pool::new(RULES, BounceRules::v6_9_rc4(), PhysAddr(sequence.start), size),
            mapped: vec![(FULL, 0, 0); sequence.ids()],
            memory: copies.then(|| Memory::new(sequence.nslabs)),
        }
    }

    /// The same, once more.
    pub(crate) fn reset(&mut self) {
        self.pool.reset(self.pool.start(), self.pool.size());
        self.mapped.fill((FULL, 0, 0));
    }

    fn copy(&mut self, limits: DmaLimits, tlb_addr: u64, size: u64, way: Way) {
        let Some(memory) = &mut self.memory else { return };
        let bounce = self.pool.bounce(limits, PhysAddr(tlb_addr), size, way);
        let Some(copy) = bounce.copy else { return };
        let (at, from, len) = (copy.slot_off as usize, (copy.orig.0 - BUFFERS) as usize, copy.len as usize);
        let (slots, buffers) = (&mut memory.slots[at..at + len], &mut memory.buffers[from..from + len]);
        match way {
            Way::ToSlots => slots.copy_from_slice(buffers),
            Way::ToOriginal => buffers.copy_from_slice(slots),
        }
    }

    /// Runs one operation; the distance of what it mapped from the start of the pool, [`FULL`] or 0.
    pub(crate) fn apply(&mut self, op: &Op) -> u64 {
        match *op {
            Op::Map { cpu, id, addr, size, align_mask, min_align_mask, boundary_mask, .. } => {
                let limits = limits(min_align_mask, boundary_mask);
                let request = MapRequest {
                    orig_addr: PhysAddr(addr),
                    mapping_size: size,
                    alloc_size: size,
                    alloc_align_mask: align_mask,
                };
                let Ok(mapping) = self.pool.map(cpu, limits, &request) else {
                    self.mapped[id as usize].0 = FULL;
                    return FULL;
                };
                let at = mapping.tlb_addr.0;
                self.mapped[id as usize] = (at, size, min_align_mask);
                self.copy(limits, at, size, Way::ToSlots);
                at - self.pool.start().0
            }
            Op::Unmap { id, .. } => {
                let (at, size, min_align_mask) = self.mapped[id as usize];
                if at != FULL {
                    let limits = limits(min_align_mask, u64::MAX);
                    self.copy(limits, at, size, Way::ToOriginal);
                    self.pool.release_slots(limits, PhysAddr(at));
                }
                0
            }
        }
    }
}

/// The same with locks, for threads. Each has its own mappings.
pub(crate) struct Threads<'a> {
    slots: SlotAllocator<Mutex<AreaState>>,
    sequence: &'a Sequence,
}

impl<'a> Threads<'a> {
    /// An unused pool.
    pub(crate) fn new(sequence: &'a Sequence) -> Self {
        let size = PoolSize { nslabs: sequence.nslabs, nareas: sequence.nareas };
        let slots = SlotAllocator::new(size, true).expect("areas of whole segments");
        Self { slots, sequence }
    }

    /// Runs the timed operations of one CPU, and gives the answers to `each`.
    pub(crate) fn run(&self, of_cpu: u32, mapped: &mut [Option<(u32, PhysAddr)>], mut each: impl FnMut(u64)) {
        for op in &self.sequence.ops[self.sequence.timed_from..] {
            match *op {
                Op::Map { cpu, id, addr, size, align_mask, min_align_mask, boundary_mask, .. }
                    if cpu == of_cpu =>
                {
                    let limits = limits(min_align_mask, boundary_mask);
                    let request = MapRequest {
                        orig_addr: PhysAddr(addr),
                        mapping_size: size,
                        alloc_size: size,
                        alloc_align_mask: align_mask,
                    };
                    let start = PhysAddr(self.sequence.start);
                    let found = Prepared::new(RULES, limits, &request).and_then(|prepared| {
                        let plan = SearchPlan::new(RULES, limits, start, &prepared.request);
                        self.map(cpu, &plan, &prepared)
                    });
                    each(found.map_or(FULL, |(_, at)| at.0 - start.0));
                    mapped[id as usize] = found;
                }
                Op::Unmap { cpu, id } if cpu == of_cpu => {
                    if let Some((first, at)) = mapped[id as usize].take()
                        && let Some((_, area)) = self.slots.home(first)
                    {
                        let start = self.area_start(first);
                        area.with(|state| {
                            let run = state.run_of(RULES, limits(0, u64::MAX), start, at);
                            state.release_run(run)
                        });
                    }
                }
                Op::Map { .. } | Op::Unmap { .. } => {}
            }
        }
    }

    fn area_start(&self, first: u32) -> PhysAddr {
        PhysAddr(self.sequence.start + (u64::from(first) << 11))
    }

    /// First slot of the area, and the bounce address.
    fn map(&self, cpu: u32, plan: &SearchPlan, prepared: &Prepared) -> Option<(u32, PhysAddr)> {
        self.slots.order(cpu as usize).find_map(|(first, area)| {
            let start = self.area_start(first);
            let plan = plan.counted_from(first);
            let mapping = area.with(|state| state.map(&plan, prepared, start)).ok()?;
            Some((first, mapping.tlb_addr))
        })
    }
}
