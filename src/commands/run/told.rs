//! What is known of a campaign's signatures, for each reader.

use std::path::{Path, PathBuf};

use models::run::{Request, Simulation, Source};
use models::shrink::Conditions;
use reports::case::Case;
use sim::explore::{SignatureStats, catching};

use crate::args::{ReportKind, RunArgs};
use crate::campaign::Tweaks;
use crate::explain::Explained;
use crate::input::{Failure, command, kernel_words};
use crate::output::Out;
use crate::report;

/// A longer token is not shown.
const MAX_TOKEN: usize = 200;

/// What is known of a campaign's signatures. All lists are in the order of `list`, and may be shorter.
pub(super) struct Told<'a> {
    /// How the campaign was asked for.
    pub(super) args: &'a RunArgs,
    /// The scenario.
    pub(super) simulation: &'a Simulation,
    /// The signatures, causes first.
    pub(super) list: &'a [&'a SignatureStats],
    /// The runs that show them.
    pub(super) explained: &'a [Result<Explained, String>],
    /// What they need.
    pub(super) needs: &'a [Option<Conditions>],
    /// The files that hold their tokens.
    pub(super) saved: &'a [Option<PathBuf>],
    /// Seeds run.
    pub(super) ran: u64,
}

impl Told<'_> {
    /// Calls `visit` with each signature that was explained, as far as it could be.
    fn each(&self, mut visit: impl FnMut(usize, Result<Case<'_>, &str>)) {
        let kernel = kernel_words(self.simulation.scenario());
        let number =
            |hash: u64| self.list.iter().position(|s| s.finding.signature_hash() == hash).map(|n| n + 1);
        for (n, (stats, explained)) in self.list.iter().zip(self.explained).enumerate() {
            let explained = match explained {
                Ok(explained) => explained,
                Err(message) => {
                    visit(n, Err(message));
                    continue;
                }
            };
            let Some(finding) = explained.finding() else { continue };
            let case = Case {
                number: n + 1,
                of: self.list.len(),
                finding,
                first_seed: stats.first_seed,
                searched: false,
                count: stats.count,
                ran: self.ran,
                trace: &explained.run.end.trace,
                choices: &explained.choices,
                drawn: &explained.drawn,
                shortened: explained.shortened,
                conditions: self.needs.get(n).and_then(Option::as_ref),
                neighbours: explained.neighbours(number),
                reproduce: reproduce(
                    self.args,
                    stats,
                    explained,
                    self.saved.get(n).and_then(Option::as_deref),
                ),
                kernel: &kernel,
                machine: &self.simulation.scenario().machine.name,
            };
            visit(n, Ok(case));
        }
    }

    /// Prints what is known of each.
    pub(super) fn cases(&self, out: &mut Out) {
        self.each(|n, case| match case {
            Ok(case) => {
                let text = case.render(out.paint);
                out.line(&text);
            }
            Err(message) => self.unexplained(out, n, message),
        });
        if let Some(more @ 1..) = self.list.len().checked_sub(self.explained.len()) {
            out.line(&format!("{more} more are listed above; --all explains them too.\n"));
        }
    }

    fn unexplained(&self, out: &mut Out, n: usize, message: &str) {
        let stats = self.list[n];
        let text = format!("Finding {} of {}: {}", n + 1, self.list.len(), stats.finding.kind);
        out.line(&out.paint.bad(&text));
        for line in reports::wrap(&reports::ascii(message), reports::WIDTH - 2) {
            out.line(&format!("  {line}"));
        }
        out.line(&format!("  to repeat it: {}\n", again(self.args, stats.first_seed, Some(stats))));
    }

    /// The mail on all that were explained.
    pub(super) fn mail(&self) -> String {
        let mut text = String::new();
        self.each(|_, case| {
            if let Ok(case) = case {
                text.push_str(&case.mail());
                text.push('\n');
            }
        });
        if text.is_empty() { format!("no finding in {} seeds\n", self.ran) } else { text }
    }

    /// A report on the run that shows the first signature, or on the seed `start` if there is none.
    pub(super) fn one_run(&self, kind: ReportKind, tweaks: Tweaks, start: u64) -> Result<String, Failure> {
        let scenario = self.simulation.scenario();
        let first = self.list.iter().zip(self.explained).find_map(|(s, e)| e.as_ref().ok().map(|e| (s, e)));
        if let Some((stats, explained)) = first {
            let shortened = if explained.shortened.is_some() { ", shortened" } else { "" };
            let which = format!("seed {}{shortened}", stats.first_seed);
            return report::of_run(kind, scenario, &which, &explained.run, || self.mail());
        }
        let request = tweaks.on(Request::full(Source::Seed(start)));
        let run = catching(|| self.simulation.worker().run(&request)).map_err(|message| {
            Failure::text(format!("seed {start} makes the simulator itself panic: {message}"))
        })?;
        report::of_run(kind, scenario, &format!("seed {start}"), &run, || self.mail())
    }
}

/// What repeats a seed of the campaign.
pub(super) fn again(args: &RunArgs, seed: u64, stats: Option<&SignatureStats>) -> String {
    if stats.is_some_and(|stats| stats.guide.is_some()) {
        return "the same campaign from its first seed on".to_owned();
    }
    command("replay", &args.scenario, &args.kernel, &args.engine, &["--seed", &seed.to_string()])
}

fn reproduce(
    args: &RunArgs,
    stats: &SignatureStats,
    explained: &Explained,
    saved: Option<&Path>,
) -> Vec<String> {
    let replay = |rest: &[&str]| command("replay", &args.scenario, &args.kernel, &args.engine, rest);
    let mut lines = match stats.guide {
        None => vec![
            "the seed as it was drawn:".to_owned(),
            format!("  {}", replay(&["--seed", &stats.first_seed.to_string()])),
        ],
        Some(_) => vec![
            "the seed alone does not repeat it:".to_owned(),
            "  it was guided by what earlier seeds had shown".to_owned(),
        ],
    };
    let run = if explained.shortened.is_some() { "the shortened run" } else { "the same from its choices" };
    if let Some(file) = saved {
        lines.push(format!("{run}:"));
        lines.push(format!("  {}", replay(&["--token-file", &file.to_string_lossy()])));
    } else if explained.token.len() <= MAX_TOKEN {
        lines.push(format!("{run}:"));
        lines.push(format!("  {}", replay(&["--token", &explained.token])));
    } else {
        lines.push(format!("{run} is a token of {} characters:", explained.token.len()));
        lines.push("  `dmasim run --save-token FILE` keeps it,".to_owned());
        lines.push("  `dmasim replay --token-file FILE` repeats it".to_owned());
    }
    lines
}
