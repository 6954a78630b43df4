//! How a run is set up, and what is left of it.

use crate::choices::{Choices, Divergence};
use crate::coverage::RunCoverage;
use crate::schedule::ContextWork;
use crate::trace::Trace;
use crate::{Finding, Nanos};

/// Settings of one run.
#[derive(Clone, Copy, Debug)]
pub struct RunConfig {
    /// Number of modelled CPUs.
    pub cpus: u8,
    /// A run that takes more steps than this has stopped making progress.
    pub max_steps: u64,
    /// Virtual time of a step.
    pub step_ns: Nanos,
    /// Whether events are recorded.
    pub record: bool,
    /// Whether choices are recorded, for a token.
    pub record_choices: bool,
    /// Whether findings carry details for a report.
    pub details: bool,
    /// Whether the first finding, of whatever severity, ends the run.
    pub stop_on_finding: bool,
    /// Whether data races are looked for.
    pub races: bool,
    /// Whether it is noted what the run exercises.
    pub coverage: bool,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            cpus: 1,
            max_steps: 400_000,
            step_ns: 20,
            record: false,
            record_choices: false,
            details: false,
            stop_on_finding: false,
            races: true,
            coverage: false,
        }
    }
}
/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything was done.
    Done,
    /// The machine could not go on, or a finding was to stop it.
    Stopped,
    /// It took more steps than allowed.
    StepLimit,
    /// Contexts are left that wait for something which will not happen.
    Stuck,
}

/// A finished run.
#[derive(Debug)]
pub struct RunEnd {
    /// Why it ended.
    pub ended: Ended,
    /// Whether a search broke it off, since it had seen all that could follow.
    pub abandoned: bool,
    /// Steps executed.
    pub steps: u64,
    /// Virtual time at the end.
    pub time: Nanos,
    /// Digest of everything that happened.
    pub digest: u128,
    /// What oracles found, in order.
    pub findings: Vec<Finding>,
    /// Recorded events; empty unless asked for.
    pub trace: Trace,
    /// Recorded choices, and the walk if they were enumerated.
    pub choices: Choices,
    /// Decisions at which there was more than one context to choose from, and the strategy chose.
    pub decisions: u64,
    /// What each context did, by serial number.
    pub contexts: Vec<ContextWork>,
    /// What the run exercised; nothing unless asked for.
    pub coverage: Option<Box<RunCoverage>>,
    /// The first recorded choice that did not fit, when replaying.
    pub divergence: Option<Divergence>,
}
