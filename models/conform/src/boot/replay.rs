//! Follows memblock through the log: every answer is predicted before the log is asked for it.

use models::bootmem::ZoneMap;
use models::mem::{PhysAddr, PhysRange};
use models::memblock::{Bounds, Memblock, MemblockError, MemblockType, NodeId, Owner};

use super::dump::Dump;
use super::facts::Facts;
use super::kernel::Rules;
use super::line::{Event, Function, Request, function_of, show, size_of};
use super::log::Entry;
use super::zones::compare_value;
use crate::{Exception, Report};

pub(crate) const OWNER: Owner = Owner::new("boot log", 0);
/// Until the page tables are up, only the first MiB can be written to. Source: `ISA_END_ADDRESS`.
const EARLY_LIMIT: PhysAddr = PhysAddr(1 << 20);
/// A list with more regions is no kernel's: the log is damaged.
pub(crate) const MAX_REGIONS: usize = 8_192;

pub(crate) const ALLOCATIONS: &str = "addresses of allocations";
pub(crate) const NODE_DATA: &str = "addresses of NODE_DATA";

/// The answer to a request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) line: u64,
    pub(crate) request: Request,
    pub(crate) recorded: Option<PhysRange>,
}

/// What the page allocator gets.
#[derive(Clone, Debug)]
pub(crate) struct HandOver {
    pub(crate) total_pages: u64,
    pub(crate) freed_pages: u64,
    /// Of them, those whose page structures exist before all CPUs run.
    pub(crate) early_pages: u64,
}

/// The state while the log is read.
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    pub(crate) entries: &'a [Entry],
    pub(crate) facts: &'a Facts,
    pub(crate) rules: Rules,
    pub(crate) report: &'a mut Report,
    /// The lists, from the first dump or from the map of memory on.
    pub(crate) mb: Option<Memblock>,
    /// The reserved list is known, too.
    pub(crate) reserved_known: bool,
    pub(crate) adds: Vec<PhysRange>,
    pub(crate) dumps: usize,
    pub(crate) dump: Option<Dump>,
    page_tables_begun: bool,
    early: bool,
    pub(crate) nodes: super::nodes::Nodes,
    /// Pages of each zone, once the lines about them have been read.
    pub(crate) zones: Option<ZoneMap>,
    pub(crate) dma_reserve: Option<u64>,
    pub(crate) swiotlb: Vec<Answer>,
    /// What is reserved when the bounce buffers are asked for, or at the hand-over if nobody asks.
    pub(crate) before_pool: Option<Vec<PhysRange>>,
    /// Requests for memory for a crash kernel.
    pub(crate) crash: Vec<Answer>,
    /// The lists of the first dump.
    pub(crate) first: Option<Memblock>,
    /// Reservations before the first dump.
    pub(crate) before: Vec<(u64, PhysRange)>,
    /// Announced by the line before.
    pub(crate) announced: Option<PhysRange>,
    pub(crate) gigantic_pages: u64,
    pub(crate) hand_over: Option<HandOver>,
    pub(crate) gave_up: bool,
    unexplained: u64,
    unanswered: u64,
    unused: u64,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(entries: &'a [Entry], facts: &'a Facts, rules: Rules, report: &'a mut Report) -> Self {
        Self {
            entries,
            facts,
            rules,
            report,
            mb: None,
            reserved_known: false,
            adds: Vec::new(),
            dumps: 0,
            dump: None,
            page_tables_begun: false,
            early: true,
            nodes: super::nodes::Nodes::default(),
            zones: None,
            dma_reserve: None,
            swiotlb: Vec::new(),
            before_pool: None,
            crash: Vec::new(),
            first: None,
            before: Vec::new(),
            announced: None,
            gigantic_pages: 0,
            hand_over: None,
            gave_up: false,
            unexplained: 0,
            unanswered: 0,
            unused: 0,
        }
    }

    pub(crate) fn run(&mut self) {
        let mut index = 0;
        while index < self.entries.len() {
            index = self.step(index);
        }
        self.finish_dump(true);
        for (count, what) in [
            (self.unexplained, "reservations by the allocator have no line that asks for them"),
            (
                self.unanswered,
                "requests are followed by a line that cannot be read: their answer is not known",
            ),
            (self.unused, "lines of memblock stand before its first dump and are contained in it"),
        ] {
            if count > 0 {
                self.report.notes.push(format!("{count} {what}"));
            }
        }
    }

    /// An empty memblock under the log's rules and options.
    pub(crate) fn fresh(&self) -> Memblock {
        let mut mb = Memblock::new(self.rules.memblock);
        let movable = self.facts.movable();
        mb.set_movable_node(movable.movable_node);
        mb.set_mirrored_kernelcore(movable.mirror);
        // The kernel's image lies in memory that cannot be unplugged: until the firmware's tables are read, what
        // lies near it is taken to be the same.
        mb.set_bottom_up(movable.movable_node);
        mb.set_current_limit(EARLY_LIMIT);
        mb
    }

    /// The lists mean nothing any more.
    pub(crate) fn give_up(&mut self, line: u64, why: &str) {
        if self.mb.take().is_some() {
            self.report.count("memblock goes on", false);
            self.report.exceptions.push(Exception {
                line,
                what: "memblock's lists".to_owned(),
                recorded: "they are used on".to_owned(),
                modelled: why.to_owned(),
                why: None,
                detail: vec!["from here on, no address is determined".to_owned()],
            });
        }
        self.reserved_known = false;
        self.gave_up = true;
    }

    pub(crate) fn check<T>(&mut self, line: u64, result: Result<T, MemblockError>) -> Option<T> {
        let too_many = self.mb.as_ref().is_some_and(|mb| {
            [MemblockType::Memory, MemblockType::Reserved]
                .iter()
                .any(|list| mb.regions(*list).len() > MAX_REGIONS)
        });
        if too_many {
            self.give_up(line, "there are more regions than in any machine");
            return None;
        }
        match result {
            Ok(value) => Some(value),
            Err(MemblockError::NoMemory | MemblockError::NotInThisKernel) => None,
            Err(MemblockError::Fatal(fatal)) => {
                self.give_up(line, &format!("here the model stops with \"{fatal}\""));
                None
            }
        }
    }

    /// Follows one line, or a request with its answer; returns the next.
    fn step(&mut self, index: usize) -> usize {
        let entries = self.entries;
        let entry = &entries[index];
        if let Some(dump) = &mut self.dump
            && dump.take(entry)
        {
            return index + 1;
        }
        self.finish_dump(false);
        self.follow_announced(entry);
        match &entry.event {
            Event::Contradiction => self.contradiction(entry),
            Event::DumpBegins => self.dump = Some(Dump::new(entry.line)),
            Event::Add(range) if self.mb.is_none() => self.adds.push(*range),
            Event::Request(_) | Event::Reserve(..) | Event::Free(..) | Event::Add(_) | Event::Remove(_)
                if !self.reserved_known =>
            {
                self.unused += u64::from(self.facts.debug && self.dumps == 0);
                if let (Event::Reserve(range, _), 0, true) =
                    (&entry.event, self.dumps, self.before.len() < 10_000)
                {
                    self.before.push((entry.line, *range));
                }
            }
            Event::Request(request) => return self.request(index, entry, request),
            Event::Reserve(range, caller) => self.reserve(index, entry, *range, caller),
            Event::Free(range, caller) if function_of(caller) != "memblock_double_array" => {
                self.free(entry, *range);
            }
            Event::Add(range) => self.change(entry.line, |mb| mb.add(range.start, size_of(*range))),
            Event::Remove(range) => self.change(entry.line, |mb| mb.remove(range.start, size_of(*range))),
            Event::Memory(_) if self.hand_over.is_none() => self.free_all(),
            _ => self.node_event(index, entry),
        }
        index + 1
    }

    pub(crate) fn change(
        &mut self,
        line: u64,
        change: impl FnOnce(&mut Memblock) -> Result<(), MemblockError>,
    ) {
        if let Some(mb) = &mut self.mb {
            let result = change(mb);
            self.check(line, result);
        }
    }

    fn contradiction(&mut self, entry: &Entry) {
        self.report.count("ranges that end before they begin", false);
        self.report.exceptions.push(Exception {
            line: entry.line,
            what: entry.text.clone(),
            recorded: "a range that ends before it begins".to_owned(),
            modelled: "a range".to_owned(),
            why: Some("the line has been damaged".to_owned()),
            detail: Vec::new(),
        });
    }

    /// Whether the page tables of all memory are up at this request: from then on, memory reaches to its end.
    ///
    /// Source: `arch/x86/kernel/setup.c: setup_arch()`.
    fn follow_limit(&mut self, caller: &str) {
        let function = function_of(caller);
        let tables = ["init_mem_mapping", "alloc_low_pages"].contains(&function);
        self.page_tables_begun |= tables;
        let before = ["efi_", "__efi", "e820__", "reserve_real_mode"];
        let still = !self.page_tables_begun && before.iter().any(|start| function.starts_with(start));
        if self.early && !tables && !still && function != "reserve_real_mode" {
            self.raise_limit();
        }
    }

    pub(crate) fn raise_limit(&mut self) {
        self.early = false;
        if let Some(mb) = &mut self.mb
            && let Some(dram) = mb.dram_range()
        {
            mb.set_current_limit(dram.end);
        }
    }

    fn request(&mut self, index: usize, entry: &Entry, request: &Request) -> usize {
        self.follow_limit(&request.caller);
        self.before_request(&request.caller);
        if function_of(&request.caller).starts_with("swiotlb") {
            self.note_reserved();
        }
        let modelled = self.predict(entry.line, request);
        let (recorded, unclear) = match self.entries.get(index + 1) {
            Some(Entry { event: Event::Reserve(range, caller), gap, .. })
                if function_of(caller) == "memblock_alloc_range_nid" =>
            {
                // Behind a line that cannot be read, this may be the answer to that one.
                (Some(*range), *gap && size_of(*range) != request.size)
            }
            Some(Entry { event: Event::Contradiction, .. }) | None => (None, true),
            Some(next) => (None, next.gap),
        };
        if unclear {
            self.unanswered += 1;
            return index + 1;
        }
        let modelled = modelled.map(|start| PhysRange::new(start, request.size));
        let agrees = recorded == modelled;
        self.report.count(ALLOCATIONS, agrees);
        if !agrees {
            self.report.exceptions.push(Exception {
                line: entry.line,
                what: entry.text.clone(),
                recorded: recorded.map_or_else(|| "no memory".to_owned(), show),
                modelled: modelled.map_or_else(|| "no memory".to_owned(), show),
                why: None,
                detail: Vec::new(),
            });
            // An answer of another size than was asked for is a damaged line: nothing can go on from it.
            if recorded.is_none_or(|range| size_of(range) == request.size) {
                self.correct(entry.line, modelled, recorded);
            }
        }
        self.remember(entry, request, recorded);
        index + if recorded.is_some() { 2 } else { 1 }
    }

    fn predict(&mut self, line: u64, request: &Request) -> Option<PhysAddr> {
        let bounds = Bounds::between(PhysAddr(request.min), PhysAddr(request.max));
        let (size, align, nid) = (request.size, request.align, NodeId(request.nid));
        let mb = self.mb.as_mut()?;
        let result = match request.function {
            Function::PhysRange => mb.phys_alloc_range(size, align, bounds, OWNER),
            Function::TryNid => mb.alloc_try_nid(size, align, bounds, nid, OWNER),
            Function::ExactNid => mb.alloc_exact_nid(size, align, bounds, nid, OWNER),
        };
        self.check(line, result)
    }

    /// Goes on from what the log says.
    pub(crate) fn correct(&mut self, line: u64, modelled: Option<PhysRange>, recorded: Option<PhysRange>) {
        if let Some(wrong) = modelled {
            self.change(line, |mb| mb.free(wrong.start, size_of(wrong)));
        }
        if let Some(right) = recorded {
            self.change(line, |mb| mb.reserve(right.start, size_of(right), OWNER));
        }
    }

    fn remember(&mut self, entry: &Entry, request: &Request, recorded: Option<PhysRange>) {
        let function = function_of(&request.caller);
        if function.starts_with("swiotlb") {
            self.swiotlb.push(Answer { line: entry.line, request: request.clone(), recorded });
        }
        if super::crash::is_for_crash_kernel(request) && self.crash.len() < 100 {
            self.crash.push(Answer { line: entry.line, request: request.clone(), recorded });
        }
        if let Some(page) = recorded.filter(|_| function.contains("huge") && request.size >= 1 << 30) {
            self.gigantic_pages += size_of(page) >> 12;
            // Only the structure of the first page is set up at once. Source: `mm/hugetlb.c`, v6.12.
            self.change(entry.line, |mb| {
                mb.reserved_mark_noinit(page.start.wrapping_add(4096), size_of(page) - 4096)
            });
        }
    }

    fn reserve(&mut self, index: usize, entry: &Entry, range: PhysRange, caller: &str) {
        match function_of(caller) {
            "memblock_double_array" => self.grown_list(entry, range),
            "memblock_alloc_range_nid" => {
                let next = self.entries.get(index + 1).map(|next| &next.event);
                if let Some(Event::NodeData { nid, range: data }) = next {
                    let same = show(*data);
                    compare_value(
                        self.report,
                        "NODE_DATA and its reservation",
                        entry.line + 1,
                        &same,
                        &show(range),
                    );
                    self.node_data(index + 1, NodeId(*nid), range);
                } else {
                    self.unexplained += 1;
                    self.change(entry.line, |mb| mb.reserve(range.start, size_of(range), OWNER));
                }
            }
            _ => self.change(entry.line, |mb| mb.reserve(range.start, size_of(range), OWNER)),
        }
    }

    /// A list that was full has moved to a larger place. The model does so by itself.
    fn grown_list(&mut self, entry: &Entry, range: PhysRange) {
        let Some(mb) = &self.mb else { return };
        let grown = mb.owned_ranges().into_iter().filter(|owned| owned.owner.site == "memblock_double_array");
        let places: Vec<_> = grown.map(|owned| owned.range).collect();
        let agrees = places.contains(&range);
        self.report.count("addresses of grown lists", agrees);
        if !agrees {
            self.report.exceptions.push(Exception {
                line: entry.line,
                what: entry.text.clone(),
                recorded: show(range),
                modelled: places.last().map_or_else(|| "no list has grown".to_owned(), |range| show(*range)),
                why: None,
                detail: Vec::new(),
            });
            self.change(entry.line, |mb| mb.reserve(range.start, size_of(range), OWNER));
        }
    }

    /// Remembers what is reserved now, once.
    fn note_reserved(&mut self) {
        if let (None, true, Some(mb)) = (&self.before_pool, self.reserved_known, &self.mb) {
            self.before_pool = Some(mb.reserved_ranges().collect());
        }
    }

    fn free_all(&mut self) {
        self.take_zones();
        self.note_reserved();
        let Some(mb) = &mut self.mb else { return };
        let total_pages = mb.pfn_ranges(NodeId::MAX_NUMNODES).map(|run| run.end.0 - run.start.0).sum();
        let early = self.zones.as_ref().map(|zones| models::bootmem::pages::deferred_from(mb, zones));
        let Ok(free) = mb.free_all(models::mem::Pfn(u64::MAX)) else { return };
        let freed_pages = free.iter().map(|run| run.pages()).sum();
        // Some options need all page structures from the start. Source: `early_page_ext_enabled()`.
        let early = early.filter(|_| self.facts.words("early_page_ext").is_empty());
        let early_pages = early
            .map_or(freed_pages, |early| models::bootmem::pages::free_before_deferred(mb, &free, &early));
        self.hand_over = Some(HandOver { total_pages, freed_pages, early_pages });
    }
}
