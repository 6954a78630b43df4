//! Which conditions of a finding matter: each is taken away by itself, and the scenario is run again.
//!
//! Not the smallest scenario ([`super::shrink`]), in which nothing can be left out, but the one that was run, and what it
//! cannot do without: words of the command line, devices, changes of the kernel. A condition matters if neither the
//! choices of the run nor some seeds show a finding of the same signature without it.

use std::ops::Range;

use sim::Finding;
use sim::choices::ChoiceList;
use sim::explore::catching;

use super::judge::Settings;
use crate::profile::{Behaviour, BehaviourSet};
use crate::run::{Simulation, Source};
use crate::scenario::edit::{Part, Tree, flat};
use crate::scenario::{Resolved, ScenarioFile};

/// Something that a scenario could be without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A word of the kernel's command line.
    Word(String),
    /// A device: its address, and its driver if it has one.
    Device(String, Option<String>),
    /// A behaviour that the kernel has.
    With(Behaviour),
    /// A behaviour that the kernel lacks: the finding is there without it.
    Without(Behaviour),
}

/// What came of taking a condition away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The finding still shows: it does not matter.
    Stays,
    /// It shows no longer. What shows in its place first, if anything does: its signature in words.
    Gone(Option<String>),
    /// The scenario is none without it.
    Needed,
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// Each condition that was tried, in the order of the command line, of the machine, of the kernel's history.
    pub tried: Vec<(Condition, Effect)>,
    /// So many were left when the budget was used up.
    pub left: usize,
    /// Runs that it took.
    pub runs: u64,
    /// Seeds that were tried with each, where the choices did not show the finding.
    pub seeds: Range<u64>,
}

impl Conditions {
    /// Those that matter, with what shows in place of the finding.
    pub fn matter(&self) -> impl Iterator<Item = (&Condition, Option<&str>)> {
        self.tried.iter().filter_map(|(condition, effect)| match effect {
            Effect::Gone(instead) => Some((condition, instead.as_deref())),
            Effect::Stays | Effect::Needed => None,
        })
    }
}

/// Tries all conditions of `scenario`, whose run with `choices` shows the finding of `settings`. Where the choices do not
/// show it any more, `seeds` are tried. The runs take so many `steps` together at most; a condition on which they end is left
/// undecided.
#[must_use]
pub fn conditions(
    settings: &Settings,
    scenario: &Resolved,
    choices: &ChoiceList,
    seeds: Range<u64>,
    steps: u64,
) -> Conditions {
    let mut tester = Tester { settings, choices, seeds: seeds.clone(), runs: 0, left: steps };
    let (file, all) = candidates(scenario);
    let tree = Tree::of(&file);
    let mut tried = Vec::new();
    let mut changed = Vec::new();
    let mut left = 0;
    for (condition, nth) in all {
        // Once something was not decided, what comes later is not begun: that would be another list each time.
        if left > 0 || !tester.afford(COST) {
            left += 1;
            continue;
        }
        let resolved =
            without(&file, &tree, &condition, nth).and_then(|tree| tree.resolve(&scenario.name).ok());
        let Some(resolved) = resolved else {
            tried.push((condition, Effect::Needed));
            continue;
        };
        let difference = difference(scenario.profile.set, resolved.profile.set);
        match tester.test(resolved) {
            None => left += 1,
            Some(effect) => {
                changed.push((tried.len(), difference));
                tried.push((condition, effect));
            }
        }
    }
    keep_smallest(&mut tried, &changed);
    Conditions { tried, left, runs: tester.runs, seeds }
}

/// A behaviour that takes another one along, which is enough by itself, says nothing new: it is not told.
fn keep_smallest(tried: &mut Vec<(Condition, Effect)>, changed: &[(usize, Vec<Behaviour>)]) {
    let gone: Vec<&(usize, Vec<Behaviour>)> =
        changed.iter().filter(|(n, all)| !all.is_empty() && matches!(tried[*n].1, Effect::Gone(_))).collect();
    let superfluous: Vec<usize> = gone
        .iter()
        .filter(|(_, all)| {
            gone.iter().any(|(_, less)| less.len() < all.len() && less.iter().all(|one| all.contains(one)))
        })
        .map(|(n, _)| *n)
        .collect();
    let mut n = 0;
    tried.retain(|_| {
        n += 1;
        !superfluous.contains(&(n - 1))
    });
}

fn difference(from: BehaviourSet, to: BehaviourSet) -> Vec<Behaviour> {
    Behaviour::ALL.iter().copied().filter(|one| from.has(*one) != to.has(*one)).collect()
}

/// What it takes to make a scenario ready, in steps of a run that take as long.
const COST: u64 = 1_000;

/// All conditions, each with its place among those of its sort, and the file that they are taken from.
fn candidates(scenario: &Resolved) -> (ScenarioFile, Vec<(Condition, usize)>) {
    let words = scenario.cmdline.split_whitespace().map(|word| Condition::Word(word.to_owned()));
    let devices = scenario.machine.devices.iter();
    let devices = devices.map(|device| Condition::Device(device.bdf.clone(), device.driver.clone()));
    let of = |has: bool| Behaviour::ALL.iter().filter(move |one| scenario.profile.set.has(**one) == has);
    let all = (words.enumerate().map(|(n, one)| (one, n)))
        .chain(devices.enumerate().map(|(n, one)| (one, n)))
        .chain(of(true).map(|one| (Condition::With(*one), 0)))
        .chain(of(false).map(|one| (Condition::Without(*one), 0)))
        .collect();
    (flat(scenario), all)
}

/// The scenario without a condition; `None` if there is none.
fn without(file: &ScenarioFile, tree: &Tree, condition: &Condition, nth: usize) -> Option<Tree> {
    let (behaviour, has) = match condition {
        Condition::Word(_) => return Part::Words.without(tree, nth..nth + 1),
        Condition::Device(..) => return Part::Devices.without(tree, nth..nth + 1),
        Condition::With(behaviour) => (behaviour, true),
        Condition::Without(behaviour) => (behaviour, false),
    };
    let mut file = file.clone();
    if let Some(kernel) = &mut file.kernel {
        let name = behaviour.name();
        let (to, from) = if has {
            (&mut kernel.revert, &mut kernel.apply)
        } else {
            (&mut kernel.apply, &mut kernel.revert)
        };
        from.retain(|other| other != name);
        to.push(name.to_owned());
    }
    Some(Tree::of(&file))
}

/// Tries one condition after the other, as long as there are steps left for it.
struct Tester<'a> {
    settings: &'a Settings,
    choices: &'a ChoiceList,
    seeds: Range<u64>,
    runs: u64,
    left: u64,
}

impl Tester<'_> {
    /// Takes so many steps from what is left, if there are as many.
    const fn afford(&mut self, steps: u64) -> bool {
        let enough = self.left > steps;
        self.left = self.left.saturating_sub(steps);
        enough
    }

    /// What becomes of the finding; `None` if the steps ended before that was known.
    fn test(&mut self, scenario: Resolved) -> Option<Effect> {
        let simulation = Simulation::for_replay(scenario);
        let before = self.left;
        let findings = self.run(&simulation, Source::Replay(self.choices.clone()))?;
        if self.shows(&findings) {
            return Some(Effect::Stays);
        }
        // Runs of seeds need a trial run, which is about as long as that was.
        if !self.afford(COST + before - self.left) {
            return None;
        }
        let simulation = Simulation::new(simulation.scenario().clone());
        let mut instead = None;
        for seed in self.seeds.clone() {
            let findings = self.run(&simulation, Source::Seed(seed))?;
            if self.shows(&findings) {
                return Some(Effect::Stays);
            }
            instead = instead.or_else(|| findings.first().map(Finding::signature));
        }
        Some(Effect::Gone(instead))
    }

    fn shows(&self, findings: &[Finding]) -> bool {
        self.settings.target.among(findings).is_some()
    }

    /// What one run shows: nothing if a model panics in it. `None` if the steps that are left are too few for it.
    fn run(&mut self, simulation: &Simulation, source: Source) -> Option<Vec<Finding>> {
        self.runs += 1;
        let mut request = self.settings.request(source, false);
        let whole = request.max_steps.unwrap_or(simulation.scenario().explore.max_steps);
        let most = whole.min(self.left);
        request.max_steps = Some(most);
        let Ok(run) = catching(|| simulation.worker().run(&request)) else { return Some(Vec::new()) };
        self.left -= run.end.steps.min(self.left);
        // What a run that was cut short shows at its end is not what it would have shown.
        (most == whole || run.end.steps < most).then_some(run.end.findings)
    }
}
