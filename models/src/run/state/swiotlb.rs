//! Bounce buffers: pools, their areas, and who has which slots.

use super::MappingState;
use crate::kernel::Kx;
use crate::mem::{PhysAddr, PhysRange, Ptr};
use crate::run::SwiotlbDebugfs;
use crate::swiotlb::kernel::{IoTlbMem, PoolPtr, default_pool, swiotlb_debugfs_of};
use crate::swiotlb::{IO_TLB_SHIFT, Pool};

/// An allocator with its pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocatorState {
    /// Where its pool lies if it is that of single devices (`restricted-dma-pool`); the default one has none.
    pub restricted: Option<PhysAddr>,
    /// Address of the descriptor (kernel virtual); 0 if there is none.
    pub at: u64,
    /// The files in debugfs; nothing if the descriptor is none, or was freed.
    pub files: Option<SwiotlbDebugfs>,
    /// Who freed the descriptor, and when in nanoseconds, if somebody did.
    pub freed: Option<(&'static str, u64)>,
    /// Its pools, newest first.
    pub pools: Vec<PoolState>,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// The device for one mapping of which it was made, if it was.
    pub transient_of: Option<&'static str>,
    /// Its bytes.
    pub range: PhysRange,
    /// Slots.
    pub nslabs: u32,
    /// Slots in use, as its areas count them.
    pub used: u64,
    /// Its areas.
    pub areas: Vec<AreaState>,
    /// Slots in use, in order.
    pub runs: Vec<SlotRun>,
}

/// An area of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AreaState {
    /// First slot.
    pub first: u32,
    /// Slots.
    pub nslabs: u32,
    /// Slots in use, as it counts them.
    pub used: u64,
    /// Where the next search begins, counted from the first slot.
    pub index: u32,
}

/// Slots that were taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRun {
    /// First slot.
    pub first: u32,
    /// Slots.
    pub count: u32,
    /// Bytes that were asked for, as the first slot says.
    pub alloc_size: u64,
    /// The buffer, as the slots say.
    pub orig: Option<PhysAddr>,
    /// Number of the mapping that leads there, among those of the state.
    pub mapping: Option<usize>,
}

pub(super) fn allocators(kx: &Kx, mappings: &[MappingState]) -> Vec<AllocatorState> {
    let mut list = vec![one(kx, None, default_pool(kx), mappings)];
    let restricted = kx.k.globals.restricted_pools.borrow().clone();
    list.extend(restricted.iter().map(|(start, mem)| one(kx, Some(*start), *mem, mappings)));
    list
}

fn one(
    kx: &Kx,
    restricted: Option<PhysAddr>,
    mem: Ptr<IoTlbMem>,
    mappings: &[MappingState],
) -> AllocatorState {
    let object = kx.k.mem.borrow().heap.get(mem).ok();
    let mut pools: Vec<(PoolPtr, Option<&'static str>)> = Vec::new();
    if let Some(object) = &object {
        match object.growth.get() {
            None => pools.push((PoolPtr::First(mem), None)),
            Some(growth) => {
                pools.extend(growth.pools().iter().map(|pool| (*pool, None)));
                for node in kx.k.devices.borrow().iter() {
                    let own = kx.k.mem.borrow().heap.get(node.ptr.get());
                    let own = own.map(|dev| dev.io_tlb.transient_pools());
                    pools.extend(own.iter().flat_map(|own| own.iter()).map(|pool| (*pool, Some(node.bdf))));
                }
            }
        }
    }
    let state = |(pool, of): &(PoolPtr, Option<&'static str>)| {
        pool.with(kx, |pool| PoolState { transient_of: *of, ..pool_state(pool, mappings) })
    };
    let freed = kx.k.mem.borrow().heap.record(mem.id).and_then(|record| record.free);
    AllocatorState {
        restricted,
        at: mem.addr,
        files: swiotlb_debugfs_of(kx, mem),
        freed: freed.map(|site| (site.func, site.time_ns)),
        pools: pools.iter().filter_map(state).collect(),
    }
}

fn pool_state(pool: &Pool, mappings: &[MappingState]) -> PoolState {
    let area = |area: &crate::swiotlb::Area| AreaState {
        first: area.first(),
        nslabs: area.nslabs(),
        used: area.used(),
        index: area.index(),
    };
    let mut runs: Vec<SlotRun> = Vec::new();
    let slots = pool.slots();
    // The bytes that the next slot would say if it belonged to the same run.
    let mut expected = None;
    for slot in 0..slots.nslabs() {
        if slots.list(slot) > 0 {
            expected = None;
            continue;
        }
        let (alloc_size, orig) = (slots.alloc_size(slot), slots.orig_addr(slot));
        match runs.last_mut() {
            Some(run) if expected == Some(alloc_size) => {
                run.count += 1;
                run.orig = run.orig.or(orig);
            }
            _ => runs.push(SlotRun { first: slot, count: 1, alloc_size, orig, mapping: None }),
        }
        // A mapping that begins within a slot has one more than its bytes fill: there the rest is 0, or below.
        expected = Some(alloc_size.wrapping_sub(1 << IO_TLB_SHIFT));
    }
    for run in &mut runs {
        let bytes = PhysRange::new(pool.slot_addr(run.first), u64::from(run.count) << IO_TLB_SHIFT);
        let leads_there =
            |state: &MappingState| state.mapping.pieces.iter().any(|piece| bytes.contains(piece.target));
        run.mapping = mappings.iter().position(leads_there);
    }
    PoolState {
        transient_of: None,
        range: PhysRange { start: pool.start(), end: pool.end() },
        nslabs: pool.size().nslabs,
        used: pool.used(),
        areas: pool.areas().iter().map(area).collect(),
        runs,
    }
}
