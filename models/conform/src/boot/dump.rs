//! Dumps of both lists: the first is where the replay begins, later ones are compared.

use models::mem::PhysRange;
use models::memblock::{Memblock, MemblockFlags, MemblockType, NodeId};

use super::line::{Event, Listed, show, size_of};
use super::log::Entry;
use super::replay::{MAX_REGIONS, OWNER, Replay};
use super::zones::{Hex, compare_value};
use crate::Exception;

/// A dump as far as it has been read.
#[derive(Clone, Debug)]
pub(crate) struct Dump {
    line: u64,
    sizes: Option<(u64, u64, u64)>,
    counts: [Option<u64>; 2],
    listed: Vec<(u64, Listed)>,
    gaps: bool,
}

/// A region as a dump lists it.
type Region = (MemblockType, PhysRange, Option<i32>, MemblockFlags);

/// What the model's lists would look like in a dump.
fn regions(mb: &Memblock, list: MemblockType) -> Vec<Region> {
    let nid = |nid: NodeId| nid.is_valid().then_some(nid.0);
    mb.regions(list).iter().map(|region| (list, region.range(), nid(region.nid), region.flags)).collect()
}

const LISTS: [MemblockType; 2] = [MemblockType::Memory, MemblockType::Reserved];

impl Dump {
    pub(crate) const fn new(line: u64) -> Self {
        Self { line, sizes: None, counts: [None, None], listed: Vec::new(), gaps: false }
    }

    /// Takes a line, if it belongs here.
    pub(crate) fn take(&mut self, entry: &Entry) -> bool {
        match &entry.event {
            Event::DumpSizes { memory, reserved } => self.sizes = Some((entry.line, *memory, *reserved)),
            Event::DumpCount(list, count) => {
                self.counts[usize::from(*list == MemblockType::Reserved)] = Some(*count);
            }
            Event::DumpRegion(listed) => self.listed.push((entry.line, *listed)),
            _ => return false,
        }
        self.gaps |= entry.gap;
        true
    }

    fn of(&self, list: MemblockType) -> impl Iterator<Item = &(u64, Listed)> {
        self.listed.iter().filter(move |(_, listed)| listed.list == list)
    }

    /// Whether every region is there, in order.
    fn is_whole(&self) -> bool {
        LISTS.iter().zip(self.counts).all(|(list, count)| {
            let in_order = self
                .of(*list)
                .zip(0..)
                .all(|((_, listed), index)| listed.index == index && listed.size == size_of(listed.range));
            count == Some(self.of(*list).count() as u64) && in_order
        })
    }
}

fn region(listed: &Listed) -> Region {
    (listed.list, listed.range, listed.nid, MemblockFlags(listed.flags))
}

fn show_region((_, range, nid, flags): &Region) -> String {
    let node = nid.map_or_else(String::new, |nid| format!(" on node {nid}"));
    format!("{}{node} flags: {:#x}", show(*range), flags.0)
}

impl Replay<'_> {
    /// Uses a dump that has been read. At the end of the log it may have been cut off.
    pub(crate) fn finish_dump(&mut self, at_end: bool) {
        let Some(dump) = self.dump.take() else { return };
        if dump.listed.len() > MAX_REGIONS {
            let note =
                format!("line {}: the dump has more regions than any machine, and is not used", dump.line);
            self.report.notes.push(note);
            return;
        }
        self.dumps += 1;
        if at_end && !dump.is_whole() {
            let note = format!("line {}: the log ends inside a dump of the lists", dump.line);
            self.report.notes.push(note);
            if self.dumps == 1 {
                return;
            }
        } else {
            self.compare_whole(&dump);
        }
        if self.dumps == 1 {
            self.begin(&dump);
        } else if self.mb.is_some() && self.reserved_known {
            self.compare(&dump);
        }
    }

    /// A dump says how many regions it has, numbers them, and gives the size of each beside its range.
    fn compare_whole(&mut self, dump: &Dump) {
        let whole = dump.is_whole();
        self.report.count("dumps that agree with themselves", whole);
        if !whole {
            self.report.exceptions.push(Exception {
                line: dump.line,
                what: "a dump of the lists".to_owned(),
                recorded: "numbers, sizes or counts that contradict each other".to_owned(),
                modelled: "as many regions as are counted, in order".to_owned(),
                why: Some("lines are damaged or missing".to_owned()),
                detail: Vec::new(),
            });
        }
    }

    /// Builds the lists of the first dump.
    fn begin(&mut self, dump: &Dump) {
        let mut mb = self.fresh();
        // The total keeps counting what trimming to pages cuts off, so it is better to do as the kernel did.
        let added = self.adds.iter().try_for_each(|range| mb.add(range.start, size_of(*range)));
        mb.trim_memory(4096);
        let listed: Vec<Region> = dump.of(MemblockType::Memory).map(|(_, listed)| region(listed)).collect();
        let has_adds = !self.adds.is_empty();
        if has_adds {
            let agrees = added.is_ok() && regions(&mb, MemblockType::Memory) == listed;
            self.report.count("first dump: memory, from the lines that add it", agrees);
            if !agrees {
                self.report.exceptions.push(Exception {
                    line: dump.line,
                    what: "memory of the first dump".to_owned(),
                    recorded: list_of(&listed),
                    modelled: list_of(&regions(&mb, MemblockType::Memory)),
                    why: None,
                    detail: Vec::new(),
                });
            }
        }
        self.compare_with_map(dump, &listed);
        if !dump.is_whole() {
            let note = format!(
                "line {}: the first dump of the lists is not whole, so no address after it is determined",
                dump.line
            );
            self.report.notes.push(note);
            return;
        }
        if !has_adds || regions(&mb, MemblockType::Memory) != listed {
            mb = self.fresh();
        }
        let rebuilt = rebuild(&mut mb, dump);
        if has_adds && let Some((line, memory, reserved)) = dump.sizes {
            let name = "first dump: totals";
            compare_value(self.report, name, line, &Hex(memory), &Hex(mb.phys_mem_size()));
            compare_value(self.report, name, line, &Hex(reserved), &Hex(mb.reserved_size()));
        }
        self.first = Some(mb.clone());
        self.mb = Some(mb);
        self.reserved_known = true;
        if self.check(dump.line, rebuilt).is_some() {
            self.compare_first_reserved();
        }
    }

    /// The first dump's memory follows from the firmware's map, and what is known to be in use is reserved.
    fn compare_with_map(&mut self, dump: &Dump, listed: &[Region]) {
        let mut mb = self.fresh();
        let ram = &self.facts.ram;
        if ram.is_empty() || ram.iter().any(|range| mb.add(range.start, size_of(*range)).is_err()) {
            return;
        }
        mb.trim_memory(4096);
        let modelled = regions(&mb, MemblockType::Memory);
        let agrees = modelled == listed;
        self.report.count("first dump: memory, from the firmware's map", agrees);
        if !agrees {
            self.report.exceptions.push(Exception {
                line: dump.line,
                what: "memory of the first dump".to_owned(),
                recorded: list_of(listed),
                modelled: list_of(&modelled),
                why: None,
                detail: Vec::new(),
            });
        }
    }

    fn compare(&mut self, dump: &Dump) {
        let Some(mb) = self.mb.clone() else { return };
        let nth = if self.dumps == 2 { "second dump" } else { "later dumps" };
        let whole = dump.is_whole();
        let mut agree = true;
        for list in LISTS {
            let name = format!("{nth}: regions of the {} list", list.name());
            let modelled = regions(&mb, list);
            for (line, listed) in dump.of(list) {
                let recorded = region(listed);
                let found = modelled.iter().find(|region| region.1.start == recorded.1.start);
                let same = found == Some(&recorded) && listed.size == size_of(listed.range);
                self.report.count(&name, same);
                if !same {
                    let words = format!("{}, {:#x} bytes", show_region(&recorded), listed.size);
                    self.differ(*line, &name, words, found.map(show_region));
                }
                agree &= same;
            }
            let missing =
                |region: &&Region| dump.of(list).all(|(_, listed)| listed.range.start != region.1.start);
            for region in modelled.iter().filter(missing).filter(|_| whole) {
                self.report.count(&name, false);
                self.differ(dump.line, &name, "no such region".to_owned(), Some(show_region(region)));
                agree = false;
            }
        }
        if let Some((line, memory, reserved)) = dump.sizes {
            let name = format!("{nth}: totals");
            compare_value(self.report, &name, line, &Hex(memory), &Hex(mb.phys_mem_size()));
            compare_value(self.report, &name, line, &Hex(reserved), &Hex(mb.reserved_size()));
        }
        if !whole {
            self.report
                .notes
                .push(format!("line {}: the dump is not whole; regions that miss are not judged", dump.line));
        } else if !agree {
            // Later answers are judged against the lists that the kernel had.
            let mut mb = Memblock::new(*mb.rules());
            mb.set_current_limit(self.mb.as_ref().map_or(mb.current_limit(), Memblock::current_limit));
            let rebuilt = rebuild(&mut mb, dump);
            self.mb = Some(mb);
            self.check(dump.line, rebuilt);
            self.report
                .notes
                .push(format!("line {}: from here on, the lists of this dump are used", dump.line));
        }
    }

    fn differ(&mut self, line: u64, what: &str, recorded: String, modelled: Option<String>) {
        let mirrored =
            self.facts.mirrored.then(|| "the log does not say which memory is mirrored".to_owned());
        self.report.exceptions.push(Exception {
            line,
            what: what.to_owned(),
            recorded,
            modelled: modelled.unwrap_or_else(|| "no such region".to_owned()),
            why: mirrored,
            detail: Vec::new(),
        });
    }
}

fn list_of(regions: &[Region]) -> String {
    regions.iter().take(12).map(show_region).collect::<Vec<_>>().join(", ")
}

/// Fills empty lists with the regions of a dump; a memory list that is filled already stays.
fn rebuild(mb: &mut Memblock, dump: &Dump) -> Result<(), models::memblock::MemblockError> {
    let nid = |listed: &Listed| listed.nid.map_or(NodeId::MAX_NUMNODES, NodeId);
    if mb.regions(MemblockType::Memory).is_empty() {
        for (_, listed) in dump.of(MemblockType::Memory) {
            let flags = MemblockFlags(listed.flags);
            mb.add_node(listed.range.start, size_of(listed.range), nid(listed), flags)?;
        }
    }
    for (_, listed) in dump.of(MemblockType::Reserved) {
        let (start, size) = (listed.range.start, size_of(listed.range));
        mb.reserve(start, size, OWNER)?;
        if let Some(nid) = listed.nid {
            mb.set_node(start, size, MemblockType::Reserved, NodeId(nid))?;
        }
    }
    Ok(())
}
