//! What may be typed.

use std::ops::Range;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use models::scenario::Overrides;
use sim::schedule::Strategy;

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
    /// Run scenarios and compare with what they expect
    Test(TestArgs),
    /// Say how two scenarios differ, and why one fails and the other does not
    Diff(DiffArgs),
    /// Compare the models with recordings of real kernels
    Conform(ConformArgs),
    /// List scenarios, kernel versions, behaviours, kinds of findings, strategies
    List(ListArgs),
    /// Check scenario files, or begin a new one
    #[command(subcommand)]
    Scenario(ScenarioCommand),
}

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TraceLevel {
    /// Notes, log lines, contexts, injections, findings
    Brief,
    /// Every step
    Full,
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
    /// Who goes on: swarm, random, pct:D or round-robin
    #[arg(long, value_name = "NAME", value_parser = Strategy::parse)]
    pub(crate) strategy: Option<Strategy>,
    /// A run that takes more steps has not settled
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_steps: Option<u64>,
    /// Whether a run goes on after its first finding
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) on_finding: Option<OnFinding>,
}

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
    /// Explain every signature, and not only the first five
    #[arg(long)]
    pub(crate) all: bool,
    /// Write the token of the first signature to this file, those of others to FILE.2, FILE.3, ...
    #[arg(long, value_name = "FILE")]
    pub(crate) save_token: Option<PathBuf>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) kernel: KernelArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
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
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) kernel: KernelArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
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
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A scenario file; FILE#NAME is its variant NAME
    #[arg(value_name = "A")]
    pub(crate) a: PathBuf,
    /// Another one
    #[arg(value_name = "B")]
    pub(crate) b: PathBuf,
    /// The seed whose boot is compared [default: the one in which most mappings are made]
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub(crate) seed: Option<u64>,
    /// Seeds whose outcomes are compared
    #[arg(long, value_name = "N|A..B", value_parser = parse_seeds, default_value = "50")]
    pub(crate) seeds: Range<u64>,
    /// Worker threads; results do not depend on it [default: one for each CPU]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub(crate) jobs: Option<usize>,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("recordings").required(true).args(["files", "boot", "calls", "trace"])))]
pub(crate) struct ConformArgs {
    /// Operation vectors, plain or gzip; kind and kernel version are read from them
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

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// What to list [default: everything]
    #[arg(value_enum)]
    pub(crate) what: Option<Listed>,
    /// Where to look for scenarios
    #[arg(long, value_name = "DIR", default_value = "scenarios")]
    pub(crate) dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listed {
    Scenarios,
    Versions,
    Behaviours,
    Findings,
    Strategies,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScenarioCommand {
    /// Check scenario files, with their variants, and run nothing
    Check {
        /// The files
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// Write a commented scenario to begin with: to NAME.ron, or to standard output
    New {
        /// Name of the file to write
        #[arg(value_name = "NAME")]
        name: Option<PathBuf>,
    },
}

/// Seeds stay below this: each is exact in JSON, and counting on from them cannot overflow.
const SEED_LIMIT: u64 = 1 << 53;

fn parse_seed(text: &str) -> Result<u64, String> {
    match text.replace('_', "").parse::<u64>() {
        Ok(seed) if seed < SEED_LIMIT => Ok(seed),
        Ok(_) => Err("a seed is below 2^53".to_owned()),
        Err(_) => Err(format!("`{text}` is not a seed: a whole number is expected")),
    }
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let range = match text.split_once("..") {
        Some((start, end)) => parse_seed(start)?..parse_seed(end)?,
        None => 0..parse_seed(text)?,
    };
    if range.is_empty() {
        return Err(format!("`{text}` holds no seed: a run of nothing proves nothing"));
    }
    Ok(range)
}

fn parse_jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs @ 1..=1024) => Ok(jobs),
        _ => Err(format!("`{text}` is not a number of threads: 1 to 1024 are allowed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn seeds_are_a_number_or_a_range() {
        assert_eq!(parse_seeds("1_000"), Ok(0..1000));
        assert_eq!(parse_seeds("7..9"), Ok(7..9));
        for wrong in ["0", "9..7", "7..7", "", "x", "1..", "-1", "9223372036854775808", "1..2..3"] {
            assert!(parse_seeds(wrong).is_err(), "{wrong}");
        }
    }
}
