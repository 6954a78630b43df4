//! `dmasim run`.

use std::path::{Path, PathBuf};

use models::run::{LogLine, Request, Simulation, Source};
use models::scenario::{Expect, Resolved, Strategy};
use reports::case::{Case, Neighbour};
use reports::json::{CampaignJson, ExpectationJson, line};
use reports::summary::{Head, summary};
use sim::explore::{SignatureStats, catching};

use super::Exit;
use crate::args::{Format, RunArgs};
use crate::campaign::{self, Plan, Tweaks};
use crate::expect::{self, Verdict};
use crate::explain::{Explained, explain};
use crate::input::{Failure, command, kernel_words, resolve};
use crate::interrupt;
use crate::output::Out;

/// So many signatures are explained unless all are asked for.
const EXPLAINED: usize = 5;
/// A longer token is not shown.
const MAX_TOKEN: usize = 200;

pub(super) fn run(args: &RunArgs, out: &mut Out) -> Result<Exit, Failure> {
    let scenario = resolve(&args.scenario, &args.kernel, out)?;
    let one = args.seed.map(|seed| seed..seed + 1);
    let plan = Plan {
        seeds: campaign::seeds(&scenario, one.as_ref().or(args.seeds.as_ref())),
        jobs: args.jobs,
        tweaks: Tweaks::of(&args.engine),
        quiet: out.quiet,
    };
    let simulation = Simulation::new(scenario);
    let human = args.format == Format::Human;
    if human {
        let text = head(simulation.scenario(), &plan, args).render(out.paint);
        out.line(&text);
        out.flush();
    }
    let expect = simulation.scenario().expect.clone();
    let result = campaign::run(&simulation, &plan, &expect, interrupt::flag());
    if human {
        let text = summary(&result.summary, Some(result.rate()), out.paint);
        out.line(&text);
        out.flush();
    }
    let verdict = if args.kernel.changes_kernel() {
        None
    } else {
        let log = first_log(&simulation, &plan, &expect);
        Some(result.tally.judge(
            &expect,
            &result.summary,
            simulation.scenario().explore.seeds,
            log.as_deref(),
        ))
    };
    let list = result.summary.by_first_seed();
    let explained = explain_all(&simulation, &plan, &list, args);
    let saved = save(args, &explained)?;
    if human {
        cases(out, args, &list, &explained, &saved, result.summary.ran);
        conclude(out, &expect, verdict.as_ref(), result.summary.failed);
    } else {
        let token = |stats: &SignatureStats| {
            let at = list.iter().position(|other| std::ptr::eq(*other, stats))?;
            token_of(explained.get(at), &simulation, plan.tweaks, stats)
        };
        let name = (simulation.scenario().name.as_str(), simulation.scenario().digest.0);
        let json = CampaignJson::new(name, &result.summary, judged(verdict.as_ref()), token);
        let text = line(&json).map_err(|error| Failure::text(error.to_string()))?;
        out.line(&text);
    }
    Ok(match verdict {
        _ if result.summary.interrupted => Exit::Interrupted,
        Some(verdict) if verdict.met() => Exit::Expected,
        None if result.summary.failed == 0 => Exit::Expected,
        Some(_) | None => Exit::Unexpected,
    })
}

fn head(scenario: &Resolved, plan: &Plan, args: &RunArgs) -> Head {
    let strategy = args
        .engine
        .strategy
        .map_or_else(|| strategy_words(scenario.explore.strategy), |strategy| strategy.to_string());
    let settings = [
        ("kernel", kernel_words(scenario)),
        ("cmdline", scenario.cmdline.clone()),
        ("machine", scenario.machine.name.clone()),
        ("seeds", format!("{} to {}, strategy {strategy}", plan.seeds.start, plan.seeds.end - 1)),
        ("expected", expected_words(scenario, args)),
    ];
    Head {
        scenario: scenario.name.clone(),
        about: scenario.about.clone(),
        settings: settings.into_iter().map(|(word, value)| (word.to_owned(), value)).collect(),
    }
}

/// The strategy as it is named on the command line.
fn strategy_words(strategy: Strategy) -> String {
    match strategy {
        Strategy::Swarm => "swarm".to_owned(),
        Strategy::RoundRobin => "round-robin".to_owned(),
        Strategy::Random => "random".to_owned(),
        Strategy::Pct(depth) => format!("pct:{depth}"),
    }
}

fn expected_words(scenario: &Resolved, args: &RunArgs) -> String {
    if args.kernel.changes_kernel() {
        "nothing: the kernel was changed on the command line".to_owned()
    } else {
        expect::in_words(&scenario.expect)
    }
}

/// The log of the first seed, if the expectation asks for it.
pub(super) fn first_log(simulation: &Simulation, plan: &Plan, expect: &Expect) -> Option<Vec<LogLine>> {
    if expect.log().is_empty() {
        return None;
    }
    let request = Request {
        record_choices: false,
        details: false,
        ..plan.tweaks.on(Request::full(Source::Seed(plan.seeds.start)))
    };
    // A run that panics is a finding of the campaign already; its log is lost.
    Some(catching(|| simulation.worker().run(&request).log()).unwrap_or_default())
}

type Explanations = Vec<Result<Explained, String>>;

fn explain_all(
    simulation: &Simulation,
    plan: &Plan,
    list: &[&SignatureStats],
    args: &RunArgs,
) -> Explanations {
    let most = if args.all { usize::MAX } else { EXPLAINED };
    list.iter().take(most).map(|stats| explain(simulation, plan.tweaks, stats)).collect()
}

/// The token of a signature: of the shortened run if there is one, or else of its first seed as it is.
fn token_of(
    explained: Option<&Result<Explained, String>>,
    simulation: &Simulation,
    tweaks: Tweaks,
    stats: &SignatureStats,
) -> Option<String> {
    if let Some(explained) = explained {
        return explained.as_ref().ok().map(|explained| explained.token.clone());
    }
    let request =
        Request { record: false, details: false, ..tweaks.on(Request::full(Source::Seed(stats.first_seed))) };
    let mut run = catching(|| simulation.worker().run(&request)).ok()?;
    Some(run.token(simulation.scenario(), stats.first_seed, stats.finding.signature_hash()).encode())
}

/// Writes the tokens to files, if that is asked for; gives the file of each signature.
fn save(args: &RunArgs, explained: &Explanations) -> Result<Vec<Option<PathBuf>>, Failure> {
    let mut files = Vec::new();
    for (n, explained) in explained.iter().enumerate() {
        let (Some(base), Ok(explained)) = (&args.save_token, explained) else {
            files.push(None);
            continue;
        };
        let file = numbered(base, n);
        std::fs::write(&file, format!("{}\n", explained.token)).map_err(|error| {
            Failure::text(format!("cannot write the token to {}: {error}", file.display()))
        })?;
        files.push(Some(file));
    }
    Ok(files)
}

fn numbered(base: &Path, n: usize) -> PathBuf {
    if n == 0 {
        return base.to_owned();
    }
    let mut name = base.as_os_str().to_owned();
    name.push(format!(".{}", n + 1));
    name.into()
}

fn cases(
    out: &mut Out,
    args: &RunArgs,
    list: &[&SignatureStats],
    explained: &Explanations,
    saved: &[Option<PathBuf>],
    ran: u64,
) {
    let number = |hash: u64| list.iter().position(|s| s.finding.signature_hash() == hash).map(|n| n + 1);
    for (n, (stats, explained)) in list.iter().zip(explained).enumerate() {
        let explained = match explained {
            Ok(explained) => explained,
            Err(message) => {
                let text = format!("Finding {} of {}: {}", n + 1, list.len(), stats.finding.kind);
                out.line(&out.paint.bad(&text));
                for line in reports::wrap(&reports::ascii(message), reports::WIDTH - 2) {
                    out.line(&format!("  {line}"));
                }
                let seed = stats.first_seed.to_string();
                let text = command("replay", &args.scenario, &args.kernel, &args.engine, &["--seed", &seed]);
                out.line(&format!("  to repeat it: {text}\n"));
                continue;
            }
        };
        let Some(finding) = explained.finding() else { continue };
        let hash = finding.signature_hash();
        let own = explained.whole.iter().position(|f| f.signature_hash() == hash).unwrap_or(0);
        let neighbours = explained.whole.iter().enumerate().filter(|(at, _)| *at != own);
        let case = Case {
            number: n + 1,
            of: list.len(),
            finding,
            first_seed: stats.first_seed,
            searched: false,
            count: stats.count,
            ran,
            trace: &explained.run.end.trace,
            choices: &explained.choices,
            drawn: &explained.drawn,
            shortened: explained.shortened,
            neighbours: neighbours
                .map(|(at, finding)| Neighbour {
                    finding,
                    number: number(finding.signature_hash()),
                    earlier: at < own,
                })
                .collect(),
            reproduce: reproduce(args, stats, explained, saved.get(n).and_then(Option::as_deref)),
        };
        let text = case.render(out.paint);
        out.line(&text);
    }
    if let Some(more @ 1..) = list.len().checked_sub(explained.len()) {
        out.line(&format!("{more} more are listed above; --all explains them too.\n"));
    }
}

fn reproduce(
    args: &RunArgs,
    stats: &SignatureStats,
    explained: &Explained,
    saved: Option<&Path>,
) -> Vec<String> {
    let replay = |rest: &[&str]| command("replay", &args.scenario, &args.kernel, &args.engine, rest);
    let mut lines = vec![
        "the seed as it was drawn:".to_owned(),
        format!("  {}", replay(&["--seed", &stats.first_seed.to_string()])),
    ];
    let run = if explained.shortened.is_some() { "the shortened run" } else { "the same from its choices" };
    if let Some(file) = saved {
        lines.push(format!("{run}:"));
        lines.push(format!("  {}", replay(&["--token-file", &file.to_string_lossy()])));
    } else if explained.token.len() <= MAX_TOKEN {
        lines.push(format!("{run}:"));
        lines.push(format!("  {}", replay(&["--token", &explained.token])));
    } else {
        lines.push(format!(
            "{run} is a token of {} characters: `dmasim run --save-token FILE`",
            explained.token.len()
        ));
        lines.push("  keeps it, `dmasim replay --token-file FILE` repeats it".to_owned());
    }
    lines
}

fn judged(verdict: Option<&Verdict>) -> ExpectationJson {
    match verdict {
        None => ExpectationJson { result: "none", remarks: Vec::new() },
        Some(verdict) => ExpectationJson {
            result: match () {
                () if verdict.open() => "not decided",
                () if verdict.met() => "met",
                () => "not met",
            },
            remarks: verdict.remarks(),
        },
    }
}

fn conclude(out: &mut Out, expect: &Expect, verdict: Option<&Verdict>, failed: u64) {
    let Some(verdict) = verdict else {
        let outcome = if failed == 0 { "clean" } else { "with findings" };
        out.line(&format!(
            "The kernel was changed on the command line, so the scenario's expectation does not count: {outcome}."
        ));
        return;
    };
    let text = if verdict.open() {
        "Nothing speaks against what is expected, but too few seeds were run to decide:".to_owned()
    } else if verdict.met() {
        out.paint.good(&format!("As expected: {}.", expect::in_words(expect)))
    } else {
        out.paint.bad("Not as expected:")
    };
    for line in reports::wrap(&text, reports::WIDTH) {
        out.line(&line);
    }
    for remark in verdict.remarks() {
        for (n, line) in reports::wrap(&remark, reports::WIDTH - 4).iter().enumerate() {
            out.line(&format!("  {} {line}", if n == 0 { "-" } else { " " }));
        }
    }
}
