//! Emulated nodes: `numa=fake=` splits the nodes that there are.

use super::numa::{Meminfo, NumaBlock};
use crate::boot::cmdline;
use crate::mem::{PAGE_SHIFT, PAGE_SIZE, PhysAddr, PhysRange};
use crate::memblock::{Memblock, NodeId};

/// Emulated nodes grow in such steps. Source: `arch/x86/include/asm/numa.h: FAKE_NODE_MIN_SIZE`.
const MIN_SIZE: u64 = 32 << 20;
/// End of what 32 bits address. Source: `mm/numa_emulation.c: numa_emu_dma_end()`.
const DMA32_END: u64 = 1 << 32;
/// Source: `include/linux/numa_memblks.h: NR_NODE_MEMBLKS`.
const MAX_BLOCKS: usize = 2_048;
/// Source: `MAX_NUMNODES`.
const MAX_NODES: u64 = 1_024;

/// What the kernel makes of the option.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emulated {
    /// The blocks that it announces, in order.
    pub announced: Vec<NumaBlock>,
    /// They are used. Otherwise something went wrong on the way, and the machine's own nodes stay.
    pub used: bool,
}

struct Split<'a> {
    memblock: &'a Memblock,
    /// What is left of the machine's own blocks.
    left: Meminfo,
    announced: Vec<NumaBlock>,
}

/// Splits the blocks of `nodes`, which are trimmed and joined already, as `option` says: `4` nodes in all, `2U` nodes
/// of equal size for each node, or nodes of `512M`.
///
/// Source: `mm/numa_emulation.c: numa_emulation()`; `arch/x86/mm/numa_emulation.c`, v6.1.
#[must_use]
pub fn emulate(memblock: &Memblock, nodes: &Meminfo, option: &str) -> Emulated {
    let max_addr = memblock.dram_range().unwrap_or_default().end.0;
    let mut split = Split { memblock, left: nodes.clone(), announced: Vec::new() };
    let done = if option.contains('U') {
        split.uniformly(cmdline::number(option).0)
    } else if option.contains(['M', 'G']) {
        let all = nodes.nodes().into_iter().collect();
        split.by_size(all, max_addr, cmdline::memparse(option))
    } else {
        split.interleave(max_addr, cmdline::number(option).0)
    };
    Emulated { announced: split.announced, used: done.is_some() }
}

impl Split<'_> {
    /// Bytes without memory. Source: `mem_hole_size()`.
    fn hole(&self, start: u64, end: u64) -> u64 {
        let (start, end) = (start.div_ceil(PAGE_SIZE), end >> PAGE_SHIFT);
        let memory =
            |run: crate::memblock::NodePfnRange| run.end.0.min(end).saturating_sub(run.start.0.max(start));
        let memory: u64 = self.memblock.pfn_ranges(NodeId::MAX_NUMNODES).map(memory).sum();
        end.saturating_sub(start).saturating_sub(memory) << PAGE_SHIFT
    }

    fn memory(&self, start: u64, end: u64) -> u64 {
        (end - start).saturating_sub(self.hole(start, end))
    }

    /// Grows until there is enough memory, in steps, not beyond `limit`.
    fn grow(&self, start: u64, mut end: u64, limit: u64, size: u64) -> u64 {
        while self.memory(start, end) < size {
            end += MIN_SIZE;
            if end > limit {
                return limit;
            }
        }
        end
    }

    /// No tiny rest below 4 GiB, which no node would have.
    fn to_dma32_end(&self, end: u64) -> u64 {
        if end < DMA32_END && self.memory(end, DMA32_END) < MIN_SIZE { DMA32_END } else { end }
    }

    /// Cuts `size` bytes off the front of a block. Source: `emu_setup_memblk()`.
    fn cut(&mut self, index: usize, nid: u64, size: u64) -> Option<()> {
        if self.announced.len() >= MAX_BLOCKS || size == 0 {
            return None;
        }
        let block = &mut self.left.blocks[index].range;
        let range = PhysRange::new(block.start, size);
        block.start = range.end;
        if block.start >= block.end {
            self.left.blocks.remove(index);
        }
        let nid = NodeId(i32::try_from(nid).ok()?);
        self.announced.push(NumaBlock { range, nid });
        Some(())
    }

    /// A number of nodes in all, dealt round the machine's nodes. Source: `split_nodes_interleave()`.
    fn interleave(&mut self, max_addr: u64, count: u64) -> Option<()> {
        let count = i32::try_from(count).ok().filter(|count| *count > 0)?;
        let count = u64::try_from(count).ok()?.min(MAX_NODES);
        let size = ((self.memory(0, max_addr) >> PAGE_SHIFT) / count) << PAGE_SHIFT;
        // So many nodes get a step more, of what rounding leaves over.
        let big = size % MIN_SIZE * count / MIN_SIZE;
        let size = size - size % MIN_SIZE;
        if size == 0 {
            return None;
        }
        let mut nid = 0;
        let mut nodes: Vec<NodeId> = self.left.nodes().into_iter().collect();
        while !nodes.is_empty() {
            for node in nodes.clone() {
                let Some(index) = self.block_of(node) else {
                    nodes.retain(|other| *other != node);
                    continue;
                };
                let (start, limit) = self.bounds(index);
                let first = start + size + if nid < big { MIN_SIZE } else { 0 };
                let mut end = self.to_dma32_end(self.grow(start, first, limit, size));
                // Nor a rest in the block that is too small for the next node.
                if end >= limit || self.memory(end, limit) < size {
                    end = limit;
                }
                self.cut(index, nid % count, end.min(limit) - start)?;
                nid += 1;
            }
        }
        Some(())
    }

    /// Nodes of a size. Source: `split_nodes_size_interleave()`.
    fn by_size(&mut self, mut nodes: Vec<NodeId>, max_addr: u64, size: u64) -> Option<()> {
        if size == 0 {
            return None;
        }
        let least = ((self.memory(0, max_addr) >> PAGE_SHIFT) / MAX_NODES) << PAGE_SHIFT;
        let size = floor(size.max(least.max(MIN_SIZE).next_multiple_of(MIN_SIZE)));
        let mut nid = 0;
        while !nodes.is_empty() {
            for node in nodes.clone() {
                let Some(index) = self.block_of(node) else {
                    nodes.retain(|other| *other != node);
                    continue;
                };
                let (start, limit) = self.bounds(index);
                let first = start.saturating_add(size);
                let mut end = self.to_dma32_end(self.grow(start, first.min(limit), limit, size));
                if end >= limit || self.memory(end, limit) < size {
                    end = limit;
                }
                self.cut(index, nid % MAX_NODES, end.min(limit) - start)?;
                nid += 1;
            }
        }
        Some(())
    }

    /// So many nodes of equal size out of each node, holes or not.
    /// Source: `split_nodes_size_interleave_uniform()`.
    fn uniformly(&mut self, count: u64) -> Option<()> {
        let nodes = self.left.nodes();
        let mut nid = 0;
        for _ in nodes {
            let first = *self.left.blocks.first()?;
            if count == 0 {
                return None;
            }
            let pages = first.range.size() >> PAGE_SHIFT;
            let each = (pages / count) << PAGE_SHIFT;
            let size = floor(each.max(each.max(MIN_SIZE).next_multiple_of(MIN_SIZE)));
            let before = nid;
            while let Some(index) = self.block_of(first.nid) {
                let (start, limit) = self.bounds(index);
                let end = self.to_dma32_end(start.saturating_add(size));
                self.cut(index, nid % MAX_NODES, end.min(limit) - start)?;
                nid += 1;
            }
            if nid != before && nid - before < count {
                return None;
            }
        }
        Some(())
    }

    fn block_of(&self, nid: NodeId) -> Option<usize> {
        self.left.blocks.iter().position(|block| block.nid == nid)
    }

    fn bounds(&self, index: usize) -> (u64, u64) {
        let PhysRange { start: PhysAddr(start), end: PhysAddr(end) } = self.left.blocks[index].range;
        (start, end)
    }
}

const fn floor(size: u64) -> u64 {
    size - size % MIN_SIZE
}

#[cfg(test)]
mod tests {
    use super::{Emulated, emulate};
    use crate::bootmem::Meminfo;
    use crate::mem::{PhysAddr, PhysRange};
    use crate::memblock::{Memblock, MemblockRules, NodeId};

    const MIB: u64 = 1 << 20;

    /// Ends of the emulated nodes of one node of `mib` from address 0, in MiB.
    fn ends(mib: u64, option: &str) -> (Vec<(i32, u64)>, bool) {
        let mut memblock = Memblock::new(MemblockRules::v6_12());
        memblock.add(PhysAddr(0), mib * MIB).expect("there is room");
        let mut nodes = Meminfo::default();
        nodes.add(NodeId(0), PhysRange { start: PhysAddr(0), end: PhysAddr(mib * MIB) });
        let Emulated { announced, used } = emulate(&memblock, &nodes, option);
        (announced.iter().map(|block| (block.nid.0, block.range.end.0 / MIB)).collect(), used)
    }

    #[test]
    fn memory_is_split_into_nodes_of_equal_size() {
        assert_eq!(ends(2048, "2"), (vec![(0, 1024), (1, 2048)], true));
        assert_eq!(ends(2048, "2U"), (vec![(0, 1024), (1, 2048)], true));
        assert_eq!(ends(2048, "1G"), (vec![(0, 1024), (1, 2048)], true));
    }

    #[test]
    fn what_rounding_leaves_over_goes_to_the_first_nodes() {
        // 1000 MiB: 333 each, rounded to 320; 40 MiB are left over, of which one node gets a step.
        assert_eq!(ends(1000, "3"), (vec![(0, 352), (1, 672), (2, 1000)], true));
    }

    #[test]
    fn too_many_nodes_are_none() {
        assert_eq!(ends(64, "4"), (vec![], false));
        assert_eq!(ends(64, "0"), (vec![], false));
    }
}
