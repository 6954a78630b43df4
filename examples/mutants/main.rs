//! Whether deliberate faults in the models are noticed, and by what.
//!
//!     mutants [--faults DIR] [--work DIR] [--profile release|dev] [--seeds N] [--scenario-seeds N] [--jobs N] [--only N,N...]
//!             [--program FILE] [--recordings] [--write FILE]
//!
//! Each patch in `models/tests/mutants` plants a small fault, which comes alive when the environment names its number. The
//! tree is copied, all patches are applied, and one program is built of it, in a folder of its own. Then, fault by fault,
//! cheapest first and until something notices: the generator, and the scenarios against their expectations. With
//! `--recordings`, recordings of real kernels are compared beside that, which takes longer and is not counted. Results are
//! kept in the work folder; `--write` puts the table into a page, where the rows of faults that were not run now (`--only`)
//! stay as they are, and `--program` takes one that was built before.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

mod faults;
mod suites;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use faults::Fault;
use suites::{Baseline, Budget, Program};
use table::Results;

struct Wanted {
    faults: PathBuf,
    work: PathBuf,
    profile: String,
    budget: Budget,
    jobs: usize,
    only: Vec<u32>,
    program: Option<PathBuf>,
    recordings: bool,
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    match wanted().and_then(|wanted| run(&wanted)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("mutants: {message}");
            ExitCode::from(2)
        }
    }
}

fn wanted() -> Result<Wanted, String> {
    let mut wanted = Wanted {
        faults: PathBuf::from("models/tests/mutants"),
        work: PathBuf::from("target/mutants"),
        profile: "release".to_owned(),
        budget: Budget { generated: 1_500, scenarios: 40 },
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        only: Vec::new(),
        program: None,
        recordings: false,
        write: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text} is no number"));
        match word.as_str() {
            "--faults" => wanted.faults = value()?.into(),
            "--work" => wanted.work = value()?.into(),
            "--profile" => wanted.profile = value()?,
            "--seeds" => wanted.budget.generated = number(value()?)?.max(1),
            "--scenario-seeds" => wanted.budget.scenarios = number(value()?)?.max(1),
            "--jobs" => wanted.jobs = usize::try_from(number(value()?)?.max(1)).unwrap_or(1),
            "--only" => {
                let list = value()?;
                let number = |text: &str| text.parse().map_err(|_| format!("{text} is no number of a fault"));
                wanted.only = list.split(',').map(number).collect::<Result<_, _>>()?;
            }
            "--program" => wanted.program = Some(value()?.into()),
            "--recordings" => wanted.recordings = true,
            "--write" => wanted.write = Some(value()?.into()),
            other => return Err(format!("unknown word {other}; the head of the source says what there is")),
        }
    }
    Ok(wanted)
}

fn run(wanted: &Wanted) -> Result<(), String> {
    let faults = faults::read(&wanted.faults)?;
    for number in &wanted.only {
        if !faults.iter().any(|fault| fault.number == *number) {
            return Err(format!("there is no fault {number} in {}", wanted.faults.display()));
        }
    }
    let path = match &wanted.program {
        Some(path) => path.clone(),
        None => faults::build(&wanted.faults, &wanted.work, &wanted.profile)?,
    };
    let program = Program { path };
    eprintln!("what comes up without a fault is looked for first");
    let baseline = Baseline::of(&program, wanted.budget, wanted.jobs, wanted.recordings)?;
    eprintln!("{}", baseline.in_words());
    let results = Mutex::new(Results::read(&wanted.work.join("results.tsv")));
    let chosen: Vec<&Fault> =
        faults.iter().filter(|fault| wanted.only.is_empty() || wanted.only.contains(&fault.number)).collect();
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some(fault) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            let noticed = suites::noticed(&program, &baseline, fault.number, wanted.budget);
            let differs =
                wanted.recordings.then(|| suites::recordings_differ(&program, &baseline, fault.number));
            println!("{:3} {:36} {}", fault.number, fault.slug, noticed.in_words());
            let mut results = results.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            results.set(fault, &noticed, differs);
            if let Err(error) = results.write(&wanted.work.join("results.tsv")) {
                eprintln!("mutants: cannot keep the results: {error}");
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..wanted.jobs {
            scope.spawn(worker);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(page) = &wanted.write {
        results.keep_of_page(page, &faults, &chosen)?;
    }
    let table = results.table(&faults);
    println!("\n{}", table.share());
    match &wanted.write {
        Some(page) => table.put_into(page),
        None => Ok(()),
    }
}
