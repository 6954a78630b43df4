//! Partial-order sampling.

use super::{Born, Executed, Schedule, View, conflict};
use crate::choices::Rng;
use crate::{CtxId, CtxSet, MAX_CONTEXTS};

/// POS: each step that is about to be taken has a random priority, and the highest one that can be taken is taken.
/// Then the steps that conflict with it (the same object, and one of the two changes it) get new priorities, so that
/// having lost one conflict says nothing about the next.
///
/// X. Yuan, J. Yang, R. Gu, "Partial Order Aware Concurrency Sampling", CAV 2018. Each partial order of n contexts and k
/// steps comes up with a probability of at least 1 / n^k, which is all that a random walk promises, and of
/// exponentially more as k grows: what is independent does not dilute what matters. A step that must wait for m
/// independent ones of another context does so with a probability of 1 / (m + 1), where a random walk has 1 / 2^m.
#[derive(Clone, Debug)]
pub struct Pos {
    priority: [u32; MAX_CONTEXTS],
}

impl Pos {
    /// Without any priorities yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { priority: [0; MAX_CONTEXTS] }
    }

    /// The highest of `set`. Ties are as good as impossible, and then the slot decides.
    #[inline]
    pub(super) fn highest(&self, set: CtxSet) -> CtxId {
        set.iter().max_by_key(|id| self.priority[id.index()]).unwrap_or(CtxId(0))
    }
}

impl Default for Pos {
    fn default() -> Self {
        Self::new()
    }
}

impl Schedule for Pos {
    fn begin(&mut self, _: &mut Rng) {}

    fn spawned(&mut self, born: &Born, rng: &mut Rng) {
        self.priority[born.id.index()] = rng.word();
    }

    fn pick(&mut self, view: &View<'_>, _: &mut Rng) -> CtxId {
        self.highest(view.eligible)
    }

    fn watches(&self) -> bool {
        true
    }

    fn executed(&mut self, step: &Executed<'_>, rng: &mut Rng) {
        self.priority[step.id.index()] = rng.word();
        if step.label.obj == crate::ObjId::NONE {
            return;
        }
        for id in step.alive.iter() {
            if id != step.id && conflict(step.label, step.pending[id.index()].get()) {
                self.priority[id.index()] = rng.word();
            }
        }
    }
}
