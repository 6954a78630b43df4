//! Boot logs: the machine and memblock's requests are taken from a console log, replayed through the models, and each
//! address and number that follows is compared with what the log shows.
//!
//! What a log determines, and what not, is described in `docs/conform-boot.md`.

mod claims;
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
use self::log::Log;
use self::replay::Replay;
use self::state::State;
use crate::{Report, SourceError};

/// Compares a boot with the models. `path` is the log, plain or compressed, or a folder that holds it as
/// `console.log`; a `state.txt` beside the log is used, too.
///
/// # Errors
///
/// If the log cannot be read, is no log of a boot, or does not say which kernel wrote it.
pub fn compare(path: &Path) -> Result<Report, SourceError> {
    let path = log::find(path)?;
    let log = Log::read(&path)?;
    let state = state::beside(&path).map(|path| State::read(&path)).transpose()?;
    let mut facts = Facts::gather(&log);
    if let Some(state) = &state {
        facts.banner = facts.banner.or_else(|| state.version.clone());
        facts.command_line = facts.command_line.or_else(|| state.cmdline.clone());
    }
    let missing = |what: &str| SourceError::of_file(&path, what);
    let banner = facts.banner.clone().ok_or_else(|| {
        missing("no line \"Linux version ...\": the log's beginning is missing, or it is no log of a boot")
    })?;
    let kernel = Kernel::from_banner(&banner)
        .ok_or_else(|| missing("no number follows \"Linux version\", so the kernel's rules are not known"))?;
    let mut report = Report { kind: "boot log".to_owned(), version: kernel.describe(), ..Report::default() };
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
    report.exceptions.sort_by_key(|exception| exception.line);
    report.notes.extend(log.notes());
    Ok(report)
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
