//! Schedules: who goes on. A strategy is one small trait; one file each.

mod pct;
mod random;
mod round_robin;

use std::cell::Cell;
use std::fmt;

use crate::choices::Rng;
use crate::{CtxId, CtxSet, Label, MAX_CONTEXTS};

pub use pct::Pct;
pub use random::Random;
pub use round_robin::RoundRobin;

/// What a strategy sees of the moment.
#[derive(Debug)]
pub struct View<'a> {
    /// The contexts that could go on; two at least.
    pub eligible: CtxSet,
    /// The context that ran last, if it could go on.
    pub current: Option<CtxId>,
    /// What each context is about to do.
    pub pending: &'a [Cell<Label>; MAX_CONTEXTS],
    /// Steps executed so far.
    pub step: u64,
}

/// A way to answer "who goes on?". What it draws comes from the schedule stream; what it decides is recorded as
/// switches, so that a replay needs no strategy.
pub trait Schedule: fmt::Debug {
    /// A run begins.
    fn begin(&mut self, rng: &mut Rng);
    /// A context was started in this slot, which may have been used before.
    fn spawned(&mut self, id: CtxId, rng: &mut Rng);
    /// Picks one of `view.eligible`.
    fn pick(&mut self, view: &View<'_>, rng: &mut Rng) -> CtxId;
}

/// The strategies by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// See [`RoundRobin`].
    RoundRobin,
    /// See [`Random`].
    Random,
    /// See [`Pct`]; the number is the bug depth d.
    Pct(u32),
    /// Another strategy for each seed.
    Swarm,
}

impl Strategy {
    /// Names and what they are, for listings and error messages.
    pub const NAMES: [(&'static str, &'static str); 4] = [
        ("swarm", "another of the strategies below for each seed (default)"),
        ("random", "each step uniformly among the contexts that could go on"),
        (
            "pct:D",
            "random priorities with D-1 change points: finds a bug of depth D with a probability of 1/(n k^(D-1)) at least",
        ),
        ("round-robin", "each context in turn, some steps at a time; the same for every seed"),
    ];

    /// Reads a strategy's name.
    ///
    /// # Errors
    /// Says what was found and what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(depth) = text.strip_prefix("pct:") {
            return match depth.parse() {
                Ok(depth @ 1..=32) => Ok(Self::Pct(depth)),
                _ => Err(format!("\"{depth}\" is not a depth for pct: a number from 1 to 32 is expected")),
            };
        }
        match text {
            "swarm" => Ok(Self::Swarm),
            "random" => Ok(Self::Random),
            "pct" => Ok(Self::Pct(3)),
            "round-robin" => Ok(Self::RoundRobin),
            _ => {
                let names: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).collect();
                Err(format!("unknown strategy \"{text}\"; there are {}", names.join(", ")))
            }
        }
    }

    /// The strategy for one seed. `steps` is how long a run is expected to be. A swarm draws which one it is, from
    /// `draw`, a choice among that many alternatives.
    pub fn build(self, steps: u64, draw: impl FnOnce(u64) -> u64) -> Box<dyn Schedule> {
        match self {
            Self::RoundRobin => Box::new(RoundRobin::new()),
            Self::Random => Box::new(Random),
            Self::Pct(depth) => Box::new(Pct::new(depth, steps)),
            // Half of the seeds at random, half by priorities with few or several change points.
            Self::Swarm => match draw(6) {
                0..=2 => Box::new(Random),
                3 => Box::new(Pct::new(2, steps)),
                4 => Box::new(Pct::new(3, steps)),
                _ => Box::new(Pct::new(6, steps)),
            },
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoundRobin => f.write_str("round-robin"),
            Self::Random => f.write_str("random"),
            Self::Pct(depth) => write!(f, "pct:{depth}"),
            Self::Swarm => f.write_str("swarm"),
        }
    }
}
