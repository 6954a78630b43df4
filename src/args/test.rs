//! `dmasim test`.

use std::ops::Range;
use std::path::PathBuf;

use clap::Args;

use super::value::{parse_jobs, parse_seeds};
use super::{EngineArgs, Format};

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Scenario files, or folders to search for them
    #[arg(value_name = "PATH", default_value = "scenarios")]
    pub(crate) paths: Vec<PathBuf>,
    /// Run so many seeds of each, and not as many as the scenario says
    #[arg(long, value_name = "N|A..B", value_parser = parse_seeds)]
    pub(crate) seeds: Option<Range<u64>>,
    /// Worker threads; results do not depend on it [default: one for each CPU]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub(crate) jobs: Option<usize>,
    /// Record anew the regressions whose run is another one but shows the same; look at the differences first
    #[arg(long)]
    pub(crate) update: bool,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}
