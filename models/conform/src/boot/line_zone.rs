//! Lines about nodes, zones and numbers of pages.

use super::line::{CrashLine, Event, MemoryLine};
use super::scan::Scan;

/// Reads a line; `None` if it is none of these.
pub(super) fn parse(scan: Scan<'_>) -> Option<Event> {
    match scan.0.as_bytes().first()? {
        b' ' => indented(scan),
        b'A' => srat(scan),
        b'N' => numa(scan),
        b'F' => faking(scan).or_else(|| freeing(scan)),
        b'O' => unavailable(scan),
        b'I' => initmem(scan),
        b'M' => memory(scan),
        b'Z' => (scan.0.trim_end() == "Zone ranges:").then_some(Event::ZoneRanges),
        b'B' => {
            let (pages, _) = scan.lit("Built ")?.after("Total pages: ")?.dec()?;
            Some(Event::Built { pages })
        }
        b's' => {
            let (cpus, _) = scan.lit("setup_percpu: ")?.after("nr_cpu_ids:")?.dec()?;
            Some(Event::Cpus(cpus))
        }
        _ => None,
    }
}

fn indented(scan: Scan<'_>) -> Option<Event> {
    if let Some(rest) = scan.lit("    NODE_DATA(") {
        let (nid, rest) = rest.signed()?;
        let (on, _) = rest.lit(") on node ")?.signed()?;
        return Some(Event::NodeDataOn { nid, on });
    }
    let rest = scan.lit("  ")?;
    if let Some(rest) = rest.lit("node ") {
        let (nid, rest) = rest.blanks().signed()?;
        let (range, _) = rest.lit(": ")?.mem()?;
        return Some(Event::NodeRange { nid, range });
    }
    if let Some(rest) = rest.lit("Node ") {
        let (nid, rest) = rest.signed()?;
        let (start, _) = rest.lit(": ")?.hex()?;
        return Some(Event::MovableStart { nid, start });
    }
    let (zone, rest) = rest.word();
    if !["DMA", "DMA32", "Normal", "HighMem", "Device"].contains(&zone) {
        return None;
    }
    let rest = rest.blanks();
    let range = if rest.0.trim_end() == "empty" { None } else { Some(rest.mem()?.0) };
    Some(Event::ZoneLimit { zone: zone.to_owned(), range })
}

fn srat(scan: Scan<'_>) -> Option<Event> {
    let (nid, rest) = scan.lit("ACPI: SRAT: Node ")?.signed()?;
    let (_, rest) = rest.lit(" PXM ")?.dec()?;
    let (range, rest) = rest.lit(" ")?.mem()?;
    Some(Event::Srat { nid, range, hotplug: rest.0.contains("hotplug") })
}

fn numa(scan: Scan<'_>) -> Option<Event> {
    if let Some(rest) = scan.lit("NODE_DATA(") {
        let (nid, rest) = rest.signed()?;
        let (range, _) = rest.lit(") allocated ")?.mem()?;
        return Some(Event::NodeData { nid, range });
    }
    if let Some(rest) = scan.lit("NUMA: Node ") {
        let (nid, rest) = rest.signed()?;
        let (first, rest) = rest.lit(" ")?.mem()?;
        let (second, rest) = rest.lit(" + ")?.mem()?;
        let (both, _) = rest.lit(" -> ")?.mem()?;
        return Some(Event::NumaUnion { nid, first, second, both });
    }
    let starts = |text| scan.0.starts_with(text);
    if starts("NUMA: nodes only cover") || starts("NUMA: no nodes coverage") {
        return Some(Event::NumaRejected);
    }
    (starts("No NUMA configuration found") || starts("NUMA turned off")).then_some(Event::NoNuma)
}

fn faking(scan: Scan<'_>) -> Option<Event> {
    if let Some(rest) = scan.lit("Faking a node at ") {
        return rest.mem().map(|(range, _)| Event::FakingOne(range));
    }
    let (nid, rest) = scan.lit("Faking node ")?.signed()?;
    let (range, _) = rest.lit(" at ")?.mem()?;
    Some(Event::FakingNode { nid, range })
}

/// `Freeing unused decrypted memory: 2028K`.
fn freeing(scan: Scan<'_>) -> Option<Event> {
    let (kib, rest) = scan.lit("Freeing ")?.after(" memory: ")?.dec()?;
    rest.lit("K").map(|_| Event::Freeing { kib })
}

fn unavailable(scan: Scan<'_>) -> Option<Event> {
    let (nid, rest) = scan.lit("On node ")?.signed()?;
    let (zone, rest) = rest.lit(", zone ")?.0.split_once(':')?;
    let (pages, rest) = Scan(rest).lit(" ")?.dec()?;
    rest.lit(" pages in unavailable ranges")?;
    Some(Event::Unavailable { nid, zone: zone.to_owned(), pages })
}

fn initmem(scan: Scan<'_>) -> Option<Event> {
    let (nid, rest) = scan.lit("Initmem setup node ")?.signed()?;
    if rest.0.trim() == "as memoryless" {
        return Some(Event::Initmem { nid, range: None });
    }
    let (range, _) = rest.lit(" ")?.mem()?;
    Some(Event::Initmem { nid, range: Some(range) })
}

fn memory(scan: Scan<'_>) -> Option<Event> {
    let (available, rest) = scan.lit("Memory: ")?.dec()?;
    let (total, rest) = rest.lit("K/")?.dec()?;
    let before = rest.lit("K available (")?.0.split_once("K reserved")?.0;
    let reserved = before.rsplit(' ').next()?.parse().ok()?;
    Some(Event::Memory(MemoryLine { available, total, reserved }))
}

/// Lines that name ranges which follow from those before.
pub(super) fn parse_later(scan: Scan<'_>) -> Option<Event> {
    if let Some(rest) = scan.lit("ACPI: Reserving ") {
        return rest.after(" table memory at ")?.mem().map(|(range, _)| Event::Announced(range));
    }
    if let Some(rest) = scan.lit("found SMP MP-table at ") {
        return rest.mem().map(|(range, _)| Event::Announced(range));
    }
    if let Some(rest) = scan.lit("PM: hibernation: Registered nosave memory: ") {
        return rest.mem().map(|(range, _)| Event::NoSave(range));
    }
    if let Some(rest) = scan.lit("e820: reserve RAM buffer ") {
        return rest.mem().map(|(range, _)| Event::RamBuffer(range));
    }
    if let Some(rest) =
        scan.lit("crashkernel reserved: ").or_else(|| scan.lit("crashkernel low memory reserved: "))
    {
        let (start, rest) = rest.hex()?;
        let (end, _) = rest.lit(" - ")?.hex()?;
        return Some(Event::CrashKernel(CrashLine::Range(start, end)));
    }
    let none = ["crashkernel reservation failed", "cannot allocate crashkernel "];
    let none_low =
        scan.lit("Cannot reserve ").is_some_and(|rest| rest.0.contains("MB crashkernel low memory"));
    if none_low || none.iter().any(|start| scan.0.starts_with(start)) {
        return Some(Event::CrashKernel(CrashLine::Failed));
    }
    if let Some(rest) = scan.lit("Reserving ") {
        let (size, rest) = rest.dec()?;
        let (at, rest) = rest.after(" memory at ")?.dec()?;
        rest.lit("MB for crashkernel")?;
        return Some(Event::CrashKernel(CrashLine::Mib(size, at)));
    }
    let rest = scan.lit("HugeTLB: registered ")?;
    let gigantic = rest.0.contains("GiB page size");
    let (pages, _) = rest.after("pre-allocated ")?.dec()?;
    gigantic.then_some(Event::GigantPages(pages))
}
