//! Writes the reports that were asked for by `--report`.

use std::path::Path;

use models::oracle::FINDINGS;
use models::run::Run;
use models::scenario::Resolved;
use reports::html::Heading;
use reports::json::TestJson;
use reports::{ci, dmesg, html, perfetto};

use crate::args::{Report, ReportKind};
use crate::input::{Failure, kernel_words};
use crate::output::Out;

/// Refuses what a command cannot give, and two reports that would go to standard output together.
pub(crate) fn check(reports: &[Report], allowed: &[&[ReportKind]]) -> Result<(), Failure> {
    let allowed: Vec<ReportKind> = allowed.concat();
    if let Some(wrong) = reports.iter().find(|report| !allowed.contains(&report.kind)) {
        let names: Vec<&str> = allowed.iter().map(|kind| kind.name()).collect();
        return Err(Failure::text(format!(
            "this command gives no report `{}`, but {}",
            wrong.kind.name(),
            names.join(", ")
        )));
    }
    let plain: Vec<&str> =
        reports.iter().filter(|report| report.file.is_none()).map(|report| report.kind.name()).collect();
    if plain.len() > 1 {
        return Err(Failure::text(format!(
            "the reports {} would all go to standard output: give all but one a file, as in `--report {}=FILE`",
            plain.join(", "),
            plain[1]
        )));
    }
    Ok(())
}

/// Whether a report takes standard output for itself.
pub(crate) fn takes_stdout(reports: &[Report]) -> bool {
    reports.iter().any(|report| report.file.is_none())
}

/// Writes one report to its file, or to standard output.
pub(crate) fn deliver(report: &Report, text: &str, out: &mut Out) -> Result<(), Failure> {
    match &report.file {
        None => {
            out.text(text);
            if !text.ends_with('\n') {
                out.text("\n");
            }
            Ok(())
        }
        Some(file) => write(file, text, report.kind.name()),
    }
}

fn write(file: &Path, text: &str, kind: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|error| {
        Failure::text(format!("cannot write the report `{kind}` to {}: {error}", file.display()))
    })
}

/// A report on one recorded run. `mail` gives the text for a mail.
pub(crate) fn of_run(
    kind: ReportKind,
    scenario: &Resolved,
    which: &str,
    run: &Run,
    mail: impl FnOnce() -> String,
) -> Result<String, Failure> {
    let trace = &run.end.trace;
    let title = format!("{}, {which}", scenario.name);
    match kind {
        ReportKind::Dmesg => Ok(dmesg::dmesg(trace, &run.end.findings)),
        ReportKind::Perfetto => perfetto::perfetto(&title, trace, &run.end.findings).map_err(Failure::text),
        ReportKind::Html => {
            let settings = [
                ("kernel", kernel_words(scenario)),
                ("command line", scenario.cmdline.clone()),
                ("machine", scenario.machine.name.clone()),
                ("steps", run.end.steps.to_string()),
                ("digest", format!("{:032x}", run.end.digest)),
            ];
            let heading = Heading {
                title,
                about: scenario.about.clone(),
                settings: settings.into_iter().map(|(word, value)| (word.to_owned(), value)).collect(),
            };
            html::html(&heading, trace, &run.end.findings).map_err(Failure::text)
        }
        _ => Ok(mail()),
    }
}

/// A report on results. Annotations are for what is wrong; with `all` they tell what was expected, too.
pub(crate) fn of_results(kind: ReportKind, results: &TestJson, all: bool) -> Result<String, Failure> {
    match kind {
        ReportKind::Junit => ci::junit(results).map_err(Failure::text),
        ReportKind::Ktap => Ok(ci::ktap(results)),
        ReportKind::Github => Ok(ci::github(results)),
        ReportKind::Sarif => ci::sarif(results, FINDINGS, all).map_err(Failure::text),
        _ => ci::lines(results).map_err(Failure::text),
    }
}
