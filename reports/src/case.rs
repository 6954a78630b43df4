//! One finding, told to a kernel engineer.

use models::shrink::Conditions;
use sim::choices::{Answer, ChoiceList, Record};
use sim::trace::{EventKind, Trace};
use sim::{Finding, Severity};

use crate::conditions::conditions;
use crate::interleaving::interleaving;
use crate::layout::{Paint, ascii, clock, counted, instant, paragraph, percent, seconds, verbatim};

/// A note that begins so lists what a seed drew before the run; it is shown as such and not as an event.
pub const OPTIONS: &str = "options: ";
/// The frame of what is checked when a run is over: no function, and no instruction to name.
const END_OF_RUN: &str = "end of run";
/// At most this many choices are listed.
const MAX_CHOICES: usize = 12;

/// How a run was shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortened {
    /// Choices that differed from the default before.
    pub before: usize,
    /// Those that are left.
    pub after: usize,
    /// Runs that it took.
    pub runs: u32,
    /// Whether the budget ended before nothing more could be dropped.
    pub gave_up: bool,
}

/// Another finding of the same run.
#[derive(Clone, Debug)]
pub struct Neighbour<'a> {
    /// The finding.
    pub finding: &'a Finding,
    /// Its number in this report.
    pub number: Option<usize>,
    /// Whether it came first.
    pub earlier: bool,
}

/// A finding and the run that shows it.
#[derive(Debug)]
pub struct Case<'a> {
    /// Its number in the report, from 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
    /// The finding, with details.
    pub finding: &'a Finding,
    /// The first seed that shows it.
    pub first_seed: u64,
    /// Whether it was not found in seeds but in the runs of an exhaustive search.
    pub searched: bool,
    /// In how many seeds it was.
    pub count: u64,
    /// Of how many.
    pub ran: u64,
    /// The recorded, shortened run.
    pub trace: &'a Trace,
    /// Its choices.
    pub choices: &'a ChoiceList,
    /// What the seed drew for the run as a whole: which injections, how strong.
    pub drawn: &'a [Record],
    /// How it was shortened, if it was.
    pub shortened: Option<Shortened>,
    /// What it needs, if that was found out.
    pub conditions: Option<&'a Conditions>,
    /// What else the first seed shows.
    pub neighbours: Vec<Neighbour<'a>>,
    /// Lines that say how to repeat it.
    pub reproduce: Vec<String>,
    /// The modelled kernel, in a few words.
    pub kernel: &'a str,
    /// The modelled machine.
    pub machine: &'a str,
}

impl Case<'_> {
    /// The report under a title, as one of several.
    #[must_use]
    pub fn render(&self, paint: Paint) -> String {
        let mut out = String::new();
        self.title(&mut out, paint);
        self.body(&mut out, paint);
        out
    }

    /// The report as a mail to a list: the splat comes first, as in a real one.
    #[must_use]
    pub fn mail(&self) -> String {
        let mut out = String::new();
        self.body(&mut out, Paint::PLAIN);
        section(&mut out, Paint::PLAIN, "How often");
        let often = format!(
            "in {} of {} ({}), first in seed {}",
            self.count,
            counted(self.ran, "seed"),
            percent(self.count, self.ran),
            self.first_seed
        );
        paragraph(&mut out, "  ", &often);
        paragraph(&mut out, "  signature: ", &self.finding.signature());
        out
    }

    fn body(&self, out: &mut String, paint: Paint) {
        splat(out, self.finding, Some(self), paint);
        for (heading, lines) in &self.finding.details {
            section(out, paint, heading);
            for line in lines {
                verbatim(out, "  ", line);
            }
        }
        self.same_run(out, paint);
        self.way(out, paint);
        if let Some(all) = self.conditions {
            section(out, paint, "Conditions that matter");
            conditions(out, all);
        }
        self.drawn(out, paint);
        section(out, paint, "To repeat it");
        for line in &self.reproduce {
            // A command or a token is one line, however long, so that it can be pasted.
            out.push_str("  ");
            out.push_str(&ascii(line));
            out.push('\n');
        }
    }

    /// How many steps the innermost function had made when it came to the finding.
    fn step_in_function(&self) -> Option<usize> {
        let events = &self.trace.events;
        let is_it = |event: &sim::trace::Event| matches!(&event.kind, EventKind::Found(title) if *title == self.finding.title);
        let end = events.iter().rposition(|event| event.step == self.finding.step && is_it(event))?;
        let ctx = events[end].ctx;
        let own = events[..end].iter().rev().filter(|event| event.ctx == ctx);
        let mut depth = 0_u32;
        let mut steps = 0;
        for event in own {
            match event.kind {
                // What a function that has returned did is not counted.
                EventKind::Leave(_) => depth += 1,
                EventKind::Enter(function) if depth == 0 => {
                    return (self.finding.frames.first() == Some(&function)).then_some(steps);
                }
                EventKind::Enter(_) => depth -= 1,
                EventKind::Step { .. } if depth == 0 => steps += 1,
                _ => {}
            }
        }
        None
    }

    fn title(&self, out: &mut String, paint: Paint) {
        let rule = "=".repeat(75);
        out.push_str(&format!("{rule}\n"));
        let head = format!("Finding {} of {}: {}", self.number, self.of, ascii(self.finding.kind));
        out.push_str(&format!("{}\n", paint.bad(&head)));
        paragraph(out, "signature ", &self.finding.signature());
        let (first, unit) = if self.searched {
            (String::new(), "run")
        } else {
            (format!("first in seed {}; ", self.first_seed), "seed")
        };
        out.push_str(&format!(
            "{first}in {} of {} ({})\n",
            self.count,
            counted(self.ran, unit),
            percent(self.count, self.ran)
        ));
        out.push_str(&format!("{rule}\n\n"));
    }

    fn same_run(&self, out: &mut String, paint: Paint) {
        if self.neighbours.is_empty() {
            return;
        }
        let heading = if self.searched {
            "Also in the first run that shows it".to_owned()
        } else {
            format!("Also in seed {}", self.first_seed)
        };
        section(out, paint, &heading);
        for other in &self.neighbours {
            let order = if other.earlier { "before it" } else { "after it" };
            let number = other.number.map_or_else(String::new, |n| format!(" (finding {n})"));
            let text =
                format!("{order}, at {}{number}: {}", instant(other.finding.time), other.finding.title);
            paragraph(out, "  ", &text);
        }
        let text = if self.neighbours.iter().any(|other| other.earlier) {
            "What came before it in the same run may be its cause: read that first."
        } else {
            "It is the first finding of that run: what follows may be its consequence."
        };
        paragraph(out, "  ", text);
    }

    fn way(&self, out: &mut String, paint: Paint) {
        let earlier: Vec<&Finding> =
            self.neighbours.iter().filter(|other| other.earlier).map(|other| other.finding).collect();
        let lines = interleaving(self.trace, self.finding, &earlier);
        if lines.is_empty() {
            return;
        }
        section(out, paint, "Shortest interleaving that was found");
        let drew = if self.searched { "search made" } else { "seed drew" };
        let text = match self.shortened {
            None => format!("As the {drew} it, not shortened."),
            Some(Shortened { before: 1, after: 0, runs, .. }) => format!(
                "The one choice that the {drew} is not needed ({} to find out): every choice has its default.",
                counted(u64::from(runs), "run")
            ),
            Some(Shortened { before, after: 0, runs, .. }) => format!(
                "None of the {} that the {drew} is needed ({} to find out): every choice has its default.",
                counted(before as u64, "choice"),
                counted(u64::from(runs), "run")
            ),
            Some(Shortened { before, after, runs, gave_up }) => format!(
                "Of {} that the {drew} {after} {} left ({} to find out); {}.",
                counted(before as u64, "choice"),
                if after == 1 { "is" } else { "are" },
                counted(u64::from(runs), "run"),
                if gave_up { "more may be superfluous" } else { "none of them can be left out" }
            ),
        };
        paragraph(out, "  ", &text);
        out.push('\n');
        for line in lines {
            out.push_str(&line);
            out.push('\n');
        }
        if self.trace.truncated {
            paragraph(out, "  ", "The run is longer than what is recorded of a run; its end is missing.");
        }
    }

    fn drawn(&self, out: &mut String, paint: Paint) {
        let options: Vec<&str> = self
            .trace
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Note(text) => text.strip_prefix(OPTIONS),
                _ => None,
            })
            .collect();
        // A shortened run is made of what is left of its choices alone.
        let drawn = if self.shortened.is_some() { &[] } else { self.drawn };
        if options.is_empty() && drawn.is_empty() && self.choices.records.is_empty() {
            return;
        }
        section(out, paint, "Drawn");
        for option in options {
            paragraph(out, "  ", option);
        }
        let drawn: Vec<String> = drawn
            .iter()
            .map(|record| match record.answer {
                Answer::Value { taken, of } => format!("{} {taken} of {of}", record.site.what),
                Answer::Switch(to) => format!("{} {to}", record.site.what),
            })
            .collect();
        if !drawn.is_empty() {
            paragraph(
                out,
                "  ",
                &format!("for the whole run, by seed {}: {}", self.first_seed, drawn.join("; ")),
            );
        }
        if self.shortened.is_some() && !self.choices.records.is_empty() {
            out.push_str("  choices that are left, all others having their default:\n");
        }
        for record in self.choices.records.iter().take(MAX_CHOICES) {
            let answer = match record.answer {
                Answer::Switch(to) => format!("{to} goes on instead"),
                Answer::Value { taken, of } => format!("{taken} of {of}"),
            };
            paragraph(out, "    ", &format!("{}: {answer}", record.site));
        }
        if let Some(more @ 1..) = self.choices.records.len().checked_sub(MAX_CHOICES) {
            out.push_str(&format!("    ... and {more} more\n"));
        }
    }
}

/// The finding as the kernel would log it.
fn splat(out: &mut String, finding: &Finding, case: Option<&Case<'_>>, paint: Paint) {
    let at = clock(finding.time);
    let mut text = String::new();
    verbatim(&mut text, &format!("{at} "), &finding.title);
    out.push_str(&paint.heading(text.trim_end()));
    out.push('\n');
    let at_end = finding.frames == [END_OF_RUN];
    let none = if at_end { "none" } else { "none (a device)" };
    let cpu = finding.cpu.map_or_else(|| none.to_owned(), |cpu| cpu.to_string());
    let severity = match finding.severity {
        Severity::Warning => "the machine goes on",
        Severity::Fatal => "the machine stops here",
    };
    verbatim(out, &format!("{at} "), &format!("CPU: {cpu} Comm: {} ({severity})", finding.context));
    if let Some(case) = case {
        verbatim(
            out,
            &format!("{at} "),
            &format!("Hardware name: {} (modelled), kernel {}", case.machine, case.kernel),
        );
        if let (Some(function), Some(step)) = (finding.frames.first(), case.step_in_function())
            && !at_end
        {
            verbatim(out, &format!("{at} "), &format!("RIP: 0010:{function}+step {step}"));
        }
    }
    if !finding.frames.is_empty() && !at_end {
        out.push_str(&format!("{at} Call Trace:\n"));
        for frame in &finding.frames {
            verbatim(out, &format!("{at}  "), frame);
        }
    }
}

/// A finding without the run around it: for a replay.
#[must_use]
pub fn finding(finding: &Finding, paint: Paint) -> String {
    let mut out = String::new();
    paragraph(&mut out, "signature ", &finding.signature());
    out.push_str(&format!("step {}, {} s\n\n", finding.step, seconds(finding.time)));
    splat(&mut out, finding, None, paint);
    for (heading, lines) in &finding.details {
        section(&mut out, paint, heading);
        for line in lines {
            verbatim(&mut out, "  ", line);
        }
    }
    out
}

fn section(out: &mut String, paint: Paint, heading: &str) {
    out.push_str(&format!("\n{}\n", paint.heading(&ascii(heading))));
}
