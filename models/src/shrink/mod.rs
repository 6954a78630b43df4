//! Shrinking a finding: the shortest schedule, and then the smallest scenario, that still show it.
//!
//! First the choices of the run ([`sim::explore::shrink`]), then the scenario, part by part
//! ([`crate::scenario::edit`]), and both again until neither gets any smaller. How large the answers are that are left is
//! looked at last: most go with the part of the scenario that asks for them. A candidate counts only if it shows a
//! finding of the same signature: the same kind, the same innermost frames, the same object.

mod conditions;
mod judge;
mod measure;
mod pair;

use sim::choices::{ChoiceList, Token};
use sim::explore::shrink::{Halt, Lowering, Search, drop_blocks, shrink_choices};

pub use conditions::{Condition, Conditions, Effect, conditions};
pub use judge::{Settings, Target};
pub use measure::Measure;
pub use pair::{Pair, PairChange, nearest_clean};

use crate::run::Simulation;
use crate::scenario::Resolved;
use crate::scenario::edit::{Part, Tree, parts};
use judge::{Pool, judge_tree};

/// A scenario and the choices of a run of it that shows the finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The scenario.
    pub tree: Tree,
    /// The choices that differ from their default.
    pub choices: ChoiceList,
}

/// How far a search is.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    /// What is being made smaller.
    pub what: &'a str,
    /// Candidates tried.
    pub tried: u64,
    /// The smallest so far.
    pub best: &'a Shown,
}

/// Who wants to know how far a search is. Called after each success, and before each part that is tried.
pub type Watch<'a> = &'a mut dyn FnMut(Status<'_>);

/// Makes `best` smaller until nothing can be left out or made simpler. `name` is that of the scenario in messages.
///
/// # Errors
/// When the search has to end; `best` is then the smallest so far.
pub fn shrink(
    search: &mut Search<'_>,
    settings: &Settings,
    name: &str,
    best: &mut Shown,
    watch: Watch<'_>,
) -> Result<(), Halt> {
    choices(search, settings, name, best, Lowering::Coarse, watch)?;
    loop {
        scenario(search, settings, name, best, watch)?;
        let before = best.choices.clone();
        choices(search, settings, name, best, Lowering::Coarse, watch)?;
        // What could be made smaller with these choices was made so.
        if best.choices == before {
            break;
        }
    }
    choices(search, settings, name, best, Lowering::Fine, watch)
}

/// Makes the choices fewer and smaller; the scenario stays as it is.
///
/// # Errors
/// When the search has to end; `best` is then the smallest so far.
pub fn schedule(
    search: &mut Search<'_>,
    settings: &Settings,
    name: &str,
    best: &mut Shown,
    watch: Watch<'_>,
) -> Result<(), Halt> {
    choices(search, settings, name, best, Lowering::Fine, watch)
}

fn choices(
    search: &mut Search<'_>,
    settings: &Settings,
    name: &str,
    best: &mut Shown,
    lowering: Lowering,
    watch: Watch<'_>,
) -> Result<(), Halt> {
    watch(Status { what: "schedule", tried: search.tried(), best });
    // It ran before; if it cannot be run now, nothing is gained and nothing lost.
    let Ok(resolved) = best.tree.resolve(name) else { return Ok(()) };
    let simulation = Simulation::for_replay(resolved);
    let pool = Pool::new(&simulation, settings);
    let halted = shrink_choices(search, &mut best.choices, lowering, &|list| pool.replay(list));
    watch(Status { what: "schedule", tried: search.tried(), best });
    halted
}

fn scenario(
    search: &mut Search<'_>,
    settings: &Settings,
    name: &str,
    best: &mut Shown,
    watch: Watch<'_>,
) -> Result<(), Halt> {
    let mut n = 0;
    // Parts that could not be made smaller since the last that was: round and round, until that is all of them.
    let mut in_vain = 0;
    loop {
        // Parts are listed anew after each, since what was taken away moves the others.
        let all = parts(&best.tree);
        if in_vain >= all.len() {
            return Ok(());
        }
        let Some(part) = all.get(n) else {
            n = 0;
            continue;
        };
        watch(Status { what: part.words(), tried: search.tried(), best });
        let before = best.tree.clone();
        one(search, settings, name, best, part)?;
        in_vain = if best.tree == before { in_vain + 1 } else { 0 };
        n += 1;
    }
}

/// Tries all that there is to try on one part.
fn one(
    search: &mut Search<'_>,
    settings: &Settings,
    name: &str,
    best: &mut Shown,
    part: &Part,
) -> Result<(), Halt> {
    // Other seeds are tried only where much may go at once: a number is not worth a longer schedule.
    let tries = match part {
        Part::Number { .. } | Part::Memory { .. } | Part::Words => 0,
        _ => settings.tries,
    };
    let settings = Settings { tries, ..settings.clone() };
    let len = |shown: &Shown| part.len(&shown.tree);
    let without = |shown: &Shown, range| {
        let tree = part.without(&shown.tree, range)?;
        judge_tree(&settings, name, tree, &shown.choices)
    };
    drop_blocks(search, best, len, &without)?;
    loop {
        let simpler = part.simpler(&best.tree);
        let choices = &best.choices;
        let judge = |tree: &Tree| judge_tree(&settings, name, tree.clone(), choices);
        match search.first(&simpler, &judge)? {
            Some((_, shown)) => *best = shown,
            None => return Ok(()),
        }
    }
}

/// The first of `seeds` that shows the finding, with its choices.
///
/// # Errors
/// When the search has to end.
pub fn first_seed(
    search: &mut Search<'_>,
    settings: &Settings,
    simulation: &Simulation,
    seeds: std::ops::Range<u64>,
) -> Result<Option<(u64, ChoiceList)>, Halt> {
    const BLOCK: u64 = 1024;
    let pool = Pool::new(simulation, settings);
    let mut from = seeds.start;
    while from < seeds.end {
        let block: Vec<u64> = (from..seeds.end.min(from + BLOCK)).collect();
        if let Some((n, list)) = search.first(&block, &|seed| pool.seed(*seed))? {
            return Ok(Some((block[n], list)));
        }
        from += BLOCK;
    }
    Ok(None)
}

/// The token of a run of `scenario` with these choices, and the run itself, fully recorded.
#[must_use]
pub fn recorded(
    scenario: &Resolved,
    settings: &Settings,
    seed: u64,
    choices: &ChoiceList,
) -> Option<(Token, crate::run::Run)> {
    let simulation = Simulation::for_replay(scenario.clone());
    judge::record(&simulation, settings, seed, choices)
}
