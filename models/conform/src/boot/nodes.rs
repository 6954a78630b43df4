//! Follows the nodes: where memory belongs is said by lines of the firmware's tables, and assigned in silence.

use std::collections::BTreeMap;

use models::bootmem::numa::forget_nodes;
use models::bootmem::{Meminfo, Union, ZoneMap, emulate, pages};
use models::mem::{Pfn, PhysRange};
use models::memblock::{Memblock, MemblockError, NodeId};

use super::line::{Event, function_of, show, size_of};
use super::log::Entry;
use super::replay::{NODE_DATA, OWNER, Replay};
use super::zones::compare_lists;
use crate::Exception;

/// Memory above this would take long to split into nodes.
const LARGEST: u64 = 1 << 42;
/// More blocks than any firmware describes.
const MAX_BLOCKS: usize = 512;

/// What the log says of the nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nodes {
    firmware: Vec<(NodeId, PhysRange)>,
    fake: Vec<(u64, (NodeId, PhysRange))>,
    begun: bool,
    assigned: bool,
    /// Blocks that the model has joined.
    pub(crate) joined: Vec<Union>,
    /// Lines about zones, and whether all of them have been seen.
    pub(crate) seen: Lines,
    /// The lists when the zones were sized.
    pub(crate) lists: Option<Memblock>,
}

/// Lines about blocks and zones, each with its number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    pub(crate) joined: Vec<(u64, Union)>,
    pub(crate) limits: Vec<(u64, (String, Option<PhysRange>))>,
    pub(crate) movable: Vec<(u64, (i32, u64))>,
    pub(crate) ranges: Vec<(u64, (i32, PhysRange))>,
    pub(crate) spans: Vec<(u64, (i32, PhysRange))>,
    pub(crate) unavailable: Vec<(u64, (i32, String, u64))>,
    pub(crate) total_pages: Option<(u64, u64)>,
    pub(crate) memoryless: u64,
}

/// The blocks of nodes in the order of their lines.
fn blocks(of: &[(NodeId, PhysRange)]) -> Meminfo {
    let mut meminfo = Meminfo::default();
    for (nid, range) in of {
        meminfo.add(*nid, *range);
    }
    meminfo
}

impl Replay<'_> {
    /// Lines about nodes and zones.
    pub(crate) fn node_event(&mut self, index: usize, entry: &Entry) {
        let line = entry.line;
        match &entry.event {
            Event::Srat { nid, range, hotplug } => self.srat(line, NodeId(*nid), *range, *hotplug),
            Event::NumaRejected | Event::NoNuma => self.begin_again(line),
            Event::FakingOne(range) => {
                self.begin_again(line);
                self.nodes.firmware = vec![(NodeId(0), *range)];
                self.top_down();
            }
            Event::FakingNode { nid, range } => {
                self.top_down();
                if self.nodes.fake.len() < MAX_BLOCKS {
                    self.nodes.fake.push((line, (NodeId(*nid), *range)));
                }
            }
            Event::NumaUnion { nid, first, second, both } => {
                self.top_down();
                let union = Union { nid: NodeId(*nid), first: *first, second: *second, both: *both };
                self.nodes.seen.joined.push((line, union));
            }
            Event::NodeDataOn { nid, on } => self.node_data_on(index, line, NodeId(*nid), *on),
            Event::ZoneRanges => {
                self.assign(line);
                self.snapshot();
                self.nodes.lists = self.mb.clone();
            }
            Event::ZoneLimit { zone, range } => self.nodes.seen.limits.push((line, (zone.clone(), *range))),
            Event::MovableStart { nid, start } => self.nodes.seen.movable.push((line, (*nid, *start))),
            Event::NodeRange { nid, range } => self.nodes.seen.ranges.push((line, (*nid, *range))),
            Event::Initmem { nid, range: Some(range) } => self.nodes.seen.spans.push((line, (*nid, *range))),
            Event::Initmem { range: None, .. } => self.nodes.seen.memoryless += 1,
            Event::Unavailable { nid, zone, pages } => {
                self.nodes.seen.unavailable.push((line, (*nid, zone.clone(), *pages)));
            }
            Event::Built { pages } => {
                self.nodes.seen.total_pages.get_or_insert((line, *pages));
            }
            _ => {}
        }
    }

    /// What becomes known of the nodes by who asks for memory.
    pub(crate) fn before_request(&mut self, caller: &str) {
        let function = function_of(caller);
        if function == "numa_emulation" {
            self.top_down();
        } else if function.starts_with("sparse_") {
            self.assign(0);
            self.snapshot();
        }
    }

    /// The pages that are in use below 16 MiB are counted just before the page structures are made (v6.1).
    fn snapshot(&mut self) {
        if let (None, Some(mb), true) = (self.dma_reserve, &self.mb, self.reserved_known) {
            self.dma_reserve = Some(pages::dma_reserve(mb));
        }
    }

    fn top_down(&mut self) {
        if let Some(mb) = &mut self.mb {
            mb.set_bottom_up(false);
        }
    }

    /// Without dumps, the memory list still follows from the firmware's map.
    fn ensure_memory(&mut self) {
        if self.mb.is_some() || self.gave_up || self.facts.ram.is_empty() {
            return;
        }
        let mut mb = self.fresh();
        if self.facts.ram.iter().all(|range| mb.add(range.start, size_of(*range)).is_ok()) {
            mb.trim_memory(4096);
            self.mb = Some(mb);
        }
    }

    fn change_lists(&mut self, line: u64, change: impl FnOnce(&mut Memblock) -> Result<(), MemblockError>) {
        self.ensure_memory();
        if let Some(mb) = &mut self.mb {
            let result = change(mb);
            self.check(line, result);
        }
    }

    /// An attempt to find the nodes begins.
    fn begin_again(&mut self, line: u64) {
        if self.nodes.assigned {
            return;
        }
        // What an attempt that failed has joined was printed, too.
        let base = std::mem::take(&mut self.nodes.firmware);
        self.join(&base);
        let rules = self.rules.numa;
        self.change_lists(line, |mb| forget_nodes(mb, rules));
        self.nodes.begun = true;
    }

    fn srat(&mut self, line: u64, nid: NodeId, range: PhysRange, hotplug: bool) {
        if !self.nodes.begun {
            self.begin_again(line);
        }
        if self.nodes.firmware.len() >= MAX_BLOCKS {
            return;
        }
        self.nodes.firmware.push((nid, range));
        if hotplug {
            self.change_lists(line, |mb| mb.mark_hotplug(range.start, size_of(range)));
        }
    }

    /// Trims and joins blocks, and remembers what was joined.
    fn join(&mut self, base: &[(NodeId, PhysRange)]) -> Meminfo {
        let mut meminfo = blocks(base);
        if let Some(mb) = &self.mb
            && let Ok(joined) = meminfo.cleanup(mb, self.rules.numa)
        {
            self.nodes.joined.extend(joined);
        }
        meminfo
    }

    /// Whether `numa=fake=` has replaced the machine's nodes. Compares what it announces.
    fn emulated_nodes_are_used(&mut self, meminfo: &Meminfo) -> bool {
        let announced = !self.nodes.fake.is_empty();
        let options = self.facts.words("numa").into_iter().flatten();
        let option = options.filter_map(|value| value.strip_prefix("fake=").map(str::to_owned)).next_back();
        let (Some(option), Some(mb)) = (option, &self.mb) else { return announced };
        if mb.dram_range().unwrap_or_default().end.0 > LARGEST {
            return announced;
        }
        let emulated = emulate(mb, meminfo, &option);
        let modelled: Vec<_> = emulated.announced.iter().map(|block| (block.nid, block.range)).collect();
        compare_lists(self.report, "emulated nodes", &self.nodes.fake, &modelled, true, |(nid, range)| {
            format!("node {} {}", nid.0, show(*range))
        });
        announced && emulated.used
    }

    /// Gives the regions their nodes, once.
    fn assign(&mut self, line: u64) {
        if self.nodes.assigned {
            return;
        }
        self.ensure_memory();
        if !self.nodes.begun {
            self.begin_again(line);
        }
        self.nodes.assigned = true;
        let base = self.nodes.firmware.clone();
        let mut meminfo = self.join(&base);
        if self.emulated_nodes_are_used(&meminfo) {
            let fake: Vec<_> = self.nodes.fake.iter().map(|(_, block)| *block).collect();
            meminfo = self.join(&fake);
        }
        self.top_down();
        self.change_lists(line, |mb| meminfo.register(mb));
        self.raise_limit();
    }

    /// The structure of a node is taken from the node's own memory, if it has enough.
    ///
    /// Source: `mm/numa.c: alloc_node_data()`; `arch/x86/mm/numa.c`, v6.1.
    pub(crate) fn node_data(&mut self, index: usize, nid: NodeId, range: PhysRange) {
        let entry = &self.entries[index];
        self.assign(entry.line);
        let Some(mb) = &mut self.mb else { return };
        let result = mb.phys_alloc_try_nid(size_of(range), 64, nid, OWNER);
        let modelled = self.check(entry.line, result).map(|start| PhysRange::new(start, size_of(range)));
        let agrees = modelled == Some(range);
        self.report.count(NODE_DATA, agrees);
        if !agrees {
            self.report.exceptions.push(Exception {
                line: entry.line,
                what: entry.text.clone(),
                recorded: show(range),
                modelled: modelled.map_or_else(|| "no memory".to_owned(), show),
                why: None,
                detail: Vec::new(),
            });
            self.correct(entry.line, modelled, Some(range));
        }
    }

    /// The kernel says so where the structure lies in another node's memory.
    fn node_data_on(&mut self, index: usize, line: u64, nid: NodeId, on: i32) {
        let before = index.checked_sub(1).map(|before| &self.entries[before].event);
        let (Some(Event::NodeData { nid: same, range }), Some(mb)) = (before, &self.mb) else { return };
        let modelled = mb.search_pfn_nid(range.start.pfn()).map(|found| found.nid.0);
        let agrees = *same == nid.0 && modelled == Some(on);
        self.report.count("nodes of NODE_DATA", agrees);
        if !agrees {
            self.report.exceptions.push(Exception {
                line,
                what: format!("node on which NODE_DATA({}) lies", nid.0),
                recorded: on.to_string(),
                modelled: modelled.map_or_else(|| "none".to_owned(), |nid| nid.to_string()),
                why: None,
                detail: Vec::new(),
            });
        }
    }

    /// Sizes the zones, from where movable memory is said to begin.
    pub(crate) fn take_zones(&mut self) {
        if self.zones.is_some() {
            return;
        }
        let Some(mb) = &self.nodes.lists else { return };
        let end = mb.dram_range().unwrap_or_default().end.pfn();
        let printed: BTreeMap<NodeId, Pfn> = self
            .nodes
            .seen
            .movable
            .iter()
            .map(|(_, (nid, start))| (NodeId(*nid), Pfn(start >> 12)))
            .collect();
        self.zones = Some(ZoneMap::with_movable(mb, end, &self.facts.movable(), printed));
    }
}
