//! `dmasim test`.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use models::run::Simulation;
use models::scenario::{Resolved, nearest};
use reports::json::{FindingJson, PartJson, TestJson, TestedJson, line};
use reports::merge::part_of;
use reports::{SCREEN, ascii, wrap};

use super::Exit;
use super::run::first_log;
use crate::args::{Format, Report, ReportKind, TestArgs};
use crate::campaign::{self, Plan, Tweaks};
use crate::expect;
use crate::input::{Failure, Wanted, variant, warn_kinds};
use crate::interrupt;
use crate::output::Out;
use crate::regression::{Regression, compare, is_regression};
use crate::report;

/// Folders that hold parts of scenarios and no scenarios.
const PARTS: [&str; 2] = ["machines", "drivers"];
/// So many remarks on a scenario are shown.
const MAX_REMARKS: usize = 5;
/// How deep folders are searched.
const MAX_DEPTH: usize = 16;

pub(super) fn test(args: &TestArgs, out: &mut Out) -> Result<Exit, Failure> {
    let mut files = Vec::new();
    for path in &args.paths {
        files.extend(scenario_files(path)?);
    }
    let stop = interrupt::flag();
    report::check(&args.report, &[&ReportKind::OF_RESULTS])?;
    let human = prints(args.format, &args.report);
    let part = args.partition.map(|partition| PartJson::new(partition.part, partition.of));
    let mut all = TestJson { part, ..TestJson::default() };
    // What is run is counted over all files, so that parts are of one size, and of none if there are too many.
    let mut index = 0;
    let mut mine = || {
        index += 1;
        args.partition.is_none_or(|wanted| part_of(index - 1, wanted.of) + 1 == wanted.part)
    };
    for file in &files {
        if is_regression(file) {
            if stop.load(Ordering::Relaxed) {
                all.interrupted = true;
                break;
            }
            if mine() {
                regression(file, args, &mut all, out)?;
            }
            continue;
        }
        let wanted = Wanted::of(file);
        let loaded = match wanted.load() {
            Ok(loaded) => loaded,
            Err(failure) => {
                if !mine() {
                    continue;
                }
                unusable(&file.display().to_string(), &failure, human, &mut all, out);
                continue;
            }
        };
        let mut names = vec![wanted.variant.clone()];
        if wanted.variant.is_none() {
            names.extend(loaded.variants().map(|(name, _)| Some(name.to_owned())));
        }
        for name in names {
            if stop.load(Ordering::Relaxed) {
                all.interrupted = true;
                break;
            }
            if !mine() {
                continue;
            }
            match variant(&loaded, name.as_deref()) {
                Ok(scenario) => one(scenario, args, &mut all, out),
                Err(error) => unusable(loaded.name(), &Failure::Load(error), human, &mut all, out),
            }
        }
    }
    all.interrupted |= interrupt::pressed();
    finish(&all, args.format, &args.report, out)
}

/// Whether text for people is to be printed.
fn prints(format: Format, reports: &[Report]) -> bool {
    format == Format::Human && !report::takes_stdout(reports)
}

/// Tells a result, whole or in part, writes the reports, and says how it ended.
pub(super) fn finish(
    all: &TestJson,
    format: Format,
    reports: &[Report],
    out: &mut Out,
) -> Result<Exit, Failure> {
    report::check(reports, &[&ReportKind::OF_RESULTS])?;
    for wanted in reports {
        let text = report::of_results(wanted.kind, all, false)?;
        report::deliver(wanted, &text, out)?;
    }
    if report::takes_stdout(reports) {
        // Standard output is the report's.
    } else if format == Format::Human {
        let more = match all.unusable {
            0 => String::new(),
            n => format!(", {n} unusable"),
        };
        let note = if all.interrupted { " (interrupted)" } else { "" };
        out.line(&format!("{} passed, {} failed{more}{note}", all.passed, all.failed));
    } else {
        let text = line(all).map_err(|error| Failure::text(error.to_string()))?;
        out.line(&text);
    }
    Ok(if all.interrupted {
        Exit::Interrupted
    } else if all.unusable > 0 {
        Exit::Unusable
    } else if all.failed > 0 {
        Exit::Unexpected
    } else {
        Exit::Expected
    })
}

fn unusable(name: &str, failure: &Failure, human: bool, all: &mut TestJson, out: &mut Out) {
    if human {
        out.line(&format!("{} {}", out.paint.bad("unusable"), ascii(name)));
    }
    failure.show(out);
    all.add(TestedJson { scenario: name.to_owned(), result: "unusable".to_owned(), ..TestedJson::default() });
}

/// Runs one scenario and compares.
fn one(scenario: Resolved, args: &TestArgs, all: &mut TestJson, out: &mut Out) {
    let plan = Plan {
        seeds: campaign::seeds(&scenario, args.seeds.as_ref()),
        jobs: args.jobs,
        tweaks: Tweaks::of(&args.engine),
        quiet: out.quiet,
    };
    warn_kinds(&scenario, out);
    let wanted = scenario.explore.seeds;
    let expect = scenario.expect.clone();
    let simulation = Simulation::new(scenario);
    let result = campaign::run(&simulation, &plan, &expect, interrupt::flag());
    let log = first_log(&simulation, &plan, &expect);
    let verdict = result.tally.judge(&expect, &result.summary, wanted, log.as_deref());
    let summary = &result.summary;
    if prints(args.format, &args.report) {
        let word = if verdict.met() { out.paint.good("passed  ") } else { out.paint.bad("failed  ") };
        let time = result.elapsed.as_secs_f64();
        out.line(&format!(
            "{word} {:<64} {:>8} seeds {time:>7.2} s  {}",
            ascii(&simulation.scenario().name),
            summary.ran,
            outcome(summary)
        ));
        if !verdict.met() {
            indented(out, "expected: ", &expect::in_words(&expect));
        }
        let remarks = verdict.remarks();
        for remark in remarks.iter().take(MAX_REMARKS) {
            indented(out, if verdict.met() { "note:     " } else { "but:      " }, remark);
        }
        if let Some(more @ 1..) = remarks.len().checked_sub(MAX_REMARKS) {
            indented(out, "          ", &format!("and {more} more: `dmasim run` shows them"));
        }
        out.flush();
    }
    let findings = summary.by_first_seed();
    all.add(TestedJson {
        scenario: simulation.scenario().name.clone(),
        result: if verdict.met() { "passed" } else { "failed" }.to_owned(),
        seeds: summary.ran,
        digest: format!("{:032x}", summary.digest),
        remarks: verdict.remarks(),
        findings: findings
            .iter()
            .map(|stats| FindingJson::new(&stats.finding, stats.count, stats.first_seed, None))
            .collect(),
    });
}

/// Repeats a regression.
fn regression(file: &Path, args: &TestArgs, all: &mut TestJson, out: &mut Out) -> Result<(), Failure> {
    let human = prints(args.format, &args.report);
    let name = file.display().to_string();
    let compared = Regression::read(file).and_then(|regression| {
        let compared = compare(&regression, file)?;
        Ok((regression, compared))
    });
    let (regression, mut compared) = match compared {
        Ok(compared) => compared,
        Err(failure) => {
            unusable(&name, &failure, human, all, out);
            return Ok(());
        }
    };
    let update = args.update && compared.shows && compared.now != regression;
    if update {
        crate::keep::write_for_user(file, &compared.now.text(&head_comment(file)))?;
        compared.remarks.retain(|remark| !remark.contains("--update"));
        compared.remarks.push("it was recorded anew".to_owned());
    }
    let passed = (compared.same || update) && compared.shows;
    if human {
        let word = if passed { out.paint.good("passed  ") } else { out.paint.bad("failed  ") };
        let what = match (compared.same, compared.shows) {
            (true, _) => "the same run",
            (false, true) => "another run, the same outcome",
            (false, false) => "another run",
        };
        out.line(&format!("{word} {:<64} regression  {what}", ascii(&name)));
        for remark in &compared.remarks {
            indented(out, if passed { "note:     " } else { "but:      " }, remark);
        }
        out.flush();
    }
    all.add(TestedJson {
        scenario: name,
        result: if passed { "passed" } else { "failed" }.to_owned(),
        seeds: 1,
        digest: compared.now.digest,
        remarks: compared.remarks,
        findings: Vec::new(),
    });
    Ok(())
}

/// The comment at the head of a file.
fn head_comment(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().take_while(|line| line.starts_with("//")).map(|line| format!("{line}\n")).collect()
}

fn outcome(summary: &sim::explore::Summary) -> String {
    if summary.failed == 0 {
        return "clean".to_owned();
    }
    let signatures = match summary.signatures.len() {
        1 => "1 signature".to_owned(),
        n => format!("{n} signatures"),
    };
    format!("{} with findings, {signatures}", summary.failed)
}

fn indented(out: &mut Out, first: &str, text: &str) {
    for (n, line) in wrap(&ascii(text), SCREEN - 9 - first.len()).iter().enumerate() {
        let lead = if n == 0 { first.to_owned() } else { " ".repeat(first.len()) };
        out.line(&format!("         {lead}{line}"));
    }
}

/// The scenario files that a path stands for, sorted: the file itself, or what a folder holds.
pub(super) fn scenario_files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        let wanted = Wanted::of(path);
        if wanted.file.exists() {
            return Ok(vec![path.to_owned()]);
        }
        return Err(Failure::text(format!("there is no {}{}", path.display(), similar(path))));
    }
    let mut files = Vec::new();
    search(path, MAX_DEPTH, &mut files)
        .map_err(|error| Failure::text(format!("cannot search {}: {error}", path.display())))?;
    if files.is_empty() {
        return Err(Failure::text(format!("no scenario (*.ron) in {}", path.display())));
    }
    files.sort();
    Ok(files)
}

fn search(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if depth > 0 && !name.starts_with('.') && !PARTS.contains(&name.as_ref()) {
                search(&path, depth - 1, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "ron") {
            files.push(path);
        }
    }
    Ok(())
}

/// The nearest name in the same folder.
pub(super) fn similar(path: &Path) -> String {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(folder) else {
        return format!("; there is no folder {} either", folder.display());
    };
    let mut names: Vec<String> =
        entries.take(1_000).filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    let wanted = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match nearest(wanted, names.iter().map(String::as_str)) {
        Some(near) => format!("; did you mean {}?", path.with_file_name(near).display()),
        None => String::new(),
    }
}
