//! What other strategies gave with the same seeds.

use serde::Serialize;
use sim::coverage::Coverage;
use sim::explore::Summary;

use crate::layout::{Paint, percent};

/// What a strategy gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// The strategy.
    pub strategy: String,
    /// Seeds run.
    pub seeds: u64,
    /// Seeds with findings.
    pub failed: u64,
    /// Steps of all runs.
    pub steps: u64,
    /// Of each signature, how many seeds were run until it was known; ascending.
    pub known_after: Vec<u64>,
    /// Runs that differ in more than the order of independent steps; null if that was not noted.
    pub different: Option<u64>,
    /// Orders of two conflicting accesses; null if that was not noted.
    pub orders: Option<u64>,
}

impl Compared {
    /// Of a campaign whose first seed was `from`.
    #[must_use]
    pub fn new(strategy: String, from: u64, summary: &Summary, coverage: Option<&Coverage>) -> Self {
        let mut known_after: Vec<u64> =
            summary.signatures.values().map(|stats| stats.first_seed.saturating_sub(from) + 1).collect();
        known_after.sort_unstable();
        let now = coverage.map(Coverage::now);
        Self {
            strategy,
            seeds: summary.ran,
            failed: summary.failed,
            steps: summary.steps,
            known_after,
            different: now.map(|now| now.states),
            orders: now.map(|now| now.orders),
        }
    }

    /// Steps of a run, on average.
    #[must_use]
    pub fn mean_steps(&self) -> u64 {
        self.steps.checked_div(self.seeds).unwrap_or(0)
    }

    /// After how many seeds the first finding came, in words.
    #[must_use]
    pub fn first(&self) -> String {
        self.known_after.first().map_or_else(|| "-".to_owned(), ToString::to_string)
    }
}

/// A table of them.
#[must_use]
pub fn compared(all: &[Compared], paint: Paint) -> String {
    let mut out = format!("{}\n", paint.heading("Strategies, the same seeds with each"));
    out.push_str("  strategy        seeds with findings  signatures  first after   mean steps\n");
    for one in all {
        out.push_str(&format!(
            "  {:<12} {:>12}  {:>10}  {:>10}  {:>11}  {:>11}\n",
            one.strategy,
            one.failed,
            percent(one.failed, one.seeds),
            one.known_after.len(),
            one.first(),
            one.mean_steps()
        ));
    }
    out
}
