//! The events of a recorded run, one a line.

use sim::Nanos;
use sim::trace::{Event, EventKind, Trace};

use crate::layout::{ascii, clock, seconds};

/// How much of a trace to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Notes, log, contexts that come and go, injections, findings.
    Brief,
    /// Everything.
    Full,
}

/// The head over the lines of [`line()`].
#[must_use]
pub fn header() -> String {
    format!("{:>14} {:>7}  {:<4} {:<20} {}", "time [s]", "step", "cpu", "context", "event")
}

/// One event as a line, or nothing if it does not belong to this level.
#[must_use]
pub fn line(trace: &Trace, event: &Event, level: Level) -> Option<String> {
    if level == Level::Brief && !is_brief(&event.kind) {
        return None;
    }
    let (name, cpu) = who(trace, event.ctx);
    let text = words(trace, &event.kind);
    let time = seconds(event.time);
    Some(ascii(&format!("{time:>14} {:>7}  {cpu:<4} {name:<20} {text}", event.step)))
}

/// A line of the modelled kernel's log.
#[must_use]
pub fn log_line(time: Nanos, text: &str) -> String {
    format!("{} {}", clock(time), ascii(text))
}

const fn is_brief(kind: &EventKind) -> bool {
    match kind {
        EventKind::Spawned
        | EventKind::Ended
        | EventKind::Log(_)
        | EventKind::Note(_)
        | EventKind::Injected(_)
        | EventKind::Found(_) => true,
        EventKind::Step { .. }
        | EventKind::Preempted { .. }
        | EventKind::Blocked { .. }
        | EventKind::Took { .. }
        | EventKind::Released { .. }
        | EventKind::Counter { .. }
        | EventKind::Interval { .. }
        | EventKind::Enter(_)
        | EventKind::Leave(_)
        | EventKind::Choice { .. } => false,
    }
}

/// Name and CPU of a context.
pub(crate) fn who(trace: &Trace, serial: u32) -> (String, String) {
    match trace.contexts.get(serial as usize) {
        Some(record) => {
            let cpu = record.cpu.map_or_else(|| "-".to_owned(), |cpu| format!("cpu{cpu}"));
            (record.name.to_string(), cpu)
        }
        // What is checked when all is over has no context of its own.
        None => ("end of run".to_owned(), "-".to_owned()),
    }
}

/// What an event tells, in words.
pub(crate) fn words(trace: &Trace, kind: &EventKind) -> String {
    match kind {
        EventKind::Step { label, object, frame } => {
            let mut text = label.kind.word().to_owned();
            if !object.text.is_empty() {
                text.push_str(&format!(" {object}"));
            }
            if !frame.is_empty() {
                text.push_str(&format!(" in {frame}"));
            }
            text
        }
        EventKind::Preempted { by } => format!("preempted by {}", who(trace, *by).0),
        EventKind::Blocked { on } if on.text.is_empty() => "waits".to_owned(),
        EventKind::Blocked { on } => format!("waits for {on}"),
        EventKind::Took { lock } => format!("holds {lock}"),
        EventKind::Released { lock } => format!("releases {lock}"),
        EventKind::Counter { name, value } => format!("{name}: {value}"),
        EventKind::Interval { space, start, len, what, begins } => {
            let verb = if *begins { "takes" } else { "leaves" };
            format!("{what} {verb} {start:#x}..{:#x} of {space}", start.saturating_add(*len))
        }
        EventKind::Spawned => "begins".to_owned(),
        EventKind::Ended => "ends".to_owned(),
        EventKind::Enter(function) => format!("-> {function}"),
        EventKind::Leave(function) => format!("<- {function}"),
        EventKind::Log(text) => format!("log: {text}"),
        EventKind::Note(text) => text.clone(),
        EventKind::Injected(text) => format!("injected: {text}"),
        EventKind::Choice { what, taken, of } => format!("choice: {what} {taken} of {of}"),
        EventKind::Found(title) => format!("*** {title}"),
    }
}
