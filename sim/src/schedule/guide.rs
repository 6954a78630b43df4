//! What a run is to bring about: orders of accesses.

use std::sync::Arc;

use super::Estimate;
use crate::choices::Rng;

/// Two accesses of one object, the second directly after the first, by different contexts. Accesses are hashes of the
/// function, the kind of step and the object's text, so that they mean the same in every run.
///
/// Where the first is a write and the second a read, this says from where the value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Constraint {
    /// Hash of the text of the object's name.
    pub object: u64,
    /// The earlier access, one that changes the object.
    pub first: u64,
    /// The later one.
    pub second: u64,
    /// Whether this is wanted; otherwise it is to be avoided.
    pub wanted: bool,
}

/// The constraints of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Guide {
    /// They.
    pub constraints: Arc<[Constraint]>,
}

/// More constraints than this contradict each other.
pub(super) const MOST: usize = 6;

impl Guide {
    /// Another guide, made from this one: one constraint is added, dropped, turned round, or exchanged. `known` are the
    /// orders that were seen so far, sorted.
    #[must_use]
    pub fn mutated(&self, known: &[Constraint], rng: &mut Rng) -> Self {
        let mut list = self.constraints.to_vec();
        if known.is_empty() {
            return self.clone();
        }
        let at = |rng: &mut Rng, len: usize| usize::try_from(rng.below(len as u64)).unwrap_or(0);
        // Adding counts double: a guide begins empty.
        match rng.below(5) {
            0 if !list.is_empty() => {
                list.remove(at(rng, list.len()));
            }
            1 if !list.is_empty() => {
                let nth = at(rng, list.len());
                list[nth].wanted = !list[nth].wanted;
            }
            2 if !list.is_empty() => {
                let nth = at(rng, list.len());
                list[nth] = fresh(known, rng);
            }
            _ if list.len() < MOST => list.push(fresh(known, rng)),
            _ => {
                let nth = at(rng, list.len());
                list[nth] = fresh(known, rng);
            }
        }
        list.sort_unstable();
        list.dedup();
        Self { constraints: list.into() }
    }

    /// A guide from what the trial run showed, with one to three constraints.
    pub(super) fn drawn(estimate: &Estimate, rng: &mut Rng) -> Self {
        let known = estimate.pairs();
        let mut guide = Self::default();
        if !known.is_empty() {
            for _ in 0..=rng.below(3) {
                guide = guide.mutated(known, rng);
            }
        }
        guide
    }
}

/// A constraint on an object that was seen to be contended: often the first access of one order with the second access
/// of another, which nobody may have seen yet; or one that was seen, to be avoided.
fn fresh(known: &[Constraint], rng: &mut Rng) -> Constraint {
    let any = |rng: &mut Rng, of: &[Constraint]| of[usize::try_from(rng.below(of.len() as u64)).unwrap_or(0)];
    let one = any(rng, known);
    let from = known.partition_point(|other| other.object < one.object);
    let to = known.partition_point(|other| other.object <= one.object);
    let other = any(rng, &known[from..to]);
    match rng.below(4) {
        0 => Constraint { wanted: false, ..one },
        1 => Constraint { wanted: true, first: other.first, second: one.first, ..one },
        _ => Constraint { wanted: true, second: other.second, ..one },
    }
}
