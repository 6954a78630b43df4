//! How many seeds it takes until a bug is found.

use std::sync::atomic::{AtomicBool, Ordering};

use models::run::{Request, Simulation};
use sim::Finding;
use sim::explore::FirstFinding;
use sim::schedule::{Guide, Strategy};

use super::pair::Pair;
use crate::expect::matches;

/// How far the first seeds of two repetitions lie apart.
const APART: u64 = 1_000_000;

/// The strategies that are compared.
pub(super) const STRATEGIES: [Strategy; 7] = [
    Strategy::Swarm,
    Strategy::Random,
    Strategy::Pct(3),
    Strategy::Pos,
    Strategy::Urw,
    Strategy::Delay(2),
    Strategy::Rff,
];

/// What the scenario's own strategy needed.
#[derive(Debug)]
pub(super) struct Measured {
    /// Seeds until the first expected finding: the median of the repetitions. `None` if it was not found in one of them.
    pub(super) median: Option<u64>,
    /// So many seeds were tried at most.
    limit: u64,
    first: Option<Finding>,
}

/// What one strategy needed.
#[derive(Debug)]
pub(super) struct ByStrategy {
    /// Its name.
    pub(super) strategy: String,
    /// Seeds until the first expected finding: the median of the repetitions. `None` if half of them did not find it.
    pub(super) median: Option<u64>,
    /// A number, or that it takes more than were tried.
    pub(super) words: String,
}

impl Measured {
    pub(super) const fn found(&self) -> bool {
        self.median.is_some()
    }

    pub(super) fn kind(&self) -> Option<&'static str> {
        self.first.as_ref().map(|finding| finding.kind)
    }

    /// The innermost function of the finding.
    pub(super) fn function(&self) -> Option<&'static str> {
        self.first.as_ref().and_then(|finding| finding.frames.first().copied())
    }

    /// Seeds to the first finding, or that there was none.
    pub(super) fn seeds(&self) -> String {
        self.median.map_or_else(|| format!(">{}", self.limit), |median| median.to_string())
    }

    /// For a terminal.
    pub(super) fn words(&self) -> String {
        let Some(kind) = self.kind() else {
            return format!("not found in {} seeds", self.limit);
        };
        let place = self.function().map_or_else(String::new, |function| format!(" in {function}"));
        let seeds = match self.median {
            Some(1) => "in the first seed".to_owned(),
            Some(seeds) => format!("after {seeds} seeds (median)"),
            None => format!("but not in each repetition of {} seeds", self.limit),
        };
        format!("{kind}{place}, {seeds}")
    }
}

/// Looks for the bug with the scenario's strategy.
pub(super) fn measure(pair: &Pair, repetitions: u64, stop: &AtomicBool) -> Measured {
    let simulation = Simulation::new(pair.buggy.clone());
    let limit = pair.buggy.explore.seeds;
    let mut worker = simulation.worker();
    let mut first = None;
    let mut needed: Vec<Option<u64>> = Vec::new();
    for repetition in 0..repetitions {
        let start = repetition * APART;
        let mut seeds = None;
        for nth in 0..limit {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let findings = worker.run(&Request::quick(start + nth)).end.findings;
            if let Some(finding) = findings.into_iter().find(|finding| expected(pair, finding)) {
                first.get_or_insert(finding);
                seeds = Some(nth + 1);
                break;
            }
        }
        needed.push(seeds);
    }
    needed.sort_by_key(|seeds| seeds.unwrap_or(u64::MAX));
    let all = needed.iter().all(Option::is_some);
    let median = needed.get(needed.len() / 2).copied().flatten().filter(|_| all);
    Measured { median, limit, first }
}

/// Looks for it with each strategy, `cap` seeds at most in each repetition.
pub(super) fn by_strategy(pair: &Pair, repetitions: u64, cap: u64, stop: &AtomicBool) -> Vec<ByStrategy> {
    let simulation = Simulation::new(pair.buggy.clone());
    let one = |strategy: Strategy| {
        let fuzz = strategy == Strategy::Rff;
        let search = FirstFinding { repetitions, cap, from: 0, jobs: 1, fuzz };
        let make = || {
            let mut worker = simulation.worker();
            move |seed: u64, guide: Option<&Guide>| {
                let strategy = Some(strategy);
                let guide = guide.cloned();
                worker
                    .run(&Request { strategy, coverage: fuzz, guide, ..Request::quick(seed) })
                    .into_observed()
            }
        };
        let seeds = search.measure(make, |finding| expected(pair, finding), stop);
        ByStrategy { strategy: strategy.to_string(), median: seeds.median(), words: seeds.words() }
    };
    STRATEGIES.into_iter().map(one).collect()
}

fn expected(pair: &Pair, finding: &Finding) -> bool {
    pair.expected().iter().any(|pattern| matches(pattern, finding))
}
