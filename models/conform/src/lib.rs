//! Replays what real kernels did through the models, and says where they agree.
//!
//! There are four kinds of recordings ([`Kind`] knows them by their looks), and each has its room:
//!
//! * [`vectors`]: operations on one data structure with every result, recorded from the kernel's own code;
//! * [`boot`]: the console log of a boot;
//! * [`calls`]: a log of calls of the DMA API with their results, made by a test driver;
//! * [`trace`]: trace events of a running system.
//!
//! [`import`] makes a scenario of a boot log, so that a run of the models can be compared with it, too.
//!
//! All of them answer with a [`Report`], or with several in an [`Outcome`]. Nothing here is known to the models: a model
//! can be compared with a recording only through what it offers to everybody.

pub mod boot;
pub mod calls;
pub mod import;
mod json;
mod kind;
mod outcome;
pub mod replay;
pub mod report;
pub mod source;
mod text;
pub mod trace;
pub mod vectors;

pub use json::line;
pub use kind::Kind;
pub use outcome::Outcome;
pub use report::{Exception, Report, Row};
pub use source::{Source, SourceError};
