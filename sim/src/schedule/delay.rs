//! Delay-bounded scheduling.

use super::{Born, Schedule, View};
use crate::CtxId;
use crate::choices::Rng;

/// Each context goes on until it cannot, then the next one in the order of slots; at no more than K random decisions the
/// one whose turn it is is passed over, and the next one has its turn instead.
///
/// M. Emmi, S. Qadeer, Z. Rakamaric, "Delay-Bounded Scheduling", POPL 2011. A run of k decisions has at most k^K
/// schedules with K delays, however many contexts there are, and many bugs show with one or two. Here the places of the
/// delays are drawn instead of enumerated: each of those schedules comes up with a probability of at least 1 / k^K.
#[derive(Clone, Debug)]
pub struct Delay {
    most: u32,
    decisions: u64,
    /// At which decisions, the last one first.
    at: Vec<u64>,
    decision: u64,
    /// Whose turn it was.
    last: Option<CtxId>,
}

impl Delay {
    /// At most `most` delays in a run of about `decisions` decisions.
    #[must_use]
    pub fn new(most: u32, decisions: u64) -> Self {
        Self { most, decisions: decisions.max(1), at: Vec::new(), decision: 0, last: None }
    }
}

impl Schedule for Delay {
    fn begin(&mut self, rng: &mut Rng) {
        self.at.clear();
        for _ in 0..self.most {
            self.at.push(1 + rng.below(self.decisions));
        }
        self.at.sort_unstable_by(|a, b| b.cmp(a));
        self.decision = 0;
        self.last = None;
    }

    fn spawned(&mut self, _: &Born, _: &mut Rng) {}

    fn pick(&mut self, view: &View<'_>, _: &mut Rng) -> CtxId {
        self.decision += 1;
        let after = |id: CtxId| {
            let beyond = crate::CtxSet(view.eligible.0 & (!1 << id.0));
            beyond.first().or_else(|| view.eligible.first()).unwrap_or(id)
        };
        let mut next = match (view.current, self.last) {
            (Some(current), _) => current,
            (None, Some(last)) => after(last),
            (None, None) => view.eligible.first().unwrap_or(CtxId(0)),
        };
        while self.at.last().is_some_and(|&at| at <= self.decision) {
            self.at.pop();
            next = after(next);
        }
        self.last = Some(next);
        next
    }
}
