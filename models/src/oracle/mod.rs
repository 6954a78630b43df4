//! Oracles: what can go wrong, by name.

mod kinds;

pub use kinds::FINDINGS;
