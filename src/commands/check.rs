//! `dmasim check`.

mod claim;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use models::run::{Request, Simulation, Source};
use models::scenario::Resolved;
use reports::case::Case;
use reports::json::{CheckJson, FindingJson, line};
use reports::summary::Head;
use sim::explore::Search;
use sim::explore::dpor::{Check, Focus, Found, Limits, Report, Watch};

use super::Exit;
use crate::args::{CheckArgs, EngineArgs, Format};
use crate::campaign::Tweaks;
use crate::explain::{Explained, explain_run};
use crate::input::{Failure, command, kernel_words, resolve};
use crate::interrupt;
use crate::output::{Out, progress_visible};
use crate::stopwatch::{Stopwatch, per_second};

/// So many signatures are explained unless all are asked for.
const EXPLAINED: usize = 5;

pub(super) fn check(args: &CheckArgs, out: &mut Out) -> Result<Exit, Failure> {
    let scenario = resolve(&args.scenario, &args.kernel, out)?;
    let limits = limits(args);
    let tweaks = Tweaks::of_search(args.max_steps, args.on_finding);
    let simulation = Simulation::new(scenario);
    let human = args.format == Format::Human;
    if human {
        let text = head(&simulation, args).render(out.paint);
        out.line(&text);
        out.flush();
    }
    let stop = interrupt::flag();
    let key = state::key(simulation.scenario().digest.0, args);
    let kept = match &args.resume {
        Some(file) => state::read(file, &limits, key)?,
        None => None,
    };
    let resumed = kept.is_some();
    let quick = tweaks.on(Request::quick(0));
    let runner = || {
        let mut worker = simulation.worker();
        let quick = quick.clone();
        move |search: Box<Search>| worker.search(search, &quick).end
    };
    let watch = Stopwatch::start();
    let before = kept.as_ref().map_or(0, |check| check.report().counts.runs());
    let mut check = kept.unwrap_or_else(|| Check::new(&limits, args.limit, runner()));
    let mut keeper = state::Keeper::new(args.resume.as_deref(), key);
    keeper.keep(&check)?;
    let bar = Bar::new(out.quiet, args.limit, before);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let report = check
        .run(args.limit, args.jobs.unwrap_or(cores), runner, &bar, stop, |check| keeper.now_and_then(check));
    bar.bar.finish_and_clear();
    keeper.keep(&check)?;
    let interrupted = interrupt::pressed();
    let rate = per_second(report.counts.runs() - before, watch.elapsed());
    let claim = claim::claim(&report, &limits, interrupted);
    let explained = explain_all(&simulation, tweaks, &limits, &report, args);
    if human {
        if resumed {
            out.line(&format!("Taken up again after {before} runs.\n"));
        }
        cases(out, args, simulation.scenario(), &report, &explained);
        conclude(out, args, &report, &claim, interrupted, rate);
    } else {
        let json = json(&simulation, &report, &explained, &claim, interrupted, args);
        let text = line(&json).map_err(|error| Failure::text(error.to_string()))?;
        out.line(&text);
    }
    Ok(match () {
        () if interrupted => Exit::Interrupted,
        () if report.found.is_empty() && report.given_up.is_empty() => Exit::Expected,
        () => Exit::Unexpected,
    })
}

fn limits(args: &CheckArgs) -> Limits {
    Limits {
        preemptions: args.preemptions,
        answers: args.answers,
        opaque: args.no_reduction,
        focus: Arc::new(Focus {
            from: args.focus.from_us.map(|us| us.saturating_mul(1_000)),
            from_function: args.focus.from_function.clone(),
            contexts: args.focus.contexts.clone(),
        }),
        ..Limits::default()
    }
}

fn head(simulation: &Simulation, args: &CheckArgs) -> Head {
    let scenario = simulation.scenario();
    let settings = [
        ("kernel", kernel_words(scenario)),
        ("cmdline", scenario.cmdline.clone()),
        ("machine", scenario.machine.name.clone()),
        ("varied", claim::varied(&limits(args))),
        ("bounds", claim::bounds(&limits(args), args.limit)),
    ];
    Head {
        scenario: scenario.name.clone(),
        about: scenario.about.clone(),
        settings: settings.into_iter().map(|(word, value)| (word.to_owned(), value)).collect(),
    }
}

type Explanations = Vec<(u64, Found, Option<Result<Explained, String>>)>;

/// The signatures, those that more runs show first, and the runs that show them.
fn explain_all(
    simulation: &Simulation,
    tweaks: Tweaks,
    limits: &Limits,
    report: &Report,
    args: &CheckArgs,
) -> Explanations {
    let mut list: Vec<_> = report.found.iter().collect();
    list.sort_by_key(|(hash, found)| (std::cmp::Reverse(found.count), **hash));
    let most = if args.all { usize::MAX } else { EXPLAINED };
    let explain = |(n, (hash, found)): (usize, (&u64, &Found))| {
        let explained = (n < most).then(|| {
            let search = Box::new(Search::repeat(limits.clone(), &found.path));
            explain_run(simulation, tweaks, *hash, Source::Search(search), None)
        });
        (*hash, found.clone(), explained)
    };
    list.into_iter().enumerate().map(explain).collect()
}

fn cases(out: &mut Out, args: &CheckArgs, scenario: &Resolved, report: &Report, list: &Explanations) {
    let (kernel, machine) = (kernel_words(scenario), scenario.machine.name.as_str());
    let engine = EngineArgs { strategy: None, max_steps: args.max_steps, on_finding: args.on_finding };
    let number = |hash: u64| list.iter().position(|(other, ..)| *other == hash).map(|n| n + 1);
    for (n, (_, found, explained)) in list.iter().enumerate() {
        let explained = match explained {
            Some(Ok(explained)) => explained,
            Some(Err(message)) => {
                out.line(&out.paint.bad(&format!("Finding {} of {}: {message}\n", n + 1, list.len())));
                continue;
            }
            None => continue,
        };
        let Some(finding) = explained.finding() else { continue };
        let token = ["--token", &explained.token];
        let case = Case {
            number: n + 1,
            of: list.len(),
            finding,
            first_seed: 0,
            searched: true,
            count: found.count,
            ran: report.counts.complete,
            trace: &explained.run.end.trace,
            choices: &explained.choices,
            drawn: &explained.drawn,
            shortened: explained.shortened,
            conditions: None,
            neighbours: explained.neighbours(number),
            reproduce: vec![command("replay", &args.scenario, &args.kernel, &engine, &token)],
            kernel: &kernel,
            machine,
        };
        let text = case.render(out.paint);
        out.line(&text);
    }
    if let Some(more @ 1..) = list.len().checked_sub(EXPLAINED)
        && !args.all
    {
        out.line(&format!("{more} more signatures were found; --all explains them too.\n"));
    }
}

fn conclude(out: &mut Out, args: &CheckArgs, report: &Report, claim: &str, interrupted: bool, rate: u64) {
    for message in &report.given_up {
        for line in reports::wrap(&reports::ascii(message), reports::WIDTH) {
            out.line(&out.paint.bad(&line));
        }
    }
    let proved = report.complete && report.found.is_empty();
    for line in reports::wrap(claim, reports::WIDTH) {
        let line = if proved { out.paint.good(&line) } else { line };
        out.line(&line);
    }
    if !report.complete
        && let Some(file) = &args.resume
    {
        out.line(&format!("The state of the search is in {}: the same command goes on.", file.display()));
    } else if interrupted {
        out.line("Nothing was kept: --resume FILE keeps the state of the search.");
    }
    if !out.quiet {
        out.error_line(&format!("{rate} runs a second"));
    }
}

fn json(
    simulation: &Simulation,
    report: &Report,
    list: &Explanations,
    claim: &str,
    interrupted: bool,
    args: &CheckArgs,
) -> CheckJson {
    let findings = list.iter().filter_map(|(_, found, explained)| {
        let explained = explained.as_ref()?.as_ref().ok()?;
        let finding = explained.finding()?;
        Some(FindingJson::new(finding, found.count, 0, Some(explained.token.clone())))
    });
    CheckJson {
        scenario: simulation.scenario().name.clone(),
        scenario_digest: format!("{:032x}", simulation.scenario().digest.0),
        engine: sim::ENGINE_VERSION,
        runs: report.counts.complete,
        broken_off: report.counts.blocked,
        failed: report.failed,
        complete: report.complete,
        branches: report.branches.0 as u64,
        branches_done: report.branches.1 as u64,
        preemptions: args.preemptions,
        interrupted,
        claim: claim.to_owned(),
        findings: findings.collect(),
    }
}

/// The progress bar.
struct Bar {
    bar: ProgressBar,
    runs: AtomicU64,
    done: AtomicUsize,
}

impl Bar {
    fn new(quiet: bool, limit: u64, before: u64) -> Self {
        let (runs, done) = (AtomicU64::new(before), AtomicUsize::new(usize::MAX));
        if !progress_visible(quiet) {
            return Self { bar: ProgressBar::hidden(), runs, done };
        }
        let bar = ProgressBar::with_draw_target(Some(limit), ProgressDrawTarget::stderr_with_hz(8));
        let style = "{bar:30} {human_pos} runs of {human_len} at most  {per_sec}  {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_position(before);
        Self { bar, runs, done }
    }
}

impl Watch for Bar {
    fn advanced(&self, runs: u64, done: usize, of: usize) {
        if self.bar.is_hidden() {
            return;
        }
        let all = self.runs.fetch_add(runs, Ordering::Relaxed) + runs;
        self.bar.inc(runs);
        if self.done.swap(done, Ordering::Relaxed) != done {
            // Branches differ in size: the estimate is a guess until most of them are done.
            let estimate = match done {
                0 => String::new(),
                _ => format!(", about {} runs in all", all * of as u64 / done as u64),
            };
            self.bar.set_message(format!("{done} of {of} branches done{estimate}"));
        }
    }
}
