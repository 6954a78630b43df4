//! A comparison as JSON.

use std::path::Path;

use serde_json::{Value, json};

use crate::outcome::Outcome;
use crate::report::{Exception, Report};

/// One line of JSON on all files, each with its outcome; `docs/conform.md` describes the keys.
#[must_use]
pub fn line(mode: &str, files: &[(&Path, &Outcome)]) -> String {
    let agrees = !files.is_empty() && files.iter().all(|(_, outcome)| outcome.agrees());
    let (agreed, compared) = files
        .iter()
        .flat_map(|(_, outcome)| outcome.reports.iter().map(Report::totals))
        .fold((0, 0), |(a, b), (agreed, total)| (a + agreed, b + total));
    let files: Vec<Value> = files.iter().map(|(path, outcome)| file(path, outcome)).collect();
    json!({ "mode": mode, "agrees": agrees, "agreed": agreed, "compared": compared, "files": files })
        .to_string()
}

fn file(path: &Path, outcome: &Outcome) -> Value {
    let error = outcome
        .error
        .as_ref()
        .map(|error| json!({ "line": error.line, "column": error.column, "what": error.what }));
    let reports: Vec<Value> = outcome.reports.iter().map(report).collect();
    json!({ "file": path.display().to_string(), "agrees": outcome.agrees(), "error": error, "reports": reports })
}

fn report(report: &Report) -> Value {
    let (agreed, compared) = report.totals();
    let counts: serde_json::Map<String, Value> =
        report.counts.iter().map(|(name, count)| (name.replace(' ', "_"), json!(count))).collect();
    let rows: Vec<Value> = report
        .rows
        .iter()
        .map(|row| json!({ "name": row.name, "agreed": row.agreed, "compared": row.total }))
        .collect();
    json!({
        "kind": report.kind, "kernel": report.version, "agrees": report.agrees(), "agreed": agreed,
        "compared": compared, "counts": counts, "rows": rows,
        "exceptions": report.exceptions.iter().map(exception).collect::<Vec<_>>(), "notes": report.notes,
    })
}

fn exception(exception: &Exception) -> Value {
    json!({
        "line": exception.line, "what": exception.what, "recorded": exception.recorded,
        "modelled": exception.modelled, "why": exception.why, "detail": exception.detail,
    })
}
