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
use crate::run::{Run, Simulation, Source};
use crate::scenario::Resolved;
use crate::scenario::edit::{Part, Tree, flat};

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
/// show it any more, `seeds` are tried. When runs have taken so many `steps` together, no other condition is begun.
#[must_use]
pub fn conditions(
    settings: &Settings,
    scenario: &Resolved,
    choices: &ChoiceList,
    seeds: Range<u64>,
    steps: u64,
) -> Conditions {
    let mut tester = Tester { settings, choices, seeds: seeds.clone(), runs: 0, steps: 0 };
    let mut all = candidates(scenario);
    let mut tried = Vec::new();
    let mut changed = Vec::new();
    let mut left = 0;
    for (condition, tree) in all.drain(..) {
        if tester.steps >= steps {
            left += 1;
            continue;
        }
        let resolved = tree.and_then(|tree| tree.resolve(&scenario.name).ok());
        let effect = match resolved {
            None => Effect::Needed,
            Some(resolved) => {
                changed.push((tried.len(), difference(scenario.profile.set, resolved.profile.set)));
                tester.test(resolved)
            }
        };
        tried.push((condition, effect));
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

/// All conditions, with the scenario without each; `None` if there is none.
fn candidates(scenario: &Resolved) -> Vec<(Condition, Option<Tree>)> {
    let file = flat(scenario);
    let tree = Tree::of(&file);
    let mut all = Vec::new();
    for (n, word) in scenario.cmdline.split_whitespace().enumerate() {
        all.push((Condition::Word(word.to_owned()), Part::Words.without(&tree, n..n + 1)));
    }
    for (n, device) in scenario.machine.devices.iter().enumerate() {
        let condition = Condition::Device(device.bdf.clone(), device.driver.clone());
        all.push((condition, Part::Devices.without(&tree, n..n + 1)));
    }
    for has in [true, false] {
        for behaviour in Behaviour::ALL.iter().filter(|one| scenario.profile.set.has(**one) == has) {
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
            let condition = if has { Condition::With(*behaviour) } else { Condition::Without(*behaviour) };
            all.push((condition, Some(Tree::of(&file))));
        }
    }
    all
}

struct Tester<'a> {
    settings: &'a Settings,
    choices: &'a ChoiceList,
    seeds: Range<u64>,
    runs: u64,
    steps: u64,
}

impl Tester<'_> {
    fn test(&mut self, scenario: Resolved) -> Effect {
        let simulation = Simulation::for_replay(scenario);
        if let Some(run) = self.run(&simulation, Source::Replay(self.choices.clone()))
            && self.shows(&run.end.findings)
        {
            return Effect::Stays;
        }
        let simulation = Simulation::new(simulation.scenario().clone());
        let mut instead = None;
        for seed in self.seeds.clone() {
            let Some(run) = self.run(&simulation, Source::Seed(seed)) else { continue };
            if self.shows(&run.end.findings) {
                return Effect::Stays;
            }
            instead = instead.or_else(|| run.end.findings.first().map(Finding::signature));
        }
        Effect::Gone(instead)
    }

    fn shows(&self, findings: &[Finding]) -> bool {
        self.settings.target.among(findings).is_some()
    }

    /// One run; `None` if a model panics in it.
    fn run(&mut self, simulation: &Simulation, source: Source) -> Option<Run> {
        self.runs += 1;
        let run = catching(|| simulation.worker().run(&self.settings.request(source, false))).ok();
        self.steps += run.as_ref().map_or(0, |run| run.end.steps);
        run
    }
}
