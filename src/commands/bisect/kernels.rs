//! Kernels between two others, and whether they show the finding.

use std::collections::BTreeMap;
use std::ops::Range;

use models::profile::{Behaviour, BehaviourSet};
use models::run::Simulation;
use models::scenario::{Loaded, Overrides, Resolved};
use models::shrink::{Settings, first_seed};
use sim::explore::shrink::{Halt, NoJournal, Search};

use crate::args::KernelArgs;
use crate::interrupt;

/// A kernel: a version, plus and minus behaviours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spec {
    pub(super) version: String,
    pub(super) apply: Vec<String>,
    pub(super) revert: Vec<String>,
}

/// A behaviour that comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) behaviour: Behaviour,
    pub(super) comes: bool,
}

impl Spec {
    /// An unchanged version.
    pub(super) fn of_version(version: &str) -> Self {
        Self { version: version.to_owned(), apply: Vec::new(), revert: Vec::new() }
    }

    /// That of a scenario.
    pub(super) fn of(scenario: &Resolved) -> Self {
        let kernel = &scenario.kernel;
        Self { version: kernel.version.clone(), apply: kernel.apply.clone(), revert: kernel.revert.clone() }
    }

    /// With changes on top.
    pub(super) fn with(&self, changes: &[Change]) -> Self {
        let mut spec = self.clone();
        for Change { behaviour, comes } in changes {
            let name = behaviour.name();
            let (to, from) = if *comes {
                (&mut spec.apply, &mut spec.revert)
            } else {
                (&mut spec.revert, &mut spec.apply)
            };
            from.retain(|other| other != name);
            if !to.iter().any(|other| other == name) {
                to.push(name.to_owned());
            }
        }
        spec
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        let plus = self.apply.iter().map(|name| format!(" + {name}"));
        let minus = self.revert.iter().map(|name| format!(" - {name}"));
        std::iter::once(self.version.clone()).chain(plus).chain(minus).collect()
    }
}

/// What turns one kernel into another.
pub(super) fn between(from: BehaviourSet, to: BehaviourSet) -> Vec<Change> {
    let differs = |b: &&Behaviour| from.has(**b) != to.has(**b);
    Behaviour::ALL.iter().filter(differs).map(|b| Change { behaviour: *b, comes: to.has(*b) }).collect()
}

/// Tests kernels, each once.
pub(super) struct Tester<'a> {
    loaded: &'a Loaded,
    overrides: Overrides,
    settings: Settings,
    seeds: Range<u64>,
    jobs: usize,
    known: BTreeMap<Spec, Option<u64>>,
}

/// Why a kernel cannot be tested.
#[derive(Debug)]
pub(super) enum Untested {
    /// There is no such kernel.
    Impossible(String),
    /// Ctrl-C.
    Interrupted,
}

impl<'a> Tester<'a> {
    pub(super) fn new(
        loaded: &'a Loaded,
        kernel: &KernelArgs,
        variant: Option<&str>,
        settings: Settings,
        seeds: Range<u64>,
        jobs: usize,
    ) -> Self {
        Self { loaded, overrides: kernel.overrides(variant), settings, seeds, jobs, known: BTreeMap::new() }
    }

    /// The scenario on another kernel.
    pub(super) fn resolve(&self, spec: &Spec) -> Result<Resolved, Untested> {
        let overrides = Overrides {
            version: Some(spec.version.clone()),
            apply: spec.apply.clone(),
            revert: spec.revert.clone(),
            ..self.overrides.clone()
        };
        self.loaded.resolve(&overrides).map_err(|error| {
            let first = error.problems().first().map_or("", models::scenario::Problem::message);
            Untested::Impossible(first.to_owned())
        })
    }

    /// The first seed that shows the finding on this kernel, if one does.
    pub(super) fn test(&mut self, spec: &Spec) -> Result<Option<u64>, Untested> {
        if let Some(known) = self.known.get(spec) {
            return Ok(*known);
        }
        let simulation = Simulation::new(self.resolve(spec)?);
        let mut journal = NoJournal;
        let mut search = Search::new(self.jobs, u64::MAX, interrupt::flag(), &mut journal);
        let found = match first_seed(&mut search, &self.settings, &simulation, self.seeds.clone()) {
            Ok(found) => found.map(|(seed, _)| seed),
            Err(Halt::Interrupted | Halt::Budget | Halt::Journal) => return Err(Untested::Interrupted),
        };
        self.known.insert(spec.clone(), found);
        Ok(found)
    }

    /// How many kernels were tested.
    pub(super) fn tested(&self) -> usize {
        self.known.len()
    }

    /// The fewest of `changes` that, on top of `base`, make the finding show (or not show, if not `bad`). Kernels that
    /// cannot be are passed over. `None` if even all of them together do not.
    pub(super) fn fewest(
        &mut self,
        base: &Spec,
        changes: &[Change],
        bad: bool,
    ) -> Result<Option<Vec<Change>>, Untested> {
        let mut fits = |changes: &[Change]| match self.test(&base.with(changes)) {
            Ok(found) => Ok(found.is_some() == bad),
            Err(Untested::Impossible(_)) => Ok(false),
            Err(Untested::Interrupted) => Err(Untested::Interrupted),
        };
        if !fits(changes)? {
            return Ok(None);
        }
        let mut best = changes.to_vec();
        // What brings most along is tried to be left out first.
        best.sort_by_key(|change| std::cmp::Reverse(change.behaviour.facts().needs.len()));
        let mut block = best.len().div_ceil(2);
        // Delta debugging: blocks are left out while what is left is enough.
        while block > 0 {
            let mut from = 0;
            let mut dropped = false;
            while from < best.len() {
                let mut left = best.clone();
                left.drain(from..best.len().min(from + block));
                if fits(&left)? {
                    best = left;
                    dropped = true;
                } else {
                    from += block;
                }
            }
            if block == 1 && !dropped {
                break;
            }
            block = if block == 1 { 1 } else { block / 2 };
        }
        Ok(Some(best))
    }
}
