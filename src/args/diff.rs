//! `dmasim diff`.

use std::ops::Range;
use std::path::PathBuf;

use clap::Args;

use super::EngineArgs;
use super::value::{parse_jobs, parse_seed, parse_seeds};

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A scenario file; FILE#NAME is its variant NAME
    #[arg(value_name = "A")]
    pub(crate) a: PathBuf,
    /// Another one
    #[arg(value_name = "B")]
    pub(crate) b: PathBuf,
    /// The seed whose boot is compared [default: the one in which most mappings are made]
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub(crate) seed: Option<u64>,
    /// Seeds whose outcomes are compared
    #[arg(long, value_name = "N|A..B", value_parser = parse_seeds, default_value = "50")]
    pub(crate) seeds: Range<u64>,
    /// Worker threads; results do not depend on it [default: one for each CPU]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub(crate) jobs: Option<usize>,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}
