//! What many runs exercised.

use std::collections::{BTreeMap, BTreeSet};

use super::{AccessName, FunctionCount, InjectionCount, RunCoverage};
use crate::schedule::Constraint;

/// How much was known after so many runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Runs.
    pub runs: u64,
    /// Different runs, the order of independent steps aside.
    pub states: u64,
    /// Orders of two accesses.
    pub orders: u64,
}

/// An estimate of what was not seen.
///
/// I. J. Good, "The Population Frequencies of Species and the Estimation of Population Parameters", Biometrika 1953: the
/// probability that the next run shows something new is about the share of what was seen exactly once. M. Boehme applied
/// it to fuzzing ("STADS", TOSEM 2018).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// How many were seen in exactly one run.
    pub once: u64,
    /// In how many runs they could have been seen.
    pub runs: u64,
}

impl Unseen {
    /// The estimated number of new ones that the next run shows: for states, of which a run shows exactly one, the
    /// probability that it is new.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate, of numbers far below 2^53")]
    pub fn next(self) -> f64 {
        if self.runs == 0 { 1.0 } else { self.once as f64 / self.runs as f64 }
    }
}

/// What many runs exercised. The order in which runs are added matters for the growth curve only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Runs.
    pub runs: u64,
    /// Digests of runs (see [`RunCoverage::state`]), and in how many runs each came up.
    pub states: BTreeMap<u64, u32>,
    /// Orders of two accesses of one object by different contexts, and in how many runs each came up.
    pub orders: BTreeMap<Constraint, u32>,
    /// What the hashes in `orders` stand for.
    pub names: BTreeMap<u64, AccessName>,
    /// By function.
    pub functions: BTreeMap<&'static str, FunctionCount>,
    /// Classes of locks: the first was held when the second was taken.
    pub locks: BTreeSet<(&'static str, &'static str)>,
    /// By what was decided.
    pub injections: BTreeMap<&'static str, InjectionCount>,
    /// After 1, 2, 4, 8, ... runs.
    pub growth: Vec<Growth>,
}

impl Coverage {
    /// Adds one run. Says whether it showed anything new besides its own digest: an order of accesses, a function, an
    /// order of locks, an injection.
    pub fn add(&mut self, run: &RunCoverage) -> bool {
        self.runs += 1;
        *self.states.entry(run.state()).or_default() += 1;
        let mut new = false;
        for order in &run.orders {
            let count = self.orders.entry(*order).or_default();
            new |= *count == 0;
            *count += 1;
        }
        for (hash, name) in &run.names {
            self.names.entry(*hash).or_insert(*name);
        }
        for (function, count) in &run.functions {
            let all = self.functions.entry(function).or_insert_with(|| {
                new = true;
                FunctionCount::default()
            });
            all.entered += count.entered;
            all.steps += count.steps;
        }
        for edge in &run.locks {
            new |= self.locks.insert(*edge);
        }
        for (what, count) in &run.injections {
            let all = self.injections.entry(what).or_default();
            new |= all.fired == 0 && count.fired > 0;
            all.asked += count.asked;
            all.fired += count.fired;
        }
        if self.runs.is_power_of_two() {
            self.growth.push(self.now());
        }
        new
    }

    /// How much is known.
    #[must_use]
    pub fn now(&self) -> Growth {
        Growth { runs: self.runs, states: self.states.len() as u64, orders: self.orders.len() as u64 }
    }

    /// What is left of runs that differ in more than the order of independent steps.
    #[must_use]
    pub fn unseen_states(&self) -> Unseen {
        Unseen { once: self.states.values().filter(|count| **count == 1).count() as u64, runs: self.runs }
    }

    /// What is left of orders of two accesses.
    #[must_use]
    pub fn unseen_orders(&self) -> Unseen {
        Unseen { once: self.orders.values().filter(|count| **count == 1).count() as u64, runs: self.runs }
    }

    /// Pairs of conflicting accesses, and how many of them came up in both orders.
    #[must_use]
    pub fn pairs(&self) -> (u64, u64) {
        let (mut pairs, mut both) = (0, 0);
        for order in self.orders.keys() {
            let turned = Constraint { first: order.second, second: order.first, ..*order };
            let reversed = order.first == order.second || self.orders.contains_key(&turned);
            // A pair that came up in both orders is counted at the lower one.
            if !reversed || order.first <= order.second {
                pairs += 1;
                both += u64::from(reversed);
            }
        }
        (pairs, both)
    }

    /// The pairs that came up in one order only, in words, with the number of runs that showed it; the commonest first.
    #[must_use]
    pub fn one_sided(&self) -> Vec<(AccessName, AccessName, u32)> {
        let mut list: Vec<_> = self
            .orders
            .iter()
            .filter(|(order, _)| {
                let turned = Constraint { first: order.second, second: order.first, ..**order };
                order.first != order.second && !self.orders.contains_key(&turned)
            })
            .filter_map(|(order, count)| {
                Some((*self.names.get(&order.first)?, *self.names.get(&order.second)?, *count))
            })
            .collect();
        list.sort_by_key(|(first, second, count)| (std::cmp::Reverse(*count), *first, *second));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(first: u64, second: u64) -> Constraint {
        Constraint { object: 1, first, second, wanted: true }
    }

    fn run(orders: &[(u64, u64)]) -> RunCoverage {
        let mut run = RunCoverage::default();
        run.orders = orders.iter().map(|&(a, b)| order(a, b)).collect();
        run
    }

    /// Planted bug with which this was seen to fail: a pair in both orders counted at each.
    #[test]
    fn a_pair_in_both_orders_is_one_pair() {
        let mut coverage = Coverage::default();
        assert!(coverage.add(&run(&[(1, 2), (3, 4)])));
        assert_eq!(coverage.pairs(), (2, 0));
        assert!(coverage.add(&run(&[(2, 1), (3, 4)])));
        assert_eq!(coverage.pairs(), (2, 1));
        assert!(!coverage.add(&run(&[(2, 1)])), "nothing new");
        assert!(coverage.add(&run(&[(5, 5)])));
        assert_eq!(coverage.pairs(), (3, 2));
        assert_eq!(coverage.unseen_orders(), Unseen { once: 2, runs: 4 });
        assert_eq!(
            coverage.growth.iter().map(|g| (g.runs, g.orders)).collect::<Vec<_>>(),
            [(1, 2), (2, 3), (4, 4)]
        );
    }
}
