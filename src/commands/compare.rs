//! The seeds of a campaign with other strategies.

use models::run::Simulation;
use models::scenario::Expect;
use reports::compared::Compared;
use sim::schedule::Strategy;

use crate::campaign::{self, Plan, Result};
use crate::interrupt;

/// What each strategy gave: that of the campaign first, then the others in the order in which they were asked for.
/// What was interrupted is left out.
pub(super) fn compare(
    simulation: &Simulation,
    plan: &Plan,
    own: &Result,
    strategies: &[Strategy],
) -> Vec<Compared> {
    let from = plan.seeds.start;
    let used = plan.tweaks.strategy(simulation.scenario());
    let mut all = vec![Compared::new(used.to_string(), from, &own.summary, own.coverage.as_ref())];
    for strategy in strategies.iter().filter(|strategy| **strategy != used) {
        let tweaks = plan.tweaks.with_strategy(*strategy);
        let plan = Plan { seeds: from..from + own.summary.ran, tweaks, ..plan.clone() };
        let result = campaign::run(simulation, &plan, &Expect::default(), interrupt::flag());
        if result.summary.interrupted {
            break;
        }
        // Fuzzing notes what it exercises for itself; that is comparable only if the others note it, too.
        let coverage = result.coverage.as_ref().filter(|_| own.coverage.is_some());
        all.push(Compared::new(strategy.to_string(), from, &result.summary, coverage));
    }
    all
}
