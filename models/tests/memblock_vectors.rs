//! Replays what the real memblock of two kernels answered, and compares every answer and the state at the end.
//!
//! A sample of the recordings lies in `tests/data`. The full set is replayed, too, where it exists beside the
//! workspace (`../shared/data/vectors`), or where the environment variable `DMASIM_VECTORS` says it is.

#![expect(clippy::print_stderr, reason = "a test says which recordings it did not find")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use models::mem::{Pfn, PhysAddr, PhysRange};
use models::memblock::{
    Bounds, FreeRange, ListDump, Memblock, MemblockDump, MemblockError, MemblockFlags, MemblockRules,
    MemblockType, NodeId, Owner, Region,
};
use serde_json::{Value, json};

const OWNER: Owner = Owner::new("vector", 0);

/// Sequences and operations in the samples, so that a file cut short does not pass.
const SAMPLE_6_1: (usize, usize) = (63, 8449);
const SAMPLE_6_12: (usize, usize) = (65, 9347);

/// The arguments of one recorded operation, by position.
struct Args<'a>(&'a [Value]);

impl Args<'_> {
    fn num(&self, index: usize) -> u64 {
        self.0[index].as_u64().unwrap_or_else(|| panic!("argument {index} of {:?} is no number", self.0))
    }

    fn addr(&self, index: usize) -> PhysAddr {
        PhysAddr(self.num(index))
    }

    fn flag(&self, index: usize) -> bool {
        self.num(index) != 0
    }

    fn nid(&self, index: usize) -> NodeId {
        let nid = self.0[index].as_i64().and_then(|nid| i32::try_from(nid).ok());
        NodeId(nid.unwrap_or_else(|| panic!("argument {index} of {:?} is no node", self.0)))
    }

    fn flags(&self, index: usize) -> MemblockFlags {
        MemblockFlags(u32::try_from(self.num(index)).expect("flags have 32 bits"))
    }

    fn kind(&self, index: usize) -> MemblockType {
        if self.flag(index) { MemblockType::Reserved } else { MemblockType::Memory }
    }

    fn bounds(&self, index: usize) -> Bounds {
        Bounds::between(self.addr(index), self.addr(index + 1))
    }
}

fn status(result: Result<(), MemblockError>) -> Value {
    match result {
        Ok(()) => json!(0),
        Err(error) => failure(error, json!(-12)),
    }
}

fn address(result: Result<PhysAddr, MemblockError>) -> Value {
    match result {
        Ok(addr) => json!(addr.0),
        Err(error) => failure(error, json!("fail")),
    }
}

fn failure(error: MemblockError, no_memory: Value) -> Value {
    match error {
        MemblockError::NoMemory => no_memory,
        MemblockError::Fatal(fatal) if fatal.is_panic() => json!("panic"),
        MemblockError::Fatal(_) => json!("bug"),
        MemblockError::NotInThisKernel => json!("absent"),
    }
}

fn free_ranges(ranges: impl Iterator<Item = FreeRange>) -> Value {
    ranges.map(|free| json!([free.range.start.0, free.range.end.0, free.nid.0])).collect()
}

fn list(dump: &ListDump) -> Value {
    let region = |region: &Region| json!([region.base.0, region.size, region.flags.0, region.nid.0]);
    let regions: Value = dump.regions.iter().map(region).collect();
    json!({ "total": dump.total, "max": dump.max, "regions": regions })
}

fn dump(dump: &MemblockDump) -> Value {
    json!({
        "memory": list(&dump.memory),
        "reserved": list(&dump.reserved),
        "current_limit": dump.current_limit.0,
        "bottom_up": u8::from(dump.bottom_up),
    })
}

/// Carries out one operation, and returns its result in the form of the recording.
fn apply(mb: &mut Memblock, op: &str, args: &Args<'_>) -> Value {
    let range = || (args.addr(0), args.num(1));
    match op {
        "config" => {
            let rules = MemblockRules {
                can_resize: args.flag(0),
                movable_node: args.flag(1),
                mirrored_kernelcore: args.flag(2),
                ..*mb.rules()
            };
            mb.reset(rules);
            mb.set_bottom_up(args.flag(3));
            mb.set_current_limit(args.addr(4));
            json!(0)
        }
        "set_bottom_up" => {
            mb.set_bottom_up(args.flag(0));
            json!(0)
        }
        "set_current_limit" => {
            mb.set_current_limit(args.addr(0));
            json!(0)
        }
        "add" => status(mb.add(range().0, range().1)),
        "add_node" => status(mb.add_node(range().0, range().1, args.nid(2), args.flags(3))),
        "remove" => status(mb.remove(range().0, range().1)),
        "reserve" => status(mb.reserve(range().0, range().1, OWNER)),
        "free" => status(mb.free(range().0, range().1)),
        "mark_hotplug" => status(mb.mark_hotplug(range().0, range().1)),
        "clear_hotplug" => status(mb.clear_hotplug(range().0, range().1)),
        "mark_nomap" => status(mb.mark_nomap(range().0, range().1)),
        "clear_nomap" => status(mb.clear_nomap(range().0, range().1)),
        "mark_mirror" => status(mb.mark_mirror(range().0, range().1)),
        "reserved_mark_noinit" => status(mb.reserved_mark_noinit(range().0, range().1)),
        "set_node" => status(mb.set_node(range().0, range().1, args.kind(2), args.nid(3))),
        "phys_alloc_range" => address(mb.phys_alloc_range(args.num(0), args.num(1), args.bounds(2), OWNER)),
        "phys_alloc_try_nid" => address(mb.phys_alloc_try_nid(args.num(0), args.num(1), args.nid(2), OWNER)),
        "alloc_range_nid" => address(mb.alloc_range_nid(
            args.num(0),
            args.num(1),
            args.bounds(2),
            args.nid(4),
            args.flag(5),
            OWNER,
        )),
        "alloc_try_nid" => {
            address(mb.alloc_try_nid(args.num(0), args.num(1), args.bounds(2), args.nid(4), OWNER))
        }
        "alloc_exact_nid" => {
            address(mb.alloc_exact_nid(args.num(0), args.num(1), args.bounds(2), args.nid(4), OWNER))
        }
        "cap_memory_range" => status(mb.cap_memory_range(range().0, range().1).map_err(Into::into)),
        "enforce_memory_limit" => status(mb.enforce_memory_limit(args.num(0)).map_err(Into::into)),
        "mem_limit_remove_map" => status(mb.mem_limit_remove_map(args.num(0)).map_err(Into::into)),
        "trim_memory" => {
            mb.trim_memory(args.num(0));
            json!(0)
        }
        _ => query(mb, op, args),
    }
}

fn query(mb: &Memblock, op: &str, args: &Args<'_>) -> Value {
    let truth = |holds: bool| json!(u8::from(holds));
    let bytes = |range: PhysRange| json!([range.start.0, range.end.0]);
    match op {
        "is_memory" => truth(mb.is_memory(args.addr(0))),
        "is_map_memory" => truth(mb.is_map_memory(args.addr(0))),
        "is_reserved" => truth(mb.is_reserved(args.addr(0))),
        "is_region_memory" => truth(mb.is_region_memory(args.addr(0), args.num(1))),
        "is_region_reserved" => truth(mb.is_region_reserved(args.addr(0), args.num(1))),
        "overlaps_region" => truth(mb.overlaps_region(args.kind(2), args.addr(0), args.num(1))),
        "search_pfn_nid" => mb
            .search_pfn_nid(Pfn(args.num(0)))
            .map_or(json!([-1, 0, 0]), |found| json!([found.nid.0, found.start.0, found.end.0])),
        "totals" => json!([mb.phys_mem_size(), mb.reserved_size()]),
        "dram_range" => mb.dram_range().map_or(Value::Null, bytes),
        "free_ranges" if args.flag(2) => free_ranges(mb.free_ranges_rev(args.nid(0), args.flags(1))),
        "free_ranges" => free_ranges(mb.free_ranges(args.nid(0), args.flags(1))),
        "mem_ranges" if args.flag(0) => mb.mem_ranges().rev().map(bytes).collect(),
        "mem_ranges" => mb.mem_ranges().map(bytes).collect(),
        "pfn_ranges" => {
            mb.pfn_ranges(args.nid(0)).map(|pages| json!([pages.start.0, pages.end.0, pages.nid.0])).collect()
        }
        "dump" => dump(&mb.dump()),
        unknown => panic!("the recording has an operation that this test does not know: {unknown}"),
    }
}

/// Replays one recorded sequence; the error says where the model first differs.
fn replay(mb: &mut Memblock, sequence: &Value) -> Result<usize, String> {
    let rules = match sequence["kernel"].as_str() {
        Some("6.1") => MemblockRules::v6_1(),
        Some("6.12") => MemblockRules::v6_12(),
        kernel => return Err(format!("recorded on an unknown kernel: {kernel:?}")),
    };
    mb.reset(rules);
    let name = format!("{} sequence {}", sequence["kernel"], sequence["id"]);
    let ops = sequence["ops"].as_array().ok_or_else(|| format!("{name}: no operations"))?;
    let mut fatal = false;
    for (index, recorded) in ops.iter().enumerate() {
        let op = recorded["op"].as_str().unwrap_or_default();
        let args = recorded["args"].as_array().map(Vec::as_slice).unwrap_or_default();
        let result = apply(mb, op, &Args(args));
        if result != recorded["result"] {
            return Err(format!(
                "{name}, op {index}: {op} {args:?}\n  got {result}\n want {}",
                recorded["result"]
            ));
        }
        fatal = result == "bug" || result == "panic";
        if !fatal && let Err(broken) = mb.check() {
            return Err(format!("{name}, op {index}: {op} {args:?} broke {broken:?}"));
        }
    }
    let last = if fatal { Value::Null } else { dump(&mb.dump()) };
    if last != sequence["final"] {
        return Err(format!("{name}: final state\n  got {last}\n want {}", sequence["final"]));
    }
    Ok(ops.len())
}

/// Replays a file; returns how many sequences and operations it holds.
fn replay_file(path: &Path) -> (usize, usize) {
    let file = File::open(path).unwrap_or_else(|error| panic!("failed to open {}: {error}", path.display()));
    let mut mb = Memblock::new(MemblockRules::v6_12());
    let (mut sequences, mut operations) = (0, 0);
    let mut failures = Vec::new();
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        let line = line.unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()));
        let sequence = serde_json::from_str(&line).expect("each line is one JSON object");
        sequences += 1;
        match replay(&mut mb, &sequence) {
            Ok(count) => operations += count,
            Err(failure) => failures.push(failure),
        }
    }
    let shown: Vec<_> = failures.iter().take(3).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} of {sequences} differ, such as\n{}", failures.len(), shown.join("\n"));
    (sequences, operations)
}

fn sample(kernel: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/memblock-{kernel}-sample.jsonl.gz"))
}

fn full(kernel: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("DMASIM_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/vectors"),
        PathBuf::from,
    );
    let path = folder.join(format!("memblock-{kernel}.jsonl.gz"));
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: the full recordings of {kernel} are not there ({})", path.display());
    None
}

#[test]
fn sample_of_6_1_agrees() {
    assert_eq!(replay_file(&sample("6.1")), SAMPLE_6_1);
}

#[test]
fn sample_of_6_12_agrees() {
    assert_eq!(replay_file(&sample("6.12")), SAMPLE_6_12);
}

#[test]
fn all_of_6_1_agrees() {
    if let Some(path) = full("6.1") {
        let (sequences, operations) = replay_file(&path);
        eprintln!("6.1: {sequences} sequences, {operations} operations agree");
        assert!(sequences > 0 && operations > sequences);
    }
}

#[test]
fn all_of_6_12_agrees() {
    if let Some(path) = full("6.12") {
        let (sequences, operations) = replay_file(&path);
        eprintln!("6.12: {sequences} sequences, {operations} operations agree");
        assert!(sequences > 0 && operations > sequences);
    }
}
