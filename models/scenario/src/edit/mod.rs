//! Scenarios as things that are changed and written.
//!
//! A [`Tree`] is a whole scenario in one piece: what it extends, its variant and the files that it names are laid flat
//! into it. It can be written as a person would write it, run, and taken apart: [`parts`] lists what may be left out
//! or made simpler. Trees know the schema's shape (lists, fields with a default, numbers, statements with a body) and
//! only a few of its names, so that what is added to the schema is taken apart too.

mod layout;
mod links;
mod numbers;
mod part;

use std::io;
use std::path::Path;

pub use part::{Part, parts};

use super::error::LoadError;
use super::load::ReadFile;
use super::resolve::{Overrides, Resolved, load_from};
use schema::tree::Node;
use schema::{DriverRef, MachineRef, ScenarioFile};

/// A scenario in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree(Node);

/// A file that is a text at hand.
struct Text<'a>(&'a str);

impl ReadFile for Text<'_> {
    fn read(&self, _: &Path) -> io::Result<String> {
        Ok(self.0.to_owned())
    }
}

impl Tree {
    /// Of a scenario file as it is.
    #[must_use]
    pub fn of(file: &ScenarioFile) -> Self {
        Self(file.tree())
    }

    /// As a person would write it, without comments. What is read from it is equal to what the tree was made of.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n", layout::text(&self.0))
    }

    /// Checks it and makes it ready to be run.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn resolve(&self, name: &str) -> Result<Resolved, LoadError> {
        self.resolve_with(name, &Overrides::default())
    }

    /// The same, with what a user asks for on top.
    ///
    /// # Errors
    /// Everything that is wrong with it, or with what is asked for.
    pub fn resolve_with(&self, name: &str, overrides: &Overrides) -> Result<Resolved, LoadError> {
        load_from(Path::new(name), &Text(&layout::line(&self.0)))?.resolve(overrides)
    }

    /// How many values it holds: a measure of how much there is to read.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.size()
    }
}

/// The scenario as one file that names no other: what it extends, its variant, what was asked for on the command line
/// and the files of its machine and drivers are all in it.
#[must_use]
pub fn flat(scenario: &Resolved) -> ScenarioFile {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ScenarioFile {
        extends: None,
        about: text(&scenario.about),
        source: text(&scenario.source),
        kernel: Some(scenario.kernel.clone()),
        cmdline: text(&scenario.cmdline),
        machine: Some(MachineRef::Inline(Box::new(scenario.machine.clone()))),
        drivers: Some(scenario.drivers.iter().cloned().map(DriverRef::Inline).collect()),
        processes: Some(scenario.processes.clone()),
        inject: Some(scenario.inject.clone()),
        explore: Some(scenario.explore.clone()),
        expect: Some(scenario.expect.clone()),
        variants: None,
    }
}
