//! Running many seeds of a scenario, with a progress bar for whoever watches.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use models::run::{Request, Simulation};
use models::scenario::{Expect, Resolved};
use sim::explore::{Campaign, Progress, Summary};
use sim::schedule::Strategy;

use crate::args::{EngineArgs, OnFinding};
use crate::expect::Tally;
use crate::output::progress_visible;
use crate::stopwatch::{Stopwatch, per_second};

/// One in so many seeds is run twice, to find hidden nondeterminism early.
const RECHECK_EVERY: u64 = 64;

/// How runs go, instead of what the scenario says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tweaks {
    strategy: Option<Strategy>,
    max_steps: Option<u64>,
    on_finding_stop: Option<bool>,
}

impl Tweaks {
    pub(crate) fn of(args: &EngineArgs) -> Self {
        Self {
            strategy: args.strategy,
            max_steps: args.max_steps,
            on_finding_stop: args.on_finding.map(|what| what == OnFinding::Stop),
        }
    }

    /// Those of a search, which needs no strategy.
    pub(crate) fn of_search(max_steps: Option<u64>, on_finding: Option<OnFinding>) -> Self {
        Self { strategy: None, max_steps, on_finding_stop: on_finding.map(|what| what == OnFinding::Stop) }
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
    pub(crate) elapsed: Duration,
}

impl Result {
    /// Seeds a second.
    pub(crate) fn rate(&self) -> u64 {
        per_second(self.summary.ran, self.elapsed)
    }
}

/// The seeds that a scenario asks for, or those that the user does.
pub(crate) fn seeds(scenario: &Resolved, wanted: Option<&Range<u64>>) -> Range<u64> {
    wanted.cloned().unwrap_or(0..scenario.explore.seeds)
}

/// Runs the seeds of the plan and counts what `expect` looks for. Ends early when `stop` becomes true.
pub(crate) fn run(simulation: &Simulation, plan: &Plan, expect: &Expect, stop: &AtomicBool) -> Result {
    let watch = Stopwatch::start();
    let bar = Bar::new(plan);
    let tally = Mutex::new(Tally::new(expect));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let campaign = Campaign {
        seeds: plan.seeds.clone(),
        jobs: plan.jobs.unwrap_or(cores),
        recheck_every: RECHECK_EVERY,
    };
    let make = || {
        let mut worker = simulation.worker();
        let mut last = None;
        let tally = &tally;
        move |seed: u64| {
            let outcome = worker.run(&plan.tweaks.on(Request::quick(seed))).into_outcome();
            // A seed that is run twice to compare counts once.
            if last != Some(seed) {
                last = Some(seed);
                if !outcome.findings.is_empty() {
                    tally.lock().unwrap_or_else(PoisonError::into_inner).add(expect, seed, &outcome.findings);
                }
            }
            outcome
        }
    };
    let summary = campaign.run(make, &bar, stop);
    bar.finish();
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    Result { summary, tally, elapsed: watch.elapsed() }
}

/// The progress bar.
struct Bar {
    bar: ProgressBar,
    failed: AtomicU64,
}

impl Bar {
    fn new(plan: &Plan) -> Self {
        if !progress_visible(plan.quiet) {
            return Self { bar: ProgressBar::hidden(), failed: AtomicU64::new(0) };
        }
        let length = plan.seeds.end - plan.seeds.start;
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(8));
        let style = "{bar:30} {human_pos}/{human_len} seeds  {per_sec}  {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, failed: AtomicU64::new(0) }
    }

    fn finish(&self) {
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
