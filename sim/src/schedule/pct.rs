//! Probabilistic concurrency testing.

use super::{Born, Schedule, View};
use crate::choices::Rng;
use crate::{CtxId, CtxSet, MAX_CONTEXTS};

/// PCT: each context gets a random priority, the highest one that can run runs, and at d-1 random steps the running
/// one falls to the bottom.
///
/// S. Burckhardt, P. Kothari, M. Musuvathi, S. Nagarakatte, "A Randomized Scheduler with Probabilistic Guarantees of
/// Finding Bugs", ASPLOS 2010: a bug of depth d in a run of n contexts and k steps is found with a probability of at
/// least 1 / (n k^(d-1)).
#[derive(Clone, Debug)]
pub struct Pct {
    depth: u32,
    steps: u64,
    priority: [u64; MAX_CONTEXTS],
    /// Steps at which the context that would take them gets a low priority, the last one first.
    changes: Vec<u64>,
    bottom: u64,
    /// Who was picked last.
    running: CtxId,
}

impl Pct {
    /// For bugs of depth `depth` in runs of about `steps` steps.
    #[must_use]
    pub fn new(depth: u32, steps: u64) -> Self {
        Self {
            depth,
            steps: steps.max(1),
            priority: [0; MAX_CONTEXTS],
            changes: Vec::new(),
            bottom: 0,
            running: CtxId(0),
        }
    }
}

/// Initial priorities lie above all that a change point gives.
const INITIAL: u64 = 1 << 32;

impl Schedule for Pct {
    fn begin(&mut self, rng: &mut Rng) {
        self.changes.clear();
        for _ in 1..self.depth {
            self.changes.push(1 + rng.below(self.steps));
        }
        self.changes.sort_unstable_by(|a, b| b.cmp(a));
        self.bottom = u64::from(self.depth);
    }

    fn spawned(&mut self, born: &Born, rng: &mut Rng) {
        // Ties are as good as impossible, and then the slot decides.
        self.priority[born.id.index()] = INITIAL + u64::from(rng.word());
    }

    fn pick(&mut self, view: &View<'_>, _: &mut Rng) -> CtxId {
        // The change points count steps from 1; the step to be given away is this one.
        let step = view.step + 1;
        let mut best = self.highest(view.eligible);
        while let Some(&at) = self.changes.last()
            && at <= step
        {
            self.changes.pop();
            self.bottom -= 1;
            // Whoever took the step falls. Steps at which only one context could go on were not asked for.
            let falls = if at == step { best } else { view.current.unwrap_or(self.running) };
            self.priority[falls.index()] = self.bottom;
            best = self.highest(view.eligible);
        }
        self.running = best;
        best
    }
}

impl Pct {
    fn highest(&self, set: CtxSet) -> CtxId {
        set.iter().max_by_key(|id| self.priority[id.index()]).unwrap_or(CtxId(0))
    }
}
