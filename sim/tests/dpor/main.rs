//! The search with partial-order reduction against plain enumeration, a module per theme.

mod ablations;
mod common;
mod programs;
mod soundness;
