//! The console log: lines with what the console put in front of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::line::{Event, Parsed, parse};
use crate::{Source, SourceError};

/// A log with more lines is read up to here.
const MAX_LINES: u64 = 4_000_000;
/// So many lines that mean something are kept; a boot has a few thousand.
const MAX_EVENTS: usize = 200_000;
/// Lines of different kinds that are counted one by one.
const MAX_KINDS: usize = 4_000;

/// A line that means something.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Where, from 1.
    pub(super) line: u64,
    /// What it says.
    pub(super) event: Event,
    /// Its words.
    pub(super) text: String,
    /// Whether a line that could not be read lies between it and the one before.
    pub(super) gap: bool,
}

/// One boot's lines.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) entries: Vec<Entry>,
    /// How many lines there were.
    pub(super) lines: u64,
    /// Lines of no use, by their first words.
    unused: BTreeMap<String, u64>,
    /// Lines that begin as a known one does and cannot be read: how many, and the first.
    pub(super) broken: Option<(u64, u64, String)>,
    /// Lines that do not come from the kernel, as far as their beginning tells.
    foreign: u64,
    /// Lines that two consoles printed.
    repeated: u64,
    /// Where a second boot begins.
    pub(super) next_boot: Option<u64>,
    /// Why reading ended early.
    pub(super) stopped: Option<String>,
}

/// The log of a boot: the file itself, or the one in a folder.
pub(super) fn find(path: &Path) -> Result<PathBuf, SourceError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let names = ["console.log", "console.log.gz", "dmesg", "dmesg.gz", "dmesg.txt", "dmesg.txt.gz"];
    let found = names.iter().map(|name| path.join(name)).find(|path| path.is_file());
    let what = || format!("the folder holds no log of a boot: none of {}", names.join(", "));
    found.ok_or_else(|| SourceError::of_file(path, what()))
}

/// The text behind time stamp, log level and caller; whether there was a time stamp.
fn strip(line: &str) -> (&str, bool) {
    // `journalctl -k` puts its own words first.
    let line = match line.find(" kernel: ") {
        Some(at) if at < 60 && !line.starts_with('[') => &line[at + " kernel: ".len()..],
        _ => line,
    };
    let line = match line.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((level, rest)) if level.len() <= 3 && level.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => line,
    };
    let Some((stamp, rest)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        return (line, false);
    };
    let seconds = |c: char| c.is_ascii_digit() || c == '.' || c == ' ';
    let date = |c: char| c.is_ascii_alphanumeric() || c == ':' || c == ' ';
    let is_stamp = stamp.len() >= 4
        && ((stamp.contains('.') && stamp.chars().all(seconds))
            || (stamp.matches(':').count() == 2 && stamp.chars().all(date)));
    if !is_stamp {
        return (line, false);
    }
    // CONFIG_PRINTK_CALLER: `[    T0]`, `[   C12]`.
    let caller = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).and_then(|(caller, rest)| {
        let caller = caller.trim_start();
        let digits = caller.strip_prefix(['T', 'C'])?;
        (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(rest)
    });
    let rest = caller.unwrap_or(rest);
    (rest.strip_prefix(' ').unwrap_or(rest), true)
}

/// What a line of no use is counted as.
fn kind(text: &str) -> String {
    let words = text.split_once(':').map_or(text, |(before, _)| before);
    let words = if words.len() > 24 { text } else { words };
    let word = words.split_whitespace().next().unwrap_or("(empty)");
    word.chars().take(24).filter(|c| !c.is_control()).collect()
}

impl Log {
    /// Reads the first boot in a file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is no log of a boot.
    pub(super) fn read(path: &Path) -> Result<Self, SourceError> {
        let mut source = Source::open(path)?;
        let mut log = Self::default();
        let (mut began, mut gap) = (false, false);
        let mut before = String::new();
        while let Some(line) = source.next_line()? {
            log.lines = source.line();
            if log.lines > MAX_LINES || log.entries.len() >= MAX_EVENTS {
                log.stopped = Some(format!("the lines from {} on were not read: too many", log.lines));
                break;
            }
            let (text, stamped) = strip(&line);
            let parsed = parse(text);
            // Where the early console is kept, two consoles print each line. Equal lines about memblock are common
            // while the clock stands still.
            let twice = line == before && matches!(&parsed, Parsed::Event(event) if event.is_late());
            if twice {
                log.repeated += 1;
                continue;
            }
            before.clone_from(&line);
            match parsed {
                Parsed::Event(Event::Version(_)) if began => {
                    log.next_boot = Some(log.lines);
                    break;
                }
                Parsed::Event(event) => {
                    began |= matches!(event, Event::Version(_));
                    let entry = Entry { line: log.lines, event, text: text.to_owned(), gap };
                    log.entries.push(entry);
                    gap = false;
                }
                Parsed::Broken => {
                    gap = true;
                    let broken = log.broken.get_or_insert((0, log.lines, text.chars().take(90).collect()));
                    broken.0 += 1;
                }
                Parsed::Unknown if !stamped => log.foreign += 1,
                Parsed::Unknown => log.count_unused(text),
            }
        }
        if log.entries.is_empty() {
            let what =
                "this is no log of a boot: no line of it is one that the kernel prints about its memory";
            return Err(SourceError::of_file(path, what));
        }
        Ok(log)
    }

    fn count_unused(&mut self, text: &str) {
        let kind = kind(text);
        let kind = if self.unused.len() < MAX_KINDS { kind } else { "(others)".to_owned() };
        *self.unused.entry(kind).or_insert(0) += 1;
    }

    /// What was not compared because no rule here is about it.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some((count, first, text)) = &self.broken {
            let lines = if *count == 1 { "1 line begins" } else { &format!("{count} lines begin") };
            notes.push(format!(
                "{lines} as a known one and cannot be read; the first is line {first}: {text}"
            ));
        }
        let unused: u64 = self.unused.values().sum();
        if unused > 0 {
            let mut kinds: Vec<_> = self.unused.iter().collect();
            kinds.sort_by_key(|(kind, count)| (std::cmp::Reverse(**count), *kind));
            let shown: Vec<_> = kinds.iter().take(8).map(|(kind, count)| format!("{kind} {count}")).collect();
            let more = kinds.len().saturating_sub(8);
            let more = if more == 0 { String::new() } else { format!(", and {more} other kinds") };
            notes.push(format!("{unused} lines are about something else: {}{more}", shown.join(", ")));
        }
        if self.foreign > 0 {
            notes.push(format!("{} lines have no time stamp and say nothing about memory", self.foreign));
        }
        if self.repeated > 0 {
            notes.push(format!("{} lines are there twice, and count once", self.repeated));
        }
        if let Some(line) = self.next_boot {
            notes.push(format!("another boot begins at line {line}: it is not compared"));
        }
        notes.extend(self.stopped.clone());
        notes
    }
}
