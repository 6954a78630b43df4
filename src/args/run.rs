//! `dmasim run`.

use std::ops::Range;
use std::path::PathBuf;

use clap::Args;
use sim::schedule::Strategy;

use super::report::parse_report;
use super::value::{parse_jobs, parse_seed, parse_seeds};
use super::{EngineArgs, Format, KernelArgs, Report};

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The scenario file; FILE#NAME is its variant NAME
    #[arg(value_name = "SCENARIO")]
    pub(crate) scenario: PathBuf,
    /// Run this seed only
    #[arg(long, value_name = "N", value_parser = parse_seed, conflicts_with = "seeds")]
    pub(crate) seed: Option<u64>,
    /// Run seeds 0 to N-1, or A to B-1
    #[arg(long, value_name = "N|A..B", value_parser = parse_seeds)]
    pub(crate) seeds: Option<Range<u64>>,
    /// Worker threads; results do not depend on it [default: one for each CPU]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub(crate) jobs: Option<usize>,
    /// Say what the runs exercised: orders of accesses, functions, lock order, injections
    #[arg(long)]
    pub(crate) coverage: bool,
    /// End when nothing new came for N seeds: no order of accesses, function, lock order, injection, signature
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        default_missing_value = "256",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(crate) until_flat: Option<u64>,
    /// Run the same seeds with other strategies, too, and say how they compare
    #[arg(
        long,
        value_name = "NAME,...",
        num_args = 0..=1,
        require_equals = true,
        value_delimiter = ',',
        default_missing_value = "swarm,random,pct:3,pos,urw,delay:2,rff,round-robin",
        value_parser = Strategy::parse
    )]
    pub(crate) compare: Option<Vec<Strategy>>,
    /// Explain every signature, and not only the first five
    #[arg(long)]
    pub(crate) all: bool,
    /// Find out what each explained finding needs: words of the command line, devices, changes of the kernel
    #[arg(long)]
    pub(crate) conditions: bool,
    /// Write the token of the first signature to this file, those of others to FILE.2, FILE.3, ...
    #[arg(long, value_name = "FILE")]
    pub(crate) save_token: Option<PathBuf>,
    /// Keep the state of the campaign in this file, and go on from it if it is there
    #[arg(long, value_name = "FILE")]
    pub(crate) resume: Option<PathBuf>,
    /// Write a report: lkml, dmesg, html, perfetto, campaign, junit, ktap, sarif, github or jsonl, to FILE or to standard output
    #[arg(long, value_name = "KIND[=FILE]", value_parser = parse_report)]
    pub(crate) report: Vec<Report>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) kernel: KernelArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}
