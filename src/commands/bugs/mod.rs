//! `dmasim bugs`: the collection of real bugs, and what it takes to find them.

mod measure;
mod page;
mod pair;

use std::path::Path;
use std::sync::atomic::Ordering;

use reports::json::{BugJson, BugsJson, line};
use reports::{WIDTH, ascii, wrap};

use self::measure::Measured;
use self::pair::Pair;
use super::Exit;
use crate::args::{BugsArgs, Format};
use crate::input::Failure;
use crate::interrupt;
use crate::output::Out;

/// A bug, and how it was found.
#[derive(Debug)]
struct Row {
    pair: Pair,
    /// With the scenario's strategy, or with each in turn.
    measured: Vec<Measured>,
}

pub(super) fn bugs(args: &BugsArgs, out: &mut Out) -> Result<Exit, Failure> {
    let stop = interrupt::flag();
    let mut rows = Vec::new();
    for slug in pair::slugs(&args.dir)? {
        if stop.load(Ordering::Relaxed) {
            return Ok(Exit::Interrupted);
        }
        let pair = Pair::load(&args.dir, &slug)?;
        let measured = measure::measure(&pair, args.repetitions, args.strategies, stop);
        let row = Row { pair, measured };
        if args.format == Format::Human {
            show(&row, out);
        }
        rows.push(row);
    }
    if interrupt::pressed() {
        return Ok(Exit::Interrupted);
    }
    if let Some(file) = &args.write {
        write(file, &page::markdown(&rows, args.repetitions))?;
    }
    let found = rows.iter().filter(|row| row.measured.iter().all(Measured::found)).count();
    match args.format {
        Format::Human => out.line(&format!("{} bugs, {found} found", rows.len())),
        Format::Json => {
            let all = BugsJson { bugs: rows.iter().map(json).collect() };
            out.line(&line(&all).map_err(|error| Failure::text(error.to_string()))?);
        }
    }
    Ok(if found == rows.len() { Exit::Expected } else { Exit::Unexpected })
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text)
        .map_err(|error| Failure::text(format!("cannot write {}: {error}", file.display())))
}

/// A bug for a terminal.
fn show(row: &Row, out: &mut Out) {
    out.line(&out.paint.heading(&ascii(&row.pair.slug)));
    let mut lines =
        vec![row.pair.about.clone(), format!("in {}: {}", row.pair.versions(), row.pair.change())];
    for measured in &row.measured {
        lines.push(measured.words());
    }
    for text in lines {
        for (n, part) in wrap(&ascii(&text), WIDTH - 6).iter().enumerate() {
            out.line(&format!("{}{part}", if n == 0 { "  " } else { "      " }));
        }
    }
    out.flush();
}

fn json(row: &Row) -> BugJson {
    let first = row.measured.first();
    BugJson {
        bug: row.pair.slug.clone(),
        about: row.pair.about.clone(),
        versions: row.pair.versions(),
        behaviour: row.pair.behaviour.name(),
        kind: first.and_then(Measured::kind).unwrap_or_default().to_owned(),
        function: first.and_then(Measured::function).unwrap_or_default().to_owned(),
        seeds: row.measured.iter().map(|measured| (measured.strategy.clone(), measured.median)).collect(),
    }
}
