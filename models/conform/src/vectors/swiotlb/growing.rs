//! Sequences of kind `swiotlb-dynamic`.

use models::mem::PhysAddr;
use models::swiotlb::literal::Release;
use models::swiotlb::{
    Asker, BounceRules, Device, DmaPages, GrowingPools, MapError, MapRequest, Pool, PoolDefaults,
    SearchRules, SizingRules, Way, ZONE_DMA32_LIMIT, Zone,
};
use serde_json::{Value, json};

use super::dump;
use super::one_pool::without_pool;
use super::parts::{self, Bed, Dev, SKIP_CPU_SYNC, direction, failed};
use crate::vectors::subject::{Misuse, Subject};
use crate::vectors::table::Args;

/// The page allocator of the test bed: three zones that only move upwards.
struct Bump {
    next: [u64; 3],
    max_order: u32,
}

impl DmaPages for Bump {
    fn alloc_pages(&mut self, zone: Zone, order: u32) -> Option<PhysAddr> {
        const ENDS: [u64; 3] = [0x100_0000, 0x1_0000_0000, 0x3_c000_0000];
        let zone = match zone {
            Zone::Dma => 0,
            Zone::Dma32 => 1,
            Zone::Normal => 2,
        };
        if order > self.max_order {
            return None;
        }
        let bytes = 4096u64.checked_shl(order).filter(|bytes| *bytes <= ENDS[2])?;
        let block = self.next[zone].next_multiple_of(bytes);
        if block + bytes > ENDS[zone] {
            return None;
        }
        self.next[zone] = block + bytes;
        Some(PhysAddr(block))
    }

    fn free_pages(&mut self, _block: PhysAddr, _order: u32) {}
}

/// Pools that grow.
pub(in crate::vectors) struct Growing {
    defaults: PoolDefaults,
    pools: Option<GrowingPools>,
    /// Start of the first pool.
    start: Option<u64>,
    pages: Bump,
    bed: Bed,
}

impl Growing {
    pub(in crate::vectors) fn new() -> Self {
        Self {
            defaults: PoolDefaults::new(SizingRules::v6_5()),
            pools: None,
            start: None,
            pages: Bump { next: [0x80_0000, 0x4000_0000, 0x1_4000_0000], max_order: 10 },
            bed: Bed::new(),
        }
    }

    fn make(&mut self, op: &str, args: &Args) -> Result<Option<Value>, Misuse> {
        let (plan, none) = match op {
            "init" => (parts::boot(&mut self.defaults, args)?, "none"),
            "init_late" => (parts::late(&mut self.defaults, args)?, "fail"),
            _ => return Ok(None),
        };
        let Some((start, size)) = plan else {
            return Ok(Some(json!(none)));
        };
        let (search, bounce) = (SearchRules::v6_12(), BounceRules::v6_9_rc4());
        self.pools = Some(GrowingPools::new(search, bounce, PhysAddr(start), size, ZONE_DMA32_LIMIT));
        self.start = Some(start);
        self.bed.memory.clear(start, size.bytes());
        Ok(Some(parts::pool_result(start, size, self.defaults.force_bounce)))
    }

    fn on_pools(&mut self, op: &str, args: &Args) -> Value {
        let Some(pools) = self.pools.take() else {
            return without_pool(op);
        };
        let mut work = Work { pools, pages: &mut self.pages, bed: &mut self.bed };
        let result = work.run(op, args);
        self.pools = Some(work.pools);
        result
    }
}

impl Subject for Growing {
    fn apply(&mut self, op: &str, args: &Args) -> Result<Value, Misuse> {
        if let Some(result) = self.bed.prepare(op, args) {
            return Ok(result);
        }
        if let Some(result) = self.make(op, args)? {
            return Ok(result);
        }
        let result = match self.bed.data(op, args, self.start) {
            Some(result) => result?,
            None => match op {
                "adjust_size" => {
                    self.defaults.adjust_size(args.num(0));
                    json!(self.defaults.nslabs * 2048)
                }
                "page_max_order" => {
                    self.pages.max_order = args.small(0);
                    json!(0)
                }
                "max_map" => json!(Pool::max_mapping_size(self.bed.dev(args).limits)),
                _ => self.on_pools(op, args),
            },
        };
        self.bed.checked(result)
    }

    fn state(&self) -> Value {
        self.pools.as_ref().map_or(Value::Null, |pools| state(pools, true))
    }
}

/// One operation on the pools.
struct Work<'a> {
    pools: GrowingPools,
    pages: &'a mut Bump,
    bed: &'a mut Bed,
}

impl Work<'_> {
    fn run(&mut self, op: &str, args: &Args) -> Value {
        match op {
            "map" => {
                let request = MapRequest {
                    orig_addr: PhysAddr(args.num(1)),
                    mapping_size: args.num(2),
                    alloc_size: args.num(3),
                    alloc_align_mask: args.small(4),
                };
                self.map(args, &request, true)
            }
            "smap" => self.map(args, &MapRequest::plain(PhysAddr(args.num(1)), args.num(2)), false),
            "work" => json!(u8::from(self.pools.run_worker(self.pages))),
            "unmap_abs" => self.unmap(args),
            "sync_cpu_abs" => {
                self.sync(args, BounceRules::copies_for_cpu(direction(args.num(3))), Way::ToOriginal)
            }
            "sync_dev_abs" => {
                let copies = BounceRules::v6_9_rc4().copies_for_device(direction(args.num(3)));
                self.sync(args, copies, Way::ToSlots)
            }
            "is_buffer" => {
                json!(u8::from(self.pools.find_pool(device(args), PhysAddr(args.num(1))).is_some()))
            }
            "stat" => state(&self.pools, false),
            "dump" => state(&self.pools, true),
            _ => unreachable!("{op} is in the table and not in the code"),
        }
    }

    fn map(&mut self, args: &Args, request: &MapRequest, capable: bool) -> Value {
        let Dev { dma_mask, limits } = self.bed.dev(args);
        let asker = Asker { device: device(args), cpu: self.bed.cpu, limits, phys_limit: dma_mask };
        let mut warnings = u64::from(request.alloc_align_mask > 4095);
        let found = match self.pools.map(&asker, request, self.pages) {
            Ok(found) => found,
            Err(MapError::Hang) => return json!("hang"),
            Err(MapError::Bug) => return json!("bug"),
            Err(MapError::InvalidSizes) => return failed(warnings + 1),
            Err(MapError::Full | MapError::NoPool) => return failed(warnings),
        };
        let mapping = found.mapping;
        if let Some(pool) = self.pools.find_pool(asker.device, mapping.tlb_addr) {
            let bounce = pool.bounce(limits, mapping.tlb_addr, request.mapping_size, Way::ToSlots);
            warnings += self.bed.bounce(pool.start().0, &bounce);
        }
        let last = mapping.tlb_addr.0.wrapping_add(request.mapping_size).wrapping_sub(1);
        if !capable && last > dma_mask {
            self.pools.unmap(asker.device, limits, mapping.tlb_addr, self.pages);
            return failed(warnings + 1);
        }
        let mut result = json!({
            "pool": found.pool.0, "transient": u8::from(found.transient),
            "off": mapping.tlb_addr.0.wrapping_sub(found.pool.0),
            "slot": mapping.slot, "pad": mapping.pad, "n": mapping.nslots,
        });
        if warnings > 0 {
            result["w"] = json!(warnings);
        }
        result
    }

    fn sync(&mut self, args: &Args, copies: Option<bool>, way: Way) -> Value {
        let addr = PhysAddr(args.num(1));
        let Some(pool) = self.pools.find_pool(device(args), addr) else {
            return json!("outside");
        };
        match copies {
            None => json!("bug"),
            Some(false) => json!(0),
            Some(true) => {
                let bounce = pool.bounce(self.bed.dev(args).limits, addr, args.num(2), way);
                json!(self.bed.bounce(pool.start().0, &bounce))
            }
        }
    }

    fn unmap(&mut self, args: &Args) -> Value {
        let copies = BounceRules::copies_on_unmap(direction(args.num(3)), args.num(4) & SKIP_CPU_SYNC != 0);
        let warnings = self.sync(args, Some(copies), Way::ToOriginal);
        let limits = self.bed.dev(args).limits;
        match self.pools.unmap(device(args), limits, PhysAddr(args.num(1)), self.pages) {
            None | Some(Release::Done { .. }) => warnings,
            Some(Release::Bug | Release::DivideByZero | Release::Budget) => json!("bug"),
        }
    }
}

fn device(args: &Args) -> Device {
    Device(args.small(0))
}

fn state(pools: &GrowingPools, full: bool) -> Value {
    let shown: Vec<Value> = pools
        .pools()
        .iter()
        .map(|pool| {
            let size = pool.size();
            json!({
                "start": pool.start().0, "nslabs": size.nslabs, "nareas": size.nareas,
                "state": dump::state(pool, full),
            })
        })
        .collect();
    let mut transient: Vec<_> = pools.transient().collect();
    transient.sort_by_key(|(device, _)| *device);
    let transient: Vec<Value> = transient
        .into_iter()
        .map(|(device, pool)| json!([device.0, pool.start().0, pool.size().nslabs]))
        .collect();
    json!({
        "total_used": pools.usage().total_used, "hiwater": pools.usage().used_hiwater,
        "transient_nslabs": pools.transient_nslabs(), "nslabs": pools.nslabs(),
        "pools": shown, "transient": transient,
    })
}
