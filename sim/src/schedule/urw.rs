//! Uniform random walk.

use super::{Born, Estimate, Executed, Schedule, View};
use crate::choices::Rng;
use crate::{CtxId, MAX_CONTEXTS};

/// URW: each step is drawn among the contexts that could go on, in proportion to the work that each has left.
///
/// H. Zhao, D. Wolff, U. Mathur, A. Roychoudhury, "Selectively Uniform Concurrency Testing", ASPLOS 2025. With the
/// number of steps of each context known, and where none ever waits for another, every interleaving is as likely as any
/// other: 1 / N of N. A random walk prefers those in which a short context is done early. The work of a context
/// includes that of the contexts which it is still to start, so that the same holds for programs that start contexts.
///
/// The number of steps comes from one trial run, by the name of the context, and not from earlier seeds: a seed must mean
/// the same run whatever was run before it. A context that takes more steps than that has one left.
#[derive(Clone, Debug)]
pub struct Urw {
    estimate: Estimate,
    left: [u64; MAX_CONTEXTS],
}

impl Urw {
    /// With what is known of the program.
    #[must_use]
    pub const fn new(estimate: Estimate) -> Self {
        Self { estimate, left: [0; MAX_CONTEXTS] }
    }
}

impl Schedule for Urw {
    fn begin(&mut self, _: &mut Rng) {}

    fn spawned(&mut self, born: &Born, _: &mut Rng) {
        let work = self.estimate.work_of(born.name);
        self.left[born.id.index()] = work;
        if let Some(parent) = born.parent {
            let left = &mut self.left[parent.index()];
            *left = left.saturating_sub(work);
        }
    }

    fn pick(&mut self, view: &View<'_>, rng: &mut Rng) -> CtxId {
        let weight = |id: CtxId| self.left[id.index()].max(1);
        let all: u64 = view.eligible.iter().map(weight).sum();
        let mut drawn = rng.below(all);
        for id in view.eligible.iter() {
            match drawn.checked_sub(weight(id)) {
                Some(rest) => drawn = rest,
                None => return id,
            }
        }
        view.eligible.first().unwrap_or(CtxId(0))
    }

    fn watches(&self) -> bool {
        true
    }

    #[inline]
    fn executed(&mut self, step: &Executed<'_>, _: &mut Rng) {
        let left = &mut self.left[step.id.index()];
        *left = left.saturating_sub(1);
    }
}
