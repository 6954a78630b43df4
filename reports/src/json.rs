//! The JSON of the command line. `docs/cli.md` describes it; keys are added, never renamed or removed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sim::explore::{SignatureStats, Summary};
use sim::{Finding, RunEnd};

use crate::causes::follows;
use crate::compared::Compared;
use crate::coverage::CoverageJson;

/// One signature of a campaign, or one finding of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingJson {
    /// Kind.
    pub kind: String,
    /// Signature in words.
    pub signature: String,
    /// Hash of the signature, 16 hexadecimal digits.
    pub signature_hash: String,
    /// Call stack, innermost first.
    pub frames: Vec<String>,
    /// Type of the object, or null.
    pub object: Option<String>,
    /// The kernel's line.
    pub title: String,
    /// `warning` or `fatal`.
    pub severity: String,
    /// Seeds that showed it.
    pub count: u64,
    /// The lowest of them.
    pub first_seed: u64,
    /// Virtual time in that seed, in nanoseconds.
    pub time_ns: u64,
    /// Step in that seed.
    pub step: u64,
    /// What repeats it, or null if that could not be recorded.
    pub token: Option<String>,
}

impl FindingJson {
    /// Of a finding that `count` seeds showed.
    #[must_use]
    pub fn new(finding: &Finding, count: u64, first_seed: u64, token: Option<String>) -> Self {
        Self {
            kind: finding.kind.to_owned(),
            signature: finding.signature(),
            signature_hash: format!("{:016x}", finding.signature_hash()),
            frames: finding.frames.iter().map(|frame| (*frame).to_owned()).collect(),
            object: (!finding.object.is_empty()).then(|| finding.object.to_owned()),
            title: finding.title.clone(),
            severity: match finding.severity {
                sim::Severity::Warning => "warning",
                sim::Severity::Fatal => "fatal",
            }
            .to_owned(),
            count,
            first_seed,
            time_ns: finding.time,
            step: finding.step,
            token,
        }
    }
}

/// Whether what came out is what the scenario expects.
#[derive(Clone, Debug, Serialize)]
pub struct ExpectationJson {
    /// `met`, `not met`, `not decided` if too few seeds were run, or `none` if the scenario was changed from the command line.
    pub result: &'static str,
    /// Why it is not met, or what could not be judged.
    pub remarks: Vec<String>,
}

/// An exhaustive check.
#[derive(Clone, Debug, Serialize)]
pub struct CheckJson {
    /// The scenario's file, and behind `#` the variant.
    pub scenario: String,
    /// Digest of the scenario, 32 hexadecimal digits.
    pub scenario_digest: String,
    /// Version of the engine.
    pub engine: u32,
    /// Runs that went to their end.
    pub runs: u64,
    /// Runs that were broken off, since others show all that could follow.
    pub broken_off: u64,
    /// Runs with findings.
    pub failed: u64,
    /// Whether everything was seen that was to be.
    pub complete: bool,
    /// Branches into which the search was split.
    pub branches: u64,
    /// How many of them are done.
    pub branches_done: u64,
    /// Most preemptions of a run, or null for any number.
    pub preemptions: Option<u32>,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// What was proved, in words.
    pub claim: String,
    /// What was found; `count` is in runs, `first_seed` is 0.
    pub findings: Vec<FindingJson>,
}

/// A campaign.
#[derive(Clone, Debug, Serialize)]
pub struct CampaignJson {
    /// The scenario's file, and behind `#` the variant.
    pub scenario: String,
    /// Digest of the scenario, 32 hexadecimal digits.
    pub scenario_digest: String,
    /// Version of the engine.
    pub engine: u32,
    /// Seeds run.
    pub seeds: u64,
    /// Seeds with findings.
    pub failed: u64,
    /// Digest over all runs, 32 hexadecimal digits.
    pub digest: String,
    /// Steps of all runs.
    pub steps: u64,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// How runs ended, and how many did so.
    pub endings: BTreeMap<String, u64>,
    /// What was found: what was the first finding of some run, in order of first seed, before what only followed.
    pub findings: Vec<FindingJson>,
    /// For each of `findings` the place in it, from 0, of what came first in the run of its first seed; null if it was
    /// the first finding of some run itself.
    pub follows: Vec<Option<usize>>,
    /// The verdict.
    pub expectation: ExpectationJson,
    /// What the runs exercised; null unless that was asked for.
    pub coverage: Option<CoverageJson>,
    /// What each strategy gave, that of the campaign first; null unless that was asked for.
    pub strategies: Option<Vec<Compared>>,
}

impl CampaignJson {
    /// Of a summary. `token` gives what repeats a signature.
    pub fn new(
        scenario: (&str, u128),
        summary: &Summary,
        expectation: ExpectationJson,
        mut token: impl FnMut(&SignatureStats) -> Option<String>,
    ) -> Self {
        let finding = |stats: &&SignatureStats| {
            FindingJson::new(&stats.finding, stats.count, stats.first_seed, token(stats))
        };
        let list = summary.by_cause();
        Self {
            scenario: scenario.0.to_owned(),
            scenario_digest: format!("{:032x}", scenario.1),
            engine: sim::ENGINE_VERSION,
            seeds: summary.ran,
            failed: summary.failed,
            digest: format!("{:032x}", summary.digest),
            steps: summary.steps,
            interrupted: summary.interrupted,
            endings: summary.endings.clone(),
            findings: list.iter().map(finding).collect(),
            follows: list.iter().map(|stats| follows(&list, stats)).collect(),
            expectation,
            coverage: None,
            strategies: None,
        }
    }
}

/// A campaign of generated scenarios.
#[derive(Clone, Debug, Serialize)]
pub struct FuzzJson {
    /// The kernel, in words.
    pub kernel: String,
    /// Version of the engine.
    pub engine: u32,
    /// Seeds run.
    pub seeds: u64,
    /// Seeds with findings.
    pub failed: u64,
    /// Digest over all runs, 32 hexadecimal digits.
    pub digest: String,
    /// Steps of all runs.
    pub steps: u64,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// What was found, in order of first seed.
    pub findings: Vec<FindingJson>,
    /// For each of `findings` the file that its scenario was written to; null if that was not asked for.
    pub files: Vec<Option<String>>,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct RunJson {
    /// The scenario's file, and behind `#` the variant.
    pub scenario: String,
    /// Digest of the scenario, 32 hexadecimal digits.
    pub scenario_digest: String,
    /// Version of the engine.
    pub engine: u32,
    /// The seed, or that from which the token was recorded.
    pub seed: u64,
    /// Digest of the run, 32 hexadecimal digits.
    pub digest: String,
    /// Steps.
    pub steps: u64,
    /// Virtual time at the end, in nanoseconds.
    pub time_ns: u64,
    /// What was found, in order.
    pub findings: Vec<FindingJson>,
}

impl RunJson {
    /// Of a finished run.
    #[must_use]
    pub fn new(scenario: (&str, u128), seed: u64, end: &RunEnd) -> Self {
        Self {
            scenario: scenario.0.to_owned(),
            scenario_digest: format!("{:032x}", scenario.1),
            engine: sim::ENGINE_VERSION,
            seed,
            digest: format!("{:032x}", end.digest),
            steps: end.steps,
            time_ns: end.time,
            findings: end.findings.iter().map(|f| FindingJson::new(f, 1, seed, None)).collect(),
        }
    }
}

/// One scenario of `dmasim test`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestedJson {
    /// The scenario's file, and behind `#` the variant.
    pub scenario: String,
    /// `passed`, `failed` or `unusable`.
    pub result: String,
    /// Seeds run.
    pub seeds: u64,
    /// Digest over all runs, 32 hexadecimal digits.
    pub digest: String,
    /// What was expected and did not come, or came and was not expected.
    pub remarks: Vec<String>,
    /// What was found, expected or not, in order of first seed; without tokens.
    pub findings: Vec<FindingJson>,
}

/// Which part of the scenarios a result is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartJson {
    /// Its number, from 1.
    pub part: usize,
    /// How many there are.
    pub of: usize,
}

/// `dmasim test`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestJson {
    /// Scenarios that met their expectation.
    pub passed: u64,
    /// Those that did not.
    pub failed: u64,
    /// Those that could not be read.
    pub unusable: u64,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// Which part of the scenarios this is; null if it is all of them.
    pub part: Option<PartJson>,
    /// Each of them.
    pub scenarios: Vec<TestedJson>,
}

impl TestJson {
    /// Adds one scenario and counts it.
    pub fn add(&mut self, tested: TestedJson) {
        *match tested.result.as_str() {
            "passed" => &mut self.passed,
            "unusable" => &mut self.unusable,
            _ => &mut self.failed,
        } += 1;
        self.scenarios.push(tested);
    }
}

/// `dmasim bugs`.
#[derive(Clone, Debug, Serialize)]
pub struct BugsJson {
    /// Each bug of the collection.
    pub bugs: Vec<BugJson>,
}

/// A bug of the collection.
#[derive(Clone, Debug, Serialize)]
pub struct BugJson {
    /// Its name.
    pub bug: String,
    /// What is wrong.
    pub about: String,
    /// Which releases have it.
    pub versions: String,
    /// The behaviour that makes the difference.
    pub behaviour: &'static str,
    /// Kind of the finding that shows it.
    pub kind: String,
    /// Its innermost function.
    pub function: String,
    /// Strategy, empty for the scenario's, and median of the seeds until it was found; null if it was not.
    pub seeds: Vec<(String, Option<u64>)>,
    /// What generated machines showed without the scenario; nothing unless asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generated: Option<GeneratedJson>,
    /// How small it became; nothing unless asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<ShrunkJson>,
}

/// What generated machines showed of a bug.
#[derive(Clone, Debug, Serialize)]
pub struct GeneratedJson {
    /// How many were run.
    pub ran: u64,
    /// The seed of the first that showed it; null if none did.
    pub seed: Option<u64>,
    /// Kind of the finding; null if there is none.
    pub kind: Option<&'static str>,
}

/// The size of a bug before and after shrinking.
#[derive(Clone, Debug, Serialize)]
pub struct ShrunkJson {
    /// What is counted, how many there were, how many are left.
    pub sizes: Vec<(&'static str, u64, u64)>,
    /// Whether nothing more can be left out.
    pub complete: bool,
}

/// As one line.
///
/// # Errors
/// None in practice: every type here can be written.
pub fn line(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(value)
}
