//! `dmasim size`.

use std::ops::Range;
use std::path::PathBuf;

use clap::Args;

use super::value::{parse_jobs, parse_seeds};
use super::{Format, KernelArgs};

#[derive(Clone, Debug, Args)]
pub(crate) struct SizeArgs {
    /// A scenario file, with #NAME behind it for a variant
    #[arg(value_name = "SCENARIO", required_unless_present = "from_trace", conflicts_with = "from_trace")]
    pub(crate) scenario: Option<PathBuf>,
    /// Take the workload from a trace of a real system (see docs/size.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) from_trace: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) kernel: KernelArgs,
    /// Run the scenario with these seeds [default: 0..20]
    #[arg(long, value_name = "A..B", value_parser = parse_seeds)]
    pub(crate) seeds: Option<Range<u64>>,
    /// Percent of the slots in use that are to be spare
    #[arg(long, value_name = "PERCENT", default_value_t = 25, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) margin: u32,
    /// Try these numbers of slots [default: powers of two]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=2_097_152))]
    pub(crate) slots: Vec<u64>,
    /// Try these numbers of areas, and recommend a pool with the first [default: as the kernel chooses]
    #[arg(long, value_name = "A,...", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) areas: Vec<u32>,
    /// Number of possible CPUs, for which the kernel makes areas [default: the machine's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8192))]
    pub(crate) cpus: Option<u32>,
    /// Draw failures and use over the size of the pool into this SVG file
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// So many threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = parse_jobs)]
    pub(crate) jobs: Option<usize>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}
