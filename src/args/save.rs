//! `dmasim save`.

use std::path::PathBuf;

use clap::Args;

use super::{OriginArgs, SubjectArgs};

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["seed", "token", "token_file"])))]
pub(crate) struct SaveArgs {
    #[command(flatten)]
    pub(crate) subject: SubjectArgs,
    #[command(flatten)]
    pub(crate) origin: OriginArgs,
    /// The finding: the hash of its signature, or words that its signature holds [default: the token's, or the first]
    #[arg(long, value_name = "S")]
    pub(crate) signature: Option<String>,
    /// Write the regression to this file, which must not be there yet
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Why it is kept
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) why: String,
}
