//! The engine of dmasim: a seeded discrete-event simulator of contexts that share memory.
//!
//! A run is a pure function of its choices. Contexts are `async fn`s over a [`Cx`]; at every point where
//! another context could interfere they announce a [`Label`] and await, and the [`schedule`] says who goes on.
//! Everything that is not determined comes through one door, [`choices`]. The crate knows no DMA.

pub mod choices;
pub mod context;
pub mod coverage;
pub mod explore;
pub mod finding;
pub mod inject;
mod label;
mod pack;
pub mod probe;
pub mod schedule;
pub mod sync;
pub mod trace;

pub use context::{
    Class, ContextState, Cx, DelayedWork, Depths, Doing, Draft, Ended, Frame, HeldLock, IrqFlags, LockOrder,
    RunConfig, RunEnd, Sim, SpawnSpec, Step, Timer, Work,
};
pub use finding::{Finding, Severity};
pub use label::{CtxId, CtxSet, Kind, Label, MAX_CONTEXTS, Name, ObjId};
pub use probe::cell;

/// Version of the engine's choice and digest semantics. It changes whenever the same seed may give another run.
pub const ENGINE_VERSION: u32 = 3;

/// Virtual nanoseconds since the run began.
pub type Nanos = u64;
