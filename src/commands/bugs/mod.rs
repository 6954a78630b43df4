//! `dmasim bugs`: the collection of real bugs, and what it takes to find them.

mod alone;
mod measure;
mod page;
mod pair;
mod small;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use reports::json::{BugJson, BugsJson, GeneratedJson, ShrunkJson, line};
use reports::{WIDTH, ascii, wrap};

use self::alone::Alone;
use self::measure::{ByStrategy, Measured};
use self::pair::Pair;
use self::small::Small;
use super::Exit;
use crate::args::{BugsArgs, Format};
use crate::input::Failure;
use crate::interrupt;
use crate::output::Out;

/// A bug, and how it was found.
#[derive(Debug)]
struct Row {
    pair: Pair,
    /// With the scenario's strategy.
    measured: Measured,
    /// With each strategy in turn; empty unless asked for.
    strategies: Vec<ByStrategy>,
    /// By generated machines; nothing unless asked for.
    alone: Option<Alone>,
    /// How small it becomes; nothing unless asked for, or if it is not found.
    small: Option<Small>,
}

impl Row {
    fn of(pair: Pair, args: &BugsArgs, stop: &AtomicBool) -> Self {
        let measured = measure::measure(&pair, args.repetitions, stop);
        let strategies = if args.strategies {
            measure::by_strategy(&pair, args.repetitions, args.cap, stop)
        } else {
            Vec::new()
        };
        let alone = args.generated.map(|count| alone::alone(&pair, count, stop));
        let small = if args.shrunk { small::small(&pair, stop) } else { None };
        Self { pair, measured, strategies, alone, small }
    }
}

pub(super) fn bugs(args: &BugsArgs, out: &mut Out) -> Result<Exit, Failure> {
    let slugs = pair::slugs(&args.dir)?;
    let pairs = slugs.iter().map(|slug| Pair::load(&args.dir, slug)).collect::<Result<Vec<_>, _>>()?;
    let rows = measured(pairs, args, out);
    if interrupt::pressed() {
        return Ok(Exit::Interrupted);
    }
    if let Some(file) = &args.write {
        write(file, &page::markdown(&rows, args))?;
    }
    let found = rows.iter().filter(|row| row.measured.found()).count();
    match args.format {
        Format::Human => {
            out.line(&format!("{} bugs, {found} found", rows.len()));
            if let Some(share) = page::share(&rows) {
                out.line(&share);
            }
        }
        Format::Json => {
            let all = BugsJson { bugs: rows.iter().map(json).collect() };
            out.line(&line(&all).map_err(|error| Failure::text(error.to_string()))?);
        }
    }
    Ok(if found == rows.len() { Exit::Expected } else { Exit::Unexpected })
}

/// Measures all of them on several threads. Each is shown as soon as it and all before it are done.
fn measured(pairs: Vec<Pair>, args: &BugsArgs, out: &mut Out) -> Vec<Row> {
    let stop = interrupt::flag();
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let mut rows: Vec<Option<Row>> = pairs.iter().map(|_| None).collect();
    let mut shown = 0;
    let todo = Mutex::new(pairs.into_iter().enumerate());
    let (done, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (todo, done) = (&todo, done.clone());
            scope.spawn(move || {
                while let Some((at, pair)) = next(todo) {
                    let row = Row::of(pair, args, stop);
                    // What was cut short says nothing.
                    if stop.load(Ordering::Relaxed) || done.send((at, row)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        for (at, row) in results {
            rows[at] = Some(row);
            while let Some(Some(row)) = rows.get(shown) {
                if args.format == Format::Human {
                    show(row, out);
                }
                shown += 1;
            }
        }
    });
    rows.into_iter().flatten().collect()
}

/// The next one that nobody has taken.
fn next(todo: &Mutex<impl Iterator<Item = (usize, Pair)>>) -> Option<(usize, Pair)> {
    todo.lock().unwrap_or_else(PoisonError::into_inner).next()
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text)
        .map_err(|error| Failure::text(format!("cannot write {}: {error}", file.display())))
}

/// A bug for a terminal.
fn show(row: &Row, out: &mut Out) {
    out.line(&out.paint.heading(&ascii(&row.pair.slug)));
    let mut lines = vec![
        row.pair.about.clone(),
        format!("in {}: {}", row.pair.versions(), row.pair.change()),
        row.measured.words(),
    ];
    if !row.strategies.is_empty() {
        let each: Vec<String> =
            row.strategies.iter().map(|one| format!("{} {}", one.strategy, one.words)).collect();
        lines.push(format!("seeds by strategy: {}", each.join(", ")));
    }
    if let Some(alone) = &row.alone {
        lines.push(match alone.found {
            Some((seed, kind)) => format!("by generated machines alone: {kind} in seed {seed}"),
            None => format!("not found in {} generated machines", alone.ran),
        });
    }
    if let Some(small) = &row.small {
        let sizes: Vec<String> =
            page::SIZES.iter().map(|(name, of)| format!("{name} {}", small.both(of))).collect();
        let left = if small.complete { "" } else { " (the search was not ended)" };
        lines.push(format!("shrunk: {}{left}", sizes.join(", ")));
    }
    for text in lines {
        for (n, part) in wrap(&ascii(&text), WIDTH - 6).iter().enumerate() {
            out.line(&format!("{}{part}", if n == 0 { "  " } else { "      " }));
        }
    }
    out.flush();
}

fn json(row: &Row) -> BugJson {
    let own = (String::new(), row.measured.median);
    let others = row.strategies.iter().map(|one| (one.strategy.clone(), one.median));
    BugJson {
        bug: row.pair.slug.clone(),
        about: row.pair.about.clone(),
        versions: row.pair.versions(),
        behaviour: row.pair.behaviour.name(),
        kind: row.measured.kind().unwrap_or_default().to_owned(),
        function: row.measured.function().unwrap_or_default().to_owned(),
        seeds: std::iter::once(own).chain(others).collect(),
        generated: row.alone.as_ref().map(|alone| GeneratedJson {
            ran: alone.ran,
            seed: alone.found.map(|(seed, _)| seed),
            kind: alone.found.map(|(_, kind)| kind),
        }),
        shrunk: row.small.as_ref().map(|small| ShrunkJson {
            sizes: small
                .before
                .rows()
                .into_iter()
                .zip(small.after.rows())
                .map(|((name, before), (_, after))| (name.trim(), before, after))
                .collect(),
            complete: small.complete,
        }),
    }
}
