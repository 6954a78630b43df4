//! `dmasim replay`.

use clap::{Args, ValueEnum};
use reports::state::View;

use super::report::parse_report;
use super::{Format, OriginArgs, Report, SubjectArgs};

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
    #[command(flatten)]
    pub(crate) subject: SubjectArgs,
    #[command(flatten)]
    pub(crate) origin: OriginArgs,
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
    pub(crate) state: StateArgs,
}

/// The machine in the middle of the run.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "The machine at one step")]
pub(crate) struct StateArgs {
    /// Show this state: memblock, swiotlb, iommu, devices, locks, contexts
    #[arg(long, value_name = "VIEW,...", value_delimiter = ',', value_parser = parse_view,
          conflicts_with_all = ["trace", "from", "until", "log", "report"])]
    pub(crate) show: Vec<View>,
    /// As it is after this step, counted from 1 [default: that of the first finding, or else the last]
    #[arg(long, value_name = "STEP")]
    pub(crate) at: Option<u64>,
    /// Read commands from standard input and go through the run with them: forward, backward, to the next step of a
    /// context, to the next access of an object (`help` lists them)
    #[arg(long, conflicts_with_all = ["show", "trace", "from", "until", "log", "report", "format"])]
    pub(crate) step: bool,
}

/// What a `--show` asks for.
fn parse_view(text: &str) -> Result<View, String> {
    View::of(text).ok_or_else(|| {
        let names = View::ALL.map(View::name);
        let near = models::scenario::nearest(text, names)
            .map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        format!("there is no such view; {near}allowed: {}", names.join(", "))
    })
}
