//! Replays sequences of kind `swiotlb-dynamic`.

use std::collections::BTreeMap;

use models::mem::PhysAddr;
use models::swiotlb::literal::Release;
use models::swiotlb::{
    Asker, BounceRules, Device, DmaLimits, DmaPages, GrowingPools, MapError, MapRequest, PoolDefaults,
    SearchRules, SizingRules, Way, ZONE_DMA32_LIMIT, Zone,
};
use serde_json::{Value, json};

use crate::one_pool::{Dev, dev, direction};
use crate::{Replay, dump};

/// Three zones that only move upwards.
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
        let bytes = 4096u64 << order;
        let block = self.next[zone].next_multiple_of(bytes);
        if order > self.max_order || block + bytes > ENDS[zone] {
            return None;
        }
        self.next[zone] = block + bytes;
        Some(PhysAddr(block))
    }

    fn free_pages(&mut self, _block: PhysAddr, _order: u32) {}
}

pub(crate) struct Growing {
    pools: Option<GrowingPools>,
    pages: Bump,
    devs: BTreeMap<u64, Dev>,
    cpu: u32,
}

impl Growing {
    pub(crate) fn new() -> Self {
        let pages = Bump { next: [0x80_0000, 0x4000_0000, 0x1_4000_0000], max_order: 10 };
        Self { pools: None, pages, devs: BTreeMap::new(), cpu: 0 }
    }

    fn init(&mut self, string: &str, args: &[u64]) -> Value {
        let mut defaults = PoolDefaults::new(SizingRules::v6_5());
        if string != "-" {
            defaults.parse(string);
        }
        let mut nslabs = defaults.boot_nslabs(u32::try_from(args[1]).unwrap());
        while args[3] != 0 && nslabs * 2048 > args[3] {
            nslabs = defaults.boot_retry(nslabs).unwrap();
        }
        let size = defaults.boot_pool(nslabs);
        let (search, bounce) = (SearchRules::v6_12(), BounceRules::v6_9_rc4());
        let pools = GrowingPools::new(search, bounce, PhysAddr(args[2]), size, ZONE_DMA32_LIMIT);
        self.pools = Some(pools);
        json!({
            "nslabs": size.nslabs, "nareas": size.nareas, "area_nslabs": size.area_nslabs(),
            "start": args[2], "force": u8::from(defaults.force_bounce),
        })
    }

    fn map(&mut self, asking: Dev, args: &[u64]) -> Value {
        let request = MapRequest {
            orig_addr: PhysAddr(args[1]),
            mapping_size: args[2],
            alloc_size: args[3],
            alloc_align_mask: u32::try_from(args[4]).unwrap(),
        };
        let asker = Asker {
            device: Device(u32::try_from(args[0]).unwrap()),
            cpu: self.cpu,
            limits: asking.limits,
            phys_limit: asking.dma_mask,
        };
        let mut warnings = u64::from(request.alloc_align_mask > 4095);
        let pools = self.pools.as_mut().unwrap();
        let found = match pools.map(&asker, &request, &mut self.pages) {
            Ok(found) => found,
            Err(MapError::Hang) => return json!("hang"),
            Err(MapError::Bug) => return json!("bug"),
            Err(_) if warnings == 0 => return json!("fail"),
            Err(_) => return json!(["fail", warnings]),
        };
        let mapping = found.mapping;
        let pool = pools.find_pool(asker.device, mapping.tlb_addr).unwrap();
        let bounce = pool.bounce(asking.limits, mapping.tlb_addr, request.mapping_size, Way::ToSlots);
        warnings += u64::from(bounce.warning.is_some());
        let mut result = json!({
            "pool": found.pool.0, "transient": u8::from(found.transient), "off": mapping.tlb_addr.0 - found.pool.0,
            "slot": mapping.slot, "pad": mapping.pad, "n": mapping.nslots,
        });
        if warnings > 0 {
            result["w"] = json!(warnings);
        }
        result
    }

    fn sync(&self, asking: Dev, args: &[u64], copies: Option<bool>, way: Way) -> Value {
        let device = Device(u32::try_from(args[0]).unwrap());
        let addr = PhysAddr(args[1]);
        let Some(pool) = self.pools.as_ref().unwrap().find_pool(device, addr) else {
            return json!("outside");
        };
        match copies {
            None => json!("bug"),
            Some(false) => json!(0),
            Some(true) => {
                json!(u8::from(pool.bounce(asking.limits, addr, args[2], way).warning.is_some()))
            }
        }
    }

    fn state(&self, full: bool) -> Value {
        let Some(pools) = &self.pools else {
            return Value::Null;
        };
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
}

impl Replay for Growing {
    fn run(&mut self, op: &str, strings: &[Value], args: &[u64]) -> Value {
        let default = Dev { dma_mask: u64::MAX, limits: DmaLimits::default() };
        let asking = args.first().and_then(|id| self.devs.get(id)).copied().unwrap_or(default);
        match op {
            "init" => self.init(strings[0].as_str().unwrap(), args),
            "cpu" => {
                self.cpu = u32::try_from(args[0]).unwrap();
                json!(0)
            }
            "dev" => {
                self.devs.insert(args[0], dev(args));
                json!(0)
            }
            "page_max_order" => {
                self.pages.max_order = u32::try_from(args[0]).unwrap();
                json!(0)
            }
            "map" => self.map(asking, args),
            "work" => json!(u8::from(self.pools.as_mut().unwrap().run_worker(&mut self.pages))),
            "unmap_abs" => {
                let copies = BounceRules::copies_on_unmap(direction(args[3]), args[4] & 0x20 != 0);
                let warnings = self.sync(asking, args, Some(copies), Way::ToOriginal);
                let device = Device(u32::try_from(args[0]).unwrap());
                let pools = self.pools.as_mut().unwrap();
                match pools.unmap(device, asking.limits, PhysAddr(args[1]), &mut self.pages) {
                    None | Some(Release::Done { .. }) => warnings,
                    Some(Release::Bug | Release::DivideByZero | Release::Budget) => json!("bug"),
                }
            }
            "sync_cpu_abs" => {
                self.sync(asking, args, BounceRules::copies_for_cpu(direction(args[3])), Way::ToOriginal)
            }
            "sync_dev_abs" => {
                let copies = BounceRules::v6_9_rc4().copies_for_device(direction(args[3]));
                self.sync(asking, args, copies, Way::ToSlots)
            }
            "is_buffer" => {
                let device = Device(u32::try_from(args[0]).unwrap());
                let found = self.pools.as_ref().unwrap().find_pool(device, PhysAddr(args[1]));
                json!(u8::from(found.is_some()))
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
