//! A campaign: one scenario, many seeds, all cores; results that do not depend on how many workers there were.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::catching;
use crate::schedule::Guide;
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

/// What is known of one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureStats {
    /// The finding as it was in the first seed that showed it.
    pub finding: Finding,
    /// Number of seeds that showed it.
    pub count: u64,
    /// The lowest seed that showed it.
    pub first_seed: u64,
    /// What that seed was guided by, if the seed alone does not repeat it.
    pub guide: Option<Guide>,
}

/// A seed and how long its run was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slow {
    /// Steps of its run.
    pub steps: u64,
    /// The seed.
    pub seed: u64,
}

/// What a campaign gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Seeds run.
    pub ran: u64,
    /// Seeds with a finding.
    pub failed: u64,
    /// Digest over all runs: the sum over seeds of a hash of seed and digest.
    pub digest: u128,
    /// Steps of all runs.
    pub steps: u64,
    /// Most steps of a run.
    pub max_steps: u64,
    /// The [`Summary::SLOWEST`] seeds whose runs had most steps, the longest first and, of equals, the lowest first.
    pub slowest: Vec<Slow>,
    /// By signature.
    pub signatures: BTreeMap<u64, SignatureStats>,
    /// How runs ended, in words, and how many did so.
    pub endings: BTreeMap<String, u64>,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// Whether it ended since nothing new came.
    pub flat: bool,
    /// Seeds that were run twice to compare their digests.
    pub rechecked: u64,
}

impl Summary {
    /// So many of the slowest seeds are kept.
    pub const SLOWEST: usize = 10;

    fn add_slow(&mut self, slow: Slow) {
        let order = |one: &Slow| (std::cmp::Reverse(one.steps), one.seed);
        let at = self.slowest.partition_point(|other| order(other) <= order(&slow));
        if at < Self::SLOWEST {
            self.slowest.insert(at, slow);
            self.slowest.truncate(Self::SLOWEST);
        }
    }

    /// The signatures in order of first seed, then hash.
    #[must_use]
    pub fn by_first_seed(&self) -> Vec<&SignatureStats> {
        let mut list: Vec<_> = self.signatures.values().collect();
        list.sort_by_key(|stats| (stats.first_seed, stats.finding.step, stats.finding.signature_hash()));
        list
    }

    /// Adds the result of one seed.
    pub fn add(&mut self, seed: u64, outcome: Outcome) {
        self.add_guided(seed, outcome, None);
    }

    pub(super) fn add_guided(&mut self, seed: u64, outcome: Outcome, guide: Option<&Guide>) {
        self.ran += 1;
        self.steps += outcome.steps;
        self.max_steps = self.max_steps.max(outcome.steps);
        self.add_slow(Slow { steps: outcome.steps, seed });
        let mut hash = Digest::new();
        hash.mix(seed);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of a digest")]
        for half in [outcome.digest as u64, (outcome.digest >> 64) as u64] {
            hash.mix(half);
        }
        self.digest = self.digest.wrapping_add(hash.value());
        if outcome.findings.is_empty() {
            *self.endings.entry("clean".to_owned()).or_default() += 1;
            return;
        }
        self.failed += 1;
        let ending = ending(&outcome.findings);
        match self.endings.get_mut(&ending) {
            Some(count) => *count += 1,
            None => {
                self.endings.insert(ending, 1);
            }
        }
        for finding in outcome.findings {
            self.add_finding(seed, finding, guide);
        }
    }

    fn add_finding(&mut self, seed: u64, finding: Finding, guide: Option<&Guide>) {
        match self.signatures.entry(finding.signature_hash()) {
            Entry::Vacant(entry) => {
                entry.insert(SignatureStats { finding, count: 1, first_seed: seed, guide: guide.cloned() });
            }
            Entry::Occupied(mut entry) => {
                let stats = entry.get_mut();
                stats.count += 1;
                if seed < stats.first_seed {
                    stats.first_seed = seed;
                    stats.finding = finding;
                    stats.guide = guide.cloned();
                }
            }
        }
    }

    /// Adds the result of other seeds. The order in which parts are added does not matter.
    pub fn merge(&mut self, other: Self) {
        self.ran += other.ran;
        self.failed += other.failed;
        self.digest = self.digest.wrapping_add(other.digest);
        self.steps += other.steps;
        self.max_steps = self.max_steps.max(other.max_steps);
        for slow in other.slowest {
            self.add_slow(slow);
        }
        self.interrupted |= other.interrupted;
        self.flat |= other.flat;
        self.rechecked += other.rechecked;
        for (ending, count) in other.endings {
            *self.endings.entry(ending).or_default() += count;
        }
        for (hash, stats) in other.signatures {
            match self.signatures.entry(hash) {
                Entry::Vacant(entry) => {
                    entry.insert(stats);
                }
                Entry::Occupied(mut entry) => {
                    let mine = entry.get_mut();
                    mine.count += stats.count;
                    if stats.first_seed < mine.first_seed {
                        mine.first_seed = stats.first_seed;
                        mine.finding = stats.finding;
                        mine.guide = stats.guide;
                    }
                }
            }
        }
    }
}

/// How a run with findings ended, in words.
fn ending(findings: &[Finding]) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for finding in findings {
        if !finding.ending.is_empty() && !parts.contains(&finding.ending) {
            parts.push(finding.ending);
        }
    }
    if parts.is_empty() { "nothing visible: it ran to its end".to_owned() } else { parts.join(", then ") }
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

fn of_the_tool(kind: &'static str, title: String) -> Finding {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seeds: impl IntoIterator<Item = u64>) -> Summary {
        let mut summary = Summary::default();
        for seed in seeds {
            let outcome = Outcome { digest: 0, steps: seed % 7, findings: Vec::new() };
            summary.add(seed, outcome);
        }
        summary
    }

    #[test]
    fn the_slowest_seeds_do_not_depend_on_how_the_work_was_split() {
        let whole = of(0..100);
        assert_eq!(whole.slowest.len(), Summary::SLOWEST);
        assert_eq!(whole.slowest[0], Slow { steps: 6, seed: 6 });
        assert!(whole.slowest.is_sorted_by_key(|slow| (std::cmp::Reverse(slow.steps), slow.seed)));
        let mut parts = of((0..100).filter(|seed| seed % 3 == 1));
        parts.merge(of((0..100).filter(|seed| seed % 3 == 2)));
        parts.merge(of((0..100).filter(|seed| seed % 3 == 0)));
        assert_eq!(parts.slowest, whole.slowest);
    }
}
