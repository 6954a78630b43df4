//! SARIF 2.1.0, as code scanners exchange it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{file, why};
use crate::json::{FindingJson, TestJson, TestedJson};

/// The result as SARIF: a result for each finding that nobody expected, and one for each scenario that is otherwise not
/// as expected. `kinds` says what a kind of finding means.
///
/// # Errors
/// None in practice: every value here can be written.
pub fn sarif(result: &TestJson, kinds: &[(&str, &str)]) -> Result<String, String> {
    let mut rules: BTreeMap<&str, &str> = BTreeMap::new();
    let mut results = Vec::new();
    for tested in result.scenarios.iter().filter(|tested| tested.result != "passed") {
        for finding in &tested.findings {
            let what = kinds.iter().find(|(kind, _)| *kind == finding.kind).map_or("", |(_, what)| *what);
            rules.insert(&finding.kind, what);
            results.push(of_finding(tested, finding));
        }
        if tested.findings.is_empty() || !tested.remarks.is_empty() {
            rules.insert("expectation", "a scenario does not give what it is expected to give");
            results.push(json!({
                "ruleId": "expectation",
                "level": "error",
                "message": { "text": format!("{}: {}", tested.scenario, why(tested)) },
                "locations": [location(tested)],
            }));
        }
    }
    let rules: Vec<Value> = rules
        .iter()
        .map(|(id, what)| {
            let text = if what.is_empty() { id } else { what };
            json!({ "id": id, "shortDescription": { "text": text } })
        })
        .collect();
    let driver = json!({ "name": "dmasim", "version": env!("CARGO_PKG_VERSION"), "rules": rules });
    let whole = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{ "tool": { "driver": driver }, "results": results }],
    });
    serde_json::to_string_pretty(&whole).map_err(|error| error.to_string())
}

fn of_finding(tested: &TestedJson, finding: &FindingJson) -> Value {
    json!({
        "ruleId": finding.kind,
        "level": if finding.severity == "fatal" { "error" } else { "warning" },
        "message": {
            "text": format!(
                "{}\n{}\nin {} of {} seeds, first in seed {}",
                finding.title, finding.signature, finding.count, tested.seeds, finding.first_seed
            ),
        },
        "locations": [location(tested)],
        "partialFingerprints": { "signature/v1": finding.signature_hash },
    })
}

fn location(tested: &TestedJson) -> Value {
    json!({ "physicalLocation": { "artifactLocation": { "uri": file(tested) } } })
}
