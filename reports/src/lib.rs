//! Turns finished runs into text and JSON.
//!
//! The reports decide nothing and find nothing out: they lay out what a run, a campaign or a scenario says. They
//! return strings; only the binary prints. All text is plain ASCII of at most [`WIDTH`] columns, so that it can be
//! pasted into a mail.

pub mod campaign;
pub mod case;
mod causes;
pub mod ci;
pub mod compared;
mod conditions;
pub mod coverage;
pub mod diff;
pub mod dmesg;
pub mod html;
pub mod interleaving;
pub mod json;
mod layout;
pub mod merge;
pub mod pair;
pub mod perfetto;
pub mod state;
pub mod summary;
pub mod trace;

pub use layout::{Paint, SCREEN, WIDTH, ascii, clock, percent, wrap};
