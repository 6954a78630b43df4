//! Which conditions of a campaign's findings matter.

use models::run::{Request, Simulation};
use models::shrink::{Conditions, Settings, Target, conditions};
use sim::explore::SignatureStats;

use crate::campaign::Tweaks;
use crate::explain::Explained;

/// Seeds that are tried where a run's choices no longer show its finding, if the question was asked.
const SEEDS: u64 = 20;
/// Those that are tried if it was not.
const FEW_SEEDS: u64 = 5;
/// Steps that the question may take for one finding if it was asked: some seconds.
const ASKED: u64 = 20_000_000;
/// Steps that it may take if it was not: a fraction of a second. Steps, and not time: the answer is to be the same
/// everywhere.
const UNASKED: u64 = 180_000;

/// Of each signature that was explained if `asked`, or else of the first one.
pub(super) fn of_all(
    simulation: &Simulation,
    tweaks: Tweaks,
    list: &[&SignatureStats],
    explained: &[Result<Explained, String>],
    asked: bool,
) -> Vec<Option<Conditions>> {
    let one = |(n, (stats, explained)): (usize, (&&SignatureStats, &Result<Explained, String>))| {
        let explained = explained.as_ref().ok()?;
        let (seeds, budget) = match n {
            _ if asked => (SEEDS, ASKED),
            0 => (FEW_SEEDS, UNASKED),
            _ => return None,
        };
        let settings = Settings {
            target: Target::Signature(stats.finding.signature_hash()),
            tries: 0,
            request: tweaks.on(Request::quick(0)),
        };
        let seeds = stats.first_seed..stats.first_seed.saturating_add(seeds);
        Some(conditions(&settings, simulation.scenario(), &explained.choices, seeds, budget))
    };
    list.iter().zip(explained).enumerate().map(one).collect()
}
