//! One run of one scenario: what the command line and the reports see of the models.

mod end_state;
mod facts;
pub mod state;
mod worker;

use std::sync::Arc;

use sim::choices::{ChoiceList, Token};
use sim::explore::{Observed, Outcome, Search};
use sim::{Nanos, RunEnd};

pub use worker::Worker;

pub use facts::{DeviceFacts, Facts, PoolFacts, SwiotlbDebugfs, TornDown};

use crate::driver::Programs;
use crate::scenario::Resolved;
use crate::sizing::Workload;
use sim::schedule::{Estimate, Guide, Strategy};

/// From where a run takes its choices.
#[derive(Clone, Debug)]
pub enum Source {
    /// From this seed.
    Seed(u64),
    /// From a recorded list.
    Replay(ChoiceList),
    /// From a search through all of them.
    Search(Box<Search>),
}

/// What is wanted of a run.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where choices come from.
    pub source: Source,
    /// Whether events are recorded (trace and log).
    pub record: bool,
    /// Whether choices are recorded, for a token.
    pub record_choices: bool,
    /// Whether findings carry details for a report.
    pub details: bool,
    /// Who goes on, instead of what the scenario says.
    pub strategy: Option<sim::schedule::Strategy>,
    /// After how many steps a run has not settled, instead of what the scenario says.
    pub max_steps: Option<u64>,
    /// Whether the first finding ends the run, instead of what the scenario says.
    pub on_finding_stop: Option<bool>,
    /// Whether what is asked of the default bounce pool is kept.
    pub record_bounces: bool,
    /// Whether it is noted what the run exercises.
    pub coverage: bool,
    /// What reads-from fuzzing tries to bring about; without it the seed draws that.
    pub guide: Option<Guide>,
    /// Whether every question that a choice answers is kept.
    pub record_questions: bool,
    /// Whether the state at the end is kept as text.
    pub record_state: bool,
}

impl Request {
    /// A run of a campaign: nothing is kept but findings and digest.
    #[must_use]
    pub const fn quick(seed: u64) -> Self {
        Self {
            source: Source::Seed(seed),
            record: false,
            record_choices: false,
            details: false,
            strategy: None,
            max_steps: None,
            on_finding_stop: None,
            record_bounces: false,
            coverage: false,
            guide: None,
            record_questions: false,
            record_state: false,
        }
    }

    /// The same run, with everything recorded.
    #[must_use]
    pub const fn full(source: Source) -> Self {
        Self {
            source,
            record: true,
            record_choices: true,
            details: true,
            strategy: None,
            max_steps: None,
            on_finding_stop: None,
            record_bounces: false,
            coverage: false,
            guide: None,
            record_questions: false,
            record_state: false,
        }
    }
}

/// A finished run.
#[derive(Debug)]
pub struct Run {
    /// What the engine says.
    pub end: RunEnd,
    /// What the models say.
    pub facts: Facts,
    /// What was asked of the default bounce pool, if that was wanted.
    pub bounces: Option<Workload>,
    /// The state at the end as text, if that was wanted: what memory holds, who owns what, what is mapped. Two runs
    /// that differ only in the order of steps that commute end in the same one.
    pub state: Option<String>,
}

/// A line of the modelled kernel's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Virtual time.
    pub time: Nanos,
    /// The text.
    pub text: String,
}

impl Run {
    /// The modelled kernel's log; empty unless the run was recorded.
    #[must_use]
    pub fn log(&self) -> Vec<LogLine> {
        let line = |event: &sim::trace::Event| match &event.kind {
            sim::trace::EventKind::Log(text) => Some(LogLine { time: event.time, text: text.clone() }),
            _ => None,
        };
        self.end.trace.events.iter().filter_map(line).collect()
    }

    /// What a campaign keeps of it.
    #[must_use]
    pub fn into_outcome(self) -> Outcome {
        Outcome { digest: self.end.digest, steps: self.end.steps, findings: self.end.findings }
    }

    /// The same, with what it exercised.
    #[must_use]
    pub fn into_observed(mut self) -> Observed {
        let coverage = self.end.coverage.take();
        Observed { outcome: self.into_outcome(), coverage }
    }

    /// The token that repeats this run, if its choices were recorded. `signature` is the hash of the finding that it
    /// is to show, 0 for none.
    #[must_use]
    pub fn token(&mut self, scenario: &Resolved, seed: u64, signature: u64) -> Token {
        Token {
            engine: sim::ENGINE_VERSION,
            scenario: scenario.digest.0,
            seed,
            digest: self.end.digest,
            signature,
            choices: self.end.choices.take_records(),
        }
    }
}

/// A scenario ready to run.
#[derive(Clone, Debug)]
pub struct Simulation {
    scenario: Arc<Resolved>,
    programs: Arc<Programs>,
    estimate: Estimate,
}

impl Simulation {
    /// Prepares a scenario: compiles its programs, and runs it once to learn how long a run is, what each context has to
    /// do, and who accesses what after whom, which some strategies need to know.
    #[must_use]
    pub fn new(scenario: Resolved) -> Self {
        let programs = Arc::new(Programs::new(&scenario));
        let mut simulation = Self { scenario: Arc::new(scenario), programs, estimate: 1.into() };
        let mut request = Request::quick(0);
        request.strategy = Some(Strategy::RoundRobin);
        request.coverage = true;
        // A model that panics must not take the command with it; the campaign will say so.
        let trial = sim::explore::catching(|| Estimate::of(&simulation.worker().run(&request).end));
        simulation.estimate = trial.unwrap_or_else(|_| 1.into());
        simulation
    }

    /// What the trial run showed.
    #[must_use]
    pub const fn estimate(&self) -> &Estimate {
        &self.estimate
    }

    /// The same for runs that take their choices from a list: no strategy has to know how long a run is.
    #[must_use]
    pub fn for_replay(scenario: Resolved) -> Self {
        let programs = Arc::new(Programs::new(&scenario));
        Self { scenario: Arc::new(scenario), programs, estimate: 1.into() }
    }

    /// The scenario.
    #[must_use]
    pub fn scenario(&self) -> &Resolved {
        &self.scenario
    }

    /// A worker, which keeps the memory of its last run for the next one. One for each thread.
    #[must_use]
    pub fn worker(&self) -> Worker {
        Worker { simulation: self.clone(), memory: None }
    }
}
