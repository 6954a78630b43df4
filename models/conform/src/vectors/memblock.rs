//! Sequences of kind `memblock`.

use models::mem::{Pfn, PhysAddr, PhysRange};
use models::memblock::{
    Bounds, FreeRange, ListDump, Memblock, MemblockDump, MemblockError, MemblockFlags, MemblockRules,
    MemblockType, NodeId, Owner, Region,
};
use serde_json::{Value, json};

use super::subject::{Misuse, Subject, Version};
use super::table::{Args, Form, Param, Spec, node, num, op, switch, up_to};

const BASE: Param = num("base");
const SIZE: Param = num("size");
const ALIGN: Param = num("align");
const LO: Param = num("lo");
const HI: Param = num("hi");
const NID: Param = node("nid");
const FLAGS: Param = up_to("flags", u32::MAX as u64);
const ADDR: Param = num("addr");
const LIST: Param = switch("type");

/// Every operation.
pub(super) const TABLE: &[Spec] = &[
    op(
        "config",
        &[
            switch("resize"),
            switch("movable_node"),
            switch("mirrored_kernelcore"),
            switch("bottom_up"),
            num("current_limit"),
        ],
    )
    .makes(),
    op("set_bottom_up", &[switch("bottom_up")]),
    op("set_current_limit", &[num("limit")]),
    op("add", &[BASE, SIZE]),
    op("add_node", &[BASE, SIZE, NID, FLAGS]),
    op("remove", &[BASE, SIZE]),
    op("reserve", &[BASE, SIZE]),
    op("free", &[BASE, SIZE]),
    op("mark_hotplug", &[BASE, SIZE]),
    op("clear_hotplug", &[BASE, SIZE]),
    op("mark_nomap", &[BASE, SIZE]),
    op("clear_nomap", &[BASE, SIZE]),
    op("mark_mirror", &[BASE, SIZE]),
    op("reserved_mark_noinit", &[BASE, SIZE]).new_kernel(),
    op("set_node", &[BASE, SIZE, LIST, NID]),
    op("phys_alloc_range", &[SIZE, ALIGN, LO, HI]),
    op("phys_alloc_try_nid", &[SIZE, ALIGN, NID]),
    op("alloc_range_nid", &[SIZE, ALIGN, LO, HI, NID, switch("exact")]),
    op("alloc_try_nid", &[SIZE, ALIGN, LO, HI, NID]),
    op("alloc_exact_nid", &[SIZE, ALIGN, LO, HI, NID]),
    op("cap_memory_range", &[BASE, SIZE]),
    op("enforce_memory_limit", &[num("limit")]),
    op("mem_limit_remove_map", &[num("limit")]),
    op("trim_memory", &[Param { name: "align", form: Form::PowerOfTwo }]),
    op("is_memory", &[ADDR]),
    op("is_map_memory", &[ADDR]),
    op("is_reserved", &[ADDR]),
    op("is_region_memory", &[BASE, SIZE]),
    op("is_region_reserved", &[BASE, SIZE]),
    op("overlaps_region", &[BASE, SIZE, LIST]),
    op("search_pfn_nid", &[num("pfn")]),
    op("totals", &[]),
    op("dram_range", &[]),
    op("free_ranges", &[NID, FLAGS, switch("reverse")]),
    op("mem_ranges", &[switch("reverse")]),
    op("pfn_ranges", &[NID]),
    op("dump", &[]),
];

const OWNER: Owner = Owner::new("vector", 0);

/// The lists of one sequence.
pub(super) struct Memblocks {
    mb: Memblock,
}

impl Memblocks {
    pub(super) fn new(version: Version) -> Self {
        let rules = match version {
            Version::V6_1 => MemblockRules::v6_1(),
            Version::V6_12 => MemblockRules::v6_12(),
        };
        Self { mb: Memblock::new(rules) }
    }

    fn change(&mut self, op: &str, args: &Args) -> Option<Value> {
        let mb = &mut self.mb;
        let base = || PhysAddr(args.num(0));
        let size = || args.num(1);
        Some(match op {
            "config" => {
                let rules = MemblockRules {
                    can_resize: args.flag(0),
                    movable_node: args.flag(1),
                    mirrored_kernelcore: args.flag(2),
                    ..*mb.rules()
                };
                mb.reset(rules);
                mb.set_bottom_up(args.flag(3));
                mb.set_current_limit(PhysAddr(args.num(4)));
                json!(0)
            }
            "set_bottom_up" => {
                mb.set_bottom_up(args.flag(0));
                json!(0)
            }
            "set_current_limit" => {
                mb.set_current_limit(base());
                json!(0)
            }
            "add" => status(mb.add(base(), size())),
            "add_node" => status(mb.add_node(base(), size(), nid(args, 2), flags(args, 3))),
            "remove" => status(mb.remove(base(), size())),
            "reserve" => status(mb.reserve(base(), size(), OWNER)),
            "free" => status(mb.free(base(), size())),
            "mark_hotplug" => status(mb.mark_hotplug(base(), size())),
            "clear_hotplug" => status(mb.clear_hotplug(base(), size())),
            "mark_nomap" => status(mb.mark_nomap(base(), size())),
            "clear_nomap" => status(mb.clear_nomap(base(), size())),
            "mark_mirror" => status(mb.mark_mirror(base(), size())),
            "reserved_mark_noinit" => status(mb.reserved_mark_noinit(base(), size())),
            "set_node" => status(mb.set_node(base(), size(), kind(args, 2), nid(args, 3))),
            "cap_memory_range" => status(mb.cap_memory_range(base(), size()).map_err(Into::into)),
            "enforce_memory_limit" => status(mb.enforce_memory_limit(args.num(0)).map_err(Into::into)),
            "mem_limit_remove_map" => status(mb.mem_limit_remove_map(args.num(0)).map_err(Into::into)),
            "trim_memory" => {
                mb.trim_memory(args.num(0));
                json!(0)
            }
            _ => return None,
        })
    }

    fn allocate(&mut self, op: &str, args: &Args) -> Option<Value> {
        let mb = &mut self.mb;
        let (size, align) = (|| args.num(0), || args.num(1));
        Some(address(match op {
            "phys_alloc_range" => mb.phys_alloc_range(size(), align(), bounds(args), OWNER),
            "phys_alloc_try_nid" => mb.phys_alloc_try_nid(size(), align(), nid(args, 2), OWNER),
            "alloc_range_nid" => {
                mb.alloc_range_nid(size(), align(), bounds(args), nid(args, 4), args.flag(5), OWNER)
            }
            "alloc_try_nid" => mb.alloc_try_nid(size(), align(), bounds(args), nid(args, 4), OWNER),
            "alloc_exact_nid" => mb.alloc_exact_nid(size(), align(), bounds(args), nid(args, 4), OWNER),
            _ => return None,
        }))
    }

    fn query(&self, op: &str, args: &Args) -> Option<Value> {
        let mb = &self.mb;
        let truth = |holds: bool| json!(u8::from(holds));
        let bytes = |range: PhysRange| json!([range.start.0, range.end.0]);
        let addr = || PhysAddr(args.num(0));
        Some(match op {
            "is_memory" => truth(mb.is_memory(addr())),
            "is_map_memory" => truth(mb.is_map_memory(addr())),
            "is_reserved" => truth(mb.is_reserved(addr())),
            "is_region_memory" => truth(mb.is_region_memory(addr(), args.num(1))),
            "is_region_reserved" => truth(mb.is_region_reserved(addr(), args.num(1))),
            "overlaps_region" => truth(mb.overlaps_region(kind(args, 2), addr(), args.num(1))),
            "search_pfn_nid" => mb
                .search_pfn_nid(Pfn(args.num(0)))
                .map_or(json!([-1, 0, 0]), |found| json!([found.nid.0, found.start.0, found.end.0])),
            "totals" => json!([mb.phys_mem_size(), mb.reserved_size()]),
            "dram_range" => mb.dram_range().map_or(Value::Null, bytes),
            "free_ranges" if args.flag(2) => free_ranges(mb.free_ranges_rev(nid(args, 0), flags(args, 1))),
            "free_ranges" => free_ranges(mb.free_ranges(nid(args, 0), flags(args, 1))),
            "mem_ranges" if args.flag(0) => mb.mem_ranges().rev().map(bytes).collect(),
            "mem_ranges" => mb.mem_ranges().map(bytes).collect(),
            "pfn_ranges" => mb
                .pfn_ranges(nid(args, 0))
                .map(|pages| json!([pages.start.0, pages.end.0, pages.nid.0]))
                .collect(),
            "dump" => dump(&mb.dump()),
            _ => return None,
        })
    }
}

impl Subject for Memblocks {
    fn apply(&mut self, op: &str, args: &Args) -> Result<Value, Misuse> {
        let result =
            self.change(op, args).or_else(|| self.allocate(op, args)).or_else(|| self.query(op, args));
        Ok(result.unwrap_or_else(|| unreachable!("{op} is in the table and not in the code")))
    }

    fn state(&self) -> Value {
        dump(&self.mb.dump())
    }

    fn check(&self) -> Result<(), String> {
        self.mb.check().map_err(|broken| format!("{broken:?}"))
    }
}

fn nid(args: &Args, index: usize) -> NodeId {
    NodeId(args.node(index))
}

fn flags(args: &Args, index: usize) -> MemblockFlags {
    MemblockFlags(args.small(index))
}

fn kind(args: &Args, index: usize) -> MemblockType {
    if args.flag(index) { MemblockType::Reserved } else { MemblockType::Memory }
}

/// The bounds of an allocation, which follow its size and alignment.
fn bounds(args: &Args) -> Bounds {
    Bounds::between(PhysAddr(args.num(2)), PhysAddr(args.num(3)))
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
