//! Delays of contexts, as an interrupt from the hypervisor, a long SMI or an unlucky cache miss cause them.

use crate::choices::{Choices, Stream};
use crate::{Name, Nanos};

/// How often and how long contexts are delayed. The next delay is drawn ahead, as a number of steps, so that a step
/// without a delay costs one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    mean_steps: u64,
    max: Nanos,
    next: u64,
}

impl Delays {
    /// No delays.
    pub const NONE: Self = Self { mean_steps: 0, max: 0, next: u64::MAX };

    /// On average one delay of up to `max` in `mean_steps` steps.
    #[must_use]
    pub const fn new(mean_steps: u64, max: Nanos) -> Self {
        if mean_steps == 0 || max == 0 { Self::NONE } else { Self { mean_steps, max, next: 0 } }
    }

    /// The step before which the next delay is due.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    pub(crate) const fn enabled(&self) -> bool {
        self.mean_steps > 0
    }

    /// The delay before this step, 0 for none.
    pub(crate) fn draw(
        &mut self,
        step: u64,
        choices: &mut Choices,
        what: &'static str,
        site: impl FnOnce() -> (Name, Name),
    ) -> Nanos {
        let due = step >= self.next;
        // Whether one is due is drawn, not chosen: the choice is how long, and it is named by its site.
        choices.value_if(due, Stream::Injection, what, self.max, site, |rng| {
            let first = self.next == 0;
            self.next = step + 1 + rng.below(2 * self.mean_steps);
            !first
        })
    }
}
