//! What single lines of the log say.

use models::mem::{PhysAddr, PhysRange};
use models::memblock::MemblockType;

use super::line_map::{map, map_entry, swiotlb};
use super::scan::Scan;
use super::{line_iommu, line_zone};

/// Which of memblock's functions a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    /// `memblock_phys_alloc_range()`.
    PhysRange,
    /// `memblock_alloc_try_nid()`, `memblock_alloc_try_nid_raw()`.
    TryNid,
    /// `memblock_alloc_exact_nid_raw()`.
    ExactNid,
}

/// A request for memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) function: Function,
    pub(crate) size: u64,
    pub(crate) align: u64,
    pub(crate) nid: i32,
    pub(crate) min: u64,
    pub(crate) max: u64,
    pub(crate) caller: String,
}

/// One region of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) list: MemblockType,
    pub(crate) index: u64,
    pub(crate) range: PhysRange,
    /// As the line says, beside the range.
    pub(crate) size: u64,
    pub(crate) nid: Option<i32>,
    pub(crate) flags: u32,
}

/// What the firmware's map of memory goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum E820 {
    /// A list of all ranges follows, instead of the one before.
    NewMap,
    /// One range, and whether it is RAM.
    Range(PhysRange, bool),
    /// RAM becomes something else, or goes.
    Lose(PhysRange),
    /// Something else becomes RAM.
    Gain(PhysRange),
    /// No RAM comes or goes.
    Other,
}

/// A line that means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A line of a known kind with a range that ends before it begins.
    Contradiction,
    Version(String),
    CommandLine(String),
    KaslrDisabled,
    E820(E820),
    LastPfn {
        last: u64,
        max_arch: u64,
    },
    Add(PhysRange),
    Remove(PhysRange),
    Reserve(PhysRange, String),
    Free(PhysRange, String),
    FreeLate(PhysRange),
    Request(Request),
    Doubled {
        list: MemblockType,
        entries: u64,
        range: PhysRange,
    },
    DumpBegins,
    DumpSizes {
        memory: u64,
        reserved: u64,
    },
    DumpCount(MemblockType, u64),
    DumpRegion(Listed),
    Ramdisk(PhysRange),
    Srat {
        nid: i32,
        range: PhysRange,
        hotplug: bool,
    },
    NumaUnion {
        nid: i32,
        first: PhysRange,
        second: PhysRange,
        both: PhysRange,
    },
    NumaRejected,
    NoNuma,
    FakingOne(PhysRange),
    FakingNode {
        nid: i32,
        range: PhysRange,
    },
    NodeData {
        nid: i32,
        range: PhysRange,
    },
    NodeDataOn {
        nid: i32,
        on: i32,
    },
    ZoneRanges,
    ZoneLimit {
        zone: String,
        range: Option<PhysRange>,
    },
    MovableStart {
        nid: i32,
        start: u64,
    },
    NodeRange {
        nid: i32,
        range: PhysRange,
    },
    Initmem {
        nid: i32,
        range: Option<PhysRange>,
    },
    Unavailable {
        nid: i32,
        zone: String,
        pages: u64,
    },
    Built {
        pages: u64,
    },
    Cpus(u64),
    Memory(MemoryLine),
    Freeing {
        kib: u64,
    },
    Mirrored,
    Encryption {
        guest: bool,
    },
    /// The initcalls after the IOMMUs' have begun.
    RootfsInitcalls,
    /// A range that the next reservation takes.
    Announced(PhysRange),
    CrashKernel(CrashLine),
    GigantPages(u64),
    NoSave(PhysRange),
    RamBuffer(PhysRange),
    Swiotlb(SwiotlbLine),
    Iommu(line_iommu::IommuLine),
}

impl Event {
    /// Whether it comes from a time when clocks run: no two such lines are alike.
    pub(crate) const fn is_late(&self) -> bool {
        matches!(
            self,
            Self::Memory(_) | Self::Freeing { .. } | Self::FreeLate(_) | Self::Swiotlb(_) | Self::Iommu(_)
        )
    }
}

/// The line `Memory:`, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryLine {
    pub(crate) available: u64,
    pub(crate) total: u64,
    pub(crate) reserved: u64,
}

/// Memory for the kernel that takes over after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CrashLine {
    /// First byte and end (v6.12).
    Range(u64, u64),
    /// Size and place in MiB (v6.1).
    Mib(u64, u64),
    /// There is none to be had.
    Failed,
}

/// Lines about the bounce buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SwiotlbLine {
    Areas(u64),
    RoundedUp {
        mib: u64,
    },
    Adjusted {
        from: u64,
        to: u64,
    },
    /// Another default size, for a guest with encrypted memory.
    Default {
        mib: u64,
    },
    Mapped {
        start: u64,
        end: u64,
        mib: u64,
    },
    NoLowMem,
    Using,
    TearingDown,
}

/// What became of a line.
#[derive(Debug)]
pub(crate) enum Parsed {
    Event(Event),
    /// It begins as one of the known lines, and goes on otherwise.
    Broken,
    /// Nothing here is about it.
    Unknown,
}

/// Beginnings of lines about memory: one that cannot be read has been damaged.
const KNOWN: [&str; 22] = [
    "memblock_",
    "MEMBLOCK",
    " memory",
    " reserved",
    "memblock: ",
    "Linux version ",
    "Command line: ",
    "BIOS-e820: ",
    "user: ",
    "e820: update ",
    "e820: remove ",
    "e820: reserve RAM buffer ",
    "RAMDISK: ",
    "ACPI: SRAT: Node ",
    "ACPI: Reserving ",
    "NODE_DATA(",
    "NUMA: Node ",
    "Faking ",
    "Initmem setup node ",
    "PM: hibernation: Registered nosave memory: ",
    "found SMP MP-table at ",
    "  node ",
];

/// Reads one line without its time stamp.
pub(crate) fn parse(text: &str) -> Parsed {
    match event(text) {
        Some(event) => Parsed::Event(event),
        None if !KNOWN.iter().any(|start| text.starts_with(start)) => Parsed::Unknown,
        None if ends_before_it_begins(text) => Parsed::Event(Event::Contradiction),
        None => Parsed::Broken,
    }
}

/// Whether the first range of a line is none.
fn ends_before_it_begins(text: &str) -> bool {
    let range = || {
        let (first, rest) = Scan(text).after("[0x").or_else(|| Scan(text).after("[mem 0x"))?.hex()?;
        let (last, rest) = rest.lit("-")?.hex()?;
        rest.lit("]")?;
        Some(last.saturating_add(1) < first)
    };
    range() == Some(true)
}

fn event(text: &str) -> Option<Event> {
    let scan = Scan(text);
    match text.as_bytes().first()? {
        b'm' => memblock(scan),
        b' ' => dump(scan).or_else(|| line_zone::parse(scan)),
        b'M' if text == "MEMBLOCK configuration:" => Some(Event::DumpBegins),
        _ => {
            if let Some(version) = text.strip_prefix("Linux version ") {
                return Some(Event::Version(version.to_owned()));
            }
            // Told twice, early and when the page allocator is about to begin.
            if let Some(line) =
                text.strip_prefix("Command line: ").or_else(|| text.strip_prefix("Kernel command line: "))
            {
                return Some(Event::CommandLine(line.to_owned()));
            }
            if text.starts_with("KASLR disabled") {
                return Some(Event::KaslrDisabled);
            }
            map(scan)
                .or_else(|| line_zone::parse(scan))
                .or_else(|| swiotlb(scan).map(Event::Swiotlb))
                .or_else(|| line_zone::parse_later(scan))
                .or_else(|| line_iommu::parse(text).map(Event::Iommu))
        }
    }
}

fn caller(scan: Scan<'_>) -> String {
    scan.0.trim().chars().take(200).collect()
}

/// The function's name in `name+0x12/0x34`.
pub(crate) fn function_of(caller: &str) -> &str {
    caller.split(['+', '.', ' ']).next().unwrap_or(caller)
}

fn memblock(scan: Scan<'_>) -> Option<Event> {
    if let Some(rest) = scan.lit("modified: ").or_else(|| scan.lit("modified physical RAM map:")) {
        return map_entry(rest);
    }
    if let Some(rest) = scan.lit("memblock: ") {
        let (name, rest) = rest.word();
        let list = match name {
            "memory" => MemblockType::Memory,
            "reserved" => MemblockType::Reserved,
            _ => return None,
        };
        let (entries, rest) = rest.lit(" is doubled to ")?.dec()?;
        let (range, _) = rest.lit(" at [")?.range()?;
        return Some(Event::Doubled { list, entries, range });
    }
    let (name, rest) = scan.0.split_once(':')?;
    let rest = Scan(rest).lit(" ")?;
    if let Some(rest) = rest.lit("[") {
        let (range, rest) = rest.range()?;
        let caller = caller(rest);
        return Some(match name {
            "memblock_add" | "memblock_add_node" => Event::Add(range),
            "memblock_remove" => Event::Remove(range),
            "memblock_reserve" => Event::Reserve(range, caller),
            "memblock_phys_free" | "memblock_free" => Event::Free(range, caller),
            "memblock_free_late" | "__memblock_free_late" => Event::FreeLate(range),
            _ => return None,
        });
    }
    let function = match name {
        "memblock_phys_alloc_range" => Function::PhysRange,
        "memblock_alloc_try_nid" | "memblock_alloc_try_nid_raw" => Function::TryNid,
        "memblock_alloc_exact_nid_raw" => Function::ExactNid,
        _ => return None,
    };
    let (size, rest) = rest.dec()?;
    let (align, rest) = rest.lit(" bytes align=")?.hex()?;
    let (nid, rest) = match rest.lit(" nid=") {
        Some(rest) => rest.signed()?,
        None => (-1, rest),
    };
    let (min, rest) = rest.lit(" from=")?.hex()?;
    let (max, rest) = rest.lit(" max_addr=")?.hex()?;
    Some(Event::Request(Request { function, size, align, nid, min, max, caller: caller(rest) }))
}

fn dump(scan: Scan<'_>) -> Option<Event> {
    if let Some(rest) = scan.lit(" memory size = ") {
        let (memory, rest) = rest.hex()?;
        let (reserved, _) = rest.lit(" reserved size = ")?.hex()?;
        return Some(Event::DumpSizes { memory, reserved });
    }
    let (list, rest) = match (scan.lit(" memory"), scan.lit(" reserved")) {
        (Some(rest), _) => (MemblockType::Memory, rest),
        (_, Some(rest)) => (MemblockType::Reserved, rest),
        _ => return None,
    };
    if let Some(rest) = rest.lit(".cnt") {
        let (count, _) = rest.blanks().lit("=")?.blanks().hex()?;
        return Some(Event::DumpCount(list, count));
    }
    let (index, rest) = rest.lit("[")?.hex()?;
    let (range, rest) = rest.lit("]")?.blanks().lit("[")?.range()?;
    let (size, rest) = rest.lit(", ")?.hex()?;
    let rest = rest.lit(" bytes")?;
    let (nid, rest) = match rest.lit(" on node ") {
        Some(rest) => rest.signed().map(|(nid, rest)| (Some(nid), rest))?,
        None => (None, rest),
    };
    let (flags, rest) = rest.lit(" flags: ")?.hex()?;
    // A line that goes on was cut and joined with another.
    let whole = rest.0.trim().is_empty();
    let flags = u32::try_from(flags).ok().filter(|_| whole)?;
    Some(Event::DumpRegion(Listed { list, index, range, size, nid, flags }))
}

/// Bytes in a range.
pub(crate) const fn size_of(range: PhysRange) -> u64 {
    range.end.0 - range.start.0
}

/// As messages show a range.
pub(crate) fn show(range: PhysRange) -> String {
    let PhysRange { start: PhysAddr(start), end: PhysAddr(end) } = range;
    format!("[mem {start:#018x}-{:#018x}]", end.wrapping_sub(1))
}
