//! What happened in a run: the digest that is always computed, and events that are recorded on request.

mod digest;
mod event;

pub use digest::{Digest, stable_hash};
pub use event::{CtxRecord, Event, EventKind, Trace};
