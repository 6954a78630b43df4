//! One operation on the model.

use models::mem::{Pfn, PhysAddr};
use models::memblock::{
    Bounds, Memblock, MemblockError, MemblockFlags, MemblockRules, MemblockType, NodeId, Owner,
};

use super::{Name, Op};

const OWNER: Owner = Owner::new("bench", 0);
/// What stands for failure where an address is asked for.
const FAILED: u64 = 0;
const ENOMEM: u64 = -12_i64 as u64;

/// A machine of kernel 6.12 with nothing in it.
pub(crate) fn new_machine() -> Memblock {
    Memblock::new(MemblockRules::v6_12())
}

/// Adds one number to a checksum.
fn mix(sum: u64, number: u64) -> u64 {
    sum.wrapping_mul(31).wrapping_add(number)
}

/// Sign extended, as C prints it.
fn nid_bits(nid: NodeId) -> u64 {
    i64::from(nid.0) as u64
}

fn status<E>(result: &Result<(), E>) -> u64 {
    if result.is_ok() { 0 } else { ENOMEM }
}

fn address(result: Result<PhysAddr, MemblockError>) -> u64 {
    result.map_or(FAILED, |addr| addr.0)
}

/// Carries it out; returns what `answer` of a recorded one is compared with.
#[expect(clippy::cast_possible_truncation, reason = "nodes and flags were widened from 32 bits")]
pub(crate) fn apply(mb: &mut Memblock, op: &Op) -> u64 {
    let args = &op.args;
    let (num, addr) = (|index: usize| args[index], |index: usize| PhysAddr(args[index]));
    let nid = |index: usize| NodeId(args[index] as i32);
    let flags = |index: usize| MemblockFlags(args[index] as u32);
    let kind = |index: usize| if args[index] == 0 { MemblockType::Memory } else { MemblockType::Reserved };
    let bounds = |index: usize| Bounds::between(addr(index), addr(index + 1));
    match op.name {
        Name::Config => {
            let rules = MemblockRules {
                can_resize: num(0) != 0,
                movable_node: num(1) != 0,
                mirrored_kernelcore: num(2) != 0,
                ..*mb.rules()
            };
            mb.reset(rules);
            mb.set_bottom_up(num(3) != 0);
            mb.set_current_limit(addr(4));
            0
        }
        Name::SetBottomUp => {
            mb.set_bottom_up(num(0) != 0);
            0
        }
        Name::SetCurrentLimit => {
            mb.set_current_limit(addr(0));
            0
        }
        Name::Add => status(&mb.add(addr(0), num(1))),
        Name::AddNode => status(&mb.add_node(addr(0), num(1), nid(2), flags(3))),
        Name::Remove => status(&mb.remove(addr(0), num(1))),
        Name::Reserve => status(&mb.reserve(addr(0), num(1), OWNER)),
        Name::Free => status(&mb.free(addr(0), num(1))),
        Name::MarkHotplug => status(&mb.mark_hotplug(addr(0), num(1))),
        Name::ClearHotplug => status(&mb.clear_hotplug(addr(0), num(1))),
        Name::MarkNomap => status(&mb.mark_nomap(addr(0), num(1))),
        Name::ClearNomap => status(&mb.clear_nomap(addr(0), num(1))),
        Name::MarkMirror => status(&mb.mark_mirror(addr(0), num(1))),
        Name::ReservedMarkNoinit => status(&mb.reserved_mark_noinit(addr(0), num(1))),
        Name::SetNode => status(&mb.set_node(addr(0), num(1), kind(2), nid(3))),
        Name::PhysAllocRange => address(mb.phys_alloc_range(num(0), num(1), bounds(2), OWNER)),
        Name::PhysAllocTryNid => address(mb.phys_alloc_try_nid(num(0), num(1), nid(2), OWNER)),
        Name::AllocRangeNid => {
            address(mb.alloc_range_nid(num(0), num(1), bounds(2), nid(4), num(5) != 0, OWNER))
        }
        Name::AllocTryNid => address(mb.alloc_try_nid(num(0), num(1), bounds(2), nid(4), OWNER)),
        Name::AllocExactNid => address(mb.alloc_exact_nid(num(0), num(1), bounds(2), nid(4), OWNER)),
        Name::CapMemoryRange => status(&mb.cap_memory_range(addr(0), num(1))),
        Name::EnforceMemoryLimit => status(&mb.enforce_memory_limit(num(0))),
        Name::MemLimitRemoveMap => status(&mb.mem_limit_remove_map(num(0))),
        Name::TrimMemory => {
            mb.trim_memory(num(0));
            0
        }
        Name::IsMemory => u64::from(mb.is_memory(addr(0))),
        Name::IsMapMemory => u64::from(mb.is_map_memory(addr(0))),
        Name::IsReserved => u64::from(mb.is_reserved(addr(0))),
        Name::IsRegionMemory => u64::from(mb.is_region_memory(addr(0), num(1))),
        Name::IsRegionReserved => u64::from(mb.is_region_reserved(addr(0), num(1))),
        Name::OverlapsRegion => u64::from(mb.overlaps_region(kind(2), addr(0), num(1))),
        Name::SearchPfnNid => mb.search_pfn_nid(Pfn(num(0))).map_or(nid_bits(NodeId::NO_NODE), |found| {
            mix(mix(nid_bits(found.nid), found.start.0), found.end.0)
        }),
        Name::Totals => mix(mb.phys_mem_size(), mb.reserved_size()),
        Name::FreeRanges if num(2) != 0 => mb.free_ranges_rev(nid(0), flags(1)).fold(0, sum_free),
        Name::FreeRanges => mb.free_ranges(nid(0), flags(1)).fold(0, sum_free),
        Name::PfnRanges => mb
            .pfn_ranges(nid(0))
            .fold(0, |sum, run| mix(mix(mix(sum, run.start.0), run.end.0), nid_bits(run.nid))),
    }
}

fn sum_free(sum: u64, free: models::memblock::FreeRange) -> u64 {
    mix(mix(mix(sum, free.range.start.0), free.range.end.0), nid_bits(free.nid))
}
