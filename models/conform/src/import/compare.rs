//! Boots the modelled machine of an imported scenario once, and compares what it says with what the real one said.

use std::path::Path;

use models::run::{Request, Run, Simulation, Source};
use models::scenario::Overrides;
use sim::schedule::Strategy;

use super::facts::{Fact, Kind, facts, log_of_run};
use super::{Imported, command_line, from_log};
use crate::boot::kind_of_boot;
use crate::boot::log::{self, Log, Which};
use crate::boot::state::{self, State};
use crate::{Exception, Report, SourceError};

/// Imports the first boot of a log, boots the scenario's machine once, and compares the facts that both logs tell.
///
/// # Errors
///
/// If the log cannot be read, or no scenario can be made of it.
pub fn compare_run(path: &Path) -> Result<Report, SourceError> {
    let path = log::find(path)?;
    compare_run_of(&path, &Log::read_boot(&path, Which::Nth(1), true)?, 1)
}

/// The same for one boot of a log, numbered from 1.
pub(crate) fn compare_run_of(path: &Path, log: &Log, number: u64) -> Result<Report, SourceError> {
    let state = match state::beside(path) {
        Some(beside) => State::of_boot(&beside, command_line(log), number)?,
        None => None,
    };
    let imported = from_log(path, log, state.as_ref())?;
    let mut report = Report {
        kind: kind_of_boot("modelled boot of the imported scenario", log, number),
        version: format!("{} (the log: {})", imported.found.version, imported.found.release),
        ..Report::default()
    };
    match run(&imported) {
        Ok(run) => compare(&mut report, &imported, log, state.as_ref(), &run),
        Err(what) => {
            report.count("the modelled machine boots", false);
            report.exceptions.push(Exception {
                line: imported.boot.2,
                what: "the modelled machine boots".to_owned(),
                recorded: "it does".to_owned(),
                modelled: what,
                why: None,
                detail: Vec::new(),
            });
        }
    }
    report.exceptions.sort_by_key(|exception| exception.line);
    Ok(report)
}

/// One run, each context in its turn and nothing drawn.
fn run(imported: &Imported) -> Result<Run, String> {
    let resolved = imported.load()?.resolve(&Overrides::default()).map_err(|error| error.to_string())?;
    let simulation = Simulation::new(resolved);
    let mut request = Request::full(Source::Seed(0));
    request.strategy = Some(Strategy::RoundRobin);
    request.record_choices = false;
    sim::explore::catching(|| simulation.worker().run(&request))
        .map_err(|panic| format!("a panic: {panic:?}"))
}

fn compare(report: &mut Report, imported: &Imported, log: &Log, state: Option<&State>, run: &Run) {
    let modelled_log = log_of_run(run.log().into_iter().map(|line| line.text));
    let (recorded, modelled) = (facts(log), facts(&modelled_log));
    let found = &imported.found;
    for kind in Kind::ALL {
        let of = |facts: &[Fact]| -> Vec<Fact> {
            facts.iter().filter(|fact| fact.kind == kind).cloned().collect()
        };
        let (recorded, modelled) = (of(&recorded), of(&modelled));
        let goes_on = goes_on(kind, log, found.iommu.done, !recorded.is_empty());
        compare_kind(report, kind, &recorded, &modelled, goes_on, |fact| why(imported, kind, fact));
    }
    order(report, &recorded, &modelled);
    bound(report, imported, run);
    types(report, state, run);
    if found.reserved.from_pool {
        report.notes.push("the place of the bounce buffers went into the scenario, since nothing else in the log determines it".to_owned());
    }
}

/// Whether a fact that is missing in the log is known not to have been told.
fn goes_on(kind: Kind, log: &Log, iommu_done: bool, seen: bool) -> bool {
    use crate::boot::line::Event;
    let has = |test: &dyn Fn(&Event) -> bool| log.entries.iter().any(|entry| test(&entry.event));
    match kind {
        // Changes are told to those who debug.
        Kind::MapChange => seen,
        Kind::FirmwareMap | Kind::UserMap => has(&|event| matches!(event, Event::Memory(_))),
        // Only with lines about memblock.
        Kind::PoolRequest | Kind::NodeRange | Kind::Memory | Kind::BroughtUp => seen,
        Kind::Areas | Kind::PoolFewer => has(&|event| matches!(event, Event::Memory(_))) || iommu_done,
        Kind::Function => seen && iommu_done,
        kind if kind.is_late() => iommu_done,
        _ => iommu_done,
    }
}

/// Why a fact may differ although the machine is the same.
fn why(imported: &Imported, kind: Kind, fact: &Fact) -> Option<String> {
    let found = &imported.found;
    let exact = found
        .release
        .strip_prefix(found.version)
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()));
    if kind == Kind::Group {
        let device = fact.text.split(": group").next().unwrap_or_default();
        if models::iommu::core::PciAddress::parse(device).is_none() {
            return Some("it is on another bus than PCI, and no device of the scenario".to_owned());
        }
        if found.devices.iter().any(|known| known.bdf == device && known.plugged_ms.is_some()) {
            return Some("it was found after the boot".to_owned());
        }
    }
    if kind == Kind::FirmwareMap && found.memory.odd_kinds.iter().any(|words| fact.text.ends_with(words)) {
        return Some("the simulator has no such kind of memory, and takes it for reserved".to_owned());
    }
    if kind == Kind::PoolRequest && !fact.text.contains("align=0x1000 ") {
        return Some("the model's areas are of another size".to_owned());
    }
    (!exact).then(|| format!("{} is modelled by {}, which may differ", found.release, found.version))
}

fn compare_kind(
    report: &mut Report,
    kind: Kind,
    recorded: &[Fact],
    modelled: &[Fact],
    goes_on: bool,
    why: impl Fn(&Fact) -> Option<String>,
) {
    let last = recorded.last().map_or(0, |fact| fact.line);
    let count = if goes_on { recorded.len().max(modelled.len()) } else { recorded.len() };
    for index in 0..count {
        let (found, expected) = (recorded.get(index), modelled.get(index));
        let agrees = found.map(|fact| &fact.text) == expected.map(|fact| &fact.text);
        report.count(kind.row(), agrees);
        if !agrees {
            let text = |fact: Option<&Fact>| {
                fact.map_or_else(|| "no such line".to_owned(), |fact| fact.text.clone())
            };
            report.exceptions.push(Exception {
                line: found.map_or(last, |fact| fact.line),
                what: format!("{} (number {})", kind.row(), index + 1),
                recorded: text(found),
                modelled: text(expected),
                why: found.or(expected).and_then(&why),
                detail: Vec::new(),
            });
        }
    }
}

/// Kinds of facts in the order in which each is first told.
fn first_told(facts: &[Fact], also: &[Fact]) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for fact in facts {
        if !kinds.contains(&fact.kind) && also.iter().any(|other| other.kind == fact.kind) {
            kinds.push(fact.kind);
        }
    }
    kinds
}

/// The same facts come in the same order.
fn order(report: &mut Report, recorded: &[Fact], modelled: &[Fact]) {
    const ROW: &str = "order of what is told";
    let (real, run) = (first_told(recorded, modelled), first_told(modelled, recorded));
    for (index, kind) in real.iter().enumerate() {
        let agrees = run.get(index) == Some(kind);
        report.count(ROW, agrees);
        if !agrees {
            let line = recorded.iter().find(|fact| fact.kind == *kind).map_or(0, |fact| fact.line);
            report.exceptions.push(Exception {
                line,
                what: format!("{ROW} (number {})", index + 1),
                recorded: kind.row().to_owned(),
                modelled: run.get(index).map_or("nothing", |kind| kind.row()).to_owned(),
                why: None,
                detail: Vec::new(),
            });
        }
    }
}

/// A driver binds to each device to which one bound.
fn bound(report: &mut Report, imported: &Imported, run: &Run) {
    for device in imported.found.devices.iter().filter(|device| device.bound.is_some()) {
        let facts = run.facts.devices.iter().find(|facts| facts.bdf == device.bdf);
        let modelled = facts.and_then(|facts| facts.driver.clone());
        let agrees = modelled == device.program && modelled.is_some();
        report.count("drivers that bound", agrees);
        if !agrees {
            report.exceptions.push(Exception {
                line: device.bound.as_ref().map_or(0, |bound| bound.line),
                what: format!("driver of {}", device.bdf),
                recorded: device.bound.as_ref().map_or_else(String::new, |bound| bound.driver.clone()),
                modelled: modelled.unwrap_or_else(|| "none".to_owned()),
                why: device.program.is_none().then(|| "a scenario has no room for this driver".to_owned()),
                detail: Vec::new(),
            });
        }
    }
}

/// Types of the groups' default domains, as the running system shows them.
fn types(report: &mut Report, state: Option<&State>, run: &Run) {
    let Some(state) = state else { return };
    for (line, group, recorded) in &state.groups {
        let member = |facts: &&models::run::DeviceFacts| facts.group.map(u64::from) == Some(*group);
        let modelled = run.facts.devices.iter().find(member).map_or("none", |facts| facts.domain);
        let agrees = modelled == recorded;
        report.count("types of groups (state)", agrees);
        if !agrees {
            report.exceptions.push(Exception {
                line: *line,
                what: format!("type of group {group} (state)"),
                recorded: recorded.clone(),
                modelled: modelled.to_owned(),
                why: None,
                detail: Vec::new(),
            });
        }
    }
}
