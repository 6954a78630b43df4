//! `dmasim test`.

use std::ops::Range;
use std::path::PathBuf;

use clap::Args;

use super::report::parse_report;
use super::value::{parse_jobs, parse_seeds};
use super::{EngineArgs, Format, Report};

/// One of several parts of the scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// From 1.
    pub(crate) part: usize,
    pub(crate) of: usize,
}

fn parse_partition(text: &str) -> Result<Partition, String> {
    let numbers = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    match numbers {
        Some((part, of @ 1..=10_000)) if (1..=of).contains(&part) => Ok(Partition { part, of }),
        _ => Err(format!("`{text}` is no part: K/N is expected with 1 <= K <= N <= 10000, as in 2/4")),
    }
}

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
    /// Run only the K-th of N parts of the scenarios
    #[arg(long, value_name = "K/N", value_parser = parse_partition)]
    pub(crate) partition: Option<Partition>,
    /// Write a report: junit, ktap, sarif, github or jsonl, to FILE or to standard output
    #[arg(long, value_name = "KIND[=FILE]", value_parser = parse_report)]
    pub(crate) report: Vec<Report>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}
