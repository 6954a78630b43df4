//! How many seeds a strategy needs until it finds something: the measure by which strategies are compared.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Fuzzer, Observed};
use crate::Finding;
use crate::schedule::Guide;

/// Repeated searches for a first finding.
#[derive(Clone, Debug)]
pub struct FirstFinding {
    /// How often the search is repeated, with seeds of its own each time.
    pub repetitions: u64,
    /// Seeds after which a repetition gives up.
    pub cap: u64,
    /// The first seed of the first repetition.
    pub from: u64,
    /// Worker threads; results do not depend on it.
    pub jobs: usize,
    /// Whether later seeds of a repetition are guided by what earlier ones showed.
    pub fuzz: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeedsToFinding {
    /// For each repetition that was finished, in order of its number: how many seeds were run, the one with the finding
    /// included; `None` if none of them showed it.
    pub runs: Vec<Option<u64>>,
    /// Seeds after which a repetition gave up.
    pub cap: u64,
}

impl SeedsToFinding {
    /// The median number of seeds, the lower of two; `None` if half of the repetitions or more gave up, or none was
    /// finished.
    #[must_use]
    pub fn median(&self) -> Option<u64> {
        let mut all: Vec<u64> = self.runs.iter().map(|run| run.unwrap_or(u64::MAX)).collect();
        all.sort_unstable();
        all.get(all.len().checked_sub(1)? / 2).copied().filter(|&median| median != u64::MAX)
    }

    /// Repetitions that found it.
    #[must_use]
    pub fn found(&self) -> usize {
        self.runs.iter().flatten().count()
    }

    /// The median in words: a number, `>cap`, or `-` if no repetition was finished.
    #[must_use]
    pub fn words(&self) -> String {
        match self.median() {
            _ if self.runs.is_empty() => "-".to_owned(),
            Some(median) => median.to_string(),
            None => format!(">{}", self.cap),
        }
    }
}

impl FirstFinding {
    /// The seeds of a repetition. No seed belongs to two of them.
    #[must_use]
    pub fn seeds(&self, repetition: u64) -> Range<u64> {
        let first = self.from.saturating_add(repetition.saturating_mul(self.cap));
        first..first.saturating_add(self.cap)
    }

    /// Measures. `make` gives each worker its own runner, `wanted` says which findings count. When `stop` becomes true,
    /// what is finished counts and the rest is left out.
    pub fn measure<R: FnMut(u64, Option<&Guide>) -> Observed>(
        &self,
        make: impl Fn() -> R + Sync,
        wanted: impl Fn(&Finding) -> bool + Sync,
        stop: &AtomicBool,
    ) -> SeedsToFinding {
        let next = AtomicU64::new(0);
        let done = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    let mut runner = make();
                    loop {
                        let repetition = next.fetch_add(1, Ordering::Relaxed);
                        if repetition >= self.repetitions {
                            return;
                        }
                        match self.one(repetition, &mut runner, &make, &wanted, stop) {
                            Some(run) => {
                                done.lock().unwrap_or_else(PoisonError::into_inner).push((repetition, run));
                            }
                            None => return,
                        }
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_unstable();
        SeedsToFinding { runs: done.into_iter().map(|(_, run)| run).collect(), cap: self.cap }
    }

    /// One repetition; `None` if it was stopped.
    fn one<R: FnMut(u64, Option<&Guide>) -> Observed>(
        &self,
        repetition: u64,
        runner: &mut R,
        make: &impl Fn() -> R,
        wanted: &impl Fn(&Finding) -> bool,
        stop: &AtomicBool,
    ) -> Option<Option<u64>> {
        let seeds = self.seeds(repetition);
        let mut fuzzer = Fuzzer::new(seeds.start);
        let mut generation = Vec::new();
        for seed in seeds.clone() {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let guide = if self.fuzz { fuzzer.guide(seed) } else { None };
            let run = super::catching(|| runner(seed, guide.as_ref().map(|(guide, _)| guide)));
            let Ok(observed) = run else {
                // A panic of the simulator is not what is looked for, and the runner may be half changed.
                *runner = make();
                continue;
            };
            if observed.outcome.findings.iter().any(wanted) {
                return Some(Some(seed - seeds.start + 1));
            }
            if self.fuzz {
                generation.push((guide, observed.coverage));
                if (seed - seeds.start + 1).is_multiple_of(Fuzzer::GENERATION) {
                    for (guide, coverage) in generation.drain(..) {
                        if let Some(run) = coverage {
                            fuzzer.learn(guide.as_ref(), &run);
                        }
                    }
                }
            }
        }
        Some(None)
    }
}
