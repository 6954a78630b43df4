//! `dmasim run`.

mod told;

use std::path::{Path, PathBuf};

use models::kernel::Draws;
use models::run::{LogLine, Request, Simulation, Source};
use models::scenario::{Expect, Resolved};
use reports::campaign::{CampaignPage, campaign as campaign_page};
use reports::compared::compared as compared_text;
use reports::coverage::{CoverageJson, coverage as coverage_text};
use reports::json::{CampaignJson, ExpectationJson, FindingJson, TestJson, TestedJson, line};
use reports::summary::{Head, summary};
use sim::explore::{SignatureStats, Summary, catching};
use sim::schedule::Strategy;

use super::Exit;
use super::compare::compare;
use super::conditions;
use crate::args::{Format, ReportKind, RunArgs};
use crate::campaign::{self, Plan, Tweaks};
use crate::expect::{self, Verdict};
use crate::explain::{Explained, explain};
use crate::input::{Failure, kernel_words, resolve};
use crate::interrupt;
use crate::output::Out;
use crate::report;
use told::{Told, again};

/// What a seed means to reads-from fuzzing.
pub(super) const ALONE: &str = "note: with rff this is the seed as the first of its campaign: what a seed does later in a \
                                campaign depends on what came before it, and is repeated by its token";

/// So many signatures are explained unless all are asked for.
const EXPLAINED: usize = 5;

pub(super) fn run(args: &RunArgs, out: &mut Out) -> Result<Exit, Failure> {
    report::check(
        &args.report,
        &[&ReportKind::OF_A_RUN, &ReportKind::OF_A_CAMPAIGN, &ReportKind::OF_RESULTS],
    )?;
    // The page tells what was exercised, unless the campaign is one that does not note it.
    let page = args.report.iter().any(|report| report.kind == ReportKind::Campaign);
    let observed = args.coverage || page && args.resume.is_none();
    let scenario = resolve(&args.scenario, &args.kernel, out)?;
    let one = args.seed.map(|seed| seed..seed + 1);
    let plan = Plan {
        seeds: campaign::seeds(&scenario, one.as_ref().or(args.seeds.as_ref())),
        jobs: args.jobs,
        tweaks: Tweaks::of(&args.engine).observing(observed, args.until_flat),
        quiet: out.quiet,
    };
    if args.resume.is_some()
        && (args.coverage || args.until_flat.is_some() || plan.tweaks.strategy(&scenario) == Strategy::Rff)
    {
        return Err(Failure::text(
            "--resume keeps what was found, and not what was exercised: it goes neither with --coverage and --until-flat \
             nor with the strategy rff",
        ));
    }
    if args.seed.is_some() && plan.tweaks.strategy(&scenario) == Strategy::Rff && !out.quiet {
        out.error_line(ALONE);
    }
    let simulation = Simulation::new(scenario);
    let human = args.format == Format::Human && !report::takes_stdout(&args.report);
    if human {
        let text = head(simulation.scenario(), &plan, args).render(out.paint);
        out.line(&text);
        out.flush();
    }
    let expect = simulation.scenario().expect.clone();
    let result = match &args.resume {
        None => campaign::run(&simulation, &plan, &expect, interrupt::flag()),
        Some(path) => campaign::run_kept(&simulation, &plan, &expect, interrupt::flag(), path)?,
    };
    if human {
        let text = summary(&result.summary, Some(result.rate()), out.paint);
        out.line(&text);
        out.flush();
    }
    if let Some(coverage) = result.coverage.as_ref().filter(|_| human && args.coverage) {
        let allowed = Draws::allowed(&simulation.scenario().inject);
        let text = coverage_text(coverage, &allowed, out.paint);
        out.line(&text);
        out.flush();
    }
    let compared = match &args.compare {
        None => Vec::new(),
        Some(strategies) => compare(&simulation, &plan, &result, strategies),
    };
    if human && !compared.is_empty() {
        let text = compared_text(&compared, out.paint);
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
    let list = result.summary.by_cause();
    let explained = explain_all(&simulation, &plan, &list, args);
    let saved = save(args, &explained)?;
    let mail = args.report.iter().any(|report| report.kind == ReportKind::Lkml);
    let needs = if human || mail || args.conditions {
        conditions::of_all(&simulation, plan.tweaks, &list, &explained, args.conditions)
    } else {
        Vec::new()
    };
    let told = Told {
        args,
        simulation: &simulation,
        list: &list,
        explained: &explained,
        needs: &needs,
        saved: &saved,
        ran: result.summary.ran,
    };
    if human {
        told.cases(out);
        conclude(out, &expect, verdict.as_ref(), result.summary.failed);
    } else if !report::takes_stdout(&args.report) {
        let token = |stats: &SignatureStats| {
            let at = list.iter().position(|other| std::ptr::eq(*other, stats))?;
            token_of(explained.get(at), &simulation, plan.tweaks, stats)
        };
        let name = (simulation.scenario().name.as_str(), simulation.scenario().digest.0);
        let mut json = CampaignJson::new(name, &result.summary, judged(verdict.as_ref()), token);
        if let Some(coverage) = result.coverage.as_ref().filter(|_| args.coverage) {
            json.coverage = Some(CoverageJson::new(coverage, &Draws::allowed(&simulation.scenario().inject)));
        }
        json.strategies = args.compare.is_some().then(|| compared.clone());
        let text = line(&json).map_err(|error| Failure::text(error.to_string()))?;
        out.line(&text);
    }
    let allowed = Draws::allowed(&simulation.scenario().inject);
    for wanted in &args.report {
        let text = if ReportKind::OF_RESULTS.contains(&wanted.kind) {
            report::of_results(wanted.kind, &as_test(&simulation, &result.summary, verdict.as_ref()), true)?
        } else if wanted.kind == ReportKind::Campaign {
            let head = head(simulation.scenario(), &plan, args);
            let page = CampaignPage {
                head: &head,
                from: plan.seeds.start,
                summary: &result.summary,
                coverage: result.coverage.as_ref().map(|coverage| (coverage, allowed.as_slice())),
                compared: &compared,
                expectation: &judged(verdict.as_ref()),
            };
            campaign_page(&page, &|seed, stats| again(args, seed, stats)).map_err(Failure::text)?
        } else {
            told.one_run(wanted.kind, plan.tweaks, plan.seeds.start)?
        };
        report::deliver(wanted, &text, out)?;
    }
    Ok(match verdict {
        _ if result.summary.interrupted => Exit::Interrupted,
        Some(verdict) if verdict.met() => Exit::Expected,
        None if result.summary.failed == 0 => Exit::Expected,
        Some(_) | None => Exit::Unexpected,
    })
}

fn head(scenario: &Resolved, plan: &Plan, args: &RunArgs) -> Head {
    let strategy = args.engine.strategy.unwrap_or_else(|| scenario.explore.strategy.into());
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

fn expected_words(scenario: &Resolved, args: &RunArgs) -> String {
    if args.kernel.changes_kernel() {
        "nothing: the kernel was changed on the command line".to_owned()
    } else {
        expect::in_words(&scenario.expect)
    }
}

/// So many seeds are looked at for the log that a scenario expects: some lines are those of rare moments.
const LOGS: usize = 15;

/// A log that holds what the expectation asks for, of one of the first seeds; else that of the first. `None` if nothing
/// is asked for.
pub(super) fn first_log(simulation: &Simulation, plan: &Plan, expect: &Expect) -> Option<Vec<LogLine>> {
    if expect.log().is_empty() {
        return None;
    }
    let log_of = |seed| {
        let request = Request {
            record_choices: false,
            details: false,
            ..plan.tweaks.on(Request::full(Source::Seed(seed)))
        };
        // A run that panics is a finding of the campaign already; its log is lost.
        catching(|| simulation.worker().run(&request).log()).unwrap_or_default()
    };
    let holds = |log: &Vec<LogLine>| {
        expect.log().iter().all(|wanted| log.iter().any(|line| line.text.contains(wanted.as_str())))
    };
    let first = log_of(plan.seeds.start);
    if holds(&first) {
        return Some(first);
    }
    let others = plan.seeds.clone().skip(1).take(LOGS);
    Some(others.map(log_of).find(holds).unwrap_or(first))
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
    let request = Request { guide: stats.guide.clone(), ..request };
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

/// The campaign as `dmasim test` would tell it.
fn as_test(simulation: &Simulation, summary: &Summary, verdict: Option<&Verdict>) -> TestJson {
    let met = verdict.map_or(summary.failed == 0, Verdict::met);
    let findings = summary.by_first_seed();
    let mut all = TestJson { interrupted: summary.interrupted, ..TestJson::default() };
    all.add(TestedJson {
        scenario: simulation.scenario().name.clone(),
        result: if met { "passed" } else { "failed" }.to_owned(),
        seeds: summary.ran,
        digest: format!("{:032x}", summary.digest),
        remarks: verdict.map(Verdict::remarks).unwrap_or_default(),
        findings: findings
            .iter()
            .map(|stats| FindingJson::new(&stats.finding, stats.count, stats.first_seed, None))
            .collect(),
    });
    all
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
