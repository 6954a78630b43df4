//! Exhaustive search with partial-order reduction: every interleaving that matters, once.
//!
//! Source-set dynamic partial-order reduction with sleep sets: P. Abdulla, S. Aronis, B. Jonsson, K. Sagonas, "Optimal
//! Dynamic Partial Order Reduction", POPL 2014. Two runs that differ only in the order of transitions that commute are
//! one to it. A transition is what a context does from one decision about who goes on to the next; what it touches is
//! told by its label and by [`crate::probe`].
//!
//! What commutes, and what is taken not to, is said in `docs/check.md`. In short: transitions that touch a common
//! object, of which one changes it; that take the same lock; of which one changes who may run on the other's CPU; of
//! which one reads the clock or comes next to a deadline (then with all others).

mod bounded;
mod clock;
mod fresh;
mod node;
mod options;
mod parts;
mod races;
mod search;
mod state;
mod trace;

pub use node::Counts;
pub use options::{Focus, Limits, Planted};
pub use parts::{Check, Found, Report, Watch};
pub use search::Search;
pub use state::StateError;

pub(crate) use node::{Moment, Offer, Waiting};
