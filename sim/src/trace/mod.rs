//! What happened in a run: the digest that is always computed, and events that are recorded on request.

mod digest;
mod event;
mod steps;

pub use digest::{Digest, stable_hash};
pub use event::{CtxRecord, Event, EventKind, Trace};
pub use steps::{Entry, Parting, StepLog, StepLogError};
