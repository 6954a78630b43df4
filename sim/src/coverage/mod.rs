//! What runs exercised: orders of accesses, functions, lock order, injections. Collected only if asked for.

mod campaign;
mod run;

pub use campaign::{Coverage, Growth, Unseen};
pub use run::{AccessName, FunctionCount, InjectionCount, RunCoverage};
pub(crate) use run::{low, text_hash};
