//! `dmasim save`.

use std::path::PathBuf;

use clap::Args;

use super::value::parse_seed;
use super::{EngineArgs, KernelArgs};

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["seed", "token", "token_file"])))]
pub(crate) struct SaveArgs {
    /// The scenario file; FILE#NAME is its variant NAME
    #[arg(value_name = "SCENARIO")]
    pub(crate) scenario: PathBuf,
    /// The seed to keep
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub(crate) seed: Option<u64>,
    /// The token to keep
    #[arg(long, value_name = "T")]
    pub(crate) token: Option<String>,
    /// The file with the token to keep
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The finding: the hash of its signature, or words that its signature holds [default: the token's, or the first]
    #[arg(long, value_name = "S")]
    pub(crate) signature: Option<String>,
    /// Write the regression to this file, which must not be there yet
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Why it is kept
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) kernel: KernelArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}
