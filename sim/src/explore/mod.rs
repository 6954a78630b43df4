//! Many runs: campaigns over seeds, and shrinking what a failing run chose.

mod campaign;
mod panics;
pub mod shrink;

pub use campaign::{Campaign, Outcome, Progress, SignatureStats, Summary};
pub use panics::catching;
pub use shrink::{Minimised, minimise};
