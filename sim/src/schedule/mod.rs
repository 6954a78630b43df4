//! Schedules: who goes on. A strategy is one small trait; one file each.

mod delay;
mod estimate;
mod guide;
mod pct;
mod pos;
mod random;
mod rff;
mod round_robin;
mod strategy;
mod urw;

use std::cell::Cell;
use std::fmt;

use crate::choices::Rng;
use crate::{CtxId, CtxSet, Kind, Label, Name, ObjId, Sim};

pub use delay::Delay;
pub use estimate::{ContextWork, Estimate};
pub use guide::{Constraint, Guide};
pub use pct::Pct;
pub use pos::Pos;
pub use random::Random;
pub use rff::Rff;
pub use round_robin::RoundRobin;
pub use strategy::Strategy;
pub use urw::Urw;

/// What a strategy sees of the moment.
#[derive(Debug)]
pub struct View<'a> {
    /// The contexts that could go on; two at least.
    pub eligible: CtxSet,
    /// The context that ran last, if it could go on.
    pub current: Option<CtxId>,
    /// What each context is about to do.
    pub pending: &'a [Cell<Label>],
    /// Steps executed so far.
    pub step: u64,
    pub(crate) sim: &'a Sim,
}

impl View<'_> {
    /// What `id` is about to do, in a form that means the same in other runs.
    #[must_use]
    pub fn access(&self, id: CtxId) -> u64 {
        self.sim.access(id, self.pending[id.index()].get())
    }

    /// A hash of the text of an object's name.
    #[must_use]
    pub fn text_of(&self, obj: ObjId) -> u64 {
        self.sim.text_hash(obj)
    }
}

/// A step that is being executed, whether or not a strategy was asked about it.
#[derive(Debug)]
pub struct Executed<'a> {
    /// Who takes it.
    pub id: CtxId,
    /// What is done.
    pub label: Label,
    /// All contexts that have not ended.
    pub alive: CtxSet,
    /// What each context is about to do, or waits to do.
    pub pending: &'a [Cell<Label>],
    pub(crate) sim: &'a Sim,
}

impl Executed<'_> {
    /// The step in a form that means the same in other runs.
    #[must_use]
    pub fn access(&self) -> u64 {
        self.sim.access(self.id, self.label)
    }

    /// See [`View::text_of`].
    #[must_use]
    pub fn text_of(&self, obj: ObjId) -> u64 {
        self.sim.text_hash(obj)
    }
}

/// A context that was started.
#[derive(Clone, Copy, Debug)]
pub struct Born {
    /// Its slot, which may have been used before.
    pub id: CtxId,
    /// Its name.
    pub name: Name,
    /// Who started it; nobody for what the clock starts.
    pub parent: Option<CtxId>,
}

/// Whether the order of two steps of different contexts matters: they touch the same object, and one of them changes it.
#[must_use]
pub fn conflict(a: Label, b: Label) -> bool {
    a.obj == b.obj && a.obj != ObjId::NONE && (changes(a.kind) || changes(b.kind))
}

/// Whether a step of this kind changes its object.
#[must_use]
pub const fn changes(kind: Kind) -> bool {
    !matches!(kind, Kind::Start | Kind::Read | Kind::Wait | Kind::Sleep | Kind::Point)
}

/// A way to answer "who goes on?". What it draws comes from the schedule stream; what it decides is recorded as
/// switches, so that a replay needs no strategy.
pub trait Schedule: fmt::Debug {
    /// A run begins.
    fn begin(&mut self, rng: &mut Rng);
    /// A context was started.
    fn spawned(&mut self, born: &Born, rng: &mut Rng);
    /// Picks one of `view.eligible`.
    fn pick(&mut self, view: &View<'_>, rng: &mut Rng) -> CtxId;
    /// Whether it wants to be told of every step, through [`Schedule::executed`]. Asked once, before the run.
    fn watches(&self) -> bool {
        false
    }
    /// A step is executed; also one at which there was no choice.
    fn executed(&mut self, _: &Executed<'_>, _: &mut Rng) {}
}
