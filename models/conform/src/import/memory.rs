//! The firmware's map of memory, what else changes it, and the nodes.

use models::mem::PhysRange;
use models::scenario::limits;
use models::scenario::schema::{AddrRange, E820Entry, E820Kind, Node};

use super::Source;
use crate::boot::line::{E820, Event};
use crate::boot::scan::Scan;

/// The memory of the machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryFound {
    pub(crate) e820: Vec<E820Entry>,
    /// Kinds that the simulator has no name for, by what the log calls them.
    pub(crate) odd_kinds: Vec<String>,
    /// Changes that neither the command line nor every PC makes.
    pub(crate) changes: Vec<(u64, Change)>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) fake_nodes: bool,
}

/// A change of the map, as the log tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) from: Option<E820Kind>,
    pub(crate) to: Option<E820Kind>,
}

/// The kind that the log's words stand for.
fn kind_of(words: &str) -> Option<E820Kind> {
    let words = words.trim();
    // `/sys/firmware/memmap` has other words.
    E820Kind::of_words(words).or(match words {
        "System RAM" => Some(E820Kind::Usable),
        "Reserved" => Some(E820Kind::Reserved),
        "ACPI Tables" => Some(E820Kind::AcpiData),
        "ACPI Non-volatile Storage" => Some(E820Kind::AcpiNvs),
        "Unusable memory" => Some(E820Kind::Unusable),
        "Persistent Memory" => Some(E820Kind::Pmem),
        "Persistent Memory (legacy)" => Some(E820Kind::Pram),
        "Soft Reserved" => Some(E820Kind::SoftReserved),
        _ => None,
    })
}

pub(super) fn gather(source: &Source<'_>, assumptions: &mut Vec<String>) -> Result<MemoryFound, String> {
    let mut found = MemoryFound::default();
    let mut said: Vec<(u64, u64, String)> = Vec::new();
    for prefix in ["BIOS-e820: ", "Xen: ", "user: "] {
        for entry in &source.log.entries {
            let Event::E820(E820::Range(..)) = entry.event else { continue };
            let Some((range, rest)) = Scan(&entry.text).lit(prefix).and_then(Scan::mem) else { continue };
            said.push((range.start.0, range.end.0.saturating_sub(1), rest.0.trim().to_owned()));
        }
        if !said.is_empty() {
            if prefix == "user: " {
                assumptions.push("the firmware's map of memory is not in the log: the one that is left after the command line's changes stands for it".to_owned());
            }
            break;
        }
    }
    if said.is_empty()
        && let Some(state) = source.state.filter(|state| !state.memmap.is_empty())
    {
        said.clone_from(&state.memmap);
        assumptions.push("the map of memory is not in the log: it is taken from the state file".to_owned());
    }
    if said.is_empty() {
        return Err("no line \"BIOS-e820: [mem ...]\", so the memory of the machine is not known".to_owned());
    }
    said.sort_by_key(|(start, ..)| *start);
    for (start, end, words) in said {
        let kind = kind_of(&words).unwrap_or_else(|| {
            if !found.odd_kinds.contains(&words) {
                found.odd_kinds.push(words.clone());
            }
            E820Kind::Reserved
        });
        let after = found.e820.last().is_none_or(|before| before.end < start);
        if start > end || end > limits::PHYS_MAX || !after || found.e820.len() >= limits::E820 {
            assumptions.push(format!(
                "the range {start:#x} to {end:#x} of the map of memory is left out: it overlaps another, or lies where no memory can be"
            ));
            continue;
        }
        found.e820.push(E820Entry { start, end, kind });
    }
    for words in &found.odd_kinds {
        assumptions.push(format!("memory that the firmware calls \"{words}\" is taken to be reserved"));
    }
    if !found.e820.iter().any(|entry| entry.kind == E820Kind::Usable) {
        return Err("no usable range in the map of memory".to_owned());
    }
    changes(source, &mut found);
    nodes(source, &mut found, assumptions);
    Ok(found)
}

/// What firmware quirks and the like change behind the command line's changes.
fn changes(source: &Source<'_>, found: &mut MemoryFound) {
    // What `mem=` and `memmap=` do comes before the user's map; without one, they did nothing.
    let user =
        source.log.entries.iter().rfind(|entry| entry.text.starts_with("user-defined physical RAM map"));
    let from = user.map_or(0, |entry| entry.line);
    for entry in &source.log.entries {
        if entry.line < from || found.changes.len() >= limits::E820 {
            continue;
        }
        if matches!(entry.event, Event::Memory(_) | Event::DumpBegins) {
            break;
        }
        // Where no RAM comes or goes, nothing depends on it.
        if matches!(entry.event, Event::E820(E820::Other)) {
            continue;
        }
        let Some(change) = change(&entry.text) else { continue };
        let everywhere = matches!(change, Change { start: 0, end: 0xfff, .. })
            || matches!(change, Change { start: 0xa_0000, end: 0xf_ffff, to: None, .. });
        if !everywhere && change.from != change.to && change.start <= change.end {
            found.changes.push((entry.line, change));
        }
    }
}

fn change(text: &str) -> Option<Change> {
    let scan = Scan(text).lit("e820: ")?;
    let (scan, update) = match scan.lit("update ") {
        Some(rest) => (rest, true),
        None => (scan.lit("remove ")?, false),
    };
    let (range, rest) = scan.mem()?;
    let (start, end) = (range.start.0, range.end.0.saturating_sub(1).min(limits::PHYS_MAX));
    let (from, to) = if update {
        let (from, to) = rest.0.split_once("==>")?;
        (Some(kind_of(from)?), Some(kind_of(to)?))
    } else {
        (kind_of(rest.0), None)
    };
    Some(Change { start, end, from, to })
}

/// The blocks of the firmware's tables, or those that the kernel made up.
fn nodes(source: &Source<'_>, found: &mut MemoryFound, assumptions: &mut Vec<String>) {
    let mut blocks: Vec<(i32, PhysRange)> = Vec::new();
    let mut fake: Vec<(i32, PhysRange)> = Vec::new();
    for entry in &source.log.entries {
        match &entry.event {
            Event::Srat { nid, range, .. } => blocks.push((*nid, *range)),
            Event::NumaRejected | Event::NoNuma => blocks.clear(),
            Event::FakingNode { nid, range } => fake.push((*nid, *range)),
            _ => {}
        }
    }
    let memoryless = memoryless(source, assumptions);
    found.fake_nodes = !fake.is_empty();
    let blocks = if fake.is_empty() { blocks } else { fake };
    let mut taken: Vec<PhysRange> = Vec::new();
    for (nid, range) in blocks {
        let overlaps = taken.iter().any(|other| other.start < range.end && range.start < other.end);
        let (Ok(id @ 0..64), false, true) = (u32::try_from(nid), overlaps, range.start < range.end) else {
            assumptions.push(format!("a block of node {nid} is left out: it overlaps another"));
            continue;
        };
        let part = AddrRange { start: range.start.0, end: range.end.0 - 1 };
        if part.end > limits::PHYS_MAX || taken.len() >= limits::REGIONS {
            continue;
        }
        taken.push(range);
        match found.nodes.iter_mut().find(|node| node.id == id) {
            Some(node) => node.ranges.push(part),
            None => found.nodes.push(Node { id, ranges: vec![part] }),
        }
    }
    for id in memoryless {
        if !found.nodes.iter().any(|node| node.id == id) {
            found.nodes.push(Node { id, ranges: Vec::new() });
        }
    }
}

/// Nodes without memory that are online all the same: those with CPUs.
fn memoryless(source: &Source<'_>, assumptions: &mut Vec<String>) -> Vec<u32> {
    let (mut with, mut without): (u64, Vec<u32>) = (0, Vec::new());
    for entry in &source.log.entries {
        match &entry.event {
            Event::Initmem { range: Some(_), .. } => with += 1,
            Event::Initmem { nid, range: None } => {
                without.extend(u32::try_from(*nid).ok().filter(|nid| *nid < 64));
            }
            _ => {}
        }
    }
    let online = source.log.others.iter().find_map(|other| {
        let digits = other.text.strip_prefix("smp: Brought up ")?.split(' ').next()?;
        digits.parse::<u64>().ok()
    });
    let count = usize::try_from(online.unwrap_or(0).saturating_sub(with)).unwrap_or(usize::MAX);
    if count > 0 && count < without.len() {
        assumptions.push(format!(
            "which {count} of {} nodes without memory have CPUs is not in the log: the first ones are taken",
            without.len()
        ));
    }
    without.truncate(count);
    without
}
