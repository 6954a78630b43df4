//! The map of memory: what the firmware says, and what the command line makes of it.
//!
//! Plain data. Source: `arch/x86/kernel/e820.c`, `arch/x86/kernel/setup.c: trim_bios_range()`, v6.1 and v6.12.

use std::borrow::Cow;

use super::cmdline::{memparse, words};
use mem::{PAGE_SIZE, PhysAddr, PhysRange, align_down, align_up};
use schema::{E820Change, E820Entry, E820Kind, Machine};

/// More entries than this are refused, as by the kernel. Source: `E820_MAX_ENTRIES`.
const MAX_ENTRIES: usize = 3_200;
/// Where a PC's BIOS lies, whatever the map says.
const BIOS: (u64, u64) = (0xa_0000, 0xf_ffff);

/// The map that memblock is filled from, and what is said on the way there.
#[derive(Clone, Debug)]
pub struct MemoryMap {
    entries: Vec<E820Entry>,
    log: Vec<String>,
    /// How many lines are about the firmware's own map.
    firmware_lines: usize,
}

impl MemoryMap {
    /// The firmware's map, changed by `mem=` and `memmap=` in the order of the command line, and trimmed where a PC has
    /// no RAM.
    #[must_use]
    pub fn new(machine: &Machine, cmdline: &str) -> Self {
        Self::build(&machine.e820, &machine.e820_changes, cmdline)
    }

    /// The same from its parts.
    #[must_use]
    pub fn build(firmware: &[E820Entry], changes: &[E820Change], cmdline: &str) -> Self {
        let mut map = Self { entries: firmware.to_vec(), log: Vec::new(), firmware_lines: 0 };
        map.log.push("BIOS-provided physical RAM map:".to_owned());
        map.print("BIOS-e820");
        map.firmware_lines = map.log.len();
        let mut user = false;
        for (name, value) in words(cmdline) {
            let Some(value) = value else { continue };
            match name.as_str() {
                "mem" if value != "nopentium" => {
                    user = true;
                    let limit = memparse(&value);
                    if limit != 0 {
                        map.remove(limit, u64::MAX, Some(E820Kind::Usable));
                    }
                }
                "memmap" => {
                    for part in value.split(',') {
                        user |= map.memmap(part);
                    }
                }
                _ => {}
            }
        }
        if user {
            map.update_table();
            map.log.push("user-defined physical RAM map:".to_owned());
            map.print("user");
        }
        map.update(0, PAGE_SIZE - 1, E820Kind::Usable, E820Kind::Reserved);
        map.remove(BIOS.0, BIOS.1, Some(E820Kind::Usable));
        for change in changes {
            match (change.from, change.to) {
                (Some(from), Some(to)) => map.update(change.start, change.end, from, to),
                (None, Some(to)) => map.add(change.start, change.end, to),
                (from, None) => map.remove(change.start, change.end, from),
            }
        }
        map.update_table();
        map
    }

    /// What the kernel says: of the firmware's map, and of what becomes of it when the command line has been read.
    #[must_use]
    pub fn log(&self) -> (&[String], &[String]) {
        self.log.split_at(self.firmware_lines)
    }

    /// Ranges of RAM, cut to pages, in ascending order.
    pub fn usable(&self) -> impl Iterator<Item = PhysRange> + '_ {
        let ram = self.entries.iter().filter(|entry| entry.kind == E820Kind::Usable);
        ram.filter_map(|entry| {
            let start = align_up(entry.start, PAGE_SIZE);
            let end = align_down(entry.end.saturating_add(1), PAGE_SIZE);
            (start < end).then_some(PhysRange { start: PhysAddr(start), end: PhysAddr(end) })
        })
    }

    /// Source: `arch/x86/kernel/e820.c: e820__print_table()`.
    fn print(&mut self, who: &str) {
        for entry in &self.entries {
            let E820Entry { start, end, kind } = entry;
            self.log.push(format!("{who}: [mem {start:#018x}-{end:#018x}] {}", kind.words()));
        }
    }

    /// One part of `memmap=`; whether the map counts as the user's from now on.
    ///
    /// Source: `arch/x86/kernel/e820.c: parse_memmap_one()`.
    fn memmap(&mut self, text: &str) -> bool {
        if text.starts_with("exactmap") {
            self.entries.clear();
            return true;
        }
        let Some((size, rest)) = amount(text) else { return false };
        let Some(sign) = rest.chars().next() else {
            self.remove(size, u64::MAX, Some(E820Kind::Usable));
            return true;
        };
        let Some((start, rest)) = amount(&rest[sign.len_utf8()..]) else { return true };
        let last = start.saturating_add(size).saturating_sub(1);
        match sign {
            '@' => self.add(start, last, E820Kind::Usable),
            '#' => self.add(start, last, E820Kind::AcpiData),
            '$' => self.add(start, last, E820Kind::Reserved),
            '!' => self.add(start, last, E820Kind::Pram),
            '%' => {
                let kind = |text: &str| amount(text).and_then(|(number, _)| E820Kind::of_number(number));
                let (from, to) = match rest.strip_prefix('-') {
                    Some(rest) => match rest.split_once('+') {
                        Some((from, to)) => (kind(from), kind(to)),
                        None => (kind(rest), None),
                    },
                    None => (None, rest.strip_prefix('+').and_then(kind)),
                };
                match (from, to) {
                    (Some(from), Some(to)) if from != to => self.update(start, last, from, to),
                    (Some(_), Some(_)) => {}
                    (None, Some(to)) => self.add(start, last, to),
                    (from, None) => self.remove(start, last, from),
                }
            }
            _ => self.remove(size, u64::MAX, Some(E820Kind::Usable)),
        }
        true
    }

    fn add(&mut self, start: u64, end: u64, kind: E820Kind) {
        if start <= end && self.entries.len() < MAX_ENTRIES {
            self.entries.push(E820Entry { start, end, kind });
        }
    }

    /// Source: `arch/x86/kernel/e820.c: e820__range_update()`.
    fn update(&mut self, start: u64, end: u64, from: E820Kind, to: E820Kind) {
        self.log.push(format!(
            "e820: update [mem {start:#010x}-{end:#010x}] {} ==> {}",
            from.words(),
            to.words()
        ));
        self.cut(start, end, Some(from), Some(to));
    }

    /// Source: `arch/x86/kernel/e820.c: e820__range_remove()`.
    fn remove(&mut self, start: u64, last: u64, kind: Option<E820Kind>) {
        // The kernel's end is exclusive, so the last byte of the address space is none of it.
        let shown = last.min(u64::MAX - 1);
        let words = kind.map_or(Cow::Borrowed(""), E820Kind::words);
        self.log
            .push(format!("e820: remove [mem {start:#010x}-{shown:#010x}] {words}").trim_end().to_owned());
        self.cut(start, last, kind, None);
    }

    /// Takes a range out of entries of a kind, or gives it another kind.
    fn cut(&mut self, start: u64, end: u64, from: Option<E820Kind>, to: Option<E820Kind>) {
        let mut left = Vec::with_capacity(self.entries.len() + 2);
        for entry in std::mem::take(&mut self.entries) {
            let hit = from.is_none_or(|kind| kind == entry.kind) && entry.start <= end && start <= entry.end;
            if !hit {
                left.push(entry);
                continue;
            }
            if entry.start < start {
                left.push(E820Entry { end: start - 1, ..entry });
            }
            if let Some(kind) = to {
                left.push(E820Entry { start: entry.start.max(start), end: entry.end.min(end), kind });
            }
            if entry.end > end {
                left.push(E820Entry { start: end + 1, ..entry });
            }
        }
        left.truncate(MAX_ENTRIES);
        self.entries = left;
    }

    /// Sorts, resolves overlaps in favour of the highest number, and joins neighbours of one kind.
    ///
    /// Source: `arch/x86/kernel/e820.c: e820__update_table()`.
    fn update_table(&mut self) {
        let entries = std::mem::take(&mut self.entries);
        let mut edges: Vec<u128> =
            entries.iter().flat_map(|entry| [u128::from(entry.start), u128::from(entry.end) + 1]).collect();
        edges.sort_unstable();
        edges.dedup();
        let mut sorted = entries;
        sorted.sort_by_key(|entry| entry.start);
        let mut first = 0;
        for pair in edges.windows(2) {
            let (start, end) = (pair[0], pair[1] - 1);
            while sorted.get(first).is_some_and(|entry| u128::from(entry.end) < start) {
                first += 1;
            }
            let here = sorted[first..]
                .iter()
                .take_while(|entry| u128::from(entry.start) <= start)
                .filter(|entry| u128::from(entry.end) >= end)
                .map(|entry| entry.kind)
                .max_by_key(|kind| kind.number());
            let Some(kind) = here else { continue };
            let [start, end] = [start, end].map(|edge| u64::try_from(edge).unwrap_or(u64::MAX));
            match self.entries.last_mut() {
                Some(before)
                    if before.kind == kind
                        && !kind.stands_alone()
                        && before.end.checked_add(1) == Some(start) =>
                {
                    before.end = end;
                }
                _ => self.entries.push(E820Entry { start, end, kind }),
            }
        }
    }
}

/// A number with its unit, and what follows; none if there is no digit.
fn amount(text: &str) -> Option<(u64, &str)> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let hex = text.starts_with("0x") || text.starts_with("0X");
    let skip = if hex { 2 } else { 0 };
    let is_digit = |c: char| if hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
    let digits = text[skip..].find(|c| !is_digit(c)).map_or(text.len(), |at| at + skip);
    let unit = text[digits..].starts_with(|c: char| "kKmMgGtTpPeE".contains(c));
    let end = digits + usize::from(unit);
    Some((memparse(&text[..end]), &text[end..]))
}

#[cfg(test)]
#[path = "e820_tests.rs"]
mod tests;
