//! What may be typed: one file for each command, and what several of them share.

mod bisect;
mod bugs;
mod check;
mod common;
mod conform;
mod diff;
mod fuzz;
mod import;
mod list;
mod merge;
mod nearest;
mod replay;
mod report;
mod run;
mod save;
mod scenario;
mod shrink;
mod size;
mod test;
mod value;

use clap::{ArgAction, Parser, Subcommand};

pub(crate) use bisect::BisectArgs;
pub(crate) use bugs::BugsArgs;
pub(crate) use check::CheckArgs;
pub(crate) use common::{Color, EngineArgs, Format, KernelArgs, OnFinding, OriginArgs, SubjectArgs};
pub(crate) use conform::ConformArgs;
pub(crate) use diff::DiffArgs;
pub(crate) use fuzz::FuzzArgs;
pub(crate) use import::ImportArgs;
pub(crate) use list::{ListArgs, Listed};
pub(crate) use merge::MergeArgs;
pub(crate) use nearest::with_nearest;
pub(crate) use replay::{ReplayArgs, StateArgs, TraceLevel};
pub(crate) use report::{Report, ReportKind};
pub(crate) use run::RunArgs;
pub(crate) use save::SaveArgs;
pub(crate) use scenario::ScenarioCommand;
pub(crate) use shrink::ShrinkArgs;
pub(crate) use size::SizeArgs;
pub(crate) use test::TestArgs;

/// Find out whether a DMA can go wrong: on this machine, with this kernel and command line, and how.
#[derive(Debug, Parser)]
#[command(
    name = "dmasim",
    version,
    disable_version_flag = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 as expected, 1 a finding or another outcome than expected, 2 unusable input, \
                        130 interrupted.\nFirst steps: `dmasim list`, then `dmasim run SCENARIO`."
)]
pub(crate) struct Cli {
    /// Print the version of dmasim
    #[arg(short = 'V', long = "version", action = ArgAction::Version, value_parser = clap::value_parser!(bool))]
    version: Option<bool>,
    /// Neither progress bar nor warnings
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// When to colour the output
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a scenario with many seeds and explain what is found
    Run(RunArgs),
    /// Repeat one run, from its seed or token, and show what happens in it
    Replay(ReplayArgs),
    /// Run every interleaving of a small scenario, and say what was proved
    Check(CheckArgs),
    /// Run scenarios and compare with what they expect
    Test(TestArgs),
    /// Generate random machines and legal workloads, and run them: whatever is found is worth a look
    Fuzz(FuzzArgs),
    /// Make a finding's schedule and scenario as small as they go
    Shrink(ShrinkArgs),
    /// Keep a run as a regression, which `dmasim test` repeats
    Save(SaveArgs),
    /// Find out which change of the kernel brings a finding in, and which takes it out
    Bisect(BisectArgs),
    /// Join the results of parts of a test to those of the whole
    Merge(MergeArgs),
    /// Say how two scenarios differ, and why one fails and the other does not
    Diff(DiffArgs),
    /// Compare the models with recordings of real kernels
    Conform(ConformArgs),
    /// Make a scenario from the log of a real boot
    Import(ImportArgs),
    /// Find the size of the bounce pool that a workload needs, and what is wrong with the one it has
    Size(SizeArgs),
    /// Show the collection of real bugs, and how many seeds it takes to find each
    Bugs(BugsArgs),
    /// List scenarios, kernel versions, behaviours, kinds of findings, strategies
    List(ListArgs),
    /// Check scenario files, or begin a new one
    #[command(subcommand)]
    Scenario(ScenarioCommand),
    /// Print completions for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write those of all commands to a folder
    Man {
        /// The folder
        #[arg(long, value_name = "DIR")]
        dir: Option<std::path::PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
