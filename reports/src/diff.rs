//! Two scenarios side by side: how they differ, which path each boot took, and what came out.

mod config;
mod path;
mod why;

use models::run::Facts;
use models::scenario::Resolved;
use sim::explore::Summary;

use crate::layout::{Paint, WIDTH, ascii, counted, paragraph, percent, wrap};

/// One of the two.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The scenario.
    pub scenario: &'a Resolved,
    /// What one boot decided.
    pub facts: &'a Facts,
    /// What a small campaign gave.
    pub summary: &'a Summary,
}

/// A fact of both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    word: String,
    a: String,
    b: String,
}

impl Row {
    fn new(word: &str, a: impl Into<String>, b: impl Into<String>) -> Self {
        Self { word: word.to_owned(), a: a.into(), b: b.into() }
    }

    fn differs(&self) -> bool {
        self.a != self.b
    }
}

/// So many signatures of a side are shown.
const SIGNATURES: usize = 3;
const WORD: usize = 14;
const CELL: usize = (WIDTH - WORD - 4) / 2;

/// The comparison. `seed` is that of the boot whose facts are compared.
#[must_use]
pub fn diff(a: Side<'_>, b: Side<'_>, seed: u64, paint: Paint) -> String {
    let mut out = String::new();
    for (letter, side) in [('A', a), ('B', b)] {
        paragraph(&mut out, &format!("{letter}: "), &side.scenario.name);
        if !side.scenario.about.is_empty() {
            paragraph(&mut out, "   ", &side.scenario.about);
        }
    }
    table(&mut out, "Configuration", &config::rows(a.scenario, b.scenario), paint);
    table(&mut out, &format!("Path taken (seed {seed})"), &path::rows(a.facts, b.facts), paint);
    table(&mut out, "Outcome", &outcome(a.summary, b.summary), paint);
    out.push_str(&format!("\n{}\n", paint.heading("Why")));
    for sentence in why::sentences(a, b) {
        paragraph(&mut out, "  ", &sentence);
    }
    out
}

/// The rows that differ in two columns, and the names of those that do not.
fn table(out: &mut String, heading: &str, rows: &[Row], paint: Paint) {
    out.push_str(&format!("\n{}\n", paint.heading(heading)));
    if rows.iter().any(Row::differs) {
        line(out, "", "A", "B");
    }
    for row in rows.iter().filter(|row| row.differs()) {
        let words = wrap(&ascii(&row.word), WORD);
        let a = cell(&row.a);
        let b = cell(&row.b);
        for n in 0..words.len().max(a.len()).max(b.len()) {
            let part = |list: &[String]| list.get(n).cloned().unwrap_or_default();
            line(out, &part(&words), &part(&a), &part(&b));
        }
    }
    let same: Vec<&str> = rows.iter().filter(|row| !row.differs()).map(|row| row.word.as_str()).collect();
    if !same.is_empty() {
        paragraph(out, "  the same: ", &same.join(", "));
    }
}

fn line(out: &mut String, word: &str, a: &str, b: &str) {
    out.push_str(format!("  {word:<WORD$} {a:<CELL$} {b}").trim_end());
    out.push('\n');
}

fn cell(text: &str) -> Vec<String> {
    let text = if text.is_empty() { "-" } else { text };
    text.lines().flat_map(|line| wrap(&ascii(line), CELL - 1)).collect()
}

fn outcome(a: &Summary, b: &Summary) -> Vec<Row> {
    let failed = |summary: &Summary| {
        let share = percent(summary.failed, summary.ran);
        format!("{} of {} ({share})", summary.failed, counted(summary.ran, "seed"))
    };
    let signatures = |summary: &Summary| {
        let list = summary.by_first_seed();
        let mut lines: Vec<String> = list
            .iter()
            .take(SIGNATURES)
            .map(|stats| format!("{} x {}", stats.count, stats.finding.signature()))
            .collect();
        if let Some(more @ 1..) = list.len().checked_sub(SIGNATURES) {
            lines.push(format!("and {more} more"));
        }
        lines.join("\n")
    };
    let endings = |summary: &Summary| {
        let list = summary.endings.iter().map(|(ending, count)| format!("{count} x {ending}"));
        list.collect::<Vec<_>>().join("\n")
    };
    vec![
        Row::new("with findings", failed(a), failed(b)),
        Row::new("endings", endings(a), endings(b)),
        Row::new("signatures", signatures(a), signatures(b)),
    ]
}
