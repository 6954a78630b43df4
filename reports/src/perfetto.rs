//! A recorded run for ui.perfetto.dev and chrome://tracing, in the JSON form of trace events.
//!
//! Contexts are threads: functions, locks and waits are slices on them, what is remarked on are instants. Quantities of
//! the models are counters. From the allocation of a finding's object arrows lead to its end and on to the bad access.

use std::collections::BTreeMap;

use serde::Serialize;
use sim::trace::{EventKind, Trace};
use sim::{Finding, Name, Nanos};

use crate::layout::ascii;
use crate::trace::{who, words};

/// The one process that everything happens in.
const PID: u32 = 1;

/// One trace event. Keys and phases are those of the format.
#[derive(Debug, Serialize)]
struct Record {
    name: String,
    ph: &'static str,
    pid: u32,
    tid: u32,
    /// Microseconds.
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    cat: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// What an arrow binds to: the slice that encloses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    bp: Option<&'static str>,
    /// How wide an instant is drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    args: BTreeMap<&'static str, serde_json::Value>,
}

#[derive(Debug, Serialize)]
struct Whole {
    #[serde(rename = "displayTimeUnit")]
    display_time_unit: &'static str,
    #[serde(rename = "traceEvents")]
    trace_events: Vec<Record>,
}

impl Record {
    fn new(name: &str, ph: &'static str, ctx: u32, at: Nanos) -> Self {
        Self {
            name: ascii(name),
            ph,
            pid: PID,
            // Thread 0 is special to readers.
            tid: ctx + 1,
            ts: micros(at),
            dur: None,
            cat: "",
            id: None,
            bp: None,
            s: None,
            args: BTreeMap::new(),
        }
    }

    fn arg(mut self, key: &'static str, value: impl Into<serde_json::Value>) -> Self {
        self.args.insert(key, value.into());
        self
    }
}

/// The format counts microseconds; a virtual time below a hundred days is exact to the nanosecond.
#[expect(clippy::cast_precision_loss, reason = "virtual times are far below 2^53 ns")]
fn micros(at: Nanos) -> f64 {
    at as f64 / 1000.0
}

/// A recorded run called `title`, with what was found in it.
///
/// # Errors
/// None in practice: every event can be written.
pub fn perfetto(title: &str, trace: &Trace, findings: &[Finding]) -> Result<String, String> {
    let mut records = vec![Record::new("process_name", "M", 0, 0).arg("name", ascii(title))];
    for serial in (0_u32..).take(trace.contexts.len()) {
        let (name, cpu) = who(trace, serial);
        let name = if cpu == "-" { name } else { format!("{name} ({cpu})") };
        records.push(Record::new("thread_name", "M", serial, 0).arg("name", ascii(&name)));
        records.push(Record::new("thread_sort_index", "M", serial, 0).arg("sort_index", serial));
    }
    Slices::of(trace).finish(&mut records);
    for finding in findings {
        arrows(trace, finding, &mut records);
    }
    let whole = Whole { display_time_unit: "ns", trace_events: records };
    serde_json::to_string(&whole).map_err(|error| error.to_string())
}

/// What is open on the threads while the events are gone through.
struct Slices<'a> {
    trace: &'a Trace,
    records: Vec<Record>,
    /// Functions that were entered and not left, by context.
    calls: BTreeMap<u32, Vec<&'static str>>,
    /// Waits that have begun: since when, for what.
    waits: BTreeMap<u32, (Nanos, Name)>,
    /// Locks that are held: since when.
    locks: BTreeMap<(u32, Name), Nanos>,
    end: Nanos,
}

impl<'a> Slices<'a> {
    fn of(trace: &'a Trace) -> Self {
        let end = trace.events.last().map_or(0, |event| event.time);
        let mut slices = Self {
            trace,
            records: Vec::new(),
            calls: BTreeMap::new(),
            waits: BTreeMap::new(),
            locks: BTreeMap::new(),
            end,
        };
        for event in &trace.events {
            slices.add(event.ctx, event.time, event.step, &event.kind);
        }
        slices
    }

    fn add(&mut self, ctx: u32, at: Nanos, step: u64, kind: &EventKind) {
        // Whoever does something waits no longer.
        if let Some((since, on)) = self.waits.remove(&ctx) {
            let name = if on.text.is_empty() { "sleeps".to_owned() } else { format!("waits for {on}") };
            self.complete(&name, "wait", ctx, since, at);
        }
        match kind {
            EventKind::Enter(function) => {
                self.calls.entry(ctx).or_default().push(function);
                self.records.push(Record { cat: "call", ..Record::new(function, "B", ctx, at) });
            }
            EventKind::Leave(function) => {
                if self.calls.entry(ctx).or_default().pop().is_some() {
                    self.records.push(Record { cat: "call", ..Record::new(function, "E", ctx, at) });
                }
            }
            EventKind::Ended => self.close_calls(ctx, at),
            EventKind::Blocked { on } => {
                self.waits.insert(ctx, (at, *on));
            }
            EventKind::Took { lock } => {
                self.locks.insert((ctx, *lock), at);
            }
            EventKind::Released { lock } => {
                if let Some(since) = self.locks.remove(&(ctx, *lock)) {
                    self.held(ctx, *lock, since, at);
                }
            }
            EventKind::Counter { name, value } => {
                self.records.push(Record::new(name, "C", ctx, at).arg("value", *value));
            }
            EventKind::Step { .. }
            | EventKind::Choice { .. }
            | EventKind::Spawned
            | EventKind::Interval { .. } => {}
            EventKind::Preempted { .. }
            | EventKind::Log(_)
            | EventKind::Note(_)
            | EventKind::Injected(_)
            | EventKind::Found(_) => {
                let (cat, scope) = match kind {
                    EventKind::Found(_) => ("finding", "g"),
                    EventKind::Injected(_) => ("injection", "t"),
                    EventKind::Log(_) => ("log", "t"),
                    EventKind::Preempted { .. } => ("schedule", "t"),
                    _ => ("note", "t"),
                };
                let instant = Record::new(&words(self.trace, kind), "i", ctx, at).arg("step", step);
                self.records.push(Record { cat, s: Some(scope), ..instant });
            }
        }
    }

    fn complete(&mut self, name: &str, cat: &'static str, ctx: u32, since: Nanos, until: Nanos) {
        let dur = Some(micros(until.saturating_sub(since)));
        self.records.push(Record { cat, dur, ..Record::new(name, "X", ctx, since) });
    }

    /// A lock may be given back in another order than it was taken in, which slices of a thread cannot show: it gets a
    /// track of its own.
    fn held(&mut self, ctx: u32, lock: Name, since: Nanos, until: Nanos) {
        let name = format!("holds {lock}");
        for (ph, at) in [("b", since), ("e", until)] {
            let id = Some(format!("{:#x}", ctx + 1));
            self.records.push(Record { cat: "lock", id, ..Record::new(&name, ph, ctx, at) });
        }
    }

    fn close_calls(&mut self, ctx: u32, at: Nanos) {
        while let Some(function) = self.calls.get_mut(&ctx).and_then(Vec::pop) {
            self.records.push(Record { cat: "call", ..Record::new(function, "E", ctx, at) });
        }
    }

    /// Closes what is still open when the run ends.
    fn finish(mut self, records: &mut Vec<Record>) {
        let end = self.end;
        for (ctx, (since, on)) in std::mem::take(&mut self.waits) {
            self.complete(&format!("waits for {on}"), "wait", ctx, since, end);
        }
        for ((ctx, lock), since) in std::mem::take(&mut self.locks) {
            self.held(ctx, lock, since, end);
        }
        let open: Vec<u32> = self.calls.keys().copied().collect();
        for ctx in open {
            self.close_calls(ctx, end);
        }
        records.append(&mut self.records);
    }
}

/// Arrows over the life of the object that a finding is about: from where it was allocated to where it was freed, and
/// from there to the finding. What the finding does not say has no arrow.
fn arrows(trace: &Trace, finding: &Finding, records: &mut Vec<Record>) {
    let Some(found) = trace.events.iter().rposition(|event| {
        event.step == finding.step
            && matches!(&event.kind, EventKind::Found(title) if *title == finding.title)
    }) else {
        return;
    };
    let entered = |heading: &str| {
        let (_, lines) = finding.details.iter().find(|(name, _)| name == heading)?;
        // The first line names the function, who ran it and when; the last one who entered it before is meant.
        let function = lines.first()?.trim().split(' ').next()?.to_owned();
        trace.events[..found]
            .iter()
            .rposition(|event| matches!(event.kind, EventKind::Enter(name) if name == function))
    };
    let stops: Vec<usize> =
        [entered("allocated by"), entered("freed by"), Some(found)].into_iter().flatten().collect();
    if stops.len() < 2 {
        return;
    }
    let id = format!("{found:#x}");
    for (n, at) in stops.iter().enumerate() {
        let event = &trace.events[*at];
        let ph = match n {
            0 => "s",
            _ if n + 1 == stops.len() => "f",
            _ => "t",
        };
        let name = if finding.object.is_empty() { "object" } else { finding.object };
        let arrow = Record::new(name, ph, event.ctx, event.time);
        records.push(Record { cat: "life", id: Some(id.clone()), bp: (ph == "f").then_some("e"), ..arrow });
    }
}
