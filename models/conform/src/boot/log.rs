//! The console log: lines with what the console put in front of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::line::{Event, Parsed, parse};
use super::prefix::{Stamp, pieces, strip};
use crate::{Source, SourceError};

/// A log with more lines is read up to here.
const MAX_LINES: u64 = 4_000_000;
/// So many lines that mean something are kept; a boot has a few thousand.
const MAX_EVENTS: usize = 200_000;
/// Lines of different kinds that are counted one by one.
const MAX_KINDS: usize = 4_000;
/// So many lines of no use are kept, if they are asked for, and so much of each.
const MAX_OTHERS: usize = 100_000;
const MAX_OTHER_CHARS: usize = 400;

/// A line that means something.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Where, from 1.
    pub(crate) line: u64,
    /// What it says.
    pub(crate) event: Event,
    /// Its words.
    pub(crate) text: String,
    /// Whether a line that could not be read lies between it and the one before.
    pub(crate) gap: bool,
}

/// A line that nothing here is about, for those who look for more.
#[derive(Clone, Debug)]
pub(crate) struct Other {
    /// Where, from 1.
    pub(crate) line: u64,
    /// Its words, cut where they are long.
    pub(crate) text: String,
    /// The time that it bears, in microseconds.
    pub(crate) time: Option<u64>,
}

/// Which boot of a log with several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// This one, from 1.
    Nth(u64),
    /// The last.
    Last,
}

/// One boot's lines.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) entries: Vec<Entry>,
    /// How many lines there were.
    pub(crate) lines: u64,
    /// Lines of no use, by their first words.
    unused: BTreeMap<String, u64>,
    /// Lines that begin as a known one does and cannot be read: how many, and the first.
    pub(crate) broken: Option<(u64, u64, String)>,
    /// Lines that do not come from the kernel, as far as their beginning tells.
    foreign: u64,
    /// Lines that two consoles printed.
    repeated: u64,
    /// Where the next boot begins.
    pub(crate) next_boot: Option<u64>,
    /// Lines of no use, with their words, if they were asked for.
    pub(crate) others: Vec<Other>,
    /// Where each boot begins that was seen.
    pub(crate) boots: Vec<u64>,
    /// Why reading ended early.
    pub(crate) stopped: Option<String>,
}

/// The log of a boot: the file itself, or the one in a folder.
pub(crate) fn find(path: &Path) -> Result<PathBuf, SourceError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let names = ["console.log", "console.log.gz", "dmesg", "dmesg.gz", "dmesg.txt", "dmesg.txt.gz"];
    let found = names.iter().map(|name| path.join(name)).find(|path| path.is_file());
    let what = || format!("the folder holds no log of a boot: none of {}", names.join(", "));
    found.ok_or_else(|| SourceError::of_file(path, what()))
}

/// What a line of no use is counted as.
fn kind(text: &str) -> String {
    let words = text.split_once(':').map_or(text, |(before, _)| before);
    let words = if words.len() > 24 { text } else { words };
    let word = words.split_whitespace().next().unwrap_or("(empty)");
    word.chars().take(24).filter(|c| !c.is_control()).collect()
}

/// What is remembered from line to line.
#[derive(Debug, Default)]
struct Reading {
    began: bool,
    /// A line that could not be read came last.
    gap: bool,
    /// Lines bear their time.
    stamped: bool,
    before: String,
}

impl Log {
    /// Reads the first boot in a file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is no log of a boot.
    pub(crate) fn read(path: &Path) -> Result<Self, SourceError> {
        Self::read_boot(path, Which::Nth(1), false)
    }

    /// Reads one of the boots in a file; with `others` lines are kept that nothing here is about.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is no log of a boot, or has fewer boots.
    pub(crate) fn read_boot(path: &Path, which: Which, others: bool) -> Result<Self, SourceError> {
        let mut source = Source::open(path)?;
        let mut log = Self::default();
        let mut reading = Reading::default();
        'lines: while let Some(whole) = source.next_line()? {
            log.lines = source.line();
            if log.lines > MAX_LINES || log.entries.len() >= MAX_EVENTS {
                log.stopped = Some(format!("the lines from {} on were not read: too many", log.lines));
                break;
            }
            for piece in pieces(&whole) {
                if log.take(&mut reading, &piece, which, others) {
                    break 'lines;
                }
            }
        }
        if log.entries.is_empty() {
            let what =
                "this is no log of a boot: no line of it is one that the kernel prints about its memory";
            return Err(SourceError::of_file(path, what));
        }
        if let Which::Nth(wanted) = which
            && wanted > log.boots.len().max(1) as u64
        {
            let count = log.boots.len().max(1);
            let what = format!("there is no boot number {wanted}: the log has {count}");
            return Err(SourceError::of_file(path, what));
        }
        Ok(log)
    }

    /// Takes a line; whether it is the first of a boot behind the wanted one.
    fn take(&mut self, reading: &mut Reading, line: &str, which: Which, others: bool) -> bool {
        let (text, stamp) = strip(line);
        reading.stamped |= stamp != Stamp::None;
        let parsed = parse(text);
        // Where the early console is kept, two consoles print each line. Equal lines about memblock are common
        // while the clock stands still.
        let twice = line == reading.before && matches!(&parsed, Parsed::Event(event) if event.is_late());
        if twice {
            self.repeated += 1;
            return false;
        }
        line.clone_into(&mut reading.before);
        match parsed {
            // User space may print the version, too: without a time where all others have one, or late.
            Parsed::Event(Event::Version(_)) if reading.began && !stamp.begins(reading.stamped) => {
                self.foreign += 1;
            }
            Parsed::Event(event) => {
                if matches!(event, Event::Version(_)) {
                    if reading.began {
                        if which == Which::Nth(self.boots.len() as u64) {
                            self.next_boot = Some(self.lines);
                            return true;
                        }
                        let boots = std::mem::take(&mut self.boots);
                        *self = Self { lines: self.lines, boots, ..Self::default() };
                    }
                    reading.began = true;
                    self.boots.push(self.lines);
                }
                let gap = std::mem::take(&mut reading.gap);
                self.entries.push(Entry { line: self.lines, event, text: text.to_owned(), gap });
            }
            Parsed::Broken => {
                reading.gap = true;
                let broken = self.broken.get_or_insert((0, self.lines, text.chars().take(90).collect()));
                broken.0 += 1;
            }
            Parsed::Unknown => {
                if others && self.others.len() < MAX_OTHERS {
                    let time = if let Stamp::Micros(time) = stamp { Some(time) } else { None };
                    let text = text.chars().take(MAX_OTHER_CHARS).collect();
                    self.others.push(Other { line: self.lines, text, time });
                }
                if stamp == Stamp::None {
                    self.foreign += 1;
                } else {
                    self.count_unused(text);
                }
            }
        }
        false
    }

    /// Takes a line of a modelled boot.
    pub(crate) fn take_modelled(&mut self, text: &str) {
        match parse(text) {
            Parsed::Event(event) => {
                self.entries.push(Entry { line: self.lines, event, text: text.to_owned(), gap: false });
            }
            Parsed::Broken | Parsed::Unknown => {
                self.others.push(Other { line: self.lines, text: text.to_owned(), time: None });
            }
        }
    }

    fn count_unused(&mut self, text: &str) {
        let kind = kind(text);
        let kind = if self.unused.len() < MAX_KINDS { kind } else { "(others)".to_owned() };
        *self.unused.entry(kind).or_insert(0) += 1;
    }

    /// What was not compared because no rule here is about it.
    pub(crate) fn notes(&self) -> Vec<String> {
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
        notes.extend(self.stopped.clone());
        notes
    }
}
