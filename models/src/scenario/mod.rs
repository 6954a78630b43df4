//! Scenario files: their schema, their validation, and their error messages.
//!
//! [`load`] reads a file and everything that it names; [`Loaded::resolve`] picks a variant, lays what the user asks
//! for on top, and gives a [`Resolved`] scenario, which is what a run takes.

mod check;
pub mod edit;
mod error;
mod index;
mod intern;
pub mod limits;
mod load;
mod nearest;
mod parse;
mod resolve;
pub mod schema;
mod value;

pub use error::{LoadError, Problem};
pub use intern::{InternerFull, intern};
pub use load::{Disk, ReadFile};
pub use nearest::nearest;
pub use resolve::{Digest, Loaded, Overrides, Resolved, load, load_from};
pub use schema::*;
pub use value::read_value;
