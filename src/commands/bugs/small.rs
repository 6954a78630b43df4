//! How small a bug becomes.

use std::sync::atomic::AtomicBool;

use models::run::{Request, Simulation};
use models::scenario::edit::Tree;
use models::shrink::{self, Measure, Settings, Shown, Target};
use sim::explore::shrink::{NoJournal, Search};

use super::pair::Pair;
use crate::commands::shrink::start;

/// Candidates that a search may try.
const BUDGET: u64 = 3_000;
/// Other seeds that are tried where the recorded choices no longer show the finding, as `dmasim shrink` does.
const TRIES: u64 = 4;

/// A run that shows the bug, and what is left of it.
#[derive(Debug)]
pub(super) struct Small {
    pub(super) before: Measure,
    pub(super) after: Measure,
    /// Whether nothing more can be left out: the search came to its end.
    pub(super) complete: bool,
}

impl Small {
    /// Both sizes of what `of` names.
    pub(super) fn both(&self, of: impl Fn(&Measure) -> u64) -> String {
        format!("{} -> {}", of(&self.before), of(&self.after))
    }
}

/// Shrinks the first run that shows the bug. `None` if there is none.
pub(super) fn small(pair: &Pair, stop: &AtomicBool) -> Option<Small> {
    let simulation = Simulation::new(pair.buggy.clone());
    let mut journal = NoJournal;
    let mut search = Search::new(1, BUDGET, stop, &mut journal);
    let settings = Settings {
        target: Target::Patterns(pair.expected().to_vec()),
        tries: TRIES,
        request: Request::quick(0),
    };
    let seeds = 0..pair.buggy.explore.seeds;
    let (seed, choices) = shrink::first_seed(&mut search, &settings, &simulation, seeds).ok()??;
    let start = start::begin(&simulation, settings, seed, choices).ok()?.ok()?;
    let tree = Tree::of(&start::laid_flat(&pair.buggy, &start));
    let mut shown = Shown { tree, choices: start.choices.clone() };
    let size = |shown: &Shown| {
        let scenario = shown.tree.resolve("shrunk").ok()?;
        let (token, run) = shrink::recorded(&scenario, &start.settings, start.seed, &shown.choices)?;
        Some(Measure::of(&scenario, &run.end.trace, run.end.steps, &token.choices))
    };
    let before = size(&shown)?;
    let halted = shrink::shrink(&mut search, &start.settings, &pair.slug, &mut shown, &mut |_| {});
    Some(Small { before, after: size(&shown)?, complete: halted.is_ok() })
}
