//! `dmasim check`.

use std::path::PathBuf;

use clap::Args;

use super::value::parse_jobs;
use super::{Format, KernelArgs, OnFinding};

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The scenario file; FILE#NAME is its variant NAME
    #[arg(value_name = "SCENARIO")]
    pub(crate) scenario: PathBuf,
    /// Only interleavings with at most K switches away from a context that could go on [default: all]
    #[arg(short = 'k', long, value_name = "K")]
    pub(crate) preemptions: Option<u32>,
    /// Run every order, also those that differ only in the order of steps that touch nothing in common
    #[arg(long)]
    pub(crate) no_reduction: bool,
    /// Stop after so many runs
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,
    /// Try so many answers of each other choice (a failing allocation, a length, ...), the simplest first
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) answers: u64,
    /// Keep the state of the search in this file, and go on from it if it exists
    #[arg(long, value_name = "FILE")]
    pub(crate) resume: Option<PathBuf>,
    /// Worker threads; results do not depend on it [default: one for each CPU]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub(crate) jobs: Option<usize>,
    /// Explain every signature, and not only the first five
    #[arg(long)]
    pub(crate) all: bool,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) focus: FocusArgs,
    #[command(flatten)]
    pub(crate) kernel: KernelArgs,
    /// A run that takes more steps has not settled
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_steps: Option<u64>,
    /// Whether a run goes on after its first finding
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) on_finding: Option<OnFinding>,
}

/// Which part of a run is varied; the rest goes its default way.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "What is varied")]
pub(crate) struct FocusArgs {
    /// Vary from this virtual time on, in microseconds
    #[arg(long, value_name = "US", conflicts_with = "from_function")]
    pub(crate) from_us: Option<u64>,
    /// Vary from when this function is entered for the first time
    #[arg(long, value_name = "FUNCTION")]
    pub(crate) from_function: Option<String>,
    /// Vary the order of contexts whose names begin so; others go first whenever they can
    #[arg(long = "context", value_name = "NAME,...", value_delimiter = ',')]
    pub(crate) contexts: Vec<String>,
}
