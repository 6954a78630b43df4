//! `dmasim replay`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::report::parse_report;
use super::value::parse_seed;
use super::{EngineArgs, Format, KernelArgs, Report};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TraceLevel {
    /// Notes, log lines, contexts, injections, findings
    Brief,
    /// Every step
    Full,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["seed", "token", "token_file"])))]
pub(crate) struct ReplayArgs {
    /// The scenario file; FILE#NAME is its variant NAME
    #[arg(value_name = "SCENARIO")]
    pub(crate) scenario: PathBuf,
    /// The seed to repeat
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub(crate) seed: Option<u64>,
    /// The token to repeat
    #[arg(long, value_name = "T")]
    pub(crate) token: Option<String>,
    /// The file with the token to repeat
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Where a choice of the token does not fit, go on with the closest one that does
    #[arg(long, conflicts_with = "seed")]
    pub(crate) nearest: bool,
    /// How much of the trace to show
    #[arg(long, value_enum, default_value_t = TraceLevel::Brief, value_name = "LEVEL")]
    pub(crate) trace: TraceLevel,
    /// Show the trace from this step on
    #[arg(long, value_name = "STEP")]
    pub(crate) from: Option<u64>,
    /// Show the trace up to this step
    #[arg(long, value_name = "STEP")]
    pub(crate) until: Option<u64>,
    /// Show the modelled kernel's log and nothing else
    #[arg(long, conflicts_with_all = ["from", "until", "format"])]
    pub(crate) log: bool,
    /// Write a report: lkml, dmesg, html or perfetto, to FILE or to standard output
    #[arg(long, value_name = "KIND[=FILE]", value_parser = parse_report, conflicts_with = "log")]
    pub(crate) report: Vec<Report>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) kernel: KernelArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}
