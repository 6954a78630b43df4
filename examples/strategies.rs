//! How many seeds each strategy needs until it finds what a scenario expects.
//!
//!     strategies [--repetitions N] [--cap N] [--seconds N] [--jobs N] [SCENARIO.ron...]
//!
//! Prints one row of a table for each scenario that expects findings: the median number of seeds to the first of them. A
//! repetition has seeds of its own and gives up after `--cap` seeds. Without names it takes those in `scenarios` that
//! are about findings, and `scenarios/bugs/*/buggy.ron`. A row is printed when it is complete, so that it may be
//! interrupted at any time; `--seconds` limits the whole, and what was not finished by then is left out of the medians.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use models::run::{Request, Simulation};
use models::scenario::{Expect, FindingPattern, Overrides, load};
use sim::explore::{FirstFinding, SeedsToFinding};
use sim::schedule::{Guide, Strategy};

const STRATEGIES: [Strategy; 8] = [
    Strategy::Swarm,
    Strategy::Random,
    Strategy::Pct(2),
    Strategy::Pct(3),
    Strategy::Pos,
    Strategy::Urw,
    Strategy::Delay(2),
    Strategy::Rff,
];

struct Wanted {
    repetitions: u64,
    cap: u64,
    seconds: u64,
    jobs: usize,
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    match wanted() {
        Ok(wanted) => {
            table(&wanted);
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("strategies: {message}");
            ExitCode::from(2)
        }
    }
}

fn wanted() -> Result<Wanted, String> {
    let mut wanted = Wanted {
        repetitions: 200,
        cap: 1_000,
        seconds: 600,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        files: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64, String> {
            let value = words.next().ok_or_else(|| format!("{word} wants a number"))?;
            match value.parse() {
                Ok(number @ 1..=1_000_000) => Ok(number),
                _ => Err(format!("\"{value}\" is no number from 1 to 1000000 for {word}")),
            }
        };
        match word.as_str() {
            "--repetitions" => wanted.repetitions = number()?,
            "--cap" => wanted.cap = number()?,
            "--seconds" => wanted.seconds = number()?,
            "--jobs" => wanted.jobs = usize::try_from(number()?.min(64)).unwrap_or(1),
            _ if word.starts_with('-') => {
                return Err(format!("unknown {word}; there are --repetitions, --cap, --seconds, --jobs"));
            }
            _ => wanted.files.push(word.into()),
        }
    }
    if wanted.files.is_empty() {
        for folder in ["scenarios/lkml-2021-07", "scenarios/debian"] {
            wanted.files.extend(in_folder(Path::new(folder)));
        }
        let bugs = in_folder(Path::new("scenarios/bugs"));
        wanted.files.extend(bugs.into_iter().map(|bug| bug.join("buggy.ron")).filter(|file| file.exists()));
        if wanted.files.is_empty() {
            return Err("no scenario here: run it where the folder `scenarios` is, or name files".to_owned());
        }
    }
    Ok(wanted)
}

/// What a folder holds, sorted.
fn in_folder(folder: &Path) -> Vec<PathBuf> {
    let mut list: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    list.sort();
    list
}

/// The scenarios and variants that expect findings.
fn simulations(files: &[PathBuf]) -> Vec<(String, Simulation, Vec<FindingPattern>)> {
    let mut list = Vec::new();
    for file in files {
        let loaded = match load(file) {
            Ok(loaded) => loaded,
            Err(error) => {
                eprintln!("left out: {error}");
                continue;
            }
        };
        let variants = loaded.variants().map(|(name, _)| Some(name.to_owned()));
        for variant in std::iter::once(None).chain(variants) {
            let Ok(scenario) = loaded.resolve(&Overrides { variant, ..Overrides::default() }) else {
                continue;
            };
            if let Expect::Findings { all, .. } = scenario.expect.clone() {
                list.push((scenario.name.clone(), Simulation::new(scenario), all));
            }
        }
    }
    list
}

fn table(wanted: &Wanted) {
    let list = simulations(&wanted.files);
    let mut heading = String::from("| scenario |");
    let mut line = String::from("|---|");
    for strategy in STRATEGIES {
        heading.push_str(&format!(" {strategy} |"));
        line.push_str("---|");
    }
    println!("{heading}\n{line}");
    // Tenths of a second that are left, shared evenly among the cells that are left.
    let mut left = wanted.seconds * 10;
    let mut cells = (list.len() * STRATEGIES.len()) as u64;
    for (name, simulation, patterns) in &list {
        let mut row = format!("| `{}` |", name.trim_start_matches("scenarios/"));
        for strategy in STRATEGIES {
            let (result, used) =
                limited(left / cells.max(1), |stop| measure(wanted, simulation, patterns, strategy, stop));
            left = left.saturating_sub(used);
            cells -= 1;
            let words = result.words();
            let all = result.runs.len() as u64;
            let note = if all < wanted.repetitions { format!(" ({all})") } else { String::new() };
            row.push_str(&format!(" {words}{note} |"));
        }
        println!("{row}");
    }
}

/// Runs `body` with a flag that is set after so many tenths of a second; says how many it took.
fn limited<T>(tenths: u64, body: impl FnOnce(&AtomicBool) -> T) -> (T, u64) {
    let (stop, over, used) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(100));
                if used.fetch_add(1, Ordering::SeqCst) + 1 >= tenths {
                    stop.store(true, Ordering::SeqCst);
                }
            }
        });
        let result = body(&stop);
        over.store(true, Ordering::SeqCst);
        result
    });
    (result, used.load(Ordering::SeqCst))
}

fn measure(
    wanted: &Wanted,
    simulation: &Simulation,
    patterns: &[FindingPattern],
    strategy: Strategy,
    stop: &AtomicBool,
) -> SeedsToFinding {
    let fuzz = strategy == Strategy::Rff;
    let first =
        FirstFinding { repetitions: wanted.repetitions, cap: wanted.cap, from: 0, jobs: wanted.jobs, fuzz };
    let make = || {
        let mut worker = simulation.worker();
        move |seed: u64, guide: Option<&Guide>| {
            let request = Request {
                strategy: Some(strategy),
                coverage: fuzz,
                guide: guide.cloned(),
                ..Request::quick(seed)
            };
            worker.run(&request).into_observed()
        }
    };
    first.measure(make, |finding| patterns.iter().any(|pattern| pattern.fits(finding)), stop)
}
