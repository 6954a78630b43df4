//! Running many seeds of a scenario, with a progress bar for whoever watches.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use models::run::{Request, Simulation};
use models::scenario::{Expect, Resolved};
use sim::coverage::Coverage;
use sim::explore::{Campaign, Observe, Progress, Summary};
use sim::schedule::{Guide, Strategy};

use crate::args::{EngineArgs, OnFinding};
use crate::expect::Tally;
use crate::input::Failure;
use crate::output::progress_visible;
use crate::state::{Asked, State};
use crate::stopwatch::{Spinner, Stopwatch, per_second};

/// One in so many seeds is run twice, to find hidden nondeterminism early.
pub(crate) const RECHECK_EVERY: u64 = 64;

/// How runs go, instead of what the scenario says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tweaks {
    strategy: Option<Strategy>,
    max_steps: Option<u64>,
    on_finding_stop: Option<bool>,
    /// Whether it is noted what runs exercise.
    coverage: bool,
    /// The campaign ends when nothing new came for so many seeds.
    until_flat: Option<u64>,
}

impl Tweaks {
    pub(crate) fn of(args: &EngineArgs) -> Self {
        Self {
            strategy: args.strategy,
            max_steps: args.max_steps,
            on_finding_stop: args.on_finding.map(|what| what == OnFinding::Stop),
            coverage: false,
            until_flat: None,
        }
    }

    /// The same, looking at what runs exercise.
    pub(crate) fn observing(self, coverage: bool, until_flat: Option<u64>) -> Self {
        Self { coverage, until_flat, ..self }
    }

    /// The same with another strategy, and all seeds.
    pub(crate) fn with_strategy(self, strategy: Strategy) -> Self {
        Self { strategy: Some(strategy), until_flat: None, ..self }
    }

    /// Who goes on in runs of this scenario.
    pub(crate) fn strategy(self, scenario: &Resolved) -> Strategy {
        self.strategy.unwrap_or_else(|| scenario.explore.strategy.into())
    }

    /// Those of a search, which needs no strategy.
    pub(crate) fn of_search(max_steps: Option<u64>, on_finding: Option<OnFinding>) -> Self {
        Self { max_steps, on_finding_stop: on_finding.map(|what| what == OnFinding::Stop), ..Self::default() }
    }

    /// The request with these settings.
    pub(crate) fn on(self, request: Request) -> Request {
        Request {
            strategy: self.strategy,
            max_steps: self.max_steps,
            on_finding_stop: self.on_finding_stop,
            ..request
        }
    }
}

/// What to run, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seeds: Range<u64>,
    pub(crate) jobs: Option<usize>,
    pub(crate) tweaks: Tweaks,
    pub(crate) quiet: bool,
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Result {
    pub(crate) summary: Summary,
    pub(crate) tally: Tally,
    /// What the runs exercised, if that was noted.
    pub(crate) coverage: Option<Coverage>,
    pub(crate) elapsed: Duration,
    /// Seeds that were run earlier, and not in that time.
    pub(crate) earlier: u64,
}

impl Result {
    /// Seeds a second.
    pub(crate) fn rate(&self) -> u64 {
        per_second(self.summary.ran - self.earlier, self.elapsed)
    }
}

/// The seeds that a scenario asks for, or those that the user does.
pub(crate) fn seeds(scenario: &Resolved, wanted: Option<&Range<u64>>) -> Range<u64> {
    wanted.cloned().unwrap_or(0..scenario.explore.seeds)
}

/// Runs the seeds of the plan and counts what `expect` looks for. Ends early when `stop` becomes true.
pub(crate) fn run(simulation: &Simulation, plan: &Plan, expect: &Expect, stop: &AtomicBool) -> Result {
    let watch = Stopwatch::start();
    let bar = Bar::new(&plan.seeds, plan.quiet);
    let tally = Mutex::new(Tally::new(expect));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let campaign = Campaign {
        seeds: plan.seeds.clone(),
        jobs: plan.jobs.unwrap_or(cores),
        recheck_every: RECHECK_EVERY,
    };
    let fuzz = plan.tweaks.strategy(simulation.scenario()) == Strategy::Rff;
    let observe = Observe { fuzz, until_flat: plan.tweaks.until_flat };
    let observed = fuzz || plan.tweaks.coverage || plan.tweaks.until_flat.is_some();
    let make = || {
        let mut worker = simulation.worker();
        let mut last = None;
        let tally = &tally;
        move |seed: u64, guide: Option<&Guide>| {
            let request = Request { coverage: observed, guide: guide.cloned(), ..Request::quick(seed) };
            let observed = worker.run(&plan.tweaks.on(request)).into_observed();
            // A seed that is run twice to compare counts once.
            let findings = &observed.outcome.findings;
            if last.replace(seed) != Some(seed) && !findings.is_empty() {
                tally.lock().unwrap_or_else(PoisonError::into_inner).add(expect, seed, findings);
            }
            observed
        }
    };
    let (summary, coverage) = if observed {
        let (summary, coverage) = campaign.run_observed(make, &bar, stop, observe);
        (summary, Some(coverage))
    } else {
        let plain = || {
            let mut run = make();
            move |seed| run(seed, None).outcome
        };
        (campaign.run(plain, &bar, stop), None)
    };
    bar.finish();
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    Result { summary, tally, coverage, elapsed: watch.elapsed(), earlier: 0 }
}

/// Seeds that are run before the state is written for the first time.
const FIRST_PART: u64 = 32;
/// How long a part is to take, about: so much is lost when the process is killed, and run again.
const PART_MS: u128 = 500;

/// The same with its state in a file: goes on from it if it is there, and writes it after each part. What a part that
/// was interrupted has found is told, but not kept: it is found again.
pub(crate) fn run_kept(
    simulation: &Simulation,
    plan: &Plan,
    expect: &Expect,
    stop: &AtomicBool,
    path: &Path,
) -> std::result::Result<Result, Failure> {
    let watch = Stopwatch::start();
    let scenario = simulation.scenario();
    let asked = Asked {
        engine: sim::ENGINE_VERSION,
        scenario: scenario.digest.to_string(),
        seeds: plan.seeds.clone(),
        settings: format!("{:?}, scenario {:?}", plan.tweaks, scenario.explore.strategy),
        expected: format!("{expect:?}"),
    };
    let mut state = State::open(path, asked, Tally::new(expect))?;
    let earlier = state.summary.ran;
    // Also when nothing is left to do: what cannot be written is to be told before hours of work.
    state.save(path)?;
    let spinner = Spinner::new(plan.quiet);
    let mut size = FIRST_PART;
    let mut rest = None;
    while state.next < plan.seeds.end && !stop.load(Ordering::Relaxed) {
        let end = plan.seeds.end.min(state.next + size);
        let part = Plan { seeds: state.next..end, quiet: true, ..plan.clone() };
        let part = run(simulation, &part, expect, stop);
        if part.summary.interrupted {
            rest = Some(part);
            break;
        }
        let took = part.elapsed.as_millis();
        if took < PART_MS / 2 {
            size = (size * 2).min(1 << 20);
        } else if took > PART_MS * 2 {
            size = (size / 2).max(FIRST_PART);
        }
        state.summary.merge(part.summary);
        state.tally.merge(part.tally);
        state.next = end;
        state.save(path)?;
        spinner.say(&format!("{} of {} seeds, {} failed", end, plan.seeds.end, state.summary.failed));
    }
    spinner.clear();
    let (mut summary, mut tally) = (state.summary, state.tally);
    if let Some(rest) = rest {
        summary.merge(rest.summary);
        tally.merge(rest.tally);
    }
    summary.interrupted = state.next < plan.seeds.end;
    Ok(Result { summary, tally, coverage: None, elapsed: watch.elapsed(), earlier })
}

/// The progress bar.
pub(crate) struct Bar {
    bar: ProgressBar,
    failed: AtomicU64,
}

impl Bar {
    pub(crate) fn new(seeds: &Range<u64>, quiet: bool) -> Self {
        if !progress_visible(quiet) {
            return Self { bar: ProgressBar::hidden(), failed: AtomicU64::new(0) };
        }
        let length = seeds.end - seeds.start;
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(8));
        let style = "{bar:30} {human_pos}/{human_len} seeds  {per_sec}  {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, failed: AtomicU64::new(0) }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Bar {
    fn advanced(&self, seeds: u64, failed: u64) {
        if self.bar.is_hidden() {
            return;
        }
        if failed > 0 {
            let all = self.failed.fetch_add(failed, Ordering::Relaxed) + failed;
            self.bar.set_message(format!("{all} failed"));
        }
        self.bar.inc(seeds);
    }
}
