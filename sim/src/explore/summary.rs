//! What a campaign gave: counts, and one record a signature, in sums that do not depend on who ran which seed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::campaign::Outcome;
use crate::Finding;
use crate::schedule::Guide;
use crate::trace::Digest;

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
    /// Number of seeds in which it was the first finding of the run.
    pub led: u64,
    /// The signature of the first finding in the run of `first_seed`: its own if it was that itself.
    pub leader: u64,
}

impl SignatureStats {
    /// Whether it was the first finding of no run: it may follow from what came before it.
    #[must_use]
    pub const fn follows(&self) -> bool {
        self.led == 0
    }

    /// Those of other seeds.
    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.led += other.led;
        if other.first_seed < self.first_seed {
            let (count, led) = (self.count, self.led);
            *self = Self { count, led, ..other };
        }
    }
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

    /// The signatures with causes first: those that were the first finding of some run, in order of first seed, each
    /// with the others of the same object and the same further part (for a freed object: the same freeing function);
    /// then those that came only after another finding.
    #[must_use]
    pub fn by_cause(&self) -> Vec<&SignatureStats> {
        let (leading, following): (Vec<_>, Vec<_>) =
            self.by_first_seed().into_iter().partition(|stats| !stats.follows());
        let alike = |one: &SignatureStats, other: &SignatureStats| {
            let of = |stats: &SignatureStats| (stats.finding.object, stats.finding.discriminator);
            !one.finding.object.is_empty() && !one.finding.discriminator.is_empty() && of(one) == of(other)
        };
        let mut list: Vec<&SignatureStats> = Vec::new();
        for stats in leading {
            let last = list.iter().rposition(|other| alike(other, stats));
            list.insert(last.map_or(list.len(), |at| at + 1), stats);
        }
        list.extend(following);
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
        let leader = first_of(&outcome.findings);
        for finding in outcome.findings {
            let hash = finding.signature_hash();
            let stats = SignatureStats {
                finding,
                count: 1,
                first_seed: seed,
                guide: guide.cloned(),
                led: u64::from(hash == leader),
                leader,
            };
            self.add_signature(hash, stats);
        }
    }

    fn add_signature(&mut self, hash: u64, stats: SignatureStats) {
        match self.signatures.entry(hash) {
            Entry::Vacant(entry) => {
                entry.insert(stats);
            }
            Entry::Occupied(mut entry) => entry.get_mut().merge(stats),
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
            self.add_signature(hash, stats);
        }
    }
}

/// The signature of what was found first in a run. What an oracle of the end finds comes last.
fn first_of(findings: &[Finding]) -> u64 {
    findings.iter().min_by_key(|finding| finding.step).map_or(0, Finding::signature_hash)
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

#[cfg(test)]
mod tests {
    use super::super::campaign::of_the_tool;
    use super::*;

    fn of(seeds: impl IntoIterator<Item = u64>) -> Summary {
        let mut summary = Summary::default();
        for seed in seeds {
            let outcome = Outcome { digest: 0, steps: seed % 7, findings: Vec::new() };
            summary.add(seed, outcome);
        }
        summary
    }

    fn found(kind: &'static str, step: u64, object: &'static str) -> Finding {
        Finding { kind, step, object, discriminator: "swiotlb_exit", ..of_the_tool(kind, String::new()) }
    }

    #[test]
    fn causes_come_first_however_the_work_was_split() {
        let outcome = |findings: &[Finding]| Outcome { digest: 0, steps: 9, findings: findings.to_vec() };
        let (cause, other, alike) = (found("a", 3, "pool"), found("b", 2, "lock"), found("c", 4, "pool"));
        let effect = found("d", 8, "page");
        let runs = [
            vec![cause.clone(), effect.clone()],
            vec![other.clone()],
            vec![alike.clone(), effect.clone()],
            vec![effect.clone(), cause.clone()],
        ];
        let of = |seeds: &[usize]| {
            let mut summary = Summary::default();
            for &seed in seeds {
                summary.add(seed as u64, outcome(&runs[seed]));
            }
            summary
        };
        let whole = of(&[0, 1, 2, 3]);
        let kinds: Vec<&str> = whole.by_cause().iter().map(|stats| stats.finding.kind).collect();
        assert_eq!(kinds, ["a", "c", "b", "d"], "by object and site, and what only follows last");
        let last = &whole.signatures[&effect.signature_hash()];
        assert_eq!((last.count, last.led, last.leader), (3, 0, cause.signature_hash()));
        assert_eq!(whole.signatures[&cause.signature_hash()].led, 2, "order in the list does not matter");
        for parts in [[&[3][..], &[2, 1], &[0]], [&[2], &[0, 3], &[1]]] {
            let mut merged = Summary::default();
            for part in parts {
                merged.merge(of(part));
            }
            assert_eq!(merged, whole);
        }
        assert_eq!(Summary::default().by_cause(), Vec::<&SignatureStats>::new());
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
