//! Scenarios from boot logs: the machine and the kernel of a real boot, written down so that they can be run.
//!
//! What a log tells, what it cannot tell, and what is assumed then, is described in `docs/import.md`.

mod compare;
mod devices;
mod drivers;
mod facts;
mod iommu;
mod kernel;
mod memory;
mod programs;
mod reserved;
mod viot;
mod words;
mod write;

use std::io;
use std::path::{Path, PathBuf};

use models::scenario::{Loaded, Overrides, ReadFile, load_from};

use crate::boot::facts::Facts;
use crate::boot::kernel::Kernel;
use crate::boot::line::Event;
use crate::boot::log::{self, Log, Which};
use crate::boot::replay::Replay;
use crate::boot::state::{self, State};
use crate::{Report, SourceError};

pub use compare::compare_run;
pub(crate) use compare::compare_run_of;

/// What is wanted of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The running system's own account. Absent: the `state.txt` beside the log, if there is one.
    pub state: Option<PathBuf>,
    /// Which boot of a log with several, from 1. Absent: the last.
    pub boot: Option<u64>,
}

/// A scenario, and what is to be known about it.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The scenario file.
    pub text: String,
    /// Which boot this is, how many there are, and the line where it begins.
    pub boot: (u64, u64, u64),
    /// What the log does not tell, and what is assumed.
    pub assumptions: Vec<String>,
    pub(crate) found: Found,
}

/// All that was learnt, before it is written down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) release: String,
    pub(crate) version: &'static str,
    pub(crate) apply: Vec<String>,
    pub(crate) revert: Vec<String>,
    pub(crate) config: Vec<(String, String)>,
    pub(crate) cmdline: String,
    pub(crate) memory: memory::MemoryFound,
    pub(crate) reserved: reserved::ReservedFound,
    pub(crate) cpus: kernel::CpusFound,
    pub(crate) iommu: iommu::IommuFound,
    pub(crate) devices: Vec<devices::DeviceFound>,
    pub(crate) programs: Vec<programs::Program>,
    pub(crate) assumptions: Vec<String>,
    pub(crate) boot: (u64, u64, u64),
}

/// The log and all that is gathered from it, for those who look for single things.
pub(crate) struct Source<'a> {
    pub(crate) log: &'a Log,
    pub(crate) facts: &'a Facts,
    pub(crate) kernel: &'a Kernel,
    pub(crate) state: Option<&'a State>,
    pub(crate) replay: &'a Replay<'a>,
}

/// Makes a scenario from a boot log. `path` is the log, plain or compressed, or a folder that holds it.
///
/// # Errors
///
/// If the log cannot be read, is no log of a boot, or does not say which kernel ran on what memory.
pub fn import(path: &Path, options: &Options) -> Result<Imported, SourceError> {
    let path = log::find(path)?;
    let which = options.boot.map_or(Which::Last, Which::Nth);
    let log = Log::read_boot(&path, which, true)?;
    let number = log.boots.len().max(1) as u64;
    let state = match options.state.clone().or_else(|| state::beside(&path)) {
        Some(beside) => State::of_boot(&beside, command_line(&log), number)?,
        None => None,
    };
    from_log(&path, &log, state.as_ref())
}

/// The command line that a log tells.
pub(crate) fn command_line(log: &Log) -> Option<&str> {
    log.entries.iter().find_map(|entry| match &entry.event {
        Event::CommandLine(line) => Some(line.as_str()),
        _ => None,
    })
}

/// Whether a file is the account of a running system and no log: it begins with a section.
#[must_use]
pub fn is_state(path: &Path) -> bool {
    let Ok(mut source) = crate::Source::open(path) else { return false };
    (0..20).map_while(|_| source.next_line().ok().flatten()).any(|line| line.starts_with("@@@BEGIN "))
}

/// The same for a log that was read.
pub(crate) fn from_log(path: &Path, log: &Log, state: Option<&State>) -> Result<Imported, SourceError> {
    let mut facts = Facts::gather(log);
    if let Some(state) = state {
        facts.banner = facts.banner.or_else(|| state.version.clone());
        facts.command_line = facts.command_line.or_else(|| state.cmdline.clone());
    }
    let first = log.entries.first().map_or(1, |entry| entry.line);
    let missing = |what: String| {
        let what = format!("{what}: lines {first} to {} were read", log.lines);
        SourceError::of_file(path, what)
    };
    let banner = facts.banner.clone().ok_or_else(|| {
        missing("no line \"Linux version ...\", so the kernel is not known (the beginning of the log is missing, or it is no log of a boot)".to_owned())
    })?;
    let kernel = Kernel::from_banner(&banner)
        .ok_or_else(|| missing("no number follows \"Linux version\"".to_owned()))?;
    let mut unused = Report::default();
    let mut replay = Replay::new(&log.entries, &facts, kernel.rules, &mut unused);
    replay.run();
    let source = Source { log, facts: &facts, kernel: &kernel, state, replay: &replay };
    let mut found = Found { path: path.to_owned(), release: kernel.release.clone(), ..Found::default() };
    let number = log.boots.len().max(1) as u64;
    found.boot = (number, number, log.boots.last().copied().unwrap_or(first));
    found.memory = memory::gather(&source, &mut found.assumptions).map_err(missing)?;
    kernel::gather(&source, &mut found);
    found.iommu = iommu::gather(&source, &mut found.assumptions);
    devices::gather(&source, &mut found);
    programs::gather(&source, &mut found);
    kernel::gather_config(&source, &mut found);
    reserved::gather(&source, &mut found);
    let text = write::scenario(&found);
    let imported = Imported { text, boot: found.boot, assumptions: found.assumptions.clone(), found };
    // A scenario that cannot be run is no help to anybody.
    imported.load().map_err(|error| {
        let what = format!("what the log says makes no machine that can be run: {error}");
        SourceError::of_file(path, what)
    })?;
    Ok(imported)
}

/// The scenario's text as the file that it would be in.
struct InMemory<'a>(&'a str);

impl ReadFile for InMemory<'_> {
    fn read(&self, _: &Path) -> io::Result<String> {
        Ok(self.0.to_owned())
    }
}

impl Imported {
    /// The scenario as the simulator reads it.
    fn load(&self) -> Result<Loaded, String> {
        let path = Path::new("imported.ron");
        let loaded = load_from(path, &InMemory(&self.text)).map_err(|error| error.to_string())?;
        loaded.resolve(&Overrides::default()).map_err(|error| error.to_string())?;
        Ok(loaded)
    }
}
