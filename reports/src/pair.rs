//! A failing run beside the nearest clean one: where they part, and the window in which the race lies.

use sim::trace::{Event, EventKind, Trace};
use sim::{Finding, Kind, Name};

use crate::layout::{Paint, ascii, counted, paragraph, seconds, wrap};

/// At most so many steps of others are shown.
const MAX_SHOWN: usize = 8;
/// So many steps are shown side by side before the two runs part, and after that.
const ROWS_BEFORE: usize = 2;
/// See [`ROWS_BEFORE`].
const ROWS_AFTER: usize = 6;
/// Width of a column.
const COLUMN: usize = 31;
/// So many of the next steps of the context that was preempted say what matters to it.
const LOOK_AHEAD: usize = 60;

/// One of the two runs.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// What happened.
    pub trace: &'a Trace,
    /// What was found.
    pub findings: &'a [Finding],
    /// Steps.
    pub steps: u64,
}

/// In what the clean run differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It lacks one switch.
    LessSwitch,
    /// It has one switch more.
    MoreSwitch,
    /// It answers one other choice by less.
    Answer,
}

/// Two runs that differ in one switch, or in one other choice.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The one that shows the finding.
    pub failing: Side<'a>,
    /// The one that does not.
    pub clean: Side<'a>,
    /// In what they differ.
    pub difference: Difference,
    /// The switch or the choice in words.
    pub choice: &'a str,
}

/// A step of a trace.
#[derive(Clone, Copy)]
struct Step<'a> {
    event: &'a Event,
    kind: Kind,
    object: Name,
    frame: &'static str,
}

fn steps(trace: &Trace) -> Vec<Step<'_>> {
    let mut all = Vec::new();
    for event in &trace.events {
        if let EventKind::Step { label, object, frame } = &event.kind {
            all.push(Step { event, kind: label.kind, object: *object, frame });
        }
    }
    all
}

fn name(trace: &Trace, ctx: u32) -> Name {
    trace.contexts.get(ctx as usize).map_or(Name::new("?"), |context| context.name)
}

fn line(trace: &Trace, step: &Step<'_>) -> String {
    let object = if step.object.text.is_empty() { String::new() } else { format!(" {}", step.object) };
    let place = if step.frame.is_empty() { String::new() } else { format!(" in {}", step.frame) };
    format!(
        "{} s, step {}, {}: {}{object}{place}",
        seconds(step.event.time),
        step.event.step,
        name(trace, step.event.ctx),
        step.kind.word()
    )
}

impl Pair<'_> {
    /// The report.
    #[must_use]
    pub fn render(&self, paint: Paint) -> String {
        let mut out = format!("{}\n", paint.heading("The failing schedule and the nearest clean one"));
        let which = match self.difference {
            Difference::LessSwitch => "The clean run lacks one switch of the failing one:",
            Difference::MoreSwitch => "The clean run has one switch more than the failing one:",
            Difference::Answer => "No switch is to blame, but another choice:",
        };
        paragraph(&mut out, "  ", &format!("{which} {}.", self.choice));
        beside(&mut out, paint, self.failing, self.clean);
        let fails = self.difference != Difference::MoreSwitch;
        let (with, without) = if fails { (self.failing, self.clean) } else { (self.clean, self.failing) };
        window(&mut out, paint, with, without, fails);
        for (word, side) in [("failing", self.failing), ("clean", self.clean)] {
            let end = match side.findings {
                [] => "no finding".to_owned(),
                findings => findings.iter().map(Finding::signature).collect::<Vec<_>>().join("; "),
            };
            paragraph(
                &mut out,
                &format!("  the {word} run: "),
                &format!("{}, {end}", counted(side.steps, "step")),
            );
        }
        out
    }
}

/// The place of the first step in which two runs differ.
fn parting(a: &[Step<'_>], b: &[Step<'_>], sides: (Side<'_>, Side<'_>)) -> usize {
    let same = |x: &Step<'_>, y: &Step<'_>| {
        x.kind == y.kind
            && x.object == y.object
            && name(sides.0.trace, x.event.ctx) == name(sides.1.trace, y.event.ctx)
    };
    a.iter().zip(b).position(|(x, y)| !same(x, y)).unwrap_or(a.len().min(b.len()))
}

/// Both runs side by side, round the place where they part.
fn beside(out: &mut String, paint: Paint, failing: Side<'_>, clean: Side<'_>) {
    let (a, b) = (steps(failing.trace), steps(clean.trace));
    let at = parting(&a, &b, (failing, clean));
    if at >= a.len().max(b.len()) {
        return;
    }
    let cell = |side: Side<'_>, step: Option<&Step<'_>>| match step {
        None => vec!["(has ended)".to_owned()],
        Some(step) => {
            let object =
                if step.object.text.is_empty() { String::new() } else { format!(" {}", step.object) };
            let text = format!("{}: {}{object}", name(side.trace, step.event.ctx), step.kind.word());
            wrap(&ascii(&text), COLUMN)
        }
    };
    out.push('\n');
    out.push_str(
        &paint.heading(&format!("  {:<7} {:<COLUMN$}  {}", "step", "the failing run", "the clean run")),
    );
    out.push('\n');
    for row in at.saturating_sub(ROWS_BEFORE)..(at + ROWS_AFTER).min(a.len().max(b.len())) {
        if row == at {
            out.push_str("  ---- here they part\n");
        }
        let (left, right) = (cell(failing, a.get(row)), cell(clean, b.get(row)));
        for line in 0..left.len().max(right.len()) {
            let number = if line == 0 { (row + 1).to_string() } else { String::new() };
            let part = |cell: &[String]| cell.get(line).cloned().unwrap_or_default();
            let text = format!("  {number:<7} {:<COLUMN$}  {}", part(&left), part(&right));
            out.push_str(text.trim_end());
            out.push('\n');
        }
    }
}

/// Where the run with the switch parts from the one without, and what happens until the preempted context goes on.
fn window(out: &mut String, paint: Paint, with: Side<'_>, without: Side<'_>, fails: bool) {
    let (a, b) = (steps(with.trace), steps(without.trace));
    let at = parting(&a, &b, (with, without));
    let (Some(other), Some(stays)) = (a.get(at), b.get(at)) else {
        out.push_str("  Both runs do the same steps.\n");
        return;
    };
    // Who would have gone on without the switch.
    let preempted = name(without.trace, stays.event.ctx);
    let mine = |step: &&Step<'_>| name(with.trace, step.event.ctx) == preempted;
    let before = a[..at].iter().rev().find(mine);
    let next = a[at..].iter().position(|step| mine(&step)).map(|n| at + n);
    out.push_str(&format!("\n{}\n", paint.heading(&format!("Window of the race, in {preempted}"))));
    match before {
        Some(step) => paragraph(out, "  after   ", &line(with.trace, step)),
        None => out.push_str("  after   its start\n"),
    }
    match next {
        Some(next) => paragraph(out, "  before  ", &line(with.trace, &a[next])),
        None => {
            paragraph(out, "  before  ", &format!("{} (it never comes to it)", line(without.trace, stays)));
        }
    }
    let end = next.unwrap_or(a.len());
    let others = &a[at..end];
    let word = if fails { "the failing run" } else { "the clean run" };
    let began = name(with.trace, other.event.ctx);
    out.push_str(&format!("\n{}\n", paint.heading(&format!("Meanwhile, in {word}"))));
    paragraph(
        out,
        "  ",
        &format!("{} of others, the first by {began}:", counted(others.len() as u64, "step")),
    );
    let later: Vec<Name> = a[end..]
        .iter()
        .filter(mine)
        .take(LOOK_AHEAD)
        .map(|s| s.object)
        .filter(|o| !o.text.is_empty())
        .collect();
    // What touches an object that the preempted context touches next says most.
    let touching: Vec<&Step<'_>> = others.iter().filter(|step| later.contains(&step.object)).collect();
    let shown: Vec<&Step<'_>> = if touching.is_empty() { others.iter().collect() } else { touching.clone() };
    for step in shown.iter().take(MAX_SHOWN) {
        paragraph(out, "    ", &line(with.trace, step));
    }
    if let Some(more @ 1..) = shown.len().checked_sub(MAX_SHOWN) {
        out.push_str(&format!("    ... and {more} more\n"));
    }
    if !touching.is_empty() {
        paragraph(out, "  ", &format!("(shown: those on objects that {preempted} touches next)"));
    }
    out.push('\n');
}
