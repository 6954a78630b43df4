//! Injection: what widens windows.
//!
//! The engine itself delays contexts; other injections belong to the models, which draw them through the same door
//! of choices.

mod delays;

pub use delays::Delays;
