//! `dmasim fuzz`.

use std::ops::Range;
use std::path::PathBuf;

use clap::Args;

use super::Format;
use super::value::{parse_jobs, parse_seeds};

#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// The kernel version (see `dmasim list versions`)
    #[arg(long, value_name = "V")]
    pub(crate) version: String,
    /// Seeds 0 to N-1, or A to B-1: each makes a scenario and runs it
    #[arg(long, value_name = "N|A..B", value_parser = parse_seeds, default_value = "1000")]
    pub(crate) seeds: Range<u64>,
    /// Worker threads; results do not depend on it [default: one for each CPU]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub(crate) jobs: Option<usize>,
    /// Add these behaviours to the kernel (see `dmasim list behaviours`)
    #[arg(long, value_name = "B,...", value_delimiter = ',')]
    pub(crate) apply: Vec<String>,
    /// Take these behaviours from the kernel
    #[arg(long, value_name = "B,...", value_delimiter = ',')]
    pub(crate) revert: Vec<String>,
    /// Write the scenario of each signature's first seed to this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) save: Option<PathBuf>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}
