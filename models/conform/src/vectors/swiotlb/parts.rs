//! What sequences with one pool and with growing pools have in common.

use std::collections::BTreeMap;

use models::swiotlb::{Bounce, Direction, DmaLimits, PoolDefaults, PoolSize, Way};
use serde_json::{Value, json};

use super::memory::Memory;
use crate::vectors::subject::Misuse;
use crate::vectors::table::Args;

/// `DMA_ATTR_SKIP_CPU_SYNC`.
pub(super) const SKIP_CPU_SYNC: u64 = 0x20;
/// No sequence has a larger pool (4 GiB).
const MAX_NSLABS: u32 = 1 << 21;
/// No sequence has a pool with more areas.
const MAX_NAREAS: u32 = 1 << 16;

/// A device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dev {
    pub(super) dma_mask: u64,
    pub(super) limits: DmaLimits,
}

/// What a test bed keeps beside the allocator.
#[derive(Debug)]
pub(super) struct Bed {
    pub(super) memory: Memory,
    pub(super) cpu: u32,
    devs: BTreeMap<u64, Dev>,
}

impl Bed {
    pub(super) fn new() -> Self {
        Self { memory: Memory::default(), cpu: 0, devs: BTreeMap::new() }
    }

    /// The device that the first argument names.
    pub(super) fn dev(&self, args: &Args) -> Dev {
        let default = Dev { dma_mask: u64::MAX, limits: DmaLimits::default() };
        self.devs.get(&args.num(0)).copied().unwrap_or(default)
    }

    /// Operations that need no pool.
    pub(super) fn prepare(&mut self, op: &str, args: &Args) -> Option<Value> {
        match op {
            "cpu" => self.cpu = args.small(0),
            "dev" => {
                let seg_boundary_mask = if args.num(3) == 0 { u64::MAX } else { args.num(3) };
                let limits = DmaLimits { min_align_mask: args.small(2), seg_boundary_mask };
                self.devs.insert(args.num(0), Dev { dma_mask: args.num(1), limits });
            }
            _ => return None,
        }
        Some(json!(0))
    }

    /// Operations on the contents of memory; `start` is that of the first pool.
    pub(super) fn data(
        &mut self,
        op: &str,
        args: &Args,
        start: Option<u64>,
    ) -> Option<Result<Value, Misuse>> {
        if !matches!(op, "wr" | "set" | "crc") {
            return None;
        }
        let base = match (args.flag(0), start) {
            (false, _) => 0,
            (true, Some(start)) => start,
            (true, None) => return Some(Err(Misuse("space 1 is the pool, and there is none".to_owned()))),
        };
        let (addr, len) = (base.wrapping_add(args.num(1)), args.num(2));
        Some(Ok(match op {
            "crc" => json!(self.memory.crc(addr, len)),
            "set" => {
                let byte = low8(args.num(3));
                self.memory.fill(addr, len, |_| byte);
                json!(0)
            }
            _ => {
                let seed = args.num(3);
                self.memory.fill(addr, len, |i| {
                    low8(seed.wrapping_add(i.wrapping_mul(131)).wrapping_add((i >> 8).wrapping_mul(17)))
                });
                json!(0)
            }
        }))
    }

    /// Carries out what a model says is to be copied; the number of warnings.
    pub(super) fn bounce(&mut self, start: u64, bounce: &Bounce) -> u64 {
        if let Some(copy) = &bounce.copy {
            let tlb = start.wrapping_add(copy.slot_off);
            match copy.way {
                Way::ToSlots => self.memory.copy(copy.orig.0, tlb, copy.len),
                Way::ToOriginal => self.memory.copy(tlb, copy.orig.0, copy.len),
            }
        }
        u64::from(bounce.warning.is_some())
    }

    /// The result of an operation, unless there was not memory enough for it.
    pub(super) fn checked(&self, result: Value) -> Result<Value, Misuse> {
        if self.memory.is_exhausted() {
            return Err(Misuse("the sequence writes to more than 256 MiB of memory".to_owned()));
        }
        Ok(result)
    }
}

fn low8(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

pub(super) fn direction(code: u64) -> Direction {
    match code {
        0 => Direction::Bidirectional,
        1 => Direction::ToDevice,
        2 => Direction::FromDevice,
        _ => Direction::None,
    }
}

/// A mapping that failed with so many warnings.
pub(super) fn failed(warnings: u64) -> Value {
    if warnings == 0 { json!("fail") } else { json!(["fail", warnings]) }
}

/// A pool as it is to be made: where, and how large.
pub(super) type Plan = Option<(u64, PoolSize)>;

/// What `init` asks for; none if memory cannot be had.
pub(super) fn boot(defaults: &mut PoolDefaults, args: &Args) -> Result<Plan, Misuse> {
    let (base, limit) = (args.num(2), args.num(3));
    if args.text(0) != "-" {
        defaults.parse(args.text(0));
    }
    let mut nslabs = defaults.boot_nslabs(args.small(1));
    while limit != 0 && nslabs.saturating_mul(2048) > limit {
        match defaults.boot_retry(nslabs) {
            Some(fewer) => nslabs = fewer,
            None => return Ok(None),
        }
    }
    bounded(nslabs, defaults.boot_pool(nslabs)).map(|size| Some((base, size)))
}

/// What `init_late` asks for; none if memory cannot be had.
pub(super) fn late(defaults: &mut PoolDefaults, args: &Args) -> Result<Plan, Misuse> {
    /// The largest block of the recorded page allocator.
    const MAX_ORDER: u32 = 15;
    let (bytes, areas, limit, bump) = (args.num(0), args.small(2), args.num(3), args.num(4));
    if areas != 0 {
        defaults.adjust_nareas(areas);
    }
    let mut order = defaults.late_order(bytes, args.small(1));
    while let Some(tried) = order {
        if tried <= MAX_ORDER && (limit == 0 || 4096u64 << tried <= limit) {
            let bump = if bump == 0 { 1 << 30 } else { bump };
            let size = defaults.late_pool(tried);
            let start = bump.next_multiple_of(4096 << tried);
            return bounded(u64::from(size.nslabs), size).map(|size| Some((start, size)));
        }
        order = PoolDefaults::late_retry(tried);
    }
    Ok(None)
}

/// The size, unless nobody can have recorded such a pool.
pub(super) fn bounded(nslabs: u64, size: PoolSize) -> Result<PoolSize, Misuse> {
    if nslabs > u64::from(MAX_NSLABS) {
        return Err(Misuse(format!(
            "the pool would have {nslabs} slots; at most {MAX_NSLABS} (4 GiB) are replayed"
        )));
    }
    if size.nareas > MAX_NAREAS {
        return Err(Misuse(format!(
            "the pool would have {} areas; at most {MAX_NAREAS} are replayed",
            size.nareas
        )));
    }
    Ok(size)
}

/// The result of creating a pool.
pub(super) fn pool_result(start: u64, size: PoolSize, force: bool) -> Value {
    json!({
        "nslabs": size.nslabs, "nareas": size.nareas, "area_nslabs": size.area_nslabs(),
        "start": start, "force": u8::from(force),
    })
}
