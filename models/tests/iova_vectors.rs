//! Replays what the kernel's own allocator did, and compares every result and every dump.
//!
//! The recordings and their fields are described in `models/tests/data/README-iova.md`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::Crc;
use flate2::read::GzDecoder;
use models::iommu::iova::{
    AllocError, CachedNode, Cpu, DepotTrim, IOVA_RANGE_CACHE_MAX_SIZE, IovaDomain, IovaPfn, IovaRange,
    IovaRules, Plenty, Reserved,
};
use serde_json::{Value, json};

/// A domain, and what a test bed keeps beside it.
struct Bed {
    rules: IovaRules,
    domain: Option<IovaDomain>,
    cpu: Cpu,
    cpus: u32,
}

fn number(args: &[Value], index: usize) -> u64 {
    args[index].as_u64().unwrap_or_else(|| panic!("argument {index} of {args:?} is a number"))
}

fn flag(args: &[Value], index: usize) -> bool {
    number(args, index) != 0
}

fn pair(range: IovaRange) -> Value {
    json!([range.lo.0, range.hi.0])
}

fn pfn_list(pfns: &[IovaPfn]) -> Value {
    pfns.iter().map(|pfn| pfn.0).collect()
}

fn alloc_result(result: Result<Value, AllocError>) -> Value {
    match result {
        Ok(value) => value,
        Err(AllocError::NoSpace) => json!("fail"),
        Err(error) => json!(format!("{error:?}")),
    }
}

impl Bed {
    fn new(rules: IovaRules) -> Self {
        Self { rules, domain: None, cpu: Cpu(0), cpus: 1 }
    }

    fn domain(&mut self) -> &mut IovaDomain {
        self.domain.as_mut().expect("a sequence begins with init")
    }

    fn init(&mut self, args: &[Value]) -> Value {
        let made = IovaDomain::init_iova_domain(self.rules, number(args, 0), IovaPfn(number(args, 1)));
        let Ok(mut domain) = made else {
            return json!("bug");
        };
        self.cpus = u32::try_from(number(args, 2)).expect("a CPU count");
        self.cpu = Cpu(0);
        if flag(args, 3) {
            domain.iova_domain_init_rcaches();
        }
        self.domain = Some(domain);
        json!(0)
    }

    fn alloc_fast(&mut self, size: u64, limit: u64, flush: bool) -> Result<IovaPfn, AllocError> {
        let cpu = self.cpu;
        self.domain().alloc_iova_fast(cpu, size, IovaPfn(limit), flush, &mut Plenty)
    }

    fn free_fast(&mut self, pfn: IovaPfn, size: u64) {
        let cpu = self.cpu;
        self.domain().free_iova_fast(cpu, pfn, size, &mut Plenty).expect("the sentinel is never freed");
    }

    fn churn(&mut self, args: &[Value]) -> Value {
        let (count, size, limit) = (number(args, 0), number(args, 1), number(args, 2));
        let mut got = Vec::new();
        let mut crc = Crc::new();
        for _ in 0..count {
            let Ok(pfn) = self.alloc_fast(size, limit, true) else { break };
            crc.update(&pfn.0.to_le_bytes());
            got.push(pfn);
        }
        let ends = [got.first(), got.last()].map(|pfn| pfn.map_or(0, |pfn| pfn.0));
        let result = json!([got.len(), ends[0], ends[1], crc.sum()]);
        if flag(args, 3) {
            got.reverse();
        }
        for pfn in got {
            self.free_fast(pfn, size);
        }
        result
    }

    fn depot_work(&mut self) -> Value {
        let online = self.cpus as usize;
        let trims = (0..IOVA_RANGE_CACHE_MAX_SIZE)
            .map(|class| self.domain().iova_depot_work_func(class, online).expect("the sentinel is there"))
            .filter(|trim| *trim != DepotTrim::Idle);
        json!(trims.count())
    }

    fn stat(&mut self, full: bool) -> Value {
        let cpus = self.cpus;
        let domain = self.domain();
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

    fn run(&mut self, op: &str, args: &[Value]) -> Value {
        match op {
            "init" => self.init(args),
            "cpu" => {
                self.cpu = Cpu(u32::try_from(number(args, 0)).expect("a CPU"));
                json!(0)
            }
            "alloc" => {
                let limit = IovaPfn(number(args, 1));
                let aligned = flag(args, 2);
                alloc_result(self.domain().alloc_iova(number(args, 0), limit, aligned, &mut Plenty).map(pair))
            }
            "alloc_fast" => alloc_result(
                self.alloc_fast(number(args, 0), number(args, 1), flag(args, 2)).map(|pfn| json!(pfn.0)),
            ),
            "free" => {
                let freed = self.domain().free_iova(IovaPfn(number(args, 0)));
                assert!(freed.is_ok(), "the sentinel is never freed");
                json!(0)
            }
            "free_fast" => {
                self.free_fast(IovaPfn(number(args, 0)), number(args, 1));
                json!(0)
            }
            "reserve" => {
                let (lo, hi) = (IovaPfn(number(args, 0)), IovaPfn(number(args, 1)));
                match self.domain().reserve_iova(lo, hi, &mut Plenty) {
                    Reserved::Range(range) => pair(range),
                    Reserved::Nonsensical => json!("refused"),
                    Reserved::NoMemory => json!("no memory"),
                }
            }
            "find" => self.domain().find_iova(IovaPfn(number(args, 0))).map_or(Value::Null, pair),
            "depot_work" => self.depot_work(),
            "cpu_dead" => {
                let cpu = Cpu(u32::try_from(number(args, 0)).expect("a CPU"));
                assert!(self.domain().iova_cpuhp_dead(cpu).is_ok(), "the sentinel is never freed");
                json!(0)
            }
            "churn" => self.churn(args),
            "stat" => self.stat(false),
            "dump" => self.stat(true),
            other => panic!("unknown operation {other}"),
        }
    }
}

/// Replays one sequence; returns the number of operations compared.
fn replay(sequence: &Value, rules: IovaRules) -> usize {
    let mut bed = Bed::new(rules);
    let ops = sequence["ops"].as_array().expect("ops is a list");
    for (index, entry) in ops.iter().enumerate() {
        let (op, args) =
            (entry["op"].as_str().expect("a name"), entry["args"].as_array().expect("arguments"));
        let result = bed.run(op, args);
        assert_eq!(result, entry["result"], "sequence {}, op {index}: {op} {args:?}", sequence["id"]);
    }
    if !sequence["final"].is_null() {
        assert_eq!(bed.stat(true), sequence["final"], "sequence {}, final dump", sequence["id"]);
    }
    ops.len()
}

/// Replays a whole file; returns the numbers of sequences and operations.
fn replay_file(path: &Path, rules: IovaRules) -> (usize, usize) {
    let file = File::open(path).unwrap_or_else(|error| panic!("failed to open {}: {error}", path.display()));
    let mut totals = (0, 0);
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        let line = line.expect("a line of text");
        let sequence = serde_json::from_str(&line).expect("a JSON object");
        totals.0 += 1;
        totals.1 += replay(&sequence, rules);
    }
    totals
}

fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

fn replay_sample(version: &str, rules: IovaRules) {
    let path = workspace_root().join(format!("models/tests/data/iova-{version}.sample.jsonl.gz"));
    let (sequences, ops) = replay_file(&path, rules);
    assert!(sequences >= 20 && ops >= 2_000, "the sample is {sequences} sequences of {ops} operations");
}

/// The full recordings are too large for the repository; they are compared where they lie beside it.
fn replay_full(version: &str, rules: IovaRules) {
    let path = workspace_root().join(format!("../shared/data/vectors/iova-{version}.jsonl.gz"));
    if path.exists() {
        let (sequences, ops) = replay_file(&path, rules);
        assert!(sequences > 0 && ops > 0, "{} holds sequences", path.display());
    }
}

#[test]
fn sample_of_6_1_agrees() {
    replay_sample("6.1", IovaRules::v6_1());
}

#[test]
fn sample_of_6_12_agrees() {
    replay_sample("6.12", IovaRules::v6_12());
}

#[test]
fn full_recording_of_6_1_agrees() {
    replay_full("6.1", IovaRules::v6_1());
}

#[test]
fn full_recording_of_6_12_agrees() {
    replay_full("6.12", IovaRules::v6_12());
}
