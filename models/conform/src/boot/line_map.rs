//! Lines about the map of memory, encryption, and the bounce buffers.

use super::line::{E820, Event, SwiotlbLine};
use super::scan::Scan;

/// One range of the map, or the header of a new one.
pub(super) fn map_entry(scan: Scan<'_>) -> Option<Event> {
    if scan.0.trim().is_empty() {
        return Some(Event::E820(E820::NewMap));
    }
    let (range, rest) = scan.mem()?;
    Some(Event::E820(E820::Range(range, rest.0.trim_start().starts_with("usable"))))
}

/// Lines about the map of memory, and about the command line's and the firmware's words on it.
pub(super) fn map(scan: Scan<'_>) -> Option<Event> {
    let headers =
        ["user-defined physical RAM map:", "extended physical RAM map:", "BIOS-provided physical RAM map:"];
    if headers.contains(&scan.0.trim_end()) {
        return Some(Event::E820(E820::NewMap));
    }
    for prefix in ["BIOS-e820: ", "user: ", "reserve setup_data: ", "Xen: "] {
        if let Some(rest) = scan.lit(prefix) {
            return map_entry(rest);
        }
    }
    if let Some(rest) = scan.lit("e820: remove ") {
        let (range, rest) = rest.mem()?;
        let ram = rest.0.trim().is_empty() || rest.0.contains("usable");
        return Some(Event::E820(if ram { E820::Lose(range) } else { E820::Other }));
    }
    if let Some(rest) = scan.lit("e820: update ") {
        let (range, rest) = rest.mem()?;
        let (old, new) = rest.0.split_once("==>")?;
        return match (old.contains("usable"), new.contains("usable")) {
            (true, false) => Some(Event::E820(E820::Lose(range))),
            (false, true) => Some(Event::E820(E820::Gain(range))),
            _ => Some(Event::E820(E820::Other)),
        };
    }
    if let Some(rest) = scan.lit("last_pfn = ") {
        let (last, rest) = rest.hex()?;
        let (max_arch, _) = rest.lit(" max_arch_pfn = ")?.hex()?;
        return Some(Event::LastPfn { last, max_arch });
    }
    if let Some(rest) = scan.lit("RAMDISK: ") {
        return rest.mem().map(|(range, _)| Event::Ramdisk(range));
    }
    if let Some(rest) = scan.lit("efi: Memory: ") {
        return rest.0.contains("mirrored").then_some(Event::Mirrored);
    }
    if let Some(rest) = scan
        .lit("Memory Encryption Features active: ")
        .or_else(|| scan.lit("AMD Memory Encryption Features active: "))
    {
        let guest = rest.0.contains("SEV") || rest.0.contains("TDX");
        return (guest || rest.0.contains("SME")).then_some(Event::Encryption { guest });
    }
    let later = ["workingset: timestamp_bits", "Initialise system trusted keyrings"];
    later.iter().any(|start| scan.0.starts_with(start)).then_some(Event::RootfsInitcalls)
}

/// Lines about the bounce buffers.
pub(super) fn swiotlb(scan: Scan<'_>) -> Option<SwiotlbLine> {
    if scan.0.starts_with("PCI-DMA: Using software bounce buffering") {
        return Some(SwiotlbLine::Using);
    }
    let rest = scan.lit("software IO TLB: ")?;
    if let Some(rest) = rest.lit("area num ") {
        return rest.dec().map(|(areas, _)| SwiotlbLine::Areas(areas));
    }
    if let Some(rest) = rest.lit("SWIOTLB bounce buffer size roundup to ") {
        return rest.dec().map(|(mib, _)| SwiotlbLine::RoundedUp { mib });
    }
    if let Some(rest) = rest.lit("SWIOTLB bounce buffer size adjusted ") {
        if let Some(rest) = rest.lit("to ") {
            let (mib, rest) = rest.dec()?;
            return rest.lit("MB").map(|_| SwiotlbLine::Default { mib });
        }
        let (from, rest) = rest.dec()?;
        let (to, _) = rest.lit(" -> ")?.dec()?;
        return Some(SwiotlbLine::Adjusted { from, to });
    }
    if let Some(rest) = rest.lit("mapped [mem ") {
        let (start, rest) = rest.hex()?;
        let (end, rest) = rest.lit("-")?.hex()?;
        let (mib, _) = rest.lit("] (")?.dec()?;
        return Some(SwiotlbLine::Mapped { start, end, mib });
    }
    match rest.0.trim_end() {
        "No low mem" => Some(SwiotlbLine::NoLowMem),
        "tearing down default memory pool" => Some(SwiotlbLine::TearingDown),
        _ => None,
    }
}
