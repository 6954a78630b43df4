//! Other files in RON, with the error messages of scenarios.

use serde::de::DeserializeOwned;

use super::error::{LoadError, SourceText};
use super::parse::parse;
use schema::read;

/// Reads a value from the text of a file called `name`.
///
/// # Errors
/// What is wrong with the text, with its place.
pub fn read_value<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, LoadError> {
    parse(&SourceText::new(name.to_owned(), text.to_owned()), read).map_err(LoadError::from)
}
