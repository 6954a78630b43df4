//! Replays sequences of kind `swiotlb`.

use std::collections::BTreeMap;

use models::mem::PhysAddr;
use models::swiotlb::literal::Release;
use models::swiotlb::{
    AllocError, Bounce, BounceRules, Direction, DmaLimits, MapError, MapRequest, Pool, PoolDefaults,
    PoolFlags, PoolSize, SearchRules, SizingRules, Way,
};
use serde_json::{Value, json};

use crate::Replay;
use crate::dump;
use crate::memory::Memory;

const SKIP_CPU_SYNC: u64 = 0x20;

pub(crate) fn direction(code: u64) -> Direction {
    match code {
        0 => Direction::Bidirectional,
        1 => Direction::ToDevice,
        2 => Direction::FromDevice,
        _ => Direction::None,
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Dev {
    pub(crate) dma_mask: u64,
    pub(crate) limits: DmaLimits,
}

pub(crate) fn dev(args: &[u64]) -> Dev {
    let seg_boundary_mask = if args[3] == 0 { u64::MAX } else { args[3] };
    let min_align_mask = u32::try_from(args[2]).unwrap();
    Dev { dma_mask: args[1], limits: DmaLimits { min_align_mask, seg_boundary_mask } }
}

pub(crate) struct OnePool {
    new_kernel: bool,
    search: SearchRules,
    bounce: BounceRules,
    defaults: PoolDefaults,
    pool: Option<Pool>,
    memory: Memory,
    devs: BTreeMap<u64, Dev>,
    cpu: u32,
}

impl OnePool {
    pub(crate) fn new(kernel: &str) -> Self {
        let new_kernel = kernel == "6.12";
        let (search, bounce, sizing) = if new_kernel {
            (SearchRules::v6_12(), BounceRules::v6_9_rc4(), SizingRules::v6_5())
        } else {
            (SearchRules::v6_1_192(), BounceRules::v5_18(), SizingRules::v6_1_192())
        };
        Self {
            new_kernel,
            search,
            bounce,
            defaults: PoolDefaults::new(sizing),
            pool: None,
            memory: Memory::default(),
            devs: BTreeMap::new(),
            cpu: 0,
        }
    }

    fn create(&mut self, start: u64, size: PoolSize, force: bool) -> Value {
        let pool = Pool::new(self.search, self.bounce, PhysAddr(start), size);
        self.memory.clear(start, size.bytes());
        self.pool = Some(pool);
        json!({
            "nslabs": size.nslabs, "nareas": size.nareas, "area_nslabs": size.area_nslabs(),
            "start": start, "force": u8::from(force),
        })
    }

    fn init(&mut self, string: &str, args: &[u64]) -> Value {
        let (cpus, base, limit) = (u32::try_from(args[1]).unwrap(), args[2], args[3]);
        if string != "-" {
            self.defaults.parse(string);
        }
        let mut nslabs = self.defaults.boot_nslabs(cpus);
        while limit != 0 && nslabs * 2048 > limit {
            match self.defaults.boot_retry(nslabs) {
                Some(fewer) => nslabs = fewer,
                None => return json!("none"),
            }
        }
        let size = self.defaults.boot_pool(nslabs);
        self.create(base, size, self.defaults.force_bounce)
    }

    fn init_late(&mut self, args: &[u64]) -> Value {
        let (bytes, cpus, areas, limit, bump) = (args[0], args[1], args[2], args[3], args[4]);
        if areas != 0 {
            self.defaults.adjust_nareas(u32::try_from(areas).unwrap());
        }
        let mut order = self.defaults.late_order(bytes, u32::try_from(cpus).unwrap());
        loop {
            let Some(tried) = order else {
                return json!("fail");
            };
            let block = 4096u64 << tried;
            if tried <= 15 && (limit == 0 || block <= limit) {
                let bump = if bump == 0 { 1 << 30 } else { bump };
                let size = self.defaults.late_pool(tried);
                return self.create(bump.next_multiple_of(block), size, self.defaults.force_bounce);
            }
            order = PoolDefaults::late_retry(tried);
        }
    }

    fn apply(&mut self, bounce: Bounce) -> u64 {
        if let Some(copy) = bounce.copy {
            let tlb = self.pool.as_ref().unwrap().start().0 + copy.slot_off;
            match copy.way {
                Way::ToSlots => self.memory.copy(copy.orig.0, tlb, copy.len),
                Way::ToOriginal => self.memory.copy(tlb, copy.orig.0, copy.len),
            }
        }
        u64::from(bounce.warning.is_some())
    }

    fn map(&mut self, dev: Dev, request: &MapRequest, dir: u64, capable: bool) -> Value {
        let pool = self.pool.as_mut().unwrap();
        let mut warnings = u64::from(self.new_kernel && request.alloc_align_mask > 4095);
        let failed = |warnings| if warnings == 0 { json!("fail") } else { json!(["fail", warnings]) };
        let mapping = match pool.map(self.cpu, dev.limits, request) {
            Ok(mapping) => mapping,
            Err(MapError::InvalidSizes) => return failed(warnings + 1),
            Err(MapError::Full | MapError::NoPool) => return failed(warnings),
            Err(MapError::Hang) => return json!("hang"),
            Err(MapError::Bug) => return json!("bug"),
        };
        assert!(self.bounce.copies_on_map(direction(dir), false));
        let start = pool.start().0;
        let bounce = pool.bounce(dev.limits, mapping.tlb_addr, request.mapping_size, Way::ToSlots);
        warnings += self.apply(bounce);
        let last = mapping.tlb_addr.0.wrapping_add(request.mapping_size).wrapping_sub(1);
        if !capable && last > dev.dma_mask {
            self.pool.as_mut().unwrap().release_slots(dev.limits, mapping.tlb_addr);
            return failed(warnings + 1);
        }
        let mut result = json!({
            "off": mapping.tlb_addr.0 - start, "slot": mapping.slot, "pad": mapping.pad, "n": mapping.nslots,
        });
        if warnings > 0 {
            result["w"] = json!(warnings);
        }
        result
    }

    fn sync(&mut self, dev: Dev, off: u64, size: u64, copies: Option<bool>, way: Way) -> Value {
        let pool = self.pool.as_ref().unwrap();
        let addr = pool.start().wrapping_add(off);
        if !pool.contains(addr) {
            return json!("outside");
        }
        match copies {
            None => json!("bug"),
            Some(false) => json!(0),
            Some(true) => {
                let bounce = pool.bounce(dev.limits, addr, size, way);
                json!(self.apply(bounce))
            }
        }
    }

    fn unmap(&mut self, dev: Dev, args: &[u64]) -> Value {
        let (off, size, dir, attrs) = (args[1], args[2], direction(args[3]), args[4]);
        let copies = BounceRules::copies_on_unmap(dir, attrs & SKIP_CPU_SYNC != 0);
        let warnings = self.sync(dev, off, size, Some(copies), Way::ToOriginal);
        if warnings == json!("outside") {
            return warnings;
        }
        let pool = self.pool.as_mut().unwrap();
        match pool.release_slots(dev.limits, pool.start().wrapping_add(off)) {
            Release::Done { .. } => warnings,
            Release::Bug | Release::DivideByZero | Release::Budget => json!("bug"),
        }
    }

    fn state(&self, full: bool) -> Value {
        let Some(pool) = &self.pool else {
            return Value::Null;
        };
        let mut state = dump::state(pool, full);
        if self.new_kernel {
            state["hiwater"] = json!(pool.usage().used_hiwater);
        }
        state
    }

    fn alloc(&mut self, dev: Dev, size: u64) -> Value {
        let pool = self.pool.as_mut().unwrap();
        match pool.alloc(self.cpu, dev.limits, size) {
            Ok(pages) => json!({ "off": pages.page.0 - pool.start().0, "n": pages.nslots }),
            Err(AllocError::Full) => json!("fail"),
            Err(AllocError::NotPageAligned) => json!(["fail", 1]),
            Err(AllocError::Hang) => json!("hang"),
            Err(AllocError::Bug) => json!("bug"),
        }
    }
}

impl Replay for OnePool {
    fn run(&mut self, op: &str, strings: &[Value], args: &[u64]) -> Value {
        let default = Dev { dma_mask: u64::MAX, limits: DmaLimits::default() };
        let dev_of =
            |devs: &BTreeMap<u64, Dev>| args.first().and_then(|id| devs.get(id)).copied().unwrap_or(default);
        let asking = dev_of(&self.devs);
        match op {
            "adjust_size" => {
                self.defaults.adjust_size(args[0]);
                json!(self.defaults.nslabs * 2048)
            }
            "init" => self.init(strings[0].as_str().unwrap(), args),
            "init_late" => self.init_late(args),
            "init_restricted" => {
                self.create(args[1], PoolSize::restricted(args[2]), PoolFlags::RESTRICTED.force_bounce)
            }
            "cpu" => {
                self.cpu = u32::try_from(args[0]).unwrap();
                json!(0)
            }
            "dev" => {
                self.devs.insert(args[0], dev(args));
                json!(0)
            }
            "map" => {
                let request = MapRequest {
                    orig_addr: PhysAddr(args[1]),
                    mapping_size: args[2],
                    alloc_size: args[3],
                    alloc_align_mask: u32::try_from(args[4]).unwrap(),
                };
                self.map(asking, &request, args[5], true)
            }
            "smap" => self.map(asking, &MapRequest::plain(PhysAddr(args[1]), args[2]), args[3], false),
            "unmap" => self.unmap(asking, args),
            "sync_cpu" => {
                let copies = BounceRules::copies_for_cpu(direction(args[3]));
                self.sync(asking, args[1], args[2], copies, Way::ToOriginal)
            }
            "sync_dev" => {
                let copies = self.bounce.copies_for_device(direction(args[3]));
                self.sync(asking, args[1], args[2], copies, Way::ToSlots)
            }
            "alloc" => self.alloc(asking, args[1]),
            "free" => {
                let pool = self.pool.as_mut().unwrap();
                let addr = pool.start().wrapping_add(args[1]);
                let held = pool.contains(addr);
                if held && !matches!(pool.release_slots(asking.limits, addr), Release::Done { .. }) {
                    return json!("bug");
                }
                json!(u8::from(held))
            }
            "max_map" => json!(Pool::max_mapping_size(asking.limits)),
            "is_buffer" => json!(u8::from(self.pool.as_ref().unwrap().contains(PhysAddr(args[1])))),
            "wr" | "set" | "crc" => {
                let base = if args[0] == 1 { self.pool.as_ref().unwrap().start().0 } else { 0 };
                let (addr, len) = (base.wrapping_add(args[1]), args[2]);
                if op == "crc" {
                    return json!(crc32fast::hash(&self.memory.read(addr, len)));
                }
                let byte = |i: u64| if op == "set" { args[3] } else { args[3] + 131 * i + 17 * (i >> 8) };
                let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(byte(i) & 0xff).unwrap()).collect();
                self.memory.write(addr, &bytes);
                json!(0)
            }
            "stat" => self.state(false),
            "dump" => self.state(true),
            _ => panic!("unknown operation {op}"),
        }
    }

    fn last(&self) -> Value {
        self.state(true)
    }
}
