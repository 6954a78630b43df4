//! Many runs: campaigns over seeds, and shortening what a failing run chose.

mod campaign;
mod first;
mod fuzz;
mod minimise;
mod observed;
mod panics;

pub use campaign::{Campaign, Outcome, Progress, SignatureStats, Summary};
pub use first::{FirstFinding, SeedsToFinding};
pub use fuzz::Fuzzer;
pub use minimise::{Minimised, minimise};
pub use observed::{Observe, Observed};
pub use panics::catching;
