//! Words for scenario files.

use models::mem::PhysRange;

/// A text in quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// A remark of one line, safe behind `//`.
pub(super) fn remark(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A remark, broken into lines of a width.
pub(super) fn wrapped(text: &str, first: &str, rest: &str) -> String {
    const WIDTH: usize = 116;
    let mut out = String::new();
    let mut line = first.to_owned();
    let mut begun = false;
    for word in remark(text).split_whitespace() {
        if begun && line.len() + 1 + word.len() > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            rest.clone_into(&mut line);
            begun = false;
        }
        if begun {
            line.push(' ');
        }
        line.push_str(word);
        begun = true;
    }
    out.push_str(line.trim_end());
    out.push('\n');
    out
}

/// Parts of ranges that lie in none of others; all in ascending order.
pub(super) fn without(ranges: &[PhysRange], others: &[PhysRange]) -> Vec<PhysRange> {
    let mut left: Vec<PhysRange> = ranges.to_vec();
    for other in others {
        left = left
            .iter()
            .flat_map(|range| {
                let below = PhysRange { start: range.start, end: range.end.min(other.start) };
                let above = PhysRange { start: range.start.max(other.end), end: range.end };
                [below, above].into_iter().filter(|part| part.start < part.end)
            })
            .collect();
    }
    left
}

/// Parts of ranges that lie in others, too.
pub(super) fn within(ranges: &[PhysRange], others: &[PhysRange]) -> Vec<PhysRange> {
    let cut = |range: &PhysRange, other: &PhysRange| {
        let part = PhysRange { start: range.start.max(other.start), end: range.end.min(other.end) };
        (part.start < part.end).then_some(part)
    };
    ranges.iter().flat_map(|range| others.iter().filter_map(move |other| cut(range, other))).collect()
}
