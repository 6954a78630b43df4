//! From the firmware's memory blocks to the nodes of memblock's regions.

use std::collections::BTreeSet;

use crate::mem::{PhysAddr, PhysRange};
use crate::memblock::{Memblock, MemblockError, MemblockType, NodeId};

/// What differs between kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumaRules {
    /// Blocks are cut off below the first byte of memory; before, only at address 0.
    /// Source: `mm/numa_memblks.c: numa_cleanup_meminfo()`, v6.12.
    pub trims_below_memory: bool,
    /// At the start of NUMA initialisation every region gets node -1; before, `MAX_NUMNODES`.
    /// Source: `mm/numa_memblks.c: numa_memblks_init()`, v6.12.
    pub resets_to_no_node: bool,
}

impl NumaRules {
    /// Source: `arch/x86/mm/numa.c`, v6.1.
    #[must_use]
    pub const fn v6_1() -> Self {
        Self { trims_below_memory: false, resets_to_no_node: false }
    }

    /// Source: `mm/numa_memblks.c`, v6.12.
    #[must_use]
    pub const fn v6_12() -> Self {
        Self { trims_below_memory: true, resets_to_no_node: true }
    }
}

/// Memory of one node. Source: `include/linux/numa_memblks.h: struct numa_memblk`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumaBlock {
    /// The bytes, as the firmware says; not only RAM.
    pub range: PhysRange,
    /// Its node.
    pub nid: NodeId,
}

/// Two blocks that became one, as the kernel reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Union {
    /// The node of both.
    pub nid: NodeId,
    /// The one that stays and grows.
    pub first: PhysRange,
    /// The one that goes.
    pub second: PhysRange,
    /// Both, and what lies between them.
    pub both: PhysRange,
}

/// Two nodes claim the same memory: the kernel then does without this source of information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// One block.
    pub first: NumaBlock,
    /// The other.
    pub second: NumaBlock,
}

/// The blocks of all nodes. Source: `include/linux/numa_memblks.h: struct numa_meminfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meminfo {
    /// In the order in which they became known.
    pub blocks: Vec<NumaBlock>,
}

fn overlap(a: PhysRange, b: PhysRange) -> bool {
    a.end > b.start && a.start < b.end
}

fn union(a: PhysRange, b: PhysRange) -> PhysRange {
    PhysRange { start: a.start.min(b.start), end: a.end.max(b.end) }
}

impl Meminfo {
    /// Adds a block; empty ones and impossible nodes are ignored.
    /// Source: `mm/numa_memblks.c: numa_add_memblk_to()`.
    pub fn add(&mut self, nid: NodeId, range: PhysRange) {
        if range.start < range.end && nid.is_valid() {
            self.blocks.push(NumaBlock { range, nid });
        }
    }

    /// Trims the blocks to where memory is, and joins blocks of a node between which no other node lies. Returns what
    /// was joined, in order.
    ///
    /// Source: `mm/numa_memblks.c: numa_cleanup_meminfo()`; `arch/x86/mm/numa.c`, v6.1.
    ///
    /// # Errors
    ///
    /// Blocks of two nodes overlap.
    pub fn cleanup(&mut self, memblock: &Memblock, rules: NumaRules) -> Result<Vec<Union>, Overlap> {
        let dram = memblock.dram_range().unwrap_or_default();
        let low = if rules.trims_below_memory { dram.start } else { PhysAddr(0) };
        self.blocks.retain_mut(|block| {
            let holds_memory =
                memblock.overlaps_region(MemblockType::Memory, block.range.start, block.range.size());
            block.range = PhysRange { start: block.range.start.max(low), end: block.range.end.min(dram.end) };
            holds_memory && block.range.start < block.range.end
        });
        self.join()
    }

    fn join(&mut self) -> Result<Vec<Union>, Overlap> {
        let mut joined = Vec::new();
        let mut i = 0;
        while i < self.blocks.len() {
            let mut j = i + 1;
            while j < self.blocks.len() {
                let (first, second) = (self.blocks[i], self.blocks[j]);
                if first.nid != second.nid {
                    if overlap(first.range, second.range) {
                        return Err(Overlap { first, second });
                    }
                    j += 1;
                    continue;
                }
                let both = union(first.range, second.range);
                if self.blocks.iter().any(|other| other.nid != first.nid && overlap(other.range, both)) {
                    j += 1;
                    continue;
                }
                joined.push(Union { nid: first.nid, first: first.range, second: second.range, both });
                self.blocks[i].range = both;
                self.blocks.remove(j);
            }
            i += 1;
        }
        Ok(joined)
    }

    /// Nodes that have a block.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        self.blocks.iter().map(|block| block.nid).collect()
    }

    /// Gives memblock's regions the nodes of the blocks; memory of nodes that hold reserved memory can no longer be
    /// unplugged.
    ///
    /// Source: `mm/numa_memblks.c: numa_register_meminfo(), numa_clear_kernel_node_hotplug()`.
    ///
    /// # Errors
    ///
    /// If a list can hold no more regions.
    pub fn register(&self, memblock: &mut Memblock) -> Result<(), MemblockError> {
        for kind in [MemblockType::Memory, MemblockType::Reserved] {
            for block in &self.blocks {
                memblock.set_node(block.range.start, block.range.size(), kind, block.nid)?;
            }
        }
        let reserved = memblock.regions(MemblockType::Reserved);
        let in_use: BTreeSet<NodeId> =
            reserved.iter().map(|region| region.nid).filter(|nid| nid.is_valid()).collect();
        for block in self.blocks.iter().filter(|block| in_use.contains(&block.nid)) {
            memblock.clear_hotplug(block.range.start, block.range.size())?;
        }
        Ok(())
    }
}

/// Forgets all nodes and all marks of hotpluggable memory, as each attempt to find the nodes begins.
///
/// Source: `mm/numa_memblks.c: numa_memblks_init()`; `arch/x86/mm/numa.c: numa_init()`, v6.1.
///
/// # Errors
///
/// If a list can hold no more regions.
pub fn forget_nodes(memblock: &mut Memblock, rules: NumaRules) -> Result<(), MemblockError> {
    let nid = if rules.resets_to_no_node { NodeId::NO_NODE } else { NodeId::MAX_NUMNODES };
    memblock.set_node(PhysAddr(0), u64::MAX, MemblockType::Memory, nid)?;
    memblock.set_node(PhysAddr(0), u64::MAX, MemblockType::Reserved, nid)?;
    memblock.clear_hotplug(PhysAddr(0), u64::MAX)
}
