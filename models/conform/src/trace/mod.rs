//! Traces of running systems: the text that tracefs gives of the events `swiotlb:*`, `dma:*` and `iommu:*`, and of
//! probes on the functions behind them.
//!
//! A trace shows what was asked and what the kernel answered. [`compare`] asks the models the same, in the order of the
//! trace, and counts where they answer otherwise. After a miss it goes on from what the kernel answered, so that one
//! difference is counted once.
//!
//! A trace that begins in the middle does not determine every answer. What it leaves open is counted apart, by cause;
//! `docs/conform-trace.md` says what the causes are and how to record a trace that leaves little open.

mod bounced;
mod bounces;
mod domains;
mod drivers;
mod event;
mod explain;
mod folder;
mod full;
mod guess;
mod held;
mod history;
mod line;
mod names;
mod order;
mod pool;
mod probed;
mod ranges;
mod space;
mod survey;
mod tally;
mod ways;
mod workload;

use std::path::Path;

pub use self::workload::{Recorded, workload};

use self::bounces::Bounces;
use self::domains::Domains;
use self::folder::Folder;
use self::line::Parsed;
use self::names::Names;
use self::pool::Tracked;
use self::probed::Probed;
use self::survey::Survey;
use self::tally::{Compared, Tally};
use self::ways::Ways;
use crate::replay::KernelRules;
use crate::{Exception, Report, Source, SourceError};

/// Replays the trace at `path` through the models.
///
/// The console log (`console.log`) and the state file (`state.txt`) in the same folder, plain or compressed, are used
/// if they exist: they say which kernel it was, where the bounce-buffer pool lies and which driver a device has.
/// `release` is the kernel's release, such as `6.12.117`, for where the folder does not say.
///
/// # Errors
///
/// If a file cannot be read, the trace holds no event, or the kernel's rules are not modelled.
pub fn compare(path: &Path, release: Option<&str>) -> Result<Report, SourceError> {
    let mut folder = Folder::read(path)?;
    let mut source = Source::open(path)?;
    let release = release.map(str::to_owned).or_else(|| folder.release.clone());
    let release = release.ok_or_else(|| {
        source.error("which kernel was it? Neither a console log nor a state file is next to the trace; name the release")
    })?;
    let rules = rules_of(&release).map_err(|what| source.error(what))?;
    folder.settle(&rules);
    let from_boot = begins_with_boot(path);
    let blank = folder.pool.map(|(start, size)| Tracked::new(&rules, start, size, false));
    let mut survey = Survey::of(Source::open(path)?, &folder, blank.as_ref())?;
    let fresh = from_boot && !survey.overwritten();
    if fresh {
        // Before the first mapping of a boot there is none.
        survey.older.clear();
    }
    let mut names = Names::new(&folder);
    let mut bounces = folder.pool.map(|(start, size)| {
        let pool = Tracked::new(&rules, start, size, fresh);
        Bounces::new(pool, &survey, &mut names)
    });
    let cpus = folder.cpus.unwrap_or(survey.cpus).max(survey.cpus);
    let before = std::mem::take(&mut survey.before);
    let mut domains =
        (survey.iova_allocs == 0).then(|| Domains::new(&rules, cpus, before, fresh, survey.flushes > 0));
    let mut probed = Probed::new(&rules, cpus, &survey.older_ranges);
    let mut tally = Tally::default();
    tally.report.kind = "trace".to_owned();
    tally.report.version = rules.version.name().to_owned();
    describe(&folder, &survey, &mut tally);
    let ways = Ways { force: folder.forced() && folder.pool.is_some(), active: folder.pool.is_some() };
    while let Some(text) = source.next_line()? {
        let at = source.line();
        if survey.cut() && at == survey.last_line {
            break;
        }
        match line::parse(&text) {
            Parsed::Event(line) => {
                let Ok(event) = event::parse(line.event, line.rest) else { continue };
                let in_pool = |addr| bounces.as_ref().is_some_and(|bounces| bounces.contains(addr));
                ways.event(at, event, &mut names, in_pool, &mut tally);
                probed.event(at, &line, event, &folder, &mut tally);
                if let Some(domains) = &mut domains {
                    domains.event(at, &line, event, &folder, &mut names, &mut tally);
                }
                if let Some(bounces) = &mut bounces {
                    bounces.event(at, &line, event, &mut names, &mut tally);
                }
            }
            Parsed::Lost(_) | Parsed::BufferStarted => {
                probed.forget();
                if let Some(domains) = &mut domains {
                    domains.forget();
                }
                if let Some(bounces) = &mut bounces {
                    bounces.forget();
                }
            }
            Parsed::Comment(_) | Parsed::Empty | Parsed::Foreign => {}
        }
    }
    if let Some(domains) = &mut domains {
        domains.finish(&folder, &names, &mut tally);
    }
    if let Some(bounces) = &bounces {
        bounces.compare_full(&folder.full, &mut tally);
    }
    if !survey.cut()
        && survey.answered()
        && let Some((used, hiwater)) = bounces.as_ref().and_then(Bounces::counters)
    {
        counter(&mut tally, survey.last_line, "io_tlb_used", folder.settled.0, used);
        counter(&mut tally, survey.last_line, "io_tlb_used_hiwater", folder.settled.1, hiwater);
    }
    Ok(tally.finish())
}

/// The rules of a release as `uname -r` prints it, such as `6.12.117+deb12-amd64`.
fn rules_of(release: &str) -> Result<KernelRules, String> {
    let version = KernelRules::version_in(&format!("Linux version {release}"));
    let version = version.ok_or_else(|| {
        format!("`{release}` is no kernel release that is modelled; one looks like 6.12.117")
    })?;
    KernelRules::of_version(version)
        .ok_or_else(|| format!("Linux {version}: its rules for traces are not modelled"))
}

/// A trace that the command line started begins before the first mapping; by custom its name says so.
fn begins_with_boot(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("trace_boot"))
}

fn counter(tally: &mut Tally, line: u64, name: &'static str, recorded: Option<u64>, modelled: u64) {
    let Some(recorded) = recorded else { return };
    let compared =
        Compared { subject: "pool counters", row: "pool counters", sure: true, agreed: recorded == modelled };
    tally.compare(&compared, None, || Exception {
        line,
        what: format!("{name} after the trace"),
        recorded: recorded.to_string(),
        modelled: modelled.to_string(),
        why: None,
        detail: Vec::new(),
    });
}

/// What the reader should know of the file and its folder.
fn describe(folder: &Folder, survey: &Survey, tally: &mut Tally) {
    for note in &folder.notes {
        tally.note(note.clone());
    }
    if survey.cut() {
        let (events, kept) = (survey.events, survey.entries.unwrap_or_default().0);
        tally
            .note(format!("the file is cut: {events} of {kept} events are there; its last line is left out"));
    }
    if survey.overwritten() {
        tally.note("the ring buffer was too small: the oldest events were overwritten".to_owned());
    }
    if survey.lost.0 > 0 {
        let (places, events) = survey.lost;
        tally.note(format!(
            "events were lost in {places} places ({events} or more); nothing is known across them"
        ));
    }
    if survey.broken.0 > 0 {
        let (count, first) = survey.broken;
        tally.note(format!("{count} events could not be read, the first in line {first}"));
    }
    if survey.foreign.0 > 0 {
        let (count, first) = survey.foreign;
        tally.note(format!("{count} lines are no events, the first is line {first}"));
    }
    if survey.iommu_maps > 0 && survey.iova_allocs == 0 && survey.dma_events == 0 {
        let maps = survey.iommu_maps;
        tally.note(format!(
            "{maps} events `map` say neither for which device nor how much was asked for: without `dma:*` events or probes \
             on the allocator nothing can be compared with them"
        ));
    }
    for (name, count) in &survey.unused {
        tally.note(format!("{count} events `{name}`: not used"));
    }
}
