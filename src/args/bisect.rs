//! `dmasim bisect`.

use std::ops::Range;

use clap::Args;

use super::value::{parse_jobs, parse_seeds};
use super::{Format, SubjectArgs};

#[derive(Debug, Args)]
pub(crate) struct BisectArgs {
    #[command(flatten)]
    pub(crate) subject: SubjectArgs,
    /// A kernel version without the finding [default: the nearest one that has none]
    #[arg(long, value_name = "V")]
    pub(crate) good: Option<String>,
    /// A kernel version with the finding [default: the scenario's own kernel]
    #[arg(long, value_name = "V")]
    pub(crate) bad: Option<String>,
    /// The finding: words that its signature holds, or the signature's hash [default: what the scenario expects, or any]
    #[arg(long, value_name = "S")]
    pub(crate) signature: Option<String>,
    /// Run so many seeds with each kernel [default: as many as the scenario says, 200 at most]
    #[arg(long, value_name = "N|A..B", value_parser = parse_seeds)]
    pub(crate) seeds: Option<Range<u64>>,
    /// Test the scenario as it is, and nothing else: 0 without the finding, 1 with it, 125 if that cannot be told
    /// (for `git bisect run`)
    #[arg(long, conflicts_with_all = ["good", "bad"])]
    pub(crate) once: bool,
    /// Worker threads; results do not depend on it [default: one for each CPU]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub(crate) jobs: Option<usize>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}
