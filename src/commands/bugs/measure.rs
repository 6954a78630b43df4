//! How many seeds it takes until a bug is found.

use std::sync::atomic::{AtomicBool, Ordering};

use models::run::{Request, Simulation};
use sim::Finding;
use sim::schedule::Strategy;

use super::pair::Pair;
use crate::expect::matches;

/// How far the first seeds of two repetitions lie apart.
const APART: u64 = 1_000_000;

/// What one strategy needed.
#[derive(Debug)]
pub(super) struct Measured {
    /// Its name; empty for the scenario's own.
    pub(super) strategy: String,
    /// Seeds until the first expected finding: the median of the repetitions. `None` if it was not found in one of them.
    pub(super) median: Option<u64>,
    /// So many seeds were tried at most.
    limit: u64,
    first: Option<Finding>,
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
        self.median.map_or_else(|| format!("more than {}", self.limit), |median| median.to_string())
    }

    /// For a terminal.
    pub(super) fn words(&self) -> String {
        let strategy = if self.strategy.is_empty() { String::new() } else { format!("{}: ", self.strategy) };
        let Some(kind) = self.kind() else {
            return format!("{strategy}not found in {} seeds", self.limit);
        };
        let place = self.function().map_or_else(String::new, |function| format!(" in {function}"));
        let seeds = match self.median {
            Some(1) => "in the first seed".to_owned(),
            Some(seeds) => format!("after {seeds} seeds (median)"),
            None => format!("but not in each repetition of {} seeds", self.limit),
        };
        format!("{strategy}{kind}{place}, {seeds}")
    }
}

/// Looks for the bug with the scenario's strategy, or with each of several.
pub(super) fn measure(pair: &Pair, repetitions: u64, strategies: bool, stop: &AtomicBool) -> Vec<Measured> {
    let simulation = Simulation::new(pair.buggy.clone());
    let wanted: Vec<Option<Strategy>> = if strategies {
        let known = [Strategy::Swarm, Strategy::Random, Strategy::Pct(3), Strategy::RoundRobin];
        known.into_iter().map(Some).collect()
    } else {
        vec![None]
    };
    wanted.into_iter().map(|strategy| with(&simulation, pair, repetitions, strategy, stop)).collect()
}

fn with(
    simulation: &Simulation,
    pair: &Pair,
    repetitions: u64,
    strategy: Option<Strategy>,
    stop: &AtomicBool,
) -> Measured {
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
            let request = Request { strategy, ..Request::quick(start + nth) };
            let findings = worker.run(&request).end.findings;
            let expected =
                |finding: &Finding| pair.expected().iter().any(|pattern| matches(pattern, finding));
            if let Some(finding) = findings.into_iter().find(expected) {
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
    let strategy = strategy.map_or_else(String::new, |strategy| strategy.to_string());
    Measured { strategy, median, limit, first }
}
