//! Sizes of zones and nodes.

use std::collections::BTreeMap;

use super::movable::{MovableRequest, movable_starts};
use super::numa::NumaRules;
use crate::mem::Pfn;
use crate::memblock::{Memblock, MemblockFlags, MemblockType, NodeId, PfnRange};

/// First page that 24 bits cannot address. Source: `arch/x86/include/asm/dma.h: MAX_DMA_PFN`.
pub(super) const MAX_DMA_PFN: u64 = 0x1000;
/// First page that 32 bits cannot address. Source: `arch/x86/include/asm/dma.h: MAX_DMA32_PFN`.
pub(super) const FOUR_GIB_PFN: u64 = 1 << 20;
/// Pages in a section, the unit in which page structures exist. Source: `SECTION_SIZE_BITS` of x86-64 is 27.
pub(super) const PAGES_PER_SECTION: u64 = 1 << 15;

/// A zone of x86-64. Source: `include/linux/mmzone.h: enum zone_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Zone {
    /// Below 16 MiB.
    Dma,
    /// Below 4 GiB.
    Dma32,
    /// All above.
    Normal,
    /// Memory whose content can be moved.
    Movable,
    /// Memory of devices; never at boot.
    Device,
}

impl Zone {
    /// All, in the kernel's order.
    pub const ALL: [Self; 5] = [Self::Dma, Self::Dma32, Self::Normal, Self::Movable, Self::Device];

    /// Source: `mm/page_alloc.c: zone_names`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dma => "DMA",
            Self::Dma32 => "DMA32",
            Self::Normal => "Normal",
            Self::Movable => "Movable",
            Self::Device => "Device",
        }
    }
}

/// One zone of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneSize {
    /// Which zone.
    pub zone: Zone,
    /// First page and end; empty if the node has nothing of the zone.
    pub span: PfnRange,
    /// Pages with memory behind them.
    pub present: u64,
}

/// The zones of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeZones {
    /// The node.
    pub nid: NodeId,
    /// From its first page to its last; empty if it has no memory.
    pub span: PfnRange,
    /// All zones in order, empty ones included.
    pub zones: Vec<ZoneSize>,
}

/// Page structures without memory behind them, charged to a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The node.
    pub nid: NodeId,
    /// The zone.
    pub zone: Zone,
    /// How many.
    pub pages: u64,
}

/// What `free_area_init()` works out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneMap {
    /// Where each zone may lie in the whole machine, without [`Zone::Movable`].
    pub limits: Vec<(Zone, PfnRange)>,
    /// First page of [`Zone::Movable`], for each node that has it.
    pub movable: BTreeMap<NodeId, Pfn>,
    /// Nodes with memory.
    pub nodes: Vec<NodeZones>,
    /// Holes inside sections, in the order in which the kernel reports them.
    pub unavailable: Vec<Unavailable>,
}

/// Source: `arch_zone_lowest_possible_pfn`, `arch_zone_highest_possible_pfn` of `mm/mm_init.c`.
fn zone_limits(memblock: &Memblock, max_low_pfn: Pfn) -> Vec<(Zone, PfnRange)> {
    let mut from = memblock.dram_range().unwrap_or_default().start.pfn().0;
    let tops = [
        (Zone::Dma, MAX_DMA_PFN.min(max_low_pfn.0)),
        (Zone::Dma32, FOUR_GIB_PFN.min(max_low_pfn.0)),
        (Zone::Normal, max_low_pfn.0),
        (Zone::Device, 0),
    ];
    let limit = |(zone, top): (Zone, u64)| {
        let start = from;
        from = top.max(from);
        (zone, span(start, from))
    };
    tops.into_iter().map(limit).collect()
}

/// The highest zone that exists: movable memory comes out of it.
/// Source: `mm/mm_init.c: find_usable_zone_for_movable()`.
fn movable_zone(limits: &[(Zone, PfnRange)]) -> PfnRange {
    limits.iter().rev().find(|(_, limit)| limit.start < limit.end).map_or(span(0, 0), |found| found.1)
}

const fn span(start: u64, end: u64) -> PfnRange {
    PfnRange { start: Pfn(start), end: Pfn(end) }
}

impl ZoneMap {
    /// Works out the zones of a machine whose directly mapped memory ends at `max_low_pfn`.
    ///
    /// Source: `mm/mm_init.c: free_area_init()`, `arch/x86/mm/init.c: zone_sizes_init()`;
    /// `mm/page_alloc.c`, v6.1.
    #[must_use]
    pub fn new(memblock: &Memblock, max_low_pfn: Pfn, request: &MovableRequest, rules: NumaRules) -> Self {
        let limits = zone_limits(memblock, max_low_pfn);
        let movable = movable_starts(memblock, request, movable_zone(&limits).start, rules);
        Self::with_movable(memblock, max_low_pfn, request, movable)
    }

    /// The same where it is known at which page each node's movable memory begins.
    #[must_use]
    pub fn with_movable(
        memblock: &Memblock,
        max_low_pfn: Pfn,
        request: &MovableRequest,
        movable: BTreeMap<NodeId, Pfn>,
    ) -> Self {
        let limits = zone_limits(memblock, max_low_pfn);
        let movable_end = movable_zone(&limits).end;
        let mut map = Self { limits, movable, nodes: Vec::new(), unavailable: Vec::new() };
        map.nodes = map.size_nodes(memblock, movable_end, request);
        map.unavailable = map.find_unavailable(memblock);
        map
    }

    /// The zones of a node, if it has memory.
    #[must_use]
    pub fn node(&self, nid: NodeId) -> Option<&NodeZones> {
        self.nodes.iter().find(|node| node.nid == nid)
    }

    fn limit(&self, zone: Zone) -> PfnRange {
        self.limits.iter().find(|limit| limit.0 == zone).map_or(span(0, 0), |limit| limit.1)
    }

    fn size_nodes(&self, memblock: &Memblock, movable_end: Pfn, request: &MovableRequest) -> Vec<NodeZones> {
        let mut spans: BTreeMap<NodeId, (u64, u64)> = BTreeMap::new();
        for run in memblock.pfn_ranges(NodeId::MAX_NUMNODES) {
            let span = spans.entry(run.nid).or_insert((run.start.0, run.end.0));
            *span = (span.0.min(run.start.0), span.1.max(run.end.0));
        }
        let size = |(nid, (start, end)): (NodeId, (u64, u64))| {
            let mirrored = request.mirror && !request.movable_node && self.movable.contains_key(&nid);
            let zones = Zone::ALL.map(|zone| {
                let zone_span = self.zone_span(zone, nid, (start, end), movable_end.0, request.mirror);
                let mut present = present_pages(memblock, nid, zone_span);
                if mirrored && matches!(zone, Zone::Movable | Zone::Normal) {
                    present = present.saturating_sub(wrong_kind(memblock, zone, zone_span));
                }
                ZoneSize { zone, span: zone_span, present }
            });
            NodeZones { nid, span: span(start, end), zones: zones.to_vec() }
        };
        spans.into_iter().filter(|(nid, _)| nid.is_valid()).map(size).collect()
    }

    /// Source: `mm/mm_init.c: zone_spanned_pages_in_node(), adjust_zone_range_for_zone_movable()`.
    fn zone_span(
        &self,
        zone: Zone,
        nid: NodeId,
        node: (u64, u64),
        movable_end: u64,
        mirror: bool,
    ) -> PfnRange {
        let limit = self.limit(zone);
        let (low, high) = (limit.start.0, limit.end.0);
        let (mut start, mut end) = (node.0.clamp(low, high), node.1.clamp(low, high));
        if let Some(movable) = self.movable.get(&nid).map(|pfn| pfn.0) {
            if zone == Zone::Movable {
                (start, end) = (movable, node.1.min(movable_end));
            } else if !mirror && start < movable && end > movable {
                end = movable;
            } else if start >= movable {
                start = end;
            }
        }
        if end < node.0 || start > node.1 {
            return span(0, 0);
        }
        let (start, end) = (start.max(node.0), end.min(node.1));
        if start < end { span(start, end) } else { span(0, 0) }
    }

    /// Source: `mm/mm_init.c: memmap_init(), init_unavailable_range()`.
    fn find_unavailable(&self, memblock: &Memblock) -> Vec<Unavailable> {
        let sections = sections(memblock);
        let mut found = Vec::new();
        let mut charge = |from: u64, to: u64, zone, nid| {
            let inside = |section: &PfnRange| to.min(section.end.0).saturating_sub(from.max(section.start.0));
            let pages = sections.iter().map(inside).sum();
            if pages > 0 {
                found.push(Unavailable { nid, zone, pages });
            }
        };
        let mut hole = 0;
        let mut last = None;
        for run in memblock.pfn_ranges(NodeId::MAX_NUMNODES) {
            let Some(node) = self.node(run.nid) else { continue };
            for size in node.zones.iter().filter(|size| size.present > 0) {
                let (low, high) = (size.span.start.0, size.span.end.0);
                let (start, end) = (run.start.0.clamp(low, high), run.end.0.clamp(low, high));
                last = Some((size.zone, run.nid, run.end.0));
                if start >= end {
                    continue;
                }
                if hole < start {
                    charge(hole, start, size.zone, run.nid);
                }
                hole = end;
            }
        }
        if let Some((zone, nid, end)) = last {
            charge(hole, end.next_multiple_of(PAGES_PER_SECTION), zone, nid);
        }
        found
    }
}

/// The runs of sections that hold memory. Source: `mm/sparse.c: memory_present()`.
fn sections(memblock: &Memblock) -> Vec<PfnRange> {
    let mut runs: Vec<PfnRange> = Vec::new();
    for run in memblock.pfn_ranges(NodeId::MAX_NUMNODES) {
        let start = run.start.0 - run.start.0 % PAGES_PER_SECTION;
        let end = run.end.0.next_multiple_of(PAGES_PER_SECTION);
        match runs.last_mut() {
            Some(last) if last.end.0 >= start => last.end = Pfn(last.end.0.max(end)),
            _ => runs.push(span(start, end)),
        }
    }
    runs
}

/// Pages of memory of a node inside a range.
fn present_pages(memblock: &Memblock, nid: NodeId, range: PfnRange) -> u64 {
    let inside = |run: crate::memblock::NodePfnRange| {
        run.end.0.min(range.end.0).saturating_sub(run.start.0.max(range.start.0))
    };
    memblock.pfn_ranges(nid).map(inside).sum()
}

/// Pages in a zone's range that belong to the other of [`Zone::Normal`] and [`Zone::Movable`], where mirrored memory
/// decides. Source: `mm/mm_init.c: zone_absent_pages_in_node()`.
fn wrong_kind(memblock: &Memblock, zone: Zone, range: PfnRange) -> u64 {
    let mirrored_is_wrong = zone == Zone::Movable;
    let wrong = |region: &&crate::memblock::Region| {
        region.flags.intersects(MemblockFlags::MIRROR) == mirrored_is_wrong
    };
    let clamp = |pfn: u64| pfn.clamp(range.start.0, range.end.0);
    let regions = memblock.regions(MemblockType::Memory).iter().filter(wrong);
    regions.map(|region| clamp(region.end().pfn().0) - clamp(region.base.pfn().0)).sum()
}
