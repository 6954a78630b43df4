//! Drawing from a seed.

use crate::scenario::Dist;
use sim::choices::{Rng, Stream, Streams};

/// Sets the numbers of the generator apart from those of the run that has the same seed.
const OWN: u64 = 0x6765_6e65_7261_7465;

/// The numbers of one seed.
#[derive(Debug)]
pub(super) struct Dice(Rng);

impl Dice {
    /// Numbers for what was added later, so that what the others draw stays as it was.
    pub(super) fn further(seed: u64) -> Self {
        Self(Streams::new(seed ^ OWN).get(Stream::Content).clone())
    }

    /// Numbers for how the machine sleeps and goes down.
    pub(super) fn of_power(seed: u64) -> Self {
        Self(Streams::new(seed ^ OWN).get(Stream::Schedule).clone())
    }

    /// Numbers for what came after that.
    pub(super) fn last(seed: u64) -> Self {
        Self(Streams::new(seed ^ OWN).get(Stream::Injection).clone())
    }

    pub(super) fn new(seed: u64) -> Self {
        Self(Streams::new(seed ^ OWN).get(Stream::Workload).clone())
    }

    /// From `low` to `high`, both included.
    pub(super) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.below(high - low + 1)
    }

    /// The same, as a smaller number.
    pub(super) fn small(&mut self, low: u32, high: u32) -> u32 {
        low + u32::try_from(self.0.below(u64::from(high - low) + 1)).unwrap_or(0)
    }

    /// True in so many of a hundred.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    /// One of these.
    pub(super) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        let nth = self.0.below(of.len() as u64);
        of[usize::try_from(nth).unwrap_or(0)].clone()
    }

    /// A value now and then.
    pub(super) fn maybe<T>(&mut self, percent: u64, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.chance(percent) { Some(make(self)) } else { None }
    }

    /// A distribution of numbers up to `most`.
    pub(super) fn dist(&mut self, most: u64) -> Dist {
        let high = self.range(0, most);
        match self.range(0, 2) {
            0 => Dist::Fixed(high),
            1 => Dist::Uniform(0, high),
            _ => Dist::OneOf(vec![0, high]),
        }
    }

    /// A distribution of lengths in bytes up to `most`, which is at least 4096: those that drivers use, and odd ones.
    pub(super) fn lengths(&mut self, most: u64) -> Dist {
        let one = |dice: &mut Self| {
            let usual = dice.pick(&[64, 512, 1500, 2048, 4096, 8192, 16384, 65536, 131_072, 262_144]);
            let odd = dice.range(1, most);
            if dice.chance(75) { usual.min(most) } else { odd }
        };
        let (a, b) = (one(self), one(self));
        match self.range(0, 3) {
            0 => Dist::Fixed(a),
            1 => Dist::Uniform(a.min(b), a.max(b)),
            2 => Dist::OneOf(vec![a, b]),
            _ => Dist::Weighted(vec![(3, a.min(b)), (1, a.max(b))]),
        }
    }
}
