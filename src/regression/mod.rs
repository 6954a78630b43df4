//! Regressions: a run that is kept in a file, and repeated to see whether it is still the same.

mod compare;
mod file;

pub(crate) use compare::{compare, make};
pub(crate) use file::{Regression, is_regression};
