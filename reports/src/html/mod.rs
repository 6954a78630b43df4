//! A recorded run as one page for a browser: timeline, events, memory, the story. The page loads nothing.

use std::collections::BTreeMap;

use serde::Serialize;
use sim::trace::{EventKind, Trace};
use sim::{Finding, Nanos};

use crate::layout::{ascii, instant};
use crate::trace::{who, words};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// How the models call the space of a bounce pool's slots.
const SLOTS: &str = "slots of ";

/// Words for the kinds of events, by number. The page knows them.
const KINDS: [&str; 14] = [
    "step",
    "preempted",
    "blocked",
    "took",
    "released",
    "spawned",
    "ended",
    "enter",
    "leave",
    "log",
    "note",
    "injected",
    "choice",
    "found",
];

/// What stands over the run.
#[derive(Clone, Debug, Default)]
pub struct Heading {
    /// Name of the scenario and which run of it.
    pub title: String,
    /// What it shows.
    pub about: String,
    /// Kernel, command line and so on, as (word, value).
    pub settings: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Data<'a> {
    title: String,
    about: String,
    settings: &'a [(String, String)],
    truncated: bool,
    kinds: [&'static str; 14],
    findings: Vec<Found<'a>>,
    contexts: Vec<Context>,
    texts: Vec<String>,
    events: Events,
    spaces: Vec<Space>,
    intervals: Vec<Interval>,
    counters: Vec<Counter>,
}

#[derive(Serialize)]
struct Found<'a> {
    title: &'a str,
    event: usize,
    time: Nanos,
    frames: &'a [&'static str],
    details: &'a [(String, Vec<String>)],
    story: Vec<String>,
}

#[derive(Serialize)]
struct Context {
    name: String,
    cpu: Option<u8>,
}

/// Column by column: a hundred thousand events are a few megabytes so.
#[derive(Default, Serialize)]
struct Events {
    time: Vec<Nanos>,
    ctx: Vec<u32>,
    kind: Vec<u8>,
    text: Vec<usize>,
}

#[derive(Serialize)]
struct Space {
    name: String,
    /// The smallest length in it: what one cell of the map stands for at least.
    unit: u64,
    /// Whether its numbers are slots of a bounce pool, which the page draws in rows of a segment each.
    slots: bool,
}

#[derive(Serialize)]
struct Interval {
    space: usize,
    start: u64,
    len: u64,
    what: usize,
    from: usize,
    /// -1 if it lasts to the end.
    to: i64,
}

#[derive(Serialize)]
struct Counter {
    name: String,
    event: Vec<usize>,
    value: Vec<u64>,
}

/// The page of a recorded run with what was found in it.
///
/// # Errors
/// None in practice: every value can be written.
pub fn html(heading: &Heading, trace: &Trace, findings: &[Finding]) -> Result<String, String> {
    let data = Gather::of(trace).into_data(heading, trace, findings);
    let json = serde_json::to_string(&data).map_err(|error| error.to_string())?;
    // Inside a script element only this could end it.
    let json = json.replace("</", "<\\/").replace("<!--", "<\\u0021--");
    let mut page = PAGE.replacen("/*CSS*/", STYLE, 1);
    // The data go in last: nothing in them is taken for a place to fill.
    page = page.replacen("/*JS*/", SCRIPT, 1);
    Ok(page.replacen("/*DATA*/", &json, 1))
}

#[derive(Default)]
struct Gather {
    texts: Vec<String>,
    known: BTreeMap<String, usize>,
    events: Events,
    spaces: Vec<Space>,
    intervals: Vec<Interval>,
    /// Intervals that have not ended, by space and start.
    open: BTreeMap<(usize, u64), usize>,
    counters: Vec<Counter>,
}

impl Gather {
    fn of(trace: &Trace) -> Self {
        let mut all = Self::default();
        for event in &trace.events {
            match &event.kind {
                EventKind::Interval { space, start, len, what, begins } => {
                    all.interval(space, (*start, *len), what, *begins);
                }
                EventKind::Counter { name, value } => all.counter(name, *value),
                kind => {
                    let text = all.text(words(trace, kind));
                    all.events.time.push(event.time);
                    all.events.ctx.push(event.ctx);
                    all.events.kind.push(number(kind));
                    all.events.text.push(text);
                }
            }
        }
        all
    }

    fn text(&mut self, text: String) -> usize {
        if let Some(at) = self.known.get(&text) {
            return *at;
        }
        self.texts.push(ascii(&text));
        self.known.insert(text, self.texts.len() - 1);
        self.texts.len() - 1
    }

    /// The event that is current while something happens that has no row of its own.
    fn now(&self) -> usize {
        self.events.time.len().saturating_sub(1)
    }

    fn interval(&mut self, space: &str, (start, len): (u64, u64), what: &str, begins: bool) {
        let space = match self.spaces.iter().position(|known| known.name == space) {
            Some(at) => at,
            None => {
                let slots = space.starts_with(SLOTS);
                self.spaces.push(Space { name: ascii(space), unit: u64::MAX, slots });
                self.spaces.len() - 1
            }
        };
        let now = self.now();
        if let Some(open) = self.open.remove(&(space, start)) {
            self.intervals[open].to = i64::try_from(now).unwrap_or(i64::MAX);
        }
        if begins {
            self.spaces[space].unit = self.spaces[space].unit.min(len.max(1));
            let what = self.text(what.to_owned());
            self.open.insert((space, start), self.intervals.len());
            self.intervals.push(Interval { space, start, len, what, from: now, to: -1 });
        }
    }

    fn counter(&mut self, name: &str, value: u64) {
        let now = self.now();
        let counter = match self.counters.iter_mut().find(|counter| counter.name == name) {
            Some(counter) => counter,
            None => {
                self.counters.push(Counter { name: ascii(name), event: Vec::new(), value: Vec::new() });
                self.counters.last_mut().expect("it was just pushed")
            }
        };
        counter.event.push(now);
        counter.value.push(value);
    }

    fn into_data<'a>(self, heading: &'a Heading, trace: &Trace, findings: &'a [Finding]) -> Data<'a> {
        let contexts = (0_u32..)
            .zip(&trace.contexts)
            .map(|(serial, record)| Context { name: ascii(&who(trace, serial).0), cpu: record.cpu })
            .collect();
        let place = |finding: &Finding| {
            let mut row = 0_usize;
            for event in &trace.events {
                if matches!(event.kind, EventKind::Interval { .. } | EventKind::Counter { .. }) {
                    continue;
                }
                let same = matches!(&event.kind, EventKind::Found(title) if *title == finding.title);
                if same && event.step == finding.step {
                    return row;
                }
                row += 1;
            }
            row.saturating_sub(1)
        };
        let found = |finding: &'a Finding| Found {
            title: &finding.title,
            event: place(finding),
            time: finding.time,
            frames: &finding.frames,
            details: &finding.details,
            story: story(finding),
        };
        Data {
            title: ascii(&heading.title),
            about: ascii(&heading.about),
            settings: &heading.settings,
            truncated: trace.truncated,
            kinds: KINDS,
            findings: findings.iter().map(found).collect(),
            contexts,
            texts: self.texts,
            events: self.events,
            spaces: self.spaces,
            intervals: self.intervals,
            counters: self.counters,
        }
    }
}

/// The number of an event's kind in [`KINDS`].
const fn number(kind: &EventKind) -> u8 {
    match kind {
        EventKind::Step { .. } => 0,
        EventKind::Preempted { .. } => 1,
        EventKind::Blocked { .. } => 2,
        EventKind::Took { .. } => 3,
        EventKind::Released { .. } => 4,
        EventKind::Spawned => 5,
        EventKind::Ended => 6,
        EventKind::Enter(_) => 7,
        EventKind::Leave(_) => 8,
        EventKind::Log(_) => 9,
        // Intervals and counters have no row; the arm only makes the match whole.
        EventKind::Note(_) | EventKind::Interval { .. } | EventKind::Counter { .. } => 10,
        EventKind::Injected(_) => 11,
        EventKind::Choice { .. } => 12,
        EventKind::Found(_) => 13,
    }
}

/// What a finding says of itself, as sentences.
fn story(finding: &Finding) -> Vec<String> {
    let place = match finding.cpu {
        Some(cpu) => format!("on CPU {cpu}"),
        None => "on no CPU".to_owned(),
    };
    let function = finding.frames.first().copied().unwrap_or("no function");
    let mut story =
        vec![format!("At {} {} was in {function}, {place}.", instant(finding.time), finding.context)];
    if !finding.object.is_empty() {
        story.push(format!("It is about an object of type {}.", finding.object));
    }
    for (heading, verb) in [("allocated by", "It was allocated by"), ("freed by", "It was freed by")] {
        let lines = finding.details.iter().find(|(name, _)| name == heading).map(|(_, lines)| lines);
        if let Some(first) = lines.and_then(|lines| lines.first()) {
            story.push(format!("{verb} {}.", first.trim()));
        }
        let because = lines.into_iter().flatten().filter_map(|line| line.trim().strip_prefix("because: "));
        story.extend(because.map(|why| format!("Because: {why}.")));
    }
    let holders = finding.details.iter().find(|(name, _)| name.starts_with("pointers that still lead"));
    if let Some((_, lines)) = holders
        && let Some(first) = lines.first()
    {
        let more = match lines.len() {
            1 => String::new(),
            n => format!(", and {} more", n - 1),
        };
        story.push(format!("A pointer still led there: {}{more}.", first.trim()));
    }
    let now = finding.details.iter().find(|(name, _)| name == "memory there now");
    if let Some(first) = now.and_then(|(_, lines)| lines.first()) {
        story.push(format!("That memory is now {}.", first.trim()));
    }
    story
}
