//! What a search varies, and within which bounds.

use std::sync::Arc;

use crate::{Name, Nanos};

/// Which part of a run is varied. Everything else goes on as by default: the context that runs goes on, then the
/// lowest; other choices take their simplest answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Focus {
    /// Vary from this virtual time on.
    pub from: Option<Nanos>,
    /// Vary once this function was entered for the first time.
    pub from_function: Option<String>,
    /// Vary the order among contexts whose names begin with one of these only; the others go first, at once, whenever
    /// they can. Empty: all of them.
    pub contexts: Vec<String>,
}

impl Focus {
    /// Whether the order of a context of this name is varied.
    #[must_use]
    pub fn concerns(&self, name: Name) -> bool {
        self.contexts.is_empty() || self.contexts.iter().any(|wanted| name.text.starts_with(wanted.as_str()))
    }

    /// Whether the whole run is varied from its beginning.
    #[must_use]
    pub const fn from_the_beginning(&self) -> bool {
        self.from.is_none() && self.from_function.is_none()
    }
}

/// Bounds of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// At most so many switches away from a context that could go on; `None` for any number.
    pub preemptions: Option<u32>,
    /// Of each choice other than the schedule, at most so many answers are tried: the simplest ones.
    pub answers: u64,
    /// Whether every transition is taken to touch everything: for worlds that do not tell what they touch.
    pub opaque: bool,
    /// What is varied.
    pub focus: Arc<Focus>,
    /// Mistakes made on purpose, for the tests.
    #[doc(hidden)]
    pub planted: Planted,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            preemptions: None,
            answers: u64::MAX,
            opaque: false,
            focus: Arc::default(),
            planted: Planted::default(),
        }
    }
}

/// Known mistakes of such searches, each of which the comparison with plain enumeration must find.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    /// Looks for races of acquisitions after the release's clock was joined.
    pub late_acquire: bool,
    /// Forgets contexts that wait at the end of the run.
    pub no_pending_at_end: bool,
    /// Forgets contexts that wait when the clock goes on.
    pub no_pending_at_tick: bool,
    /// Takes the first answer of a choice alone.
    pub one_answer: bool,
    /// Takes transitions that read the clock to commute with others.
    pub clock_commutes: bool,
    /// Takes masking of interrupts and preemption to commute.
    pub masks_commute: bool,
    /// Never wakes what sleeps in a sleep set.
    pub deep_sleep: bool,
    /// Takes reads and writes to commute.
    pub reads_commute: bool,
    /// With a bound, tries nothing at the beginning of a run of transitions of one context.
    pub no_block_start: bool,
    /// Hears of locks alone: every step that takes none claims to touch nothing.
    pub deaf: bool,
}
