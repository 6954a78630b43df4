//! What the log says about the machine, apart from the order of memblock's own lines.

use models::boot::cmdline;
use models::bootmem::{CoreSize, MovableRequest};
use models::mem::{PhysAddr, PhysRange};

use super::line::{E820, Event, MemoryLine};
use super::log::{Entry, Log};

/// More ranges of RAM than a map of memory has room for.
const MAX_RAM: usize = 4_000;

/// The facts, each with the line that states it.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// After `Linux version `.
    pub(crate) banner: Option<String>,
    pub(crate) command_line: Option<String>,
    pub(crate) kaslr_off: bool,
    /// RAM, as memblock learns of it; in address order.
    pub(crate) ram: Vec<PhysRange>,
    /// `max_arch_pfn`.
    pub(crate) max_arch_pfn: Option<u64>,
    /// Lines of `last_pfn`.
    pub(crate) last_pfns: Vec<(u64, u64)>,
    pub(crate) ramdisk: Option<PhysRange>,
    /// `nr_cpu_ids`.
    pub(crate) cpus: Option<u64>,
    /// The end of the highest range that the firmware gives a node.
    pub(crate) srat_end: PhysAddr,
    pub(crate) memory: Option<(u64, MemoryLine)>,
    /// KiB given back before the line `Memory:`, and after it.
    pub(crate) freed_before: u64,
    pub(crate) freed_after: u64,
    /// There is a dump of the lists.
    pub(crate) debug: bool,
    /// Memory is mirrored, in ranges that the log does not show.
    pub(crate) mirrored: bool,
    /// Boot went on beyond the IOMMUs' own initialisation.
    pub(crate) iommu_done: bool,
    pub(crate) encryption: Encryption,
}

/// Whose memory is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Encryption {
    pub(crate) host: bool,
    pub(crate) guest: bool,
}

/// The range of pages that `memblock_free_late()` gives back, in KiB.
fn late_kib(range: PhysRange) -> u64 {
    let (start, end) = (range.start.0.div_ceil(4096), range.end.0 >> 12);
    end.saturating_sub(start) * 4
}

impl Facts {
    pub(crate) fn gather(log: &Log) -> Self {
        let mut facts = Self::default();
        for entry in &log.entries {
            facts.take(entry);
        }
        facts
    }

    fn take(&mut self, entry: &Entry) {
        match &entry.event {
            Event::Version(banner) => self.banner = Some(banner.clone()),
            Event::CommandLine(line) => {
                self.command_line.get_or_insert_with(|| line.clone());
            }
            Event::KaslrDisabled => self.kaslr_off = true,
            Event::E820(change) if !self.debug && self.memory.is_none() => self.change_map(change),
            Event::LastPfn { last, max_arch } => {
                self.max_arch_pfn = Some(*max_arch);
                if self.last_pfns.len() < 10 {
                    self.last_pfns.push((entry.line, *last));
                }
            }
            Event::Ramdisk(range) => self.ramdisk = Some(*range),
            Event::Srat { range, .. } => self.srat_end = self.srat_end.max(range.end),
            Event::Cpus(cpus) => self.cpus = Some(*cpus),
            Event::Memory(line) => {
                self.memory.get_or_insert((entry.line, *line));
            }
            Event::Freeing { kib } => self.freed(*kib),
            Event::FreeLate(range) => self.freed(late_kib(*range)),
            Event::DumpBegins => self.debug = true,
            Event::Mirrored => self.mirrored = true,
            Event::Encryption { guest } => {
                self.encryption.guest |= *guest;
                self.encryption.host |= !*guest;
            }
            Event::RootfsInitcalls => self.iommu_done = true,
            _ => {}
        }
    }

    fn freed(&mut self, kib: u64) {
        let sum = if self.memory.is_none() { &mut self.freed_before } else { &mut self.freed_after };
        *sum = sum.saturating_add(kib);
    }

    fn change_map(&mut self, change: &E820) {
        match change {
            E820::NewMap => self.ram.clear(),
            E820::Range(range, true) | E820::Gain(range) => self.gain(*range),
            E820::Range(_, false) | E820::Other => {}
            E820::Lose(range) => self.lose(*range),
        }
    }

    fn gain(&mut self, range: PhysRange) {
        // No machine has memory above what the architecture can address, or in so many pieces.
        if range.start >= range.end || range.end.0 > 1 << 52 || self.ram.len() >= MAX_RAM {
            return;
        }
        self.lose(range);
        let at = self.ram.partition_point(|ram| ram.start < range.start);
        self.ram.insert(at, range);
    }

    fn lose(&mut self, lost: PhysRange) {
        if !self.ram.iter().any(|ram| ram.start < lost.end && lost.start < ram.end) {
            return;
        }
        let keep = |ram: &PhysRange| {
            let below = PhysRange { start: ram.start, end: ram.end.min(lost.start) };
            let above = PhysRange { start: ram.start.max(lost.end), end: ram.end };
            [below, above].into_iter().filter(|range| range.start < range.end)
        };
        self.ram = self.ram.iter().flat_map(keep).collect();
    }

    /// Words of this name on the command line, with their values.
    pub(crate) fn words(&self, name: &str) -> Vec<Option<String>> {
        let line = self.command_line.as_deref().unwrap_or_default();
        cmdline::words(line)
            .filter(|(word, _)| word.replace('-', "_") == name)
            .map(|(_, value)| value)
            .collect()
    }

    /// `kernelcore=`, `movablecore=` and `movable_node`, the last of each.
    pub(crate) fn movable(&self) -> MovableRequest {
        let mut request = MovableRequest {
            movable_node: !self.words("movable_node").is_empty(),
            ..MovableRequest::default()
        };
        for value in self.words("kernelcore").into_iter().flatten() {
            if value.split(',').any(|option| option == "mirror") {
                request.mirror = true;
            } else {
                request.kernelcore = core_size(&value, request.kernelcore);
            }
        }
        for value in self.words("movablecore").into_iter().flatten() {
            request.movablecore = core_size(&value, request.movablecore);
        }
        request
    }

    /// The kernel was placed where it was linked, and so are its own areas of addresses.
    pub(crate) fn is_nokaslr(&self) -> bool {
        self.kaslr_off || !self.words("nokaslr").is_empty()
    }
}

/// A size, or a part of all memory.
///
/// Source: `mm/mm_init.c: cmdline_parse_core()`.
fn core_size(value: &str, before: Option<CoreSize>) -> Option<CoreSize> {
    let digits = value.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(value.len());
    if value[digits..].starts_with('%') {
        // 0% says nothing, and takes nothing back.
        return value[..digits]
            .parse()
            .ok()
            .filter(|percent| *percent != 0)
            .map(CoreSize::Percent)
            .or(before);
    }
    Some(CoreSize::Pages(cmdline::memparse(value) >> 12))
}
