//! `dmasim shrink`.

mod report;
pub(super) mod start;

use std::path::PathBuf;

use models::run::{Run, Simulation};
use models::scenario::edit::Tree;
use models::scenario::{Explore, Resolved};
use models::shrink::{self, Measure, Shown, Status, nearest_clean};
use sim::choices::{ChoiceList, Token};
use sim::explore::shrink::{Halt, Journal, NoJournal, Search};

use super::Exit;
use crate::args::{Format, ShrinkArgs};
use crate::campaign::Tweaks;
use crate::input::{Failure, resolve};
use crate::interrupt;
use crate::keep::{FileJournal, write_for_user, write_whole};
use crate::output::Out;
use crate::stopwatch::{Every, Spinner};
use start::Start;

/// How often the best so far is written while the search goes on.
const SAVE_EVERY_MS: u64 = 500;

/// What came out.
struct Done {
    /// The scenario, as it is written.
    scenario: Resolved,
    tree: Tree,
    token: Token,
    run: Run,
    measure: Measure,
}

pub(super) fn shrink(args: &ShrinkArgs, out: &mut Out) -> Result<Exit, Failure> {
    let scenario = resolve(&args.subject.scenario, &args.subject.kernel, out)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut journal = Kept::open(args, &scenario)?;
    let simulation = Simulation::new(scenario);
    let mut search =
        Search::new(args.jobs.unwrap_or(cores), args.budget, interrupt::flag(), journal.as_journal());
    let start = match start::find(args, &simulation, &mut search)? {
        Ok(start) => start,
        Err(exit) => return Ok(start::nothing(exit, args, out)),
    };
    let mut first = Shown {
        tree: Tree::of(&start::flat(simulation.scenario(), &start, args)),
        choices: start.choices.clone(),
    };
    let before = finish(&first, &start, args)?;
    let mut watcher = Watcher {
        spinner: Spinner::new(out.quiet),
        every: Every::ms(SAVE_EVERY_MS),
        args,
        start: &start,
        before: &before.measure,
        saved: None,
    };
    let mut watch = |status: Status<'_>| watcher.see(status);
    let name = simulation.scenario().name.clone();
    let halted = if args.schedule_only {
        shrink::schedule(&mut search, &start.settings, &name, &mut first, &mut watch)
    } else {
        shrink::shrink(&mut search, &start.settings, &name, &mut first, &mut watch)
    };
    watcher.spinner.clear();
    if halted == Err(Halt::Journal) {
        return Err(journal.foreign());
    }
    let after = finish(&first, &start, args)?;
    let text = report::scenario(&after, &start, &before.measure, halted.err(), args);
    match &args.output {
        Some(file) => write_for_user(file, &text)?,
        None if args.format == Format::Human && !args.minimal_pair => out.text(&text),
        None => {}
    }
    let mut exit = if halted == Err(Halt::Interrupted) { Exit::Interrupted } else { Exit::Expected };
    let tried = (search.tried(), search.shown());
    let pair = if args.minimal_pair && exit == Exit::Expected {
        let simulation = Simulation::for_replay(after.scenario.clone());
        match nearest_clean(&mut search, &start.settings, &simulation, &after.token.choices) {
            Ok(pair) => Some(pair),
            Err(Halt::Journal) => return Err(journal.foreign()),
            Err(Halt::Budget) => Some(None),
            Err(Halt::Interrupted) => {
                exit = Exit::Interrupted;
                None
            }
        }
    } else {
        None
    };
    if args.format == Format::Json {
        let text = report::json(&after, &start, &before.measure, tried, halted.err())?;
        out.line(&text);
    } else {
        report::human(&after, &start, &before.measure, tried, halted.err(), args, out);
        if let Some(pair) = pair {
            report::pair(pair.as_ref(), out);
        }
    }
    journal.check()?;
    Ok(exit)
}

/// Runs what is left once more, from the scenario as it is written, with everything recorded.
fn finish(shown: &Shown, start: &Start, args: &ShrinkArgs) -> Result<Done, Failure> {
    let name = args.output.as_ref().map_or_else(|| "shrunk".to_owned(), |path| path.display().to_string());
    let scenario = shown.tree.resolve(&name)?;
    let recorded = shrink::recorded(&scenario, &start.settings, start.seed, &shown.choices);
    let (token, run) = recorded.ok_or_else(|| {
        Failure::text(
            "the smallest run does not show the finding again: a run depends on more than its choices",
        )
    })?;
    let measure = Measure::of(&scenario, &run.end.trace, run.end.steps, &token.choices);
    Ok(Done { scenario, tree: shown.tree.clone(), token, run, measure })
}

/// Where verdicts are kept.
enum Kept {
    Nowhere(NoJournal),
    File(FileJournal, PathBuf),
}

impl Kept {
    fn open(args: &ShrinkArgs, scenario: &Resolved) -> Result<Self, Failure> {
        let Some(path) = &args.resume else { return Ok(Self::Nowhere(NoJournal)) };
        let tweaks = Tweaks::of(&args.subject.engine);
        let Explore { max_steps, on_finding, strategy, seeds } = &scenario.explore;
        let from = args.seeds.clone().map_or_else(|| format!("0..{seeds}"), |seeds| format!("{seeds:?}"));
        let token = args.origin.token.clone().unwrap_or_default();
        let file = args.origin.token_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let head = format!(
            "engine: {}\nsearch: 2\nscenario: {}\nstart: seed {:?}, seeds {from}, token \"{token}\" \"{file}\"\nfinding: {:?}\n\
             runs: {tweaks:?}, {max_steps} steps, {on_finding:?}, {strategy:?}\noptions: tries {}, budget {}, schedule \
             only {}\n",
            sim::ENGINE_VERSION,
            scenario.digest,
            args.origin.seed,
            args.signature,
            args.tries,
            args.budget,
            args.schedule_only,
        );
        Ok(Self::File(FileJournal::open(path, &head)?, path.clone()))
    }

    fn as_journal(&mut self) -> &mut dyn Journal {
        match self {
            Self::Nowhere(journal) => journal,
            Self::File(journal, _) => journal,
        }
    }

    fn foreign(&self) -> Failure {
        let file = match self {
            Self::Nowhere(_) => "the journal".to_owned(),
            Self::File(_, path) => path.display().to_string(),
        };
        Failure::text(format!(
            "{file} says that a candidate showed the finding, and now it does not: the models changed since\n  help: \
             begin anew with another file"
        ))
    }

    /// An error if not all could be kept.
    fn check(self) -> Result<(), Failure> {
        match self {
            Self::Nowhere(_) => Ok(()),
            Self::File(mut journal, path) => match journal.failure() {
                None => Ok(()),
                Some(error) => Err(Failure::text(format!(
                    "cannot keep the state of the search in {}: {error}",
                    path.display()
                ))),
            },
        }
    }
}

/// Shows how far it is, and writes the best so far now and then.
struct Watcher<'a> {
    spinner: Spinner,
    every: Every,
    args: &'a ShrinkArgs,
    start: &'a Start,
    before: &'a Measure,
    saved: Option<ChoiceList>,
}

impl Watcher<'_> {
    fn see(&mut self, status: Status<'_>) {
        let best = status.best;
        self.spinner.say(&format!(
            "{} tried, {} values and {} choices left; now: {}",
            status.tried,
            best.tree.size(),
            best.choices.records.len(),
            status.what
        ));
        let Some(file) = &self.args.output else { return };
        if self.saved.is_some() && !self.every.due() {
            return;
        }
        // Whoever kills the process finds the best so far. What cannot be written is told at the end.
        if let Ok(done) = finish(best, self.start, self.args) {
            let text = report::scenario(&done, self.start, self.before, Some(Halt::Interrupted), self.args);
            let _ = write_whole(file, &text);
        }
        self.saved = Some(best.choices.clone());
    }
}
