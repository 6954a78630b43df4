//! Boot logs: the machine and memblock's requests are taken from a console log, replayed through the models, and each
//! address and number that follows is compared with what the log shows.
//!
//! What a log determines, and what not, is described in `docs/conform-boot.md`.

mod claims;
mod crash;
pub(crate) mod dump;
pub(crate) mod facts;
pub(crate) mod iommu;
pub(crate) mod kernel;
pub(crate) mod line;
pub(crate) mod line_iommu;
mod line_map;
mod line_zone;
pub(crate) mod log;
pub(crate) mod nodes;
pub(crate) mod prefix;
pub(crate) mod replay;
pub(crate) mod scan;
pub(crate) mod state;
mod swiotlb;
mod totals;
pub(crate) mod zones;

use std::path::Path;

use self::facts::Facts;
use self::kernel::Kernel;
use self::log::{Log, Which};
use self::replay::Replay;
use self::state::State;
use crate::{Outcome, Report, SourceError, import};

/// More boots of one file are not compared.
const MAX_BOOTS: u64 = 20;

/// Compares the first boot of a log with the models. `path` is the log, plain or compressed, or a folder that holds it as
/// `console.log`; a `state.txt` beside the log is used, too.
///
/// # Errors
///
/// If the log cannot be read, is no log of a boot, or does not say which kernel wrote it.
pub fn compare(path: &Path) -> Result<Report, SourceError> {
    let path = log::find(path)?;
    compare_log(&path, &Log::read(&path)?, 1)
}

/// Compares each boot of a log with the models, and each with the run of a modelled machine: a machine that was started
/// again, and the boot of a crash kernel behind the one that crashed.
#[must_use]
pub fn compare_all(path: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    for number in 1..=MAX_BOOTS {
        let one = || {
            let path = log::find(path)?;
            let log = Log::read_boot(&path, Which::Nth(number), true)?;
            let mut report = compare_log(&path, &log, number)?;
            // A log of which no scenario can be made is compared without a run, and says so.
            let run = import::compare_run_of(&path, &log, number);
            let run = run.map_err(|error| report.notes.push(format!("no run was compared: {error}"))).ok();
            if let Some(line) = log.next_boot.filter(|_| number == MAX_BOOTS) {
                report.notes.push(format!("another boot begins at line {line}: it is not compared"));
            }
            Ok((report, run, log.next_boot.is_some()))
        };
        match one() {
            Ok((report, run, more)) => {
                outcome.reports.push(report);
                outcome.reports.extend(run);
                if !more {
                    break;
                }
            }
            Err(error) => {
                outcome.error = Some(error);
                break;
            }
        }
    }
    outcome
}

/// One boot of a file, numbered from 1.
fn compare_log(path: &Path, log: &Log, number: u64) -> Result<Report, SourceError> {
    let mut facts = Facts::gather(log);
    let state = match state::beside(path) {
        Some(beside) => State::of_boot(&beside, facts.command_line.as_deref(), number)?,
        None => None,
    };
    if let Some(state) = &state {
        facts.banner = facts.banner.or_else(|| state.version.clone());
        facts.command_line = facts.command_line.or_else(|| state.cmdline.clone());
    }
    let missing = |what: &str| SourceError::of_file(path, what);
    let banner = facts.banner.clone().ok_or_else(|| {
        missing("no line \"Linux version ...\": the log's beginning is missing, or it is no log of a boot")
    })?;
    let kernel = Kernel::from_banner(&banner)
        .ok_or_else(|| missing("no number follows \"Linux version\", so the kernel's rules are not known"))?;
    let mut report = Report {
        kind: kind_of_boot("boot log", log, number),
        version: kernel.describe(),
        ..Report::default()
    };
    notes_at_start(&mut report, &kernel, &facts);

    let mut replay = Replay::new(&log.entries, &facts, kernel.rules, &mut report);
    replay.run();
    replay.compare_zones();
    let nslabs = replay.compare_swiotlb();
    replay.compare_totals(state.as_ref());
    replay.compare_claims(state.as_ref());
    if let Some(state) = &state {
        replay.compare_zoneinfo(state);
        if let Some(nslabs) = nslabs {
            replay.compare_nslabs(state, nslabs);
        }
    }
    replay.compare_iommu(state.as_ref());
    if state.is_none() {
        report
            .notes
            .push("no state.txt lies beside the log: nothing of the running system is compared".to_owned());
    }
    if facts.command_line.is_none() {
        let why = "the log has no line \"Command line:\": an option may have decided this";
        for exception in report.exceptions.iter_mut().filter(|exception| exception.why.is_none()) {
            exception.why = Some(why.to_owned());
        }
    }
    report.exceptions.sort_by_key(|exception| exception.line);
    report.notes.extend(log.notes());
    Ok(report)
}

/// What a report is about, where a file holds several boots.
pub(crate) fn kind_of_boot(kind: &str, log: &Log, number: u64) -> String {
    if number == 1 && log.next_boot.is_none() {
        return kind.to_owned();
    }
    let line = log.boots.last().copied().unwrap_or(1);
    format!("{kind} {number}, from line {line}")
}

/// What is said before anything is compared.
fn notes_at_start(report: &mut Report, kernel: &Kernel, facts: &Facts) {
    if !kernel.exact {
        let rules = kernel.rules.version;
        report.notes.push(format!("there are no rules for {}: those of {rules} are used", kernel.release));
    }
    if facts.command_line.is_none() {
        report.notes.push("there is no line \"Command line:\": no option is assumed".to_owned());
    }
    if facts.ram.is_empty() {
        report
            .notes
            .push("there is no map of memory (BIOS-e820 and the like): is this an x86 machine?".to_owned());
    }
    if !facts.debug {
        let note = "the lists of memblock are not in the log (boot with memblock=debug and all messages on the \
                    console): no address is determined, only what follows from the map of memory is compared";
        report.notes.push(note.to_owned());
    }
}
