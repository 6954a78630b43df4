//! A campaign: one scenario, many seeds, all cores; results that do not depend on how many workers there were.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::catching;
use super::summary::Summary;
use crate::trace::Digest;
use crate::{Finding, Name, Severity};

/// What one run gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Digest of the run.
    pub digest: u128,
    /// Steps executed.
    pub steps: u64,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Outcome {
    /// Adds a finding of the tool itself if the same seed gave another run.
    pub(super) fn compare(&mut self, again: &Self) {
        if again.digest != self.digest {
            let finding = nondeterminism(self, again);
            self.findings.push(finding);
        }
    }
}

/// Who wants to know how far a campaign is.
pub trait Progress: Sync {
    /// So many more seeds were run, so many of them with findings.
    fn advanced(&self, seeds: u64, failed: u64);
}

/// Nobody wants to know.
impl Progress for () {
    fn advanced(&self, _: u64, _: u64) {}
}

/// Settings of a campaign.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The seeds.
    pub seeds: Range<u64>,
    /// Worker threads.
    pub jobs: usize,
    /// Every so many seeds one is run twice and the digests compared; 0 for never.
    pub recheck_every: u64,
}

/// Seeds that a worker takes at once: enough that workers do not meet, few enough that the last block does not keep
/// one of them long.
const BLOCK: u64 = 16;

impl Campaign {
    /// Runs it. `make` gives each worker its own runner, so that workers share nothing. Ends early when `stop`
    /// becomes true; what was found until then is kept.
    pub fn run<R: FnMut(u64) -> Outcome>(
        &self,
        make: impl Fn() -> R + Sync,
        progress: &dyn Progress,
        stop: &AtomicBool,
    ) -> Summary {
        // Counts from the first seed on, so that it does not overflow at the last ones.
        let next = AtomicU64::new(0);
        let total = Mutex::new(Summary::default());
        let jobs = self.jobs.max(1);
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    let part = self.worker(&make, &next, progress, stop);
                    total.lock().unwrap_or_else(std::sync::PoisonError::into_inner).merge(part);
                });
            }
        });
        let mut total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        total.interrupted = total.ran < self.seeds.end.saturating_sub(self.seeds.start);
        total
    }

    /// Whether this seed is run twice.
    pub(super) const fn rechecks(&self, seed: u64) -> bool {
        self.recheck_every > 0 && seed.is_multiple_of(self.recheck_every)
    }

    fn worker<R: FnMut(u64) -> Outcome>(
        &self,
        make: &(impl Fn() -> R + Sync),
        next: &AtomicU64,
        progress: &dyn Progress,
        stop: &AtomicBool,
    ) -> Summary {
        let mut summary = Summary::default();
        let mut runner = make();
        loop {
            // Only the distribution of seeds depends on this counter, never a result: relaxed is enough.
            let offset = next.fetch_add(BLOCK, Ordering::Relaxed);
            let count = self.seeds.end.saturating_sub(self.seeds.start);
            if offset >= count {
                return summary;
            }
            let start = self.seeds.start + offset;
            for seed in start..start + BLOCK.min(count - offset) {
                if stop.load(Ordering::Relaxed) {
                    return summary;
                }
                let failed = summary.failed;
                let mut outcome = guarded(&mut runner, |runner| runner(seed), make);
                if self.rechecks(seed) {
                    summary.rechecked += 1;
                    let again = guarded(&mut runner, |runner| runner(seed), make);
                    outcome.compare(&again);
                }
                summary.add(seed, outcome);
                progress.advanced(1, summary.failed - failed);
            }
        }
    }
}

/// One seed, with a panic turned into a finding. The runner is made anew after a panic: it may be half changed.
pub(super) fn guarded<R>(
    runner: &mut R,
    run: impl FnOnce(&mut R) -> Outcome,
    make: &impl Fn() -> R,
) -> Outcome {
    catching(|| run(runner)).unwrap_or_else(|message| {
        *runner = make();
        let mut digest = Digest::new();
        digest.mix_str(&message);
        let finding = of_the_tool("panic-in-model", format!("the simulator itself panicked: {message}"));
        Outcome { digest: digest.value(), steps: 0, findings: vec![finding] }
    })
}

fn nondeterminism(first: &Outcome, second: &Outcome) -> Finding {
    of_the_tool(
        "nondeterminism",
        format!(
            "the same seed gave two runs: digest {:032x} after {} steps, and {:032x} after {}",
            first.digest, first.steps, second.digest, second.steps
        ),
    )
}

pub(super) fn of_the_tool(kind: &'static str, title: String) -> Finding {
    Finding {
        kind,
        title,
        severity: Severity::Fatal,
        frames: Vec::new(),
        object: "",
        discriminator: "",
        context: Name::new("dmasim"),
        cpu: None,
        time: 0,
        step: 0,
        ending: kind,
        details: Vec::new(),
    }
}
