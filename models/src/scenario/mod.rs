//! Scenario files: their schema, their validation, and their error messages.

mod schema;

pub use schema::*;
