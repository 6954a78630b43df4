//! Each in turn.

use super::{Born, Schedule, View};
use crate::CtxId;
use crate::choices::Rng;

/// Lets each context take a few steps, then the next one in slot order. The same for every seed: a base line.
#[derive(Clone, Copy, Debug)]
pub struct RoundRobin {
    slice: u32,
    left: u32,
}

impl RoundRobin {
    /// Slices of eight steps.
    #[must_use]
    pub const fn new() -> Self {
        Self { slice: 8, left: 8 }
    }
}

impl Default for RoundRobin {
    fn default() -> Self {
        Self::new()
    }
}

impl Schedule for RoundRobin {
    fn begin(&mut self, _: &mut Rng) {
        self.left = self.slice;
    }

    fn spawned(&mut self, _: &Born, _: &mut Rng) {}

    fn pick(&mut self, view: &View<'_>, _: &mut Rng) -> CtxId {
        if let Some(current) = view.current {
            if self.left > 0 {
                self.left -= 1;
                return current;
            }
            self.left = self.slice;
            let next = view.eligible.rank(current) + 1;
            let next = if next < view.eligible.len() { next } else { 0 };
            return view.eligible.nth(next).unwrap_or(current);
        }
        self.left = self.slice;
        view.eligible.first().unwrap_or(CtxId(0))
    }
}
