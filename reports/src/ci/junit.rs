//! JUnit XML, as test reporters of build servers read it.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{file, ran, why};
use crate::json::TestJson;

/// The result as JUnit XML: one suite for each folder, one case for each scenario or variant.
///
/// # Errors
/// When the XML cannot be written.
pub fn junit(result: &TestJson) -> Result<String, String> {
    let mut report = Report::new("dmasim");
    let mut suites: Vec<TestSuite> = Vec::new();
    for tested in &result.scenarios {
        let folder = file(tested).rsplit_once('/').map_or(".", |(folder, _)| folder);
        let kind = match tested.result.as_str() {
            "passed" => None,
            "unusable" => Some(NonSuccessKind::Error),
            _ => Some(NonSuccessKind::Failure),
        };
        let status = match kind {
            None => TestCaseStatus::success(),
            Some(kind) => {
                let mut status = TestCaseStatus::non_success(kind);
                let text = why(tested);
                status.set_message(text.lines().next().unwrap_or_default());
                status.set_description(text);
                status
            }
        };
        let mut case = TestCase::new(tested.scenario.as_str(), status);
        case.set_classname(folder.replace('/', "."));
        let mut output = ran(tested);
        for finding in &tested.findings {
            output.push_str(&format!(
                "\n{}: {} ({} seeds, first {})",
                finding.kind, finding.title, finding.count, finding.first_seed
            ));
        }
        case.set_system_out(output);
        match suites.iter_mut().find(|suite| suite.name.as_str() == folder) {
            Some(suite) => {
                suite.add_test_case(case);
            }
            None => {
                let mut suite = TestSuite::new(folder);
                suite.add_test_case(case);
                suites.push(suite);
            }
        }
    }
    report.add_test_suites(suites);
    report.to_string().map_err(|error| error.to_string())
}
