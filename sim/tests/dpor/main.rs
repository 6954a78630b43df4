//! The search with partial-order reduction against plain enumeration, a module per theme.

mod ablations;
mod classics;
mod common;
mod programs;
mod resume;
mod soundness;
