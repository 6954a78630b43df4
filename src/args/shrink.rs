//! `dmasim shrink`.

use std::ops::Range;
use std::path::PathBuf;

use clap::Args;

use super::value::{parse_jobs, parse_seeds};
use super::{Format, OriginArgs, SubjectArgs};

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").args(["seed", "token", "token_file", "seeds"])))]
pub(crate) struct ShrinkArgs {
    #[command(flatten)]
    pub(crate) subject: SubjectArgs,
    #[command(flatten)]
    pub(crate) origin: OriginArgs,
    /// Without a seed or token: the first of seeds 0 to N-1, or A to B-1, that shows the finding [default: as many as the
    /// scenario says]
    #[arg(long, value_name = "N|A..B", value_parser = parse_seeds)]
    pub(crate) seeds: Option<Range<u64>>,
    /// The finding: the hash of its signature, or words that its signature holds [default: the first one]
    #[arg(long, value_name = "S")]
    pub(crate) signature: Option<String>,
    /// Write the scenario to this file [default: to standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Make only the schedule shorter, and leave the scenario as it is
    #[arg(long)]
    pub(crate) schedule_only: bool,
    /// Show the failing schedule beside the nearest clean one, and the window of the race
    #[arg(long)]
    pub(crate) minimal_pair: bool,
    /// Keep the state of the search in this file, and go on from it if it is there
    #[arg(long, value_name = "FILE")]
    pub(crate) resume: Option<PathBuf>,
    /// Seeds that are tried where the recorded choices no longer show the finding
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(..=10_000))]
    pub(crate) tries: u64,
    /// Try at most so many candidates
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) budget: u64,
    /// Worker threads; results do not depend on it [default: one for each CPU]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub(crate) jobs: Option<usize>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}
