//! Probabilistic concurrency testing.

use super::{Born, Schedule, View};
use crate::choices::Rng;
use crate::{CtxId, CtxSet, MAX_CONTEXTS};

/// PCT: each context gets a random priority, the highest one that can run runs, and at d-1 random decisions the one that
/// would go on falls to the bottom.
///
/// S. Burckhardt, P. Kothari, M. Musuvathi, S. Nagarakatte, "A Randomized Scheduler with Probabilistic Guarantees of
/// Finding Bugs", ASPLOS 2010: a bug of depth d in a run of n contexts and k steps is found with a probability of at
/// least 1 / (n k^(d-1)). Here k counts the decisions at which there was more than one to choose from: to fall at a step
/// that nobody else could have taken is the same as to fall at the next decision, so that the bound holds, and k is
/// smaller.
#[derive(Clone, Debug)]
pub struct Pct {
    depth: u32,
    decisions: u64,
    priority: [u64; MAX_CONTEXTS],
    /// Decisions at which the context that would go on gets a low priority, the last one first.
    changes: Vec<u64>,
    bottom: u64,
    /// Decisions so far.
    decided: u64,
}

impl Pct {
    /// For bugs of depth `depth` in runs of about `decisions` decisions.
    #[must_use]
    pub fn new(depth: u32, decisions: u64) -> Self {
        Self {
            depth,
            decisions: decisions.max(1),
            priority: [0; MAX_CONTEXTS],
            changes: Vec::new(),
            bottom: 0,
            decided: 0,
        }
    }
}

/// Initial priorities lie above all that a change point gives.
const INITIAL: u64 = 1 << 32;

impl Schedule for Pct {
    fn begin(&mut self, rng: &mut Rng) {
        self.changes.clear();
        for _ in 1..self.depth {
            self.changes.push(1 + rng.below(self.decisions));
        }
        self.changes.sort_unstable_by(|a, b| b.cmp(a));
        self.bottom = u64::from(self.depth);
        self.decided = 0;
    }

    fn spawned(&mut self, born: &Born, rng: &mut Rng) {
        // Ties are as good as impossible, and then the slot decides.
        self.priority[born.id.index()] = INITIAL + u64::from(rng.word());
    }

    fn pick(&mut self, view: &View<'_>, _: &mut Rng) -> CtxId {
        self.decided += 1;
        let mut best = self.highest(view.eligible);
        while self.changes.pop_if(|at| *at <= self.decided).is_some() {
            self.bottom -= 1;
            self.priority[best.index()] = self.bottom;
            best = self.highest(view.eligible);
        }
        best
    }
}

impl Pct {
    fn highest(&self, set: CtxSet) -> CtxId {
        set.iter().max_by_key(|id| self.priority[id.index()]).unwrap_or(CtxId(0))
    }
}
