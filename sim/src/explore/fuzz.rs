//! Reads-from fuzzing: which constraints the runs of a campaign get.

use std::collections::BTreeSet;

use crate::choices::{Rng, Stream, Streams};
use crate::coverage::RunCoverage;
use crate::schedule::{Constraint, Guide};
use crate::trace::Digest;

/// The memory of a campaign with [`crate::schedule::Strategy::Rff`]: the guides that led to something new.
///
/// It works in generations of [`Fuzzer::GENERATION`] seeds. The guide of a seed follows from the campaign's first seed,
/// the seed, and what was learnt in the generations before; what is learnt is added in the order of seeds when a
/// generation is over. So the number of workers changes nothing, and a seed alone is not enough to repeat a run: its
/// guide is needed, or the token.
#[derive(Clone, Debug, Default)]
pub struct Fuzzer {
    first_seed: u64,
    corpus: Vec<Entry>,
    /// Every order that was seen, sorted.
    known: Vec<Constraint>,
    signatures: BTreeSet<u64>,
}

#[derive(Clone, Debug)]
struct Entry {
    guide: Guide,
    /// How often it was mutated.
    used: u64,
    /// Whether it showed an order that nobody had shown.
    new_order: bool,
}

/// More guides than this are not kept.
const MOST_ENTRIES: usize = 4_096;
/// One seed of so many runs unguided, by what it draws from the trial run.
const UNGUIDED: u64 = 4;

impl Fuzzer {
    /// Seeds of a generation.
    pub const GENERATION: u64 = 32;

    /// For a campaign that begins with this seed.
    #[must_use]
    pub fn new(first_seed: u64) -> Self {
        Self { first_seed, ..Self::default() }
    }

    /// The guide of a seed of the generation that comes next, and which of the kept ones it was made from. `None` if the
    /// seed is to draw its own.
    #[must_use]
    pub fn guide(&self, seed: u64) -> Option<(Guide, usize)> {
        if self.corpus.is_empty() {
            return None;
        }
        let mut digest = Digest::new();
        digest.mix_str("rff");
        digest.mix(self.first_seed);
        digest.mix(seed);
        let mut streams = Streams::new(crate::coverage::low(digest));
        let rng = streams.get(Stream::Schedule);
        if rng.below(UNGUIDED) == 0 {
            return None;
        }
        let at = self.chosen(rng);
        let mut guide = self.corpus[at].guide.mutated(&self.known, rng);
        while rng.below(3) == 0 {
            guide = guide.mutated(&self.known, rng);
        }
        Some((guide, at))
    }

    /// An entry, those that were used little and those with a new order being likelier.
    fn chosen(&self, rng: &mut Rng) -> usize {
        let weight = |entry: &Entry| (1 + (240 >> entry.used.min(8))) * if entry.new_order { 4 } else { 1 };
        let all: u64 = self.corpus.iter().map(weight).sum();
        let mut drawn = rng.below(all);
        for (at, entry) in self.corpus.iter().enumerate() {
            match drawn.checked_sub(weight(entry)) {
                Some(rest) => drawn = rest,
                None => return at,
            }
        }
        0
    }

    /// Adds what a seed showed. To be called in the order of seeds, when a generation is over, with what
    /// [`Fuzzer::guide`] gave.
    pub fn learn(&mut self, guide: Option<&(Guide, usize)>, run: &RunCoverage) {
        if let Some((_, from)) = guide
            && let Some(entry) = self.corpus.get_mut(*from)
        {
            entry.used += 1;
        }
        let unknown = |order: &&Constraint| self.known.binary_search(order).is_err();
        let new: Vec<_> = run.orders.iter().filter(unknown).copied().collect();
        for order in &new {
            if let Err(at) = self.known.binary_search(order) {
                self.known.insert(at, *order);
            }
        }
        let interesting = self.signatures.insert(run.signature()) || !new.is_empty();
        if !interesting || self.corpus.len() >= MOST_ENTRIES {
            return;
        }
        let own: &[Constraint] = guide.map_or(&[], |(guide, _)| &guide.constraints);
        // What was new is asked for again, so that mutation goes on from there.
        let kept = own.iter().chain(new.iter().take(NEW_KEPT)).copied().collect();
        let guide = Guide { constraints: kept };
        if !self.corpus.iter().any(|entry| entry.guide == guide) {
            self.corpus.push(Entry { guide, used: 0, new_order: !new.is_empty() });
        }
    }

    /// Number of guides that are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.corpus.len()
    }
}

/// Of several new orders in one run, so many are asked for again.
const NEW_KEPT: usize = 2;
