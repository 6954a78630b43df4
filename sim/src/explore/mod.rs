//! Many runs: campaigns over seeds, and shortening what a failing run chose.

mod campaign;
pub mod dpor;
mod minimise;
mod panics;

pub use campaign::{Campaign, Outcome, Progress, SignatureStats, Summary};
pub use dpor::Search;
pub use minimise::{Minimised, minimise};
pub use panics::catching;
