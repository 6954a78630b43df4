//! Compares lines that name once more what lines before have decided: what is in use at the start, what is given back,
//! what is set aside, and what the map of memory leaves over.

use models::mem::{PAGE_SIZE, PhysAddr, PhysRange, align_down, align_up};
use models::memblock::MemblockType;

use super::line::{Event, show, size_of};
use super::log::Entry;
use super::replay::Replay;
use super::state::State;
use super::zones::{Hex, compare_lists, compare_value};
use crate::Exception;

const FIRST_RESERVED: &str = "first dump: what is in use is reserved";

impl Replay<'_> {
    /// Whether a range that must be reserved is; says so if not.
    fn expect_reserved(&mut self, line: u64, name: &str, range: PhysRange, reserved: bool) {
        self.report.count(name, reserved);
        if !reserved {
            self.report.exceptions.push(Exception {
                line,
                what: name.to_owned(),
                recorded: format!("{} is not reserved, or only in part", show(range)),
                modelled: "reserved".to_owned(),
                why: None,
                detail: Vec::new(),
            });
        }
    }

    /// Whether one region of a list of the first dump holds a range.
    fn first_holds(&self, range: PhysRange) -> bool {
        let Some(mb) = &self.first else { return true };
        let holds =
            |region: &models::memblock::Region| region.base <= range.start && range.end <= region.end();
        mb.regions(MemblockType::Reserved).iter().any(holds)
    }

    /// The first dump holds what was reserved before it, the lowest 64 KiB, and the initial RAM disk.
    ///
    /// Source: `arch/x86/kernel/setup.c: early_reserve_memory()`.
    pub(super) fn compare_first_reserved(&mut self) {
        let mut expected = self.before.clone();
        expected.push((0, PhysRange::new(PhysAddr(0), 64 << 10)));
        if let Some(disk) = self.facts.ramdisk {
            let end = disk.end.0.checked_next_multiple_of(PAGE_SIZE).unwrap_or(disk.end.0);
            expected.push((0, PhysRange { start: disk.start, end: PhysAddr(end) }));
        }
        for (line, range) in expected {
            let reserved = self.first_holds(range);
            self.expect_reserved(line, FIRST_RESERVED, range, reserved);
        }
    }

    /// Only reserved memory is given back.
    pub(super) fn free(&mut self, entry: &Entry, range: PhysRange) {
        if let Some(mb) = &self.mb {
            let holds =
                |region: &models::memblock::Region| region.base <= range.start && range.end <= region.end();
            let reserved = mb.regions(MemblockType::Reserved).iter().any(holds);
            self.expect_reserved(entry.line, "memory that is given back was reserved", range, reserved);
        }
        self.change(entry.line, |mb| mb.free(range.start, size_of(range)));
    }

    /// The kernel says first which table it reserves.
    pub(super) fn follow_announced(&mut self, entry: &Entry) {
        let announced = self.announced.take();
        match &entry.event {
            Event::Announced(range) => self.announced = Some(*range),
            Event::Reserve(range, _) if !entry.gap => {
                if let Some(announced) = announced {
                    let name = "reservations of announced tables";
                    compare_value(self.report, name, entry.line, &show(*range), &show(announced));
                }
            }
            _ => {}
        }
    }

    pub(super) fn compare_claims(&mut self, state: Option<&State>) {
        self.compare_map_lines();
        if self.reserved_known {
            self.compare_gigantic();
        }
        let crash = self.compare_crash_kernel();
        let Some(state) = state else { return };
        for (line, range, name) in &state.iomem {
            match name.as_str() {
                "Kernel code" | "Kernel rodata" | "Kernel data" | "Kernel bss" if self.first.is_some() => {
                    let reserved = self.first_holds(*range);
                    self.expect_reserved(*line, FIRST_RESERVED, *range, reserved);
                }
                "Crash kernel" => {
                    if let Some(kept) = &crash {
                        let known = kept.contains(range);
                        compare_value(self.report, "memory for a crash kernel (state)", *line, &true, &known);
                    }
                }
                _ => {}
            }
        }
    }

    /// Gigantic pages.
    fn compare_gigantic(&mut self) {
        let entries = self.entries;
        for entry in entries {
            if let Event::GigantPages(pages) = &entry.event {
                let modelled = self.gigantic_pages >> 18;
                compare_value(self.report, "gigantic pages", entry.line, pages, &modelled);
            }
        }
    }

    /// The end of RAM, and where there is some above 4 GiB, the end below.
    fn compare_ends(&mut self, ram: &[PhysRange], end: PhysAddr) {
        let lines = self.facts.last_pfns.clone();
        // The map can still change after the first of these lines: what MTRRs do not cache goes.
        if let ([(line, last), ..], true) = (lines.as_slice(), lines.len() <= 2) {
            compare_value(self.report, "end of RAM", *line, &Hex(*last), &Hex(end.0 >> 12));
        }
        let low = ram.iter().map(|range| range.end.0.min(1 << 32)).filter(|end| *end < 1 << 32).max();
        if let ([_, (line, last)], Some(low), true) = (lines.as_slice(), low, end.0 > 1 << 32) {
            compare_value(self.report, "end of RAM", *line, &Hex(*last), &Hex(low >> 12));
        }
    }

    /// What follows from the map of memory alone: its end, the gaps that hibernation leaves out, and the room behind
    /// each piece of RAM.
    fn compare_map_lines(&mut self) {
        let ram = self.facts.ram.clone();
        let Some(end) = ram.last().map(|range| range.end) else { return };
        self.compare_ends(&ram, end);
        let (mut nosave, mut buffers) = (Vec::new(), Vec::new());
        let mut gone_on = false;
        for entry in self.entries {
            match &entry.event {
                Event::NoSave(range) => nosave.push((entry.line, *range)),
                Event::RamBuffer(range) => buffers.push((entry.line, *range)),
                Event::FakingOne(range) => {
                    let (found, expected) = (range.end.0, align_down(end.0, PAGE_SIZE));
                    compare_value(
                        self.report,
                        "end of the faked node",
                        entry.line,
                        &Hex(found),
                        &Hex(expected),
                    );
                }
                Event::Cpus(_) => gone_on = true,
                _ => {}
            }
        }
        if !nosave.is_empty() {
            let mut expected = Vec::new();
            let mut last = 0;
            let top = PhysRange { start: PhysAddr(align_up(end.0, PAGE_SIZE)), end };
            for range in ram.iter().chain([&top]) {
                let gap = PhysRange {
                    start: PhysAddr(align_down(last, PAGE_SIZE)),
                    end: PhysAddr(align_up(range.start.0, PAGE_SIZE)),
                };
                if last < range.start.0 && gap.start < gap.end {
                    expected.push(gap);
                }
                last = range.end.0;
            }
            // What lies between the last RAM and the end of its page is none.
            expected.retain(|gap| gap.start < end);
            compare_lists(
                self.report,
                "gaps left out by hibernation",
                &nosave,
                &expected,
                gone_on,
                |range| show(*range),
            );
        }
        if !buffers.is_empty() {
            let expected: Vec<_> = ram.iter().filter_map(|range| buffer_behind(range.end.0)).collect();
            let done = self.facts.iommu_done;
            compare_lists(self.report, "room left behind RAM", &buffers, &expected, done, |range| {
                show(*range)
            });
        }
    }
}

/// Source: `arch/x86/kernel/e820.c: e820__reserve_resources_late(), ram_alignment()`.
fn buffer_behind(start: u64) -> Option<PhysRange> {
    let align = match start >> 20 {
        0 => 64 << 10,
        1..16 => 1 << 20,
        _ => 64 << 20,
    };
    let end = start.checked_next_multiple_of(align)?;
    (start + 1 < end).then_some(PhysRange { start: PhysAddr(start), end: PhysAddr(end) })
}
