//! KTAP, as the kernel's own test tools read it. Source of the format: `Documentation/dev-tools/ktap.rst`.

use super::{file, ran, why};
use crate::json::{TestJson, TestedJson};
use crate::layout::ascii;

/// The result as KTAP: a test for each folder, a subtest for each scenario or variant.
#[must_use]
pub fn ktap(result: &TestJson) -> String {
    let mut folders: Vec<(&str, Vec<&TestedJson>)> = Vec::new();
    for tested in &result.scenarios {
        let folder = file(tested).rsplit_once('/').map_or(".", |(folder, _)| folder);
        match folders.iter_mut().find(|(name, _)| *name == folder) {
            Some((_, list)) => list.push(tested),
            None => folders.push((folder, vec![tested])),
        }
    }
    let mut out = format!("KTAP version 1\n1..{}\n", folders.len());
    for (n, (folder, list)) in folders.iter().enumerate() {
        out.push_str(&format!(
            "    KTAP version 1\n    # Subtest: {}\n    1..{}\n",
            name(folder),
            list.len()
        ));
        for (m, tested) in list.iter().enumerate() {
            let passed = tested.result == "passed";
            // Diagnostics stand before the line of the test that they belong to.
            let mut lines = vec![ran(tested)];
            if !passed {
                lines.extend(why(tested).lines().map(str::to_owned));
            }
            for line in lines {
                out.push_str(&format!("    # {}\n", ascii(&line)));
            }
            let own =
                tested.scenario.strip_prefix(folder).unwrap_or(&tested.scenario).trim_start_matches('/');
            out.push_str(&format!("    {} {} {}\n", word(passed), m + 1, name(own)));
        }
        let passed = list.iter().all(|tested| tested.result == "passed");
        out.push_str(&format!("{} {} {}\n", word(passed), n + 1, name(folder)));
    }
    out
}

const fn word(passed: bool) -> &'static str {
    if passed { "ok" } else { "not ok" }
}

/// A name without `#`, behind which a directive would begin.
fn name(text: &str) -> String {
    ascii(text).replace('#', ":")
}
