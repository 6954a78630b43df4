//! Many runs: campaigns over seeds, and shrinking what a failing run chose.

mod campaign;
pub mod dpor;
mod first;
mod fuzz;
mod observed;
mod panics;
pub mod shrink;
mod summary;

pub use campaign::{Campaign, Outcome, Progress};
pub use dpor::Search;
pub use first::{FirstFinding, SeedsToFinding};
pub use fuzz::Fuzzer;
pub use observed::{Observe, Observed};
pub use panics::catching;
pub use shrink::{Minimised, minimise};
pub use summary::{SignatureStats, Slow, Summary};
