//! What several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use models::scenario::Overrides;
use sim::schedule::Strategy;

use super::value::parse_seed;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Human,
    /// One JSON object as the last line of standard output
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnFinding {
    Stop,
    Continue,
}

/// The kernel, instead of what the scenario says.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Changes to the scenario")]
pub(crate) struct KernelArgs {
    /// Run this variant of the scenario
    #[arg(long, value_name = "NAME")]
    pub(crate) variant: Option<String>,
    /// Boot with this kernel command line instead
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub(crate) cmdline: Option<String>,
    /// Append these words to the kernel command line
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub(crate) append: Option<String>,
    /// Boot this kernel version instead (see `dmasim list versions`)
    #[arg(long, value_name = "V")]
    pub(crate) version: Option<String>,
    /// Add these behaviours to the kernel (see `dmasim list behaviours`)
    #[arg(long, value_name = "B,...", value_delimiter = ',')]
    pub(crate) apply: Vec<String>,
    /// Take these behaviours from the kernel
    #[arg(long, value_name = "B,...", value_delimiter = ',')]
    pub(crate) revert: Vec<String>,
}

impl KernelArgs {
    pub(crate) fn overrides(&self, variant: Option<&str>) -> Overrides {
        Overrides {
            variant: self.variant.clone().or_else(|| variant.map(str::to_owned)),
            cmdline: self.cmdline.clone(),
            append: self.append.clone(),
            version: self.version.clone(),
            apply: self.apply.clone(),
            revert: self.revert.clone(),
        }
    }

    /// Whether the kernel is another one than the scenario's: then its expectation does not count.
    pub(crate) fn changes_kernel(&self) -> bool {
        self.cmdline.is_some()
            || self.append.is_some()
            || self.version.is_some()
            || !self.apply.is_empty()
            || !self.revert.is_empty()
    }
}

/// How runs go, instead of what the scenario says.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "How to run")]
pub(crate) struct EngineArgs {
    /// Who goes on: swarm, random, pct:D, pos, urw, delay:K, rff or round-robin
    #[arg(long, value_name = "NAME", value_parser = Strategy::parse)]
    pub(crate) strategy: Option<Strategy>,
    /// A run that takes more steps has not settled
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_steps: Option<u64>,
    /// Whether a run goes on after its first finding
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) on_finding: Option<OnFinding>,
}

/// The scenario, with what is to be changed in it and in how it runs.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SubjectArgs {
    /// The scenario file; FILE#NAME is its variant NAME
    #[arg(value_name = "SCENARIO")]
    pub(crate) scenario: PathBuf,
    #[command(flatten)]
    pub(crate) kernel: KernelArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// Which run of it: that of a seed, or that of a token. A command says for itself which of them must be given.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct OriginArgs {
    /// The run of this seed
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub(crate) seed: Option<u64>,
    /// The run of this token
    #[arg(long, value_name = "T")]
    pub(crate) token: Option<String>,
    /// The run of the token in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}
