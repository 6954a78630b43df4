//! Uniform random choice.

use super::{Born, Schedule, View};
use crate::CtxId;
use crate::choices::Rng;

/// Each step is drawn uniformly among the contexts that could go on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Schedule for Random {
    fn begin(&mut self, _: &mut Rng) {}

    fn spawned(&mut self, _: &Born, _: &mut Rng) {}

    #[inline]
    fn pick(&mut self, view: &View<'_>, rng: &mut Rng) -> CtxId {
        let count = u64::from(view.eligible.len());
        #[expect(clippy::cast_possible_truncation, reason = "below the number of contexts")]
        let nth = rng.below(count) as u32;
        view.eligible.nth(nth).or(view.current).unwrap_or(CtxId(0))
    }
}
