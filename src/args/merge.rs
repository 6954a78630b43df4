//! `dmasim merge`.

use std::path::PathBuf;

use clap::Args;

use super::report::parse_report;
use super::{Format, Report};

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// What `dmasim test --partition K/N --format json` printed, one file for each part
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Write a report: junit, ktap, sarif, github or jsonl, to FILE or to standard output
    #[arg(long, value_name = "KIND[=FILE]", value_parser = parse_report)]
    pub(crate) report: Vec<Report>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}
