//! One signature: run its first seed again with everything recorded, and shorten it.

use models::run::{Request, Run, Simulation, Source};
use reports::case::{Neighbour, Shortened};
use sim::Finding;
use sim::choices::{ChoiceList, Record, Token};
use sim::explore::{SignatureStats, catching, minimise};
use sim::schedule::Guide;

use crate::campaign::Tweaks;

/// Who asks for choices that concern the run as a whole.
const OF_THE_RUN: &str = "run";
/// Runs that shortening may take.
const BUDGET: u32 = 300;

/// A recorded run that shows a signature.
#[derive(Debug)]
pub(crate) struct Explained {
    /// The run, shortened if that went well.
    pub(crate) run: Run,
    /// Its choices.
    pub(crate) choices: ChoiceList,
    /// What the seed drew for the run as a whole.
    pub(crate) drawn: Vec<Record>,
    /// How it was shortened.
    pub(crate) shortened: Option<Shortened>,
    /// What the seed shows when it is not shortened.
    pub(crate) whole: Vec<Finding>,
    /// What repeats the run.
    pub(crate) token: String,
    hash: u64,
}

impl Explained {
    /// The finding, with details.
    pub(crate) fn finding(&self) -> Option<&Finding> {
        self.run.end.findings.iter().find(|finding| finding.signature_hash() == self.hash)
    }

    /// What the run shows besides, before it is shortened. `number` gives a signature's place in the list of all.
    pub(crate) fn neighbours(&self, number: impl Fn(u64) -> Option<usize>) -> Vec<Neighbour<'_>> {
        let own = self.whole.iter().position(|f| f.signature_hash() == self.hash).unwrap_or(0);
        let others = self.whole.iter().enumerate().filter(|(at, _)| *at != own);
        others
            .map(|(at, finding)| Neighbour {
                finding,
                number: number(finding.signature_hash()),
                earlier: at < own,
            })
            .collect()
    }
}

/// Repeats the first seed of a signature, recorded and shortened.
///
/// # Errors
/// When the seed does not show the signature again.
pub(crate) fn explain(
    simulation: &Simulation,
    tweaks: Tweaks,
    stats: &SignatureStats,
) -> Result<Explained, String> {
    let source = Source::Seed(stats.first_seed);
    explain_run(simulation, tweaks, stats.finding.signature_hash(), source, stats.guide.as_ref())
}

/// Repeats the run with these choices, recorded and shortened.
///
/// # Errors
/// When it does not show the signature again.
pub(crate) fn explain_run(
    simulation: &Simulation,
    tweaks: Tweaks,
    hash: u64,
    source: Source,
    guide: Option<&Guide>,
) -> Result<Explained, String> {
    let (seed, what) = match source {
        Source::Seed(seed) => (seed, format!("seed {seed}")),
        Source::Replay(_) | Source::Search(_) => (0, "the run".to_owned()),
    };
    let shows = |findings: &[Finding]| findings.iter().any(|finding| finding.signature_hash() == hash);
    let full = |source| {
        let request = Request { guide: guide.cloned(), ..tweaks.on(Request::full(source)) };
        catching(|| simulation.worker().run(&request))
    };
    let mut first =
        full(source).map_err(|message| format!("{what} makes the simulator itself panic: {message}"))?;
    if !shows(&first.end.findings) {
        return Err(format!("{what} does not show it again when it is recorded"));
    }
    let list = first.end.choices.take_records();
    let whole = first.end.findings.clone();
    let drawn = list.records.iter().filter(|record| record.site.who.text == OF_THE_RUN).copied().collect();
    let mut worker = simulation.worker();
    let minimised = minimise(&list, BUDGET, |choices| {
        let quick = Request { source: Source::Replay(choices.clone()), ..Request::quick(seed) };
        match catching(|| worker.run(&tweaks.on(quick))) {
            Ok(run) => shows(&run.end.findings),
            Err(_) => {
                worker = simulation.worker();
                false
            }
        }
    });
    let before = list.records.len();
    let (run, choices, shortened) = match full(Source::Replay(minimised.choices)) {
        Ok(mut run) if shows(&run.end.findings) => {
            // What is recorded while replaying is what was asked for; a choice that no longer comes up is gone.
            let choices = run.end.choices.take_records();
            let after = choices.records.len();
            let shortened = Shortened { before, after, runs: minimised.runs, gave_up: minimised.gave_up };
            (run, choices, Some(shortened))
        }
        Ok(_) | Err(_) => (first, list, None),
    };
    let token = Token {
        engine: sim::ENGINE_VERSION,
        scenario: simulation.scenario().digest.0,
        seed,
        digest: run.end.digest,
        signature: hash,
        choices: choices.clone(),
    };
    Ok(Explained { run, token: token.encode(), choices, drawn, shortened, whole, hash })
}
