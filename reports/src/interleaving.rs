//! The way to a finding in columns, one for each context that matters.
//!
//! Which events are shown is a matter of layout: those that touch the finding's object come first, then what stands
//! near to it, until the lines are used up. What is left out is marked.

use std::collections::{BTreeMap, BTreeSet};

use sim::trace::{EventKind, Trace};
use sim::{Finding, Name};

use crate::layout::{WIDTH, ascii, seconds, wrap};
use crate::trace::{who, words};

/// At most this many lines.
pub const MAX_LINES: usize = 40;
/// At most this many columns: with more, names of functions no longer fit.
const MAX_COLUMNS: usize = 3;
/// An object that is touched more often than this is no clue.
const MAX_TOUCHED: usize = 12;
/// A cell goes on for at most this many lines.
const MAX_CELL_LINES: usize = 4;
/// Lines over the first event.
const HEAD_LINES: usize = 3;
/// Width of the column with the time.
const TIME_WIDTH: usize = 14;

/// The weight of what is left out even where there is room.
const SUPERFLUOUS: u8 = u8::MAX;

/// An event that may be shown; the lower its weight, the sooner it is.
#[derive(Clone, Debug)]
struct Row {
    at: usize,
    ctx: u32,
    text: String,
    weight: u8,
}

/// The shortest way to `finding`, as far as the recorded run `trace` tells it. What came `earlier` in that run may be
/// its cause, and is followed too. Empty if nothing was recorded.
#[must_use]
pub fn interleaving(trace: &Trace, finding: &Finding, earlier: &[&Finding]) -> Vec<String> {
    let Some(end) = position(trace, finding) else { return Vec::new() };
    let topic = Topic::new(trace, finding, earlier, end);
    let mut rows = rows(trace, finding, &topic, end);
    thin_out(&mut rows);
    rows.sort_by_key(|row| (row.weight, end - row.at));
    let columns = columns(&rows, trace.events[end].ctx);
    rows.retain(|row| columns.contains(&row.ctx));
    let width = ((WIDTH - TIME_WIDTH) / columns.len().max(1)).saturating_sub(2).min(58);
    let mut shown: BTreeMap<usize, &Row> = BTreeMap::new();
    let mut refused = 0;
    for row in &rows {
        shown.insert(row.at, row);
        if height(trace, &shown, width) > MAX_LINES - HEAD_LINES {
            shown.remove(&row.at);
            refused += 1;
            if refused > MAX_LINES {
                break;
            }
        }
    }
    draw(trace, &columns, &shown, width)
}

/// Where the finding stands in the trace.
fn position(trace: &Trace, finding: &Finding) -> Option<usize> {
    let is_it = |kind: &EventKind| matches!(kind, EventKind::Found(title) if *title == finding.title);
    let exact = trace.events.iter().position(|e| e.step == finding.step && is_it(&e.kind));
    exact.or_else(|| trace.events.iter().position(|e| is_it(&e.kind)))
}

fn rows(trace: &Trace, finding: &Finding, topic: &Topic, end: usize) -> Vec<Row> {
    let own = trace.events[end].ctx;
    let stack = stack(trace, finding, end);
    let mut rows = Vec::new();
    for (at, event) in trace.events[..=end].iter().enumerate() {
        let mine = event.ctx == own;
        let weight = match &event.kind {
            EventKind::Found(_) if at == end => 0,
            EventKind::Found(_) => 2,
            EventKind::Note(text) if text.starts_with(crate::case::OPTIONS) => continue,
            EventKind::Note(text) if topic.told(text) => 1,
            EventKind::Note(_) if mine => 4,
            EventKind::Step { object, .. } if topic.touched(*object) => 2,
            EventKind::Step { .. } => continue,
            EventKind::Enter(_) if stack.contains(&at) => 3,
            EventKind::Enter(function) if topic.functions.contains(*function) => 2,
            EventKind::Injected(_) | EventKind::Preempted { .. } => 3,
            EventKind::Spawned => 4,
            EventKind::Log(text) if topic.told(text) => 2,
            EventKind::Note(_)
            | EventKind::Enter(_)
            | EventKind::Leave(_)
            | EventKind::Choice { .. }
            | EventKind::Log(_)
            | EventKind::Ended
            | EventKind::Took { .. }
            | EventKind::Released { .. }
            | EventKind::Counter { .. }
            | EventKind::Interval { .. }
            | EventKind::Blocked { .. } => continue,
        };
        // The title stands over the report already.
        let text = if at == end { format!("*** {}", finding.kind) } else { words(trace, &event.kind) };
        // In a narrow column it only takes room: what follows tells a structure from a function.
        rows.push(Row { at, ctx: event.ctx, text: ascii(&text).replace("struct ", ""), weight });
    }
    rows
}

/// What the finding is about, as far as it can be recognised in other events.
struct Topic {
    /// Types of the objects without `struct`.
    objects: BTreeSet<String>,
    /// The object of the step at which it was found.
    last: Name,
    /// The functions that allocated, freed or kept the objects, as far as the findings say.
    functions: BTreeSet<String>,
}

impl Topic {
    fn new(trace: &Trace, finding: &Finding, earlier: &[&Finding], end: usize) -> Self {
        let own = trace.events[end].ctx;
        let object_of = |kind: &EventKind| match kind {
            EventKind::Step { object, .. } => Some(*object),
            _ => None,
        };
        let before = &trace.events[..end];
        let last = before.iter().rev().filter(|e| e.ctx == own).find_map(|e| object_of(&e.kind));
        let last = last
            .filter(|name| before.iter().filter(|e| object_of(&e.kind) == Some(*name)).count() <= MAX_TOUCHED)
            .unwrap_or(Name::new(""));
        let mut topic = Self { objects: BTreeSet::new(), last, functions: BTreeSet::new() };
        for finding in std::iter::once(&finding).chain(earlier) {
            if !finding.object.is_empty() {
                let bare = finding.object.strip_prefix("struct ").unwrap_or(finding.object);
                topic.objects.insert(bare.to_owned());
            }
            topic.functions.extend(functions(finding));
            // What else belongs to the signature may be the name of a lock.
            let named =
                |e: &sim::trace::Event| object_of(&e.kind).is_some_and(|o| o.text == finding.discriminator);
            if !finding.discriminator.is_empty() && before.iter().any(named) {
                topic.objects.insert(finding.discriminator.to_owned());
            }
        }
        topic
    }

    fn told(&self, text: &str) -> bool {
        self.objects.iter().chain(&self.functions).any(|word| holds_word(text, word))
    }

    fn touched(&self, object: Name) -> bool {
        !object.text.is_empty()
            && (object == self.last || self.objects.iter().any(|part| object.text.contains(part.as_str())))
    }
}

/// Whether a text holds a name, by itself or as a part of one like `dma_io_tlb_mem`, and not within a word.
fn holds_word(text: &str, word: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric();
    !word.is_empty()
        && text
            .match_indices(word)
            .any(|(at, _)| !text[..at].ends_with(inside) && !text[at + word.len()..].starts_with(inside))
}

/// The functions that a finding names beside its own stack: the further part of its signature, the innermost function
/// of each stack in its details, and who holds a pointer since when.
fn functions(finding: &Finding) -> BTreeSet<String> {
    let is_name =
        |word: &str| word.contains('_') && word.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    let mut names = BTreeSet::new();
    let mut add = |word: Option<&str>| {
        if let Some(word) = word.filter(|word| is_name(word)) {
            names.insert(word.to_owned());
        }
    };
    add(Some(finding.discriminator));
    for (_, lines) in &finding.details {
        add(lines.iter().map(|line| line.trim()).find(|line| is_name(line)));
        for line in lines {
            add(line.split_once("since ").and_then(|(_, rest)| rest.split(' ').next()));
        }
    }
    names
}

/// Where the functions on the finding's call stack were entered.
fn stack(trace: &Trace, finding: &Finding, end: usize) -> BTreeSet<usize> {
    let own = trace.events[end].ctx;
    let mut wanted: Vec<&str> = finding.frames.clone();
    let mut found = BTreeSet::new();
    for (at, event) in trace.events[..end].iter().enumerate().rev() {
        if event.ctx == own
            && let EventKind::Enter(function) = event.kind
            && wanted.first() == Some(&function)
        {
            found.insert(at);
            wanted.remove(0);
        }
    }
    found
}

/// Of many alike (the same words about other addresses) the first and the last say enough; neighbours that say the
/// same become one.
fn thin_out(rows: &mut Vec<Row>) {
    rows.dedup_by(|later, earlier| later.ctx == earlier.ctx && later.text == earlier.text);
    let mut groups: BTreeMap<(u32, String), Vec<usize>> = BTreeMap::new();
    for (n, row) in rows.iter().enumerate() {
        let plain = |word: &&str| !word.contains(|c: char| c.is_ascii_digit());
        let key: Vec<&str> = row.text.split(' ').filter(plain).collect();
        groups.entry((row.ctx, key.join(" "))).or_default().push(n);
    }
    let inner = groups.values().filter(|group| group.len() > 2).flat_map(|group| &group[1..group.len() - 1]);
    for &n in inner {
        rows[n].weight = SUPERFLUOUS;
    }
    rows.retain(|row| row.weight < SUPERFLUOUS);
}

/// The contexts that get a column, in the order in which they began.
fn columns(rows: &[Row], own: u32) -> Vec<u32> {
    let mut columns = vec![own];
    for row in rows.iter().filter(|row| row.weight <= 3) {
        if columns.len() < MAX_COLUMNS && !columns.contains(&row.ctx) {
            columns.push(row.ctx);
        }
    }
    columns.sort_unstable();
    columns
}

fn cell(text: &str, width: usize) -> Vec<String> {
    let mut lines = wrap(text, width);
    if lines.len() > MAX_CELL_LINES {
        lines.truncate(MAX_CELL_LINES);
        if let Some(last) = lines.last_mut() {
            last.truncate(width.saturating_sub(3));
            last.push_str("...");
        }
    }
    lines
}

/// Whether something worth a mark is left out between two events.
fn gap(trace: &Trace, from: usize, to: usize) -> bool {
    let counts = |kind: &EventKind| match kind {
        EventKind::Enter(_) | EventKind::Leave(_) | EventKind::Choice { .. } => false,
        EventKind::Spawned | EventKind::Ended | EventKind::Blocked { .. } => false,
        EventKind::Took { .. } | EventKind::Released { .. } => false,
        EventKind::Counter { .. } | EventKind::Interval { .. } => false,
        EventKind::Note(text) => !text.starts_with(crate::case::OPTIONS),
        EventKind::Step { .. } | EventKind::Preempted { .. } | EventKind::Log(_) => true,
        EventKind::Injected(_) | EventKind::Found(_) => true,
    };
    trace.events[from.min(to)..to].iter().any(|event| counts(&event.kind))
}

fn height(trace: &Trace, shown: &BTreeMap<usize, &Row>, width: usize) -> usize {
    let mut next = 0;
    let mut lines = 0;
    for (&at, row) in shown {
        lines += usize::from(gap(trace, next, at)) + cell(&row.text, width).len();
        next = at + 1;
    }
    lines
}

fn draw(trace: &Trace, columns: &[u32], shown: &BTreeMap<usize, &Row>, width: usize) -> Vec<String> {
    let place = |ctx: u32| columns.iter().position(|c| *c == ctx).unwrap_or(0);
    let mut names = format!("{:>TIME_WIDTH$}", "time [s]");
    let mut cpus = " ".repeat(TIME_WIDTH);
    let mut rule = "-".repeat(TIME_WIDTH);
    for &ctx in columns {
        let (name, cpu) = who(trace, ctx);
        let mut name = ascii(&name);
        name.truncate(width);
        let cpu = if cpu == "-" { "no CPU" } else { cpu.as_str() };
        names.push_str(&format!("  {name:<width$}"));
        cpus.push_str(&format!("  {cpu:<width$}"));
        rule.push_str(&format!("  {}", "-".repeat(width)));
    }
    let mut lines = vec![names.trim_end().to_owned(), cpus.trim_end().to_owned(), rule];
    let mut next = 0;
    for (&at, row) in shown {
        if gap(trace, next, at) {
            lines.push(format!("{:>TIME_WIDTH$}", "..."));
        }
        next = at + 1;
        for (n, part) in cell(&row.text, width).iter().enumerate() {
            let time = if n == 0 { seconds(trace.events[at].time) } else { String::new() };
            let blank = " ".repeat(place(row.ctx) * (width + 2) + 2);
            lines.push(format!("{time:>TIME_WIDTH$}{blank}{part}").trim_end().to_owned());
        }
    }
    lines
}
