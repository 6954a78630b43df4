//! Operations on one data structure with every result, recorded from the kernel's own code.
//!
//! A file holds one sequence a line. A sequence begins with a fresh structure; its operations are carried out in order
//! on the model, and each result has to be the recorded one, down to the dump at the end. Up to the first difference,
//! that is: what follows are answers to another state. `docs/conform.md` describes the format.

mod difference;
#[cfg(test)]
mod fuzz;
mod iova;
mod memblock;
mod parse;
mod replay;
mod show;
mod shrink;
mod subject;
mod swiotlb;
mod table;

use std::collections::BTreeMap;

use crate::outcome::Outcome;
use crate::report::{Report, Row};
use crate::source::{Source, SourceError};
use parse::{Malformed, Sequence};
use replay::{Refused, Watch};
use show::exception;
use subject::{Kind, Version};

/// No sequence is longer, in bytes.
const MAX_SEQUENCE: usize = 16 << 20;
/// So many sequences that differ are listed; more are only counted.
const MAX_LISTED: usize = 1000;
/// So many sequences are named in which the model broke a rule of its own.
const MAX_BROKEN: u64 = 10;
/// How the comparison of the state at the end of a sequence is called.
const FINAL: &str = "final state";

/// Compares all sequences of a file. The first `show` that differ are looked into: the state before, and the shortest
/// sequence that still differs. `go_on` is called after each sequence with the number of bytes of the file that were
/// read so far; once it says no, the rest is left out.
///
/// A file may hold sequences of several kinds and kernels: each of them has its report. What was compared before an
/// error is reported with it.
pub fn compare(source: &mut Source, show: usize, go_on: &mut dyn FnMut(u64) -> bool) -> Outcome {
    source.set_max_line(MAX_SEQUENCE);
    let mut tallies: Vec<Tally> = Vec::new();
    let mut shown = 0;
    let error = loop {
        match source.next_line() {
            Err(error) => break Some(error),
            Ok(None) if tallies.is_empty() => {
                let mut error = source.error("there is no sequence in this file");
                error.line = 0;
                break Some(error);
            }
            Ok(None) => break None,
            Ok(Some(line)) if line.trim().is_empty() => {}
            Ok(Some(line)) => {
                if let Err(error) = one(source, &line, &mut tallies, show, &mut shown) {
                    break Some(error);
                }
            }
        }
        if !go_on(source.consumed()) {
            break None;
        }
    };
    Outcome { reports: tallies.into_iter().map(Tally::report).collect(), error }
}

/// Compares the sequence of one line.
fn one(
    source: &Source,
    line: &str,
    tallies: &mut Vec<Tally>,
    show: usize,
    shown: &mut usize,
) -> Result<(), SourceError> {
    let sequence = parse::sequence(line).map_err(|malformed| refuse(source, malformed))?;
    let tally = match tallies.iter().position(|tally| tally.is_for(&sequence)) {
        Some(at) => &mut tallies[at],
        None => {
            tallies.push(Tally::new(&sequence));
            let last = tallies.len() - 1;
            &mut tallies[last]
        }
    };
    let result = replay::replay(&sequence, &mut Counting { tally, sequence: &sequence, line: source.line() });
    let difference = result.map_err(|Refused { at, what }| {
        let column = sequence.ops.get(at).map_or(0, |op| op.column);
        let op = sequence.ops.get(at).map_or("", |op| op.spec.name);
        source.error_at(column, format!("`{op}`: {what}"))
    })?;
    tally.sequences += 1;
    if let Some(difference) = difference {
        tally.differing += 1;
        tally.not_compared += sequence.ops.len().saturating_sub(difference.at + 1) as u64;
        if tally.report.exceptions.len() < MAX_LISTED {
            let full = *shown < show;
            *shown += usize::from(full);
            tally.report.exceptions.push(exception(&sequence, &difference, source.line(), full));
        }
    }
    Ok(())
}

/// What to say of a line that cannot be used.
fn refuse(source: &Source, malformed: Malformed) -> SourceError {
    let Malformed { column, what, cut } = malformed;
    if cut && source.at_end() {
        return source
            .error_at(column, format!("the file ends in the middle of this line: it was cut off ({what})"));
    }
    source.error_at(column, what)
}

/// Counts what is compared of one sequence.
struct Counting<'a> {
    tally: &'a mut Tally,
    sequence: &'a Sequence,
    line: u64,
}

impl Watch for Counting<'_> {
    fn compared(&mut self, at: usize, agrees: bool) {
        self.tally.operations += u64::from(at < self.sequence.ops.len());
        let name = self.sequence.ops.get(at).map_or(FINAL, |op| op.spec.name);
        let (agreed, total) = self.tally.rows.entry(name).or_default();
        *total += 1;
        *agreed += u64::from(agrees);
    }

    fn broken(&mut self, at: usize, rule: String) {
        self.tally.broken += 1;
        if self.tally.broken <= MAX_BROKEN {
            let name = self.sequence.ops.get(at).map_or(FINAL, |op| op.spec.name);
            let (line, at) = (self.line, at + 1);
            self.tally.report.notes.push(format!(
                "line {line}, operation {at}: {name} has the recorded result, and yet the model's state breaks a rule \
                 of its own after it: {rule}"
            ));
        }
    }
}

/// What was compared of one kind and kernel.
struct Tally {
    kind: Kind,
    version: Version,
    sequences: u64,
    differing: u64,
    operations: u64,
    not_compared: u64,
    /// Sequences in which the model broke a rule of its own.
    broken: u64,
    /// How many results agree, and how many were compared.
    rows: BTreeMap<&'static str, (u64, u64)>,
    report: Report,
}

impl Tally {
    fn new(sequence: &Sequence) -> Self {
        let (kind, version) = (sequence.kind, sequence.version);
        let report = Report::new(&format!("{} vectors", kind.name()), version.name());
        let rows = BTreeMap::new();
        Self {
            kind,
            version,
            sequences: 0,
            differing: 0,
            operations: 0,
            not_compared: 0,
            broken: 0,
            rows,
            report,
        }
    }

    fn is_for(&self, sequence: &Sequence) -> bool {
        (self.kind, self.version) == (sequence.kind, sequence.version)
    }

    fn report(mut self) -> Report {
        let names = self.kind.table().iter().map(|spec| spec.name).chain([FINAL]);
        for name in names {
            if let Some(&(agreed, total)) = self.rows.get(name) {
                self.report.rows.push(Row { name: name.to_owned(), agreed, total });
            }
        }
        let counts = [
            ("sequences", self.sequences),
            ("differing", self.differing),
            ("operations compared", self.operations),
        ];
        self.report.counts.extend(counts.map(|(name, count)| (name.to_owned(), count)));
        if self.not_compared > 0 {
            let note = format!(
                "{} operations come after the first difference of their sequence and were not compared",
                self.not_compared
            );
            self.report.notes.push(note);
        }
        self.report
    }
}
