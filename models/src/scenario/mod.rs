//! Scenario files: their schema, their validation, and their error messages.

mod nearest;
mod schema;

pub use nearest::nearest;
pub use schema::*;
