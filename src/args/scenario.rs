//! `dmasim scenario`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum ScenarioCommand {
    /// Check scenario files, with their variants, and run nothing
    Check {
        /// The files
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// Write a commented scenario to begin with: to NAME.ron, or to standard output
    New {
        /// Name of the file to write
        #[arg(value_name = "NAME")]
        name: Option<PathBuf>,
    },
}
