//! Shrinking: a smaller run, or a smaller world, that still shows the same finding.
//!
//! Nothing here knows what is shrunk. [`Search`] tries candidates in their order, on several threads at once, and
//! takes the first that shows the finding: the result does not depend on the number of threads. [`drop_blocks`] is
//! delta debugging over any list, [`shrink_choices`] the passes over the choices of one run.

mod minimise;
mod schedule;
mod search;

pub use minimise::{Minimised, minimise};
pub use schedule::{Lowering, Weight, shrink_choices};
pub use search::{Halt, Journal, NoJournal, Search, drop_blocks};
