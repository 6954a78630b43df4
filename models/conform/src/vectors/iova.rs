//! Sequences of kind `iova`.

use crc32fast::Hasher;
use models::iommu::iova::{
    AllocError, CachedNode, Cpu, DepotTrim, IOVA_RANGE_CACHE_MAX_SIZE, IovaDomain, IovaPfn, IovaRange,
    IovaRules, NullPointer, Plenty, Reserved,
};
use serde_json::{Value, json};

use super::subject::{Misuse, Subject, Version};
use super::table::{Args, MAX_CPUS, Param, Spec, num, op, switch, up_to};

const PFN: Param = num("pfn");
const SIZE: Param = num("size");
const LIMIT: Param = num("limit");
const CPU: Param = up_to("cpu", MAX_CPUS - 1);
/// `churn` takes no more: each of them is a walk.
const MAX_CHURN: u64 = 1 << 17;

/// Every operation.
pub(super) const TABLE: &[Spec] = &[
    op("init", &[num("granule"), num("start_pfn"), up_to("cpus", MAX_CPUS), switch("caches")]).makes(),
    op("cpu", &[CPU]).prepares(),
    op("alloc", &[SIZE, LIMIT, switch("aligned")]),
    op("alloc_fast", &[SIZE, LIMIT, switch("flush")]),
    op("free", &[PFN]),
    op("free_fast", &[PFN, SIZE]),
    op("reserve", &[num("lo"), num("hi")]),
    op("find", &[PFN]),
    op("depot_work", &[]),
    op("cpu_dead", &[CPU]),
    op("churn", &[up_to("n", MAX_CHURN), SIZE, LIMIT, switch("lifo")]),
    op("stat", &[]),
    op("dump", &[]),
];

/// A domain, and what a test bed keeps beside it.
pub(super) struct Iovas {
    rules: IovaRules,
    domain: Option<IovaDomain>,
    cpu: Cpu,
    cpus: u32,
}

impl Iovas {
    pub(super) fn new(version: Version) -> Self {
        let rules = match version {
            Version::V6_1 => IovaRules::v6_1(),
            Version::V6_12 => IovaRules::v6_12(),
        };
        Self { rules, domain: None, cpu: Cpu(0), cpus: 1 }
    }

    fn init(&mut self, args: &Args) -> Value {
        let made = IovaDomain::init_iova_domain(self.rules, args.num(0), IovaPfn(args.num(1)));
        let Ok(mut domain) = made else {
            return json!("bug");
        };
        self.cpus = args.small(2);
        self.cpu = Cpu(0);
        if args.flag(3) {
            domain.iova_domain_init_rcaches();
        }
        self.domain = Some(domain);
        json!(0)
    }

    fn on_domain(&mut self, op: &str, args: &Args) -> Option<Value> {
        let domain = self.domain.as_mut()?;
        let cpu = self.cpu;
        let limit = || IovaPfn(args.num(1));
        Some(match op {
            "alloc" => {
                alloc_result(domain.alloc_iova(args.num(0), limit(), args.flag(2), &mut Plenty).map(pair))
            }
            "alloc_fast" => {
                let got = domain.alloc_iova_fast(cpu, args.num(0), limit(), args.flag(2), &mut Plenty);
                alloc_result(got.map(|pfn| json!(pfn.0)))
            }
            "free" => done(&domain.free_iova(IovaPfn(args.num(0)))),
            "free_fast" => done(&domain.free_iova_fast(cpu, IovaPfn(args.num(0)), args.num(1), &mut Plenty)),
            "reserve" => match domain.reserve_iova(IovaPfn(args.num(0)), IovaPfn(args.num(1)), &mut Plenty) {
                Reserved::Range(range) => pair(range),
                Reserved::Nonsensical => json!("refused"),
                Reserved::NoMemory => json!("no memory"),
            },
            "find" => domain.find_iova(IovaPfn(args.num(0))).map_or(Value::Null, pair),
            "depot_work" => depot_work(domain, self.cpus),
            "cpu_dead" => done(&domain.iova_cpuhp_dead(Cpu(args.small(0)))),
            "churn" => churn(domain, cpu, args),
            "stat" => stat(domain, self.cpus, false),
            "dump" => stat(domain, self.cpus, true),
            _ => unreachable!("{op} is in the table and not in the code"),
        })
    }
}

impl Subject for Iovas {
    fn apply(&mut self, op: &str, args: &Args) -> Result<Value, Misuse> {
        match op {
            "init" => Ok(self.init(args)),
            "cpu" => {
                self.cpu = Cpu(args.small(0));
                Ok(json!(0))
            }
            _ => self
                .on_domain(op, args)
                .ok_or_else(|| Misuse("there is no domain: `init` made none".to_owned())),
        }
    }

    fn state(&self) -> Value {
        self.domain.as_ref().map_or(Value::Null, |domain| stat(domain, self.cpus, true))
    }
}

fn pair(range: IovaRange) -> Value {
    json!([range.lo.0, range.hi.0])
}

fn pfn_list(pfns: &[IovaPfn]) -> Value {
    pfns.iter().map(|pfn| pfn.0).collect()
}

/// What an operation without a result answers; the kernel itself would follow a null pointer in the other case.
fn done<T>(result: &Result<T, NullPointer>) -> Value {
    match result {
        Ok(_) => json!(0),
        Err(NullPointer) => json!("null pointer"),
    }
}

fn alloc_result(result: Result<Value, AllocError>) -> Value {
    match result {
        Ok(value) => value,
        Err(AllocError::NoSpace) => json!("fail"),
        Err(AllocError::NullPointer) => json!("null pointer"),
        Err(error) => json!(format!("{error:?}")),
    }
}

fn churn(domain: &mut IovaDomain, cpu: Cpu, args: &Args) -> Value {
    let (count, size, limit) = (args.num(0), args.num(1), IovaPfn(args.num(2)));
    let mut got = Vec::new();
    let mut crc = Hasher::new();
    for _ in 0..count {
        let Ok(pfn) = domain.alloc_iova_fast(cpu, size, limit, true, &mut Plenty) else { break };
        crc.update(&pfn.0.to_le_bytes());
        got.push(pfn);
    }
    let [first, last] = [got.first(), got.last()].map(|pfn| pfn.map_or(0, |pfn| pfn.0));
    let result = json!([got.len(), first, last, crc.finalize()]);
    if args.flag(3) {
        got.reverse();
    }
    for pfn in got {
        if domain.free_iova_fast(cpu, pfn, size, &mut Plenty).is_err() {
            return json!("null pointer");
        }
    }
    result
}

fn depot_work(domain: &mut IovaDomain, cpus: u32) -> Value {
    let mut ran = 0;
    for class in 0..IOVA_RANGE_CACHE_MAX_SIZE {
        match domain.iova_depot_work_func(class, cpus as usize) {
            Ok(DepotTrim::Idle) => {}
            Ok(_) => ran += 1,
            Err(NullPointer) => return json!("null pointer"),
        }
    }
    json!(ran)
}

fn stat(domain: &IovaDomain, cpus: u32, full: bool) -> Value {
    let node = |cached| match cached {
        CachedNode::Anchor => json!(-1),
        CachedNode::Range(lo) => json!(lo.0),
        CachedNode::Null => json!("null"),
    };
    let mut stat = json!({
        "ranges": domain.ranges().map(pair).collect::<Vec<_>>(),
        "cached": node(domain.cached_node()),
        "cached32": node(domain.cached32_node()),
        "max32_alloc_size": domain.max32_alloc_size(),
    });
    if domain.has_rcaches() {
        let classes = (0..IOVA_RANGE_CACHE_MAX_SIZE).map(|class| {
            let view = domain.rcache(class);
            let on_cpus = (0..cpus).map(|cpu| {
                let (loaded, prev) = (view.loaded(Cpu(cpu)), view.prev(Cpu(cpu)));
                if full {
                    json!([pfn_list(loaded), pfn_list(prev)])
                } else {
                    json!([loaded.len(), prev.len()])
                }
            });
            let mut class = json!({"cpus": on_cpus.collect::<Vec<_>>(), "depot": view.depot_size()});
            if full {
                class["depot_mags"] = view.depot().map(pfn_list).collect();
            }
            class
        });
        stat["rcache"] = classes.collect();
    }
    stat
}
