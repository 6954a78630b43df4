//! Sequences of kind `swiotlb`.

use models::mem::PhysAddr;
use models::swiotlb::literal::Release;
use models::swiotlb::{
    AllocError, BounceRules, MapError, MapRequest, Pool, PoolDefaults, PoolFlags, PoolSize, SearchRules,
    SizingRules, Way,
};
use serde_json::{Value, json};

use super::dump;
use super::parts::{self, Bed, Dev, SKIP_CPU_SYNC, direction, failed};
use crate::vectors::subject::{Misuse, Subject, Version};
use crate::vectors::table::Args;

/// A pool that keeps its size.
pub(in crate::vectors) struct OnePool {
    version: Version,
    search: SearchRules,
    bounce: BounceRules,
    defaults: PoolDefaults,
    pool: Option<Pool>,
    bed: Bed,
}

impl OnePool {
    pub(in crate::vectors) fn new(version: Version) -> Self {
        let (search, bounce, sizing) = match version {
            Version::V6_1 => (SearchRules::v6_1_192(), BounceRules::v5_18(), SizingRules::v6_1_192()),
            Version::V6_12 => (SearchRules::v6_12(), BounceRules::v6_9_rc4(), SizingRules::v6_5()),
        };
        Self { version, search, bounce, defaults: PoolDefaults::new(sizing), pool: None, bed: Bed::new() }
    }

    fn create(&mut self, start: u64, size: PoolSize, force: bool) -> Value {
        self.pool = Some(Pool::new(self.search, self.bounce, PhysAddr(start), size));
        self.bed.memory.clear(start, size.bytes());
        parts::pool_result(start, size, force)
    }

    fn make(&mut self, op: &str, args: &Args) -> Result<Option<Value>, Misuse> {
        let (plan, none) = match op {
            "init" => (parts::boot(&mut self.defaults, args)?, "none"),
            "init_late" => (parts::late(&mut self.defaults, args)?, "fail"),
            "init_restricted" => {
                let size = PoolSize::restricted(args.num(2));
                let size = parts::bounded(args.num(2) / 2048, size)?;
                return Ok(Some(self.create(args.num(1), size, PoolFlags::RESTRICTED.force_bounce)));
            }
            _ => return Ok(None),
        };
        Ok(Some(match plan {
            Some((start, size)) => self.create(start, size, self.defaults.force_bounce),
            None => json!(none),
        }))
    }

    /// Works on the pool; where there is none, the kernel finds out by itself.
    fn on_pool(&mut self, op: &str, args: &Args) -> Value {
        let Some(pool) = self.pool.take() else {
            return without_pool(op);
        };
        let mut work = Work { pool, bed: &mut self.bed, bounce: self.bounce, version: self.version };
        let result = work.run(op, args);
        self.pool = Some(work.pool);
        result
    }
}

impl Subject for OnePool {
    fn apply(&mut self, op: &str, args: &Args) -> Result<Value, Misuse> {
        if let Some(result) = self.bed.prepare(op, args) {
            return Ok(result);
        }
        if let Some(result) = self.make(op, args)? {
            return Ok(result);
        }
        let start = self.pool.as_ref().map(|pool| pool.start().0);
        let result = match self.bed.data(op, args, start) {
            Some(result) => result?,
            None => match op {
                "adjust_size" => {
                    self.defaults.adjust_size(args.num(0));
                    json!(self.defaults.nslabs * 2048)
                }
                "max_map" => json!(Pool::max_mapping_size(self.bed.dev(args).limits)),
                _ => self.on_pool(op, args),
            },
        };
        self.bed.checked(result)
    }

    fn state(&self) -> Value {
        self.pool.as_ref().map_or(Value::Null, |pool| state(pool, self.version, true))
    }
}

fn state(pool: &Pool, version: Version, full: bool) -> Value {
    let mut state = dump::state(pool, full);
    if version == Version::V6_12 {
        state["hiwater"] = json!(pool.usage().used_hiwater);
    }
    state
}

/// What the kernel answers where no pool could be made.
pub(super) fn without_pool(op: &str) -> Value {
    match op {
        "map" | "smap" | "alloc" => json!("fail"),
        "free" | "is_buffer" | "work" => json!(0),
        "stat" | "dump" => Value::Null,
        _ => json!("outside"),
    }
}

/// One operation on a pool.
struct Work<'a> {
    pool: Pool,
    bed: &'a mut Bed,
    bounce: BounceRules,
    version: Version,
}

impl Work<'_> {
    fn run(&mut self, op: &str, args: &Args) -> Value {
        let addr = || self.pool.start().wrapping_add(args.num(1));
        match op {
            "map" => {
                let request = MapRequest {
                    orig_addr: PhysAddr(args.num(1)),
                    mapping_size: args.num(2),
                    alloc_size: args.num(3),
                    alloc_align_mask: args.small(4),
                };
                self.map(args, &request, args.num(5), true)
            }
            "smap" => {
                self.map(args, &MapRequest::plain(PhysAddr(args.num(1)), args.num(2)), args.num(3), false)
            }
            "unmap" => self.unmap(args, addr()),
            "sync_cpu" => {
                self.sync(args, addr(), BounceRules::copies_for_cpu(direction(args.num(3))), Way::ToOriginal)
            }
            "sync_dev" => {
                self.sync(args, addr(), self.bounce.copies_for_device(direction(args.num(3))), Way::ToSlots)
            }
            "alloc" => self.alloc(args),
            "free" => self.free(args, addr()),
            "is_buffer" => json!(u8::from(self.pool.contains(PhysAddr(args.num(1))))),
            "stat" => state(&self.pool, self.version, false),
            "dump" => state(&self.pool, self.version, true),
            _ => unreachable!("{op} is in the table and not in the code"),
        }
    }

    fn map(&mut self, args: &Args, request: &MapRequest, dir: u64, capable: bool) -> Value {
        let Dev { dma_mask, limits } = self.bed.dev(args);
        let mut warnings = u64::from(self.version == Version::V6_12 && request.alloc_align_mask > 4095);
        let mapping = match self.pool.map(self.bed.cpu, limits, request) {
            Ok(mapping) => mapping,
            Err(MapError::InvalidSizes) => return failed(warnings + 1),
            Err(MapError::Full | MapError::NoPool) => return failed(warnings),
            Err(MapError::Hang) => return json!("hang"),
            Err(MapError::Bug) => return json!("bug"),
        };
        let start = self.pool.start().0;
        if self.bounce.copies_on_map(direction(dir), false) {
            let bounce = self.pool.bounce(limits, mapping.tlb_addr, request.mapping_size, Way::ToSlots);
            warnings += self.bed.bounce(start, &bounce);
        }
        let last = mapping.tlb_addr.0.wrapping_add(request.mapping_size).wrapping_sub(1);
        if !capable && last > dma_mask {
            self.pool.release_slots(limits, mapping.tlb_addr);
            return failed(warnings + 1);
        }
        let off = mapping.tlb_addr.0.wrapping_sub(start);
        let mut result = json!({ "off": off, "slot": mapping.slot, "pad": mapping.pad, "n": mapping.nslots });
        if warnings > 0 {
            result["w"] = json!(warnings);
        }
        result
    }

    fn sync(&mut self, args: &Args, addr: PhysAddr, copies: Option<bool>, way: Way) -> Value {
        if !self.pool.contains(addr) {
            return json!("outside");
        }
        match copies {
            None => json!("bug"),
            Some(false) => json!(0),
            Some(true) => {
                let bounce = self.pool.bounce(self.bed.dev(args).limits, addr, args.num(2), way);
                json!(self.bed.bounce(self.pool.start().0, &bounce))
            }
        }
    }

    fn unmap(&mut self, args: &Args, addr: PhysAddr) -> Value {
        let copies = BounceRules::copies_on_unmap(direction(args.num(3)), args.num(4) & SKIP_CPU_SYNC != 0);
        let warnings = self.sync(args, addr, Some(copies), Way::ToOriginal);
        if !self.pool.contains(addr) {
            return warnings;
        }
        match self.pool.release_slots(self.bed.dev(args).limits, addr) {
            Release::Done { .. } => warnings,
            Release::Bug | Release::DivideByZero | Release::Budget => json!("bug"),
        }
    }

    fn alloc(&mut self, args: &Args) -> Value {
        match self.pool.alloc(self.bed.cpu, self.bed.dev(args).limits, args.num(1)) {
            Ok(pages) => {
                json!({ "off": pages.page.0.wrapping_sub(self.pool.start().0), "n": pages.nslots })
            }
            Err(AllocError::Full) => json!("fail"),
            Err(AllocError::NotPageAligned) => json!(["fail", 1]),
            Err(AllocError::Hang) => json!("hang"),
            Err(AllocError::Bug) => json!("bug"),
        }
    }

    fn free(&mut self, args: &Args, addr: PhysAddr) -> Value {
        if !self.pool.contains(addr) {
            return json!(0);
        }
        match self.pool.release_slots(self.bed.dev(args).limits, addr) {
            Release::Done { .. } => json!(1),
            Release::Bug | Release::DivideByZero | Release::Budget => json!("bug"),
        }
    }
}
