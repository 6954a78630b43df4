//! One decision of a search, what the engine tells of it, and what is counted.

use std::sync::Arc;

use super::bounded::Step;
use super::trace::Event;
use crate::probe::Access;
use crate::{CtxId, Nanos, ObjId};

/// What the engine tells at a decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Nanos,
    /// The next step, whoever takes it, meets a deadline.
    pub(crate) near: bool,
    /// State of the CPU on which the transition that ends here ran.
    pub(crate) cpu_state: u64,
}

/// Who could go on at a decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) eligible: u64,
    pub(crate) barred: u64,
    pub(crate) staying: Option<CtxId>,
    pub(crate) focused: u64,
}

/// A context that cannot go on when nobody can, or when the run is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) id: CtxId,
    /// The lock for which it waits, if it waits for an object.
    pub(crate) lock: Option<ObjId>,
    pub(crate) cpu: Option<u8>,
}

/// A context whose next transition was explored already; it sleeps until somebody does what does not commute with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sleeper {
    pub(super) ctx: u8,
    pub(super) cpu: Option<u8>,
    pub(super) barrier: bool,
    pub(super) mask: bool,
    pub(super) accesses: Arc<[Access]>,
}

/// One decision of the current path.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Number of transitions that ended before it.
    pub(super) event: usize,
    /// The context chosen, or the answer.
    pub(super) choice: u32,
    /// For a choice other than the schedule, how many answers are tried; 0 for a decision about who goes on.
    pub(super) of: u32,
    pub(super) eligible: u64,
    pub(super) barred: u64,
    pub(super) backtrack: u64,
    pub(super) done: u64,
    pub(super) sleepers: Vec<Sleeper>,
    /// What the chosen transition touched with answers that were tried before.
    pub(super) partial: Vec<Access>,
    /// Whether one of those was a barrier, or changed the state of its CPU.
    pub(super) partial_flags: (bool, bool),
    /// Preemptions before it.
    pub(super) preemptions: u32,
    pub(super) staying: Option<u8>,
}

impl Node {
    pub(super) fn asleep(&self) -> u64 {
        self.sleepers.iter().fold(0, |set, sleeper| set | 1 << sleeper.ctx)
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs that went to their end.
    pub complete: u64,
    /// Runs that were broken off: everything that could follow was seen in others.
    pub blocked: u64,
    /// Choices that had more answers than were tried, in all runs.
    pub cut: u64,
    /// Choices outside what is varied that took their simplest answer, in all runs.
    pub fixed: u64,
}

impl Counts {
    /// All runs.
    #[must_use]
    pub const fn runs(&self) -> u64 {
        self.complete + self.blocked
    }

    /// Adds what another search counted.
    pub fn add(&mut self, other: &Self) {
        self.complete += other.complete;
        self.blocked += other.blocked;
        self.cut += other.cut;
        self.fixed += other.fixed;
    }
}

impl Sleeper {
    /// Whether `event` does something that does not commute with what it is about to do.
    pub(super) fn disturbed_by(&self, event: &Event) -> bool {
        let Self { cpu, barrier, mask, ref accesses, .. } = *self;
        Step { cpu, barrier, mask, accesses }.depends_on(event)
    }
}
