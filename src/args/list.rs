//! `dmasim list`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// What to list [default: everything]
    #[arg(value_enum)]
    pub(crate) what: Option<Listed>,
    /// Where to look for scenarios
    #[arg(long, value_name = "DIR", default_value = "scenarios")]
    pub(crate) dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listed {
    Scenarios,
    Versions,
    Behaviours,
    Findings,
    Strategies,
}
