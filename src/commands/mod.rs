//! The commands, one file each.

mod bisect;
mod bugs;
mod check;
mod compare;
mod conditions;
mod conform;
mod diff;
mod fuzz;
mod import;
mod list;
mod manual;
mod merge;
mod replay;
mod run;
mod save;
mod scenario;
mod shrink;
mod size;
mod test;

use crate::args::{Cli, Command};
use crate::input::Failure;
use crate::output::Out;

/// How a command ended, for whoever started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// As expected.
    Expected,
    /// A finding, or another outcome than expected.
    Unexpected,
    /// The input cannot be used.
    Unusable,
    /// Ctrl-C.
    Interrupted,
    /// `git bisect` shall leave this commit out.
    Skip,
}

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Expected => 0,
            Self::Unexpected => 1,
            Self::Unusable => 2,
            Self::Skip => 125,
            Self::Interrupted => 130,
        }
    }
}

/// Does what was asked for.
pub(crate) fn dispatch(cli: &Cli, out: &mut Out) -> Result<Exit, Failure> {
    match &cli.command {
        Command::Run(args) => run::run(args, out),
        Command::Replay(args) => replay::replay(args, out),
        Command::Check(args) => check::check(args, out),
        Command::Test(args) => test::test(args, out),
        Command::Fuzz(args) => fuzz::fuzz(args, out),
        Command::Shrink(args) => shrink::shrink(args, out),
        Command::Save(args) => save::save(args, out),
        Command::Bisect(args) => bisect::bisect(args, out),
        Command::Merge(args) => merge::merge(args, out),
        Command::Diff(args) => diff::diff(args, out),
        Command::Conform(args) => conform::conform(args, out),
        Command::Import(args) => import::import(args, out),
        Command::Size(args) => size::size(args, out),
        Command::Bugs(args) => bugs::bugs(args, out),
        Command::List(args) => list::list(args, out),
        Command::Scenario(command) => scenario::scenario(command, out),
        Command::Completions { shell } => manual::completions(*shell, out),
        Command::Man { dir } => manual::man(dir.as_deref(), out),
    }
}
