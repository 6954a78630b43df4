//! A copy of the whole state, to compare and to print.

use std::fmt;

use super::state::Memblock;
use super::types::{MemblockType, Region};
use crate::mem::PhysAddr;

/// One list as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListDump {
    /// Accounted total.
    pub total: u64,
    /// Capacity.
    pub max: u64,
    /// The regions in list order.
    pub regions: Vec<Region>,
}

/// Both lists and the search parameters. Its `Display` is what `memblock=debug` prints, without the dummy entry that
/// 6.1 prints of an empty list.
/// Source: `mm/memblock.c: __memblock_dump_all()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemblockDump {
    /// `memblock.memory`.
    pub memory: ListDump,
    /// `memblock.reserved`.
    pub reserved: ListDump,
    /// Upper bound of requests that name none.
    pub current_limit: PhysAddr,
    /// Direction of searches.
    pub bottom_up: bool,
}

impl Memblock {
    /// Copies the state. Source: `mm/memblock.c: memblock_dump_all()`.
    #[must_use]
    pub fn dump(&self) -> MemblockDump {
        let list = |kind| {
            let list = self.list(kind);
            ListDump { total: list.total_size, max: list.max, regions: list.regions.clone() }
        };
        MemblockDump {
            memory: list(MemblockType::Memory),
            reserved: list(MemblockType::Reserved),
            current_limit: self.current_limit,
            bottom_up: self.bottom_up,
        }
    }
}

/// As `printk` prints a pointer to a physical address. Source: `lib/vsprintf.c: %pa`.
struct Pa(u64);

impl fmt::Display for Pa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, kind: MemblockType, list: &ListDump) -> fmt::Result {
    let name = kind.name();
    writeln!(f, " {name}.cnt  = {:#x}", list.regions.len())?;
    for (index, region) in list.regions.iter().enumerate() {
        let last = Pa(region.end().0.wrapping_sub(1));
        write!(f, " {name}[{index:#x}]\t[{}-{last}], {} bytes", Pa(region.base.0), Pa(region.size))?;
        if region.nid.is_valid() {
            write!(f, " on node {}", region.nid.0)?;
        }
        writeln!(f, " flags: {:#x}", region.flags.0)?;
    }
    Ok(())
}

impl fmt::Display for MemblockDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "MEMBLOCK configuration:")?;
        let (memory, reserved) = (Pa(self.memory.total), Pa(self.reserved.total));
        writeln!(f, " memory size = {memory} reserved size = {reserved}")?;
        write_list(f, MemblockType::Memory, &self.memory)?;
        write_list(f, MemblockType::Reserved, &self.reserved)
    }
}
