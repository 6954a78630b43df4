//! `dmasim bugs`.

use std::path::PathBuf;

use clap::Args;

use super::Format;
use super::value::parse_jobs;

#[derive(Debug, Args)]
pub(crate) struct BugsArgs {
    /// The collection: a folder with a folder for each bug, which holds buggy.ron and fixed.ron
    #[arg(value_name = "DIR", default_value = "scenarios/bugs")]
    pub(crate) dir: PathBuf,
    /// How often the first finding is looked for, each time with other seeds
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=99))]
    pub(crate) repetitions: u64,
    /// Look for it with each strategy, too, and not only with that of the scenario
    #[arg(long)]
    pub(crate) strategies: bool,
    /// How many seeds a strategy has
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) cap: u64,
    /// Look for it without its scenario: in so many generated machines (see `dmasim fuzz`)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) generated: Option<u64>,
    /// Shrink what was found, and tell its size before and after
    #[arg(long)]
    pub(crate) shrunk: bool,
    /// Worker threads; results do not depend on it [default: one for each CPU]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub(crate) jobs: Option<usize>,
    /// Write the table to this file, as Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}
