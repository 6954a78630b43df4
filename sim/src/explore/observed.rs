//! A campaign that looks at what its runs exercise: in blocks, so that what is learnt from one block can decide about the
//! next, with the same result for any number of workers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};

use super::campaign::guarded;
use super::{Campaign, Fuzzer, Outcome, Progress, Summary};
use crate::coverage::{Coverage, RunCoverage};
use crate::schedule::Guide;

/// What one run gave, and what it exercised.
#[derive(Clone, Debug)]
pub struct Observed {
    /// What a campaign keeps of any run.
    pub outcome: Outcome,
    /// What it exercised, if that was noted.
    pub coverage: Option<Box<RunCoverage>>,
}

/// What is done with what runs exercise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observe {
    /// Later seeds are guided by what earlier ones showed.
    pub fuzz: bool,
    /// The campaign ends when nothing new came for so many seeds, at the end of a block.
    pub until_flat: Option<u64>,
}

type Result = (u64, Option<(Guide, usize)>, Observed);

impl Campaign {
    /// Runs it in blocks of [`Fuzzer::GENERATION`] seeds. `make` gives each worker its own runner, which gets the seed and,
    /// when fuzzing, its guide. Ends early when `stop` becomes true; what was found until then is kept.
    pub fn run_observed<R: FnMut(u64, Option<&Guide>) -> Observed>(
        &self,
        make: impl Fn() -> R + Sync,
        progress: &dyn Progress,
        stop: &AtomicBool,
        observe: Observe,
    ) -> (Summary, Coverage) {
        let jobs = self.jobs.max(1);
        let whole = self.seeds.end.saturating_sub(self.seeds.start);
        let block = Mutex::new((0_u64, Fuzzer::new(self.seeds.start)));
        let (next, over) = (AtomicU64::new(0), AtomicBool::new(whole == 0));
        let results = Mutex::new(Vec::new());
        let barrier = Barrier::new(jobs + 1);
        let mut total = (Summary::default(), Coverage::default());
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    let mut runner = make();
                    loop {
                        barrier.wait();
                        if over.load(Ordering::SeqCst) {
                            return;
                        }
                        let (first, fuzzer) = lock(&block).clone();
                        let end = whole.min(first + Fuzzer::GENERATION);
                        loop {
                            let offset = next.fetch_add(1, Ordering::SeqCst);
                            if offset >= end || stop.load(Ordering::Relaxed) {
                                break;
                            }
                            let seed = self.seeds.start + offset;
                            let guide = if observe.fuzz { fuzzer.guide(seed) } else { None };
                            let given = guide.as_ref().map(|(guide, _)| guide);
                            let observed = self.one(&mut runner, &make, seed, given);
                            progress.advanced(1, u64::from(!observed.outcome.findings.is_empty()));
                            lock(&results).push((seed, guide, observed));
                        }
                        barrier.wait();
                    }
                });
            }
            let mut quiet = 0;
            while !over.load(Ordering::SeqCst) {
                barrier.wait();
                barrier.wait();
                let mut block = lock(&block);
                let done = std::mem::take(&mut *lock(&results));
                self.take(done, &mut block.1, &mut total, &mut quiet);
                block.0 = whole.min(block.0 + Fuzzer::GENERATION);
                next.store(block.0, Ordering::SeqCst);
                let flat = observe.until_flat.is_some_and(|seeds| quiet >= seeds);
                total.0.flat |= flat;
                over.store(flat || block.0 >= whole || stop.load(Ordering::Relaxed), Ordering::SeqCst);
            }
            // The workers wait at the beginning of a block, and see that there is none.
            barrier.wait();
        });
        total.0.interrupted = total.0.ran < whole && !total.0.flat;
        total
    }

    fn one<R: FnMut(u64, Option<&Guide>) -> Observed>(
        &self,
        runner: &mut R,
        make: &impl Fn() -> R,
        seed: u64,
        guide: Option<&Guide>,
    ) -> Observed {
        let mut coverage = None;
        let mut run = || {
            guarded(
                runner,
                |runner| {
                    let observed = runner(seed, guide);
                    coverage = observed.coverage;
                    observed.outcome
                },
                make,
            )
        };
        let mut outcome = run();
        if self.rechecks(seed) {
            let again = run();
            outcome.compare(&again);
        }
        Observed { outcome, coverage }
    }

    /// Adds the results of a block in the order of seeds.
    fn take(
        &self,
        mut results: Vec<Result>,
        fuzzer: &mut Fuzzer,
        total: &mut (Summary, Coverage),
        quiet: &mut u64,
    ) {
        results.sort_by_key(|(seed, ..)| *seed);
        for (seed, guide, observed) in results {
            let mut new = false;
            if let Some(run) = &observed.coverage {
                new |= total.1.add(run);
                fuzzer.learn(guide.as_ref(), run);
            }
            let signatures = total.0.signatures.len();
            total.0.rechecked += u64::from(self.rechecks(seed));
            total.0.add_guided(seed, observed.outcome, guide.as_ref().map(|(guide, _)| guide));
            new |= total.0.signatures.len() > signatures;
            *quiet = if new { 0 } else { *quiet + 1 };
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
