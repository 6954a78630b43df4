//! `dmasim bisect`.

mod kernels;

use models::profile::{Behaviour, BehaviourSet, Version};
use models::run::{Request, Simulation};
use models::scenario::{Expect, Loaded, Resolved};
use models::shrink::{Settings, Target};
use reports::{WIDTH, ascii, wrap};
use serde_json::{Value, json};

use super::Exit;
use crate::args::{BisectArgs, Format};
use crate::campaign::{self, Plan, Tweaks};
use crate::expect::describe;
use crate::input::{Failure, Wanted, resolve};
use crate::interrupt;
use crate::output::Out;
use kernels::{Change, Spec, Tester, Untested, between};

/// Seeds with each kernel, unless the scenario asks for fewer or the user for others.
const SEEDS: u64 = 200;

pub(super) fn bisect(args: &BisectArgs, out: &mut Out) -> Result<Exit, Failure> {
    if !args.once {
        return search(args, out);
    }
    match once(args, out) {
        Ok(exit) => Ok(exit),
        Err(failure) => {
            // `git bisect run` takes any other code for a verdict.
            failure.show(out);
            Ok(Exit::Skip)
        }
    }
}

/// The finding that is looked for, and in words.
fn target(args: &BisectArgs, scenario: &Resolved) -> (Target, String) {
    match (&args.signature, &scenario.expect) {
        (Some(name), _) => (Target::named(Some(name)), format!("a finding of signature \"{name}\"")),
        (None, Expect::Findings { all, .. }) if !all.is_empty() => {
            let words: Vec<String> = all.iter().map(describe).collect();
            (Target::Patterns(all.clone()), words.join(", or "))
        }
        (None, _) => (Target::named(None), "any finding".to_owned()),
    }
}

fn seeds(args: &BisectArgs, scenario: &Resolved) -> std::ops::Range<u64> {
    args.seeds.clone().unwrap_or(0..scenario.explore.seeds.min(SEEDS))
}

/// Tests the scenario as it is.
fn once(args: &BisectArgs, out: &mut Out) -> Result<Exit, Failure> {
    let scenario = resolve(&args.subject.scenario, &args.subject.kernel, out)?;
    let (target, words) = target(args, &scenario);
    let plan = Plan {
        seeds: seeds(args, &scenario),
        jobs: args.jobs,
        tweaks: Tweaks::of(&args.subject.engine),
        quiet: out.quiet,
    };
    let simulation = Simulation::new(scenario);
    let result = campaign::run(&simulation, &plan, &Expect::default(), interrupt::flag());
    let summary = &result.summary;
    let of_the_tool = |kind: &str| matches!(kind, "panic-in-model" | "nondeterminism");
    let broken = summary.signatures.values().find(|stats| of_the_tool(stats.finding.kind));
    let found = summary.by_first_seed().into_iter().find(|stats| target.is(&stats.finding));
    let (text, exit) = match (found, broken) {
        (Some(stats), _) => {
            (format!("bad: seed {} shows {}", stats.first_seed, stats.finding.signature()), Exit::Unexpected)
        }
        (None, Some(stats)) => (format!("cannot be told: {}", stats.finding.title), Exit::Skip),
        (None, None) if summary.interrupted => ("cannot be told: interrupted".to_owned(), Exit::Skip),
        (None, None) => (format!("good: none of {} seeds shows {words}", summary.ran), Exit::Expected),
    };
    if args.format == Format::Json {
        let word = text.split(':').next().unwrap_or_default();
        out.line(&json!({ "verdict": word, "text": text, "seeds": summary.ran }).to_string());
    } else {
        for line in wrap(&ascii(&text), WIDTH) {
            out.line(&line);
        }
    }
    Ok(exit)
}

/// What is found out.
#[derive(Default)]
struct Answers {
    versions: Vec<(Spec, Option<u64>)>,
    brings: Option<Step>,
    takes: Option<Step>,
    single: Vec<Change>,
}

/// The fewest changes between two kernels that matter.
struct Step {
    from: Spec,
    to: Spec,
    of: usize,
    /// `None`: not even all of them together.
    changes: Option<Vec<Change>>,
}

fn search(args: &BisectArgs, out: &mut Out) -> Result<Exit, Failure> {
    let own = resolve(&args.subject.scenario, &args.subject.kernel, out)?;
    let wanted = Wanted::of(&args.subject.scenario);
    let loaded: Loaded = wanted.load()?;
    let (target, words) = target(args, &own);
    let request = Tweaks::of(&args.subject.engine).on(Request::quick(0));
    let settings = Settings { target, tries: 0, request };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let seeds = seeds(args, &own);
    let jobs = args.jobs.unwrap_or(cores);
    let mut tester =
        Tester::new(&loaded, &args.subject.kernel, wanted.variant.as_deref(), settings, seeds.clone(), jobs);
    let human = args.format == Format::Human;
    if human {
        let text = format!("{}: {words}", own.name);
        for line in wrap(&ascii(&text), WIDTH) {
            out.line(&line);
        }
        out.line(&format!("seeds {} to {} with each kernel\n", seeds.start, seeds.end - 1));
        out.flush();
    }
    let mut result = Answers::default();
    let mut emit = |line: String| {
        if human {
            out.line(&line);
            out.flush();
        }
    };
    let (exit, note) = match find(args, &own, &mut tester, &mut result, &mut emit) {
        Ok(None) => (Exit::Expected, None),
        Ok(Some(note)) => (Exit::Unexpected, Some(note)),
        Err(Stopped::Interrupted) => (Exit::Interrupted, Some("Interrupted.".to_owned())),
        Err(Stopped::Failure(failure)) => return Err(failure),
    };
    if human {
        if let Some(step) = &result.brings {
            tell(step, "What brings it in", &tester, out);
        }
        if let Some(step) = &result.takes {
            tell(step, "What takes it out", &tester, out);
        }
        if !result.single.is_empty() {
            out.line(&out.paint.heading("Single changes to the bad kernel that make it go away"));
            result.single.iter().for_each(|change| tell_change(*change, out));
            out.line("");
        }
        if let Some(note) = &note {
            for line in wrap(&ascii(note), WIDTH) {
                out.line(&line);
            }
        }
        out.line(&format!("{} kernels tested", tester.tested()));
    } else {
        out.line(&as_json(&own, &words, &result, note.as_deref(), exit).to_string());
    }
    Ok(exit)
}

enum Stopped {
    Interrupted,
    Failure(Failure),
}

impl From<Untested> for Stopped {
    fn from(untested: Untested) -> Self {
        match untested {
            Untested::Interrupted => Self::Interrupted,
            Untested::Impossible(why) => Self::Failure(Failure::text(why)),
        }
    }
}

/// A version that the user names.
fn named(name: &str) -> Result<Spec, Stopped> {
    let version = Version::from_name(name).filter(|version| version.supported());
    version.map(|version| Spec::of_version(version.name())).ok_or_else(|| {
        let near = models::scenario::nearest(name, Version::supported_names())
            .map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        let all: Vec<String> = Version::supported_names().map(|name| format!("`{name}`")).collect();
        Stopped::Failure(Failure::text(format!(
            "no kernel version `{name}` can be run\n  help: {near}allowed: {}",
            all.join(", ")
        )))
    })
}

/// Does it all; what stands in the way of an answer is returned in words.
fn find(
    args: &BisectArgs,
    own: &Resolved,
    tester: &mut Tester<'_>,
    result: &mut Answers,
    emit: &mut dyn FnMut(String),
) -> Result<Option<String>, Stopped> {
    let good = args.good.as_deref().map(named).transpose()?;
    let bad = match args.bad.as_deref() {
        Some(name) => named(name)?,
        None => Spec::of(own),
    };
    let mut versions: Vec<Spec> = Version::supported_names().map(Spec::of_version).collect();
    if !versions.contains(&bad) {
        let before = versions.iter().position(|spec| spec.version == bad.version).map_or(0, |n| n + 1);
        versions.insert(before, bad.clone());
    }
    emit(format!("  {:<60} {}", "kernel", "finding"));
    for spec in &versions {
        let found = match tester.test(spec) {
            Ok(found) => found,
            Err(Untested::Impossible(why)) => {
                emit(format!("  {:<60} cannot be run: {}", ascii(&spec.words()), ascii(&why)));
                continue;
            }
            Err(Untested::Interrupted) => return Err(Stopped::Interrupted),
        };
        let mark = if *spec == bad { " <- bad" } else { "" };
        let text = found.map_or_else(|| "no".to_owned(), |seed| format!("in seed {seed}"));
        emit(format!("  {:<60} {text}{mark}", ascii(&spec.words())));
        result.versions.push((spec.clone(), found));
    }
    emit(String::new());
    if tester.test(&bad)?.is_none() {
        return Ok(Some(format!("There is nothing to bisect: {} does not show it.", bad.words())));
    }
    let place = versions.iter().position(|spec| *spec == bad).unwrap_or(0);
    let clean = |spec: &&Spec| result.versions.iter().any(|(other, found)| other == *spec && found.is_none());
    let (earlier, later) = match &good {
        Some(spec) => {
            if let Some(seed) = tester.test(spec)? {
                return Ok(Some(format!("{} is not good: seed {seed} shows it too.", spec.words())));
            }
            (Some(spec.clone()), Some(spec.clone()))
        }
        None => {
            let earlier = versions[..place].iter().rev().find(clean).cloned();
            let later = versions[place + 1..].iter().find(clean).cloned();
            (earlier.clone().or_else(|| later.clone()), later.or(earlier))
        }
    };
    let set = |spec: &Spec, tester: &Tester<'_>| -> Result<BehaviourSet, Stopped> {
        Ok(tester.resolve(spec)?.profile.set)
    };
    let bad_set = set(&bad, tester)?;
    if let Some(from) = earlier {
        let changes = between(set(&from, tester)?, bad_set);
        let fewest = tester.fewest(&from, &changes, true)?;
        result.brings = Some(Step { from, to: bad.clone(), of: changes.len(), changes: fewest });
    }
    if let Some(to) = later {
        let changes = between(bad_set, set(&to, tester)?);
        let fewest = tester.fewest(&bad, &changes, false)?;
        result.takes = Some(Step { from: bad.clone(), to, of: changes.len(), changes: fewest });
    }
    let mut cures: Vec<(Change, Vec<Change>)> = Vec::new();
    for behaviour in Behaviour::ALL {
        let change = Change { behaviour: *behaviour, comes: !bad_set.has(*behaviour) };
        let spec = bad.with(&[change]);
        match tester.test(&spec) {
            Ok(None) => cures.push((change, between(bad_set, set(&spec, tester)?))),
            Ok(Some(_)) | Err(Untested::Impossible(_)) => {}
            Err(Untested::Interrupted) => return Err(Stopped::Interrupted),
        }
    }
    // One that brings another one along, which is enough by itself, says nothing new.
    let brings_another = |(own, all): &(Change, Vec<Change>)| {
        cures.iter().any(|(other, less)| {
            other != own && less.len() < all.len() && less.iter().all(|change| all.contains(change))
        })
    };
    result.single = cures.iter().filter(|cure| !brings_another(cure)).map(|(change, _)| *change).collect();
    if result.brings.is_none() && result.single.is_empty() {
        return Ok(Some(
            "Every kernel shows it, and so does each with one change: it is in none of them.".to_owned(),
        ));
    }
    Ok(None)
}

fn tell(step: &Step, heading: &str, tester: &Tester<'_>, out: &mut Out) {
    let text =
        format!("{heading}: of {} changes between {} and {}", step.of, step.from.words(), step.to.words());
    out.line(&out.paint.heading(&ascii(&text)));
    match &step.changes {
        None => out.line("  not even all of them together: the rest of what a version is matters"),
        Some(changes) => {
            changes.iter().for_each(|change| tell_change(*change, out));
            // What a change needs comes with it.
            let base = tester.resolve(&step.from).map(|resolved| resolved.profile.set);
            let then = tester.resolve(&step.from.with(changes)).map(|resolved| resolved.profile.set);
            if let (Ok(base), Ok(then)) = (base, then) {
                let along: Vec<String> = between(base, then)
                    .into_iter()
                    .filter(|change| !changes.contains(change))
                    .map(|change| format!("{}{}", if change.comes { "+" } else { "-" }, change.behaviour))
                    .collect();
                if !along.is_empty() {
                    for line in wrap(&format!("with what that brings along: {}", along.join(", ")), WIDTH - 4)
                    {
                        out.line(&format!("    {line}"));
                    }
                }
            }
        }
    }
    out.line("");
}

fn tell_change(change: Change, out: &mut Out) {
    let facts = change.behaviour.facts();
    let sign = if change.comes { "+" } else { "-" };
    let commits = match facts.commits {
        [] => String::new(),
        commits => format!(" (commit {})", commits.join(", ")),
    };
    out.line(&format!("  {sign} {}{commits}", change.behaviour));
    for line in wrap(&ascii(facts.what), WIDTH - 6) {
        out.line(&format!("      {line}"));
    }
}

fn as_json(own: &Resolved, words: &str, result: &Answers, note: Option<&str>, exit: Exit) -> Value {
    let change = |change: &Change| {
        json!({
            "behaviour": change.behaviour.name(),
            "comes": change.comes,
            "commits": change.behaviour.facts().commits,
        })
    };
    let step = |step: &Option<Step>| {
        step.as_ref().map(|step| {
            json!({
                "from": step.from.words(),
                "to": step.to.words(),
                "of": step.of,
                "changes": step.changes.as_ref().map(|list| list.iter().map(change).collect::<Vec<_>>()),
            })
        })
    };
    let versions: Vec<Value> = result
        .versions
        .iter()
        .map(|(spec, found)| json!({ "kernel": spec.words(), "first_seed": found }))
        .collect();
    json!({
        "scenario": own.name,
        "finding": words,
        "versions": versions,
        "brings": step(&result.brings),
        "takes": step(&result.takes),
        "single": result.single.iter().map(change).collect::<Vec<_>>(),
        "note": note,
        "interrupted": exit == Exit::Interrupted,
    })
}
