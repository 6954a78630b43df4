//! Annotations of a workflow run: lines that the runner turns into remarks on files.

use super::{file, why};
use crate::json::TestJson;
use crate::layout::ascii;

/// An `::error` line for each scenario that is not as expected.
#[must_use]
pub fn github(result: &TestJson) -> String {
    let mut out = String::new();
    for tested in result.scenarios.iter().filter(|tested| tested.result != "passed") {
        let title = format!("{}: {}", tested.scenario, tested.result);
        let text = why(tested);
        let lines: Vec<String> = text.lines().map(|line| data(&ascii(line))).collect();
        out.push_str(&format!(
            "::error file={},title={}::{}\n",
            property(file(tested)),
            property(&title),
            lines.join("%0A")
        ));
    }
    out
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
}

fn property(text: &str) -> String {
    data(&ascii(text)).replace(':', "%3A").replace(',', "%2C")
}
