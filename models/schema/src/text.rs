//! From text to the types of the schema, and back.
//!
//! A scenario is read once and run a thousand times, but the code that reads it is the largest part of what would be
//! compiled with the models. So nothing here is generic over the reader: the models call plain functions, and this
//! crate is compiled for a quick build.

use ron::error::{Error, SpannedError};
use ron::extensions::Extensions;
use serde::de::DeserializeOwned;

use crate::tree::{self, Node};
use crate::{Driver, Inject, Machine, OnFinding, Process, ScenarioFile};

/// The deepest nesting that is read, in levels of brackets.
pub const MAX_DEPTH: usize = 64;

/// Each level of nesting costs the deserialiser up to four of its own.
const RECURSION_LIMIT: usize = 4 * MAX_DEPTH + 8;

/// What stands in a file of its own.
pub trait Text: Sized {
    /// Reads it from a whole text.
    ///
    /// # Errors
    /// Where the deserialiser stumbled, and over what.
    fn read(text: &str) -> Result<Self, SpannedError>;
}

/// Reads any value from a whole text, by the rules of scenario files.
///
/// # Errors
/// Where the deserialiser stumbled, and over what.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, SpannedError> {
    ron::Options::default()
        .with_default_extension(Extensions::IMPLICIT_SOME)
        .with_default_extension(Extensions::UNWRAP_NEWTYPES)
        .with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES)
        .with_recursion_limit(RECURSION_LIMIT)
        .from_str(text)
}

macro_rules! files {
    ($($type:ty),*) => {
        $(impl Text for $type {
            fn read(text: &str) -> Result<Self, SpannedError> {
                read(text)
            }
        })*
    };
}

files!(ScenarioFile, Machine, Driver);

impl ScenarioFile {
    /// The file as a tree, without the fields that a reader would fill in with the same.
    #[must_use]
    pub fn tree(&self) -> Node {
        let mut node = tree::of(self);
        crate::defaults::leave_out(&mut node);
        node
    }
}

impl crate::Kernel {
    /// The kernel on one line, as a scenario file would have it.
    ///
    /// # Errors
    /// A value that RON cannot hold; there is none.
    pub fn line(&self) -> Result<String, Error> {
        ron::to_string(self)
    }
}

/// Everything in a scenario that one run depends on.
#[derive(Debug)]
pub struct Content<'a> {
    /// The name of the version.
    pub version: &'a str,
    /// The names of the behaviours that the kernel has, in their order.
    pub behaviours: Vec<&'a str>,
    /// The lines of the configuration.
    pub config: &'a [String],
    /// The command line.
    pub cmdline: &'a str,
    /// The machine, without what is said about it.
    pub machine: &'a Machine,
    /// The drivers, without what is said about them.
    pub drivers: &'a [Driver],
    /// The processes.
    pub processes: &'a [Process],
    /// What may be injected.
    pub inject: &'a Inject,
    /// After how many steps a run is ended.
    pub max_steps: u64,
    /// Whether a run goes on after a finding.
    pub on_finding: OnFinding,
}

impl Content<'_> {
    /// All of it as compact RON: equal texts are equal runs.
    ///
    /// # Errors
    /// A value that RON cannot hold; there is none.
    pub fn text(&self) -> Result<String, Error> {
        ron::to_string(&(
            self.version,
            &self.behaviours,
            self.config,
            self.cmdline,
            self.machine,
            self.drivers,
            self.processes,
            self.inject,
            (self.max_steps, self.on_finding),
        ))
    }
}
