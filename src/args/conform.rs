//! `dmasim conform`.

use std::path::PathBuf;

use clap::Args;

use super::Format;
use super::value::parse_jobs;

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("recordings").required(true).args(["files", "boot", "calls", "trace"])))]
pub(crate) struct ConformArgs {
    /// Recordings, plain or gzip, or folders of them. What a file holds (operation vectors, the log of a boot, a log of
    /// calls, a trace) and of which kernel is read from it
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Compare with console logs of boots
    #[arg(long, value_name = "LOG", num_args = 1..)]
    pub(crate) boot: Vec<PathBuf>,
    /// Compare with logs of calls of the DMA API
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) calls: Vec<PathBuf>,
    /// Compare with traces of running systems
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) trace: Vec<PathBuf>,
    /// Show so many differences of each file in full
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) show: usize,
    /// Worker threads; results do not depend on it [default: one for each CPU]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub(crate) jobs: Option<usize>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}
