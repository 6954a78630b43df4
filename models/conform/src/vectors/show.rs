//! Shows a difference to a reader who looks into it.

use serde_json::Value;

use super::difference::Place;
use super::parse::Sequence;
use super::replay::{Answer, Difference, recorded, state_before};
use super::shrink::{Shrunk, shrink};
use super::table::shortened;
use crate::report::Exception;

/// A longer result or state is cut.
const MAX_SHOWN: usize = 600;
/// So many operations of a shortened sequence are shown.
const MAX_OPS: usize = 40;

/// The exception for a sequence; with everything there is to see if it is shown in full.
pub(super) fn exception(sequence: &Sequence, difference: &Difference, line: u64, full: bool) -> Exception {
    let (at, count) = (difference.at, sequence.ops.len());
    let what = match sequence.ops.get(at) {
        Some(op) => format!(
            "{}, operation {} of {count} (column {}): {} {}",
            sequence.name,
            at + 1,
            op.column,
            op.spec.name,
            op.written
        ),
        None => format!("{}, final state after {count} operations", sequence.name),
    };
    let recorded = recorded(sequence, at);
    let (modelled, why) = match &difference.answer {
        Answer::Result(value) => (cut(value), place(recorded, value)),
        Answer::Panic(message) => ("nothing: the model panicked".to_owned(), Some(message.clone())),
    };
    let detail = if full { detail(sequence, difference) } else { Vec::new() };
    Exception { line, what, recorded: cut(recorded), modelled, why, detail }
}

/// Where inside a large result the difference lies.
fn place(recorded: &Value, modelled: &Value) -> Option<String> {
    let place = Place::of(recorded, modelled);
    let part = |value: &Value| place.get(value).map_or("nothing".to_owned(), cut);
    place.is_inside().then(|| {
        format!("first difference at {place}: recorded {}, modelled {}", part(recorded), part(modelled))
    })
}

fn detail(sequence: &Sequence, difference: &Difference) -> Vec<String> {
    let at = difference.at;
    let mut lines = Vec::new();
    let before = state_before(sequence, at);
    if difference.answer != Answer::Result(before.clone()) {
        lines.push(format!("state before: {}", cut(&before)));
    }
    let Shrunk { kept, least } = shrink(sequence, difference);
    lines.push(format!(
        "shortest beginning that differs: {at} operations that agree, then {}.",
        last(sequence, at)
    ));
    lines.push(format!(
        "An operation was dropped if without it every kept one still has its recorded result, and the last one the \
         answer that differs. {} of {at} are kept{}:",
        kept.len(),
        if least { "" } else { " (the search became too long: perhaps fewer would do)" }
    ));
    let hidden = if kept.len() > MAX_OPS { MAX_OPS / 2..kept.len() - MAX_OPS / 2 } else { 0..0 };
    for (n, &index) in kept.iter().enumerate() {
        if n == hidden.start && !hidden.is_empty() {
            lines.push(format!("   ... {} more", hidden.len()));
        }
        if !hidden.contains(&n) {
            lines.push(step(sequence, index));
        }
    }
    lines.push(format!("{}  <- differs", step(sequence, at)));
    lines
}

fn last(sequence: &Sequence, at: usize) -> &'static str {
    if at < sequence.ops.len() { "one that does not" } else { "a final state that does not" }
}

/// An operation of the shortened sequence, with its recorded result.
fn step(sequence: &Sequence, index: usize) -> String {
    match sequence.ops.get(index) {
        Some(op) => {
            let call = format!("{:>6}  {} {}", index + 1, op.spec.name, op.written);
            format!(
                "{call} = {}",
                shortened(&op.result.to_string(), 78usize.saturating_sub(call.len()).max(8))
            )
        }
        None => format!("{:>6}  final state", "end"),
    }
}

/// A value as JSON, cut if it is long.
fn cut(value: &Value) -> String {
    let text = value.to_string();
    let mut plain: String = text
        .chars()
        .take(MAX_SHOWN)
        .map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' })
        .collect();
    if let Some(more @ 1..) = text.chars().count().checked_sub(MAX_SHOWN) {
        plain.push_str(&format!("... ({more} more characters)"));
    }
    plain
}
