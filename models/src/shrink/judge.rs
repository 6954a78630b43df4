//! Whether a candidate still shows the finding.

use std::cell::RefCell;

use sim::Finding;
use sim::choices::{ChoiceList, Token};
use sim::explore::{catching, minimise};

use super::Shown;
use crate::run::{Request, Run, Simulation, Source, Worker};
use crate::scenario::FindingPattern;
use crate::scenario::edit::Tree;

/// Runs that shortening the choices of a new seed may take.
const BUDGET: u32 = 60;

/// The finding that must still show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One of this signature.
    Signature(u64),
    /// One whose signature, in words, holds this text.
    Words(String),
    /// One that one of these patterns describes.
    Patterns(Vec<FindingPattern>),
}

impl Target {
    /// As a user names it: the 16 hexadecimal digits of a signature's hash, or words that the signature holds. Without
    /// a name it is any finding.
    #[must_use]
    pub fn named(name: Option<&str>) -> Self {
        let Some(name) = name else { return Self::Words(String::new()) };
        match u64::from_str_radix(name, 16) {
            Ok(hash) if name.len() == 16 => Self::Signature(hash),
            _ => Self::Words(name.to_owned()),
        }
    }

    /// Whether it is this one.
    #[must_use]
    pub fn is(&self, finding: &Finding) -> bool {
        match self {
            Self::Signature(hash) => finding.signature_hash() == *hash,
            Self::Words(text) => finding.signature().contains(text.as_str()),
            Self::Patterns(patterns) => patterns.iter().any(|pattern| pattern.fits(finding)),
        }
    }

    /// The first of `findings` that it is.
    #[must_use]
    pub fn among<'a>(&self, findings: &'a [Finding]) -> Option<&'a Finding> {
        findings.iter().find(|finding| self.is(finding))
    }
}

/// What is looked for, and how runs go.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The finding.
    pub target: Target,
    /// So many seeds are tried where the recorded choices no longer show it.
    pub tries: u64,
    /// How runs go instead of what the scenario says: only its settings count, not its source.
    pub request: Request,
}

impl Settings {
    pub(super) fn request(&self, source: Source, record_choices: bool) -> Request {
        Request { source, record: false, record_choices, details: false, ..self.request.clone() }
    }
}

thread_local! {
    /// The worker that this thread used last, for its memory.
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// Runs of one scenario, on any thread.
pub(super) struct Pool<'a> {
    simulation: &'a Simulation,
    settings: &'a Settings,
}

impl<'a> Pool<'a> {
    pub(super) const fn new(simulation: &'a Simulation, settings: &'a Settings) -> Self {
        Self { simulation, settings }
    }

    /// One run; `None` if a model panics in it.
    fn run(&self, request: &Request) -> Option<Run> {
        let kept = WORKER.take().filter(|worker| worker.is_of(self.simulation));
        let mut worker = kept.unwrap_or_else(|| self.simulation.worker());
        // A worker in which a model panicked is not used again.
        let run = catching(|| worker.run(request)).ok()?;
        WORKER.set(Some(worker));
        Some(run)
    }

    fn shows(&self, request: &Request) -> Option<ChoiceList> {
        let mut run = self.run(request)?;
        self.settings.target.among(&run.end.findings)?;
        Some(run.end.choices.take_records())
    }

    /// What is recorded while a list is replayed, if the finding shows.
    pub(super) fn replay(&self, list: &ChoiceList) -> Option<ChoiceList> {
        self.shows(&self.settings.request(Source::Replay(list.clone()), true))
    }

    /// The choices of a seed, if the finding shows.
    pub(super) fn seed(&self, seed: u64) -> Option<ChoiceList> {
        let run = self.run(&self.settings.request(Source::Seed(seed), false))?;
        self.settings.target.among(&run.end.findings)?;
        self.shows(&self.settings.request(Source::Seed(seed), true))
    }

    /// The same, shortened at once, so that it can be compared.
    fn shortened_seed(&self, seed: u64) -> Option<ChoiceList> {
        let list = self.seed(seed)?;
        let minimised = minimise(&list, BUDGET, |list| self.replay(list).is_some());
        self.replay(&minimised.choices)
    }
}

/// The tree with the choices that show the finding on it, if there are any: those given, or those of one of the first
/// seeds.
pub(super) fn judge_tree(settings: &Settings, name: &str, tree: Tree, choices: &ChoiceList) -> Option<Shown> {
    let resolved = tree.resolve(name).ok()?;
    let simulation = Simulation::for_replay(resolved);
    let pool = Pool::new(&simulation, settings);
    if let Some(choices) = pool.replay(choices) {
        return Some(Shown { tree, choices });
    }
    if settings.tries == 0 {
        return None;
    }
    let simulation = Simulation::new(simulation.scenario().clone());
    let pool = Pool::new(&simulation, settings);
    let choices = (0..settings.tries).find_map(|seed| pool.shortened_seed(seed))?;
    Some(Shown { tree, choices })
}

/// A run with these choices, with everything recorded, and its token; `None` if it does not show the finding.
pub(super) fn record(
    simulation: &Simulation,
    settings: &Settings,
    seed: u64,
    choices: &ChoiceList,
) -> Option<(Token, Run)> {
    let request = Request {
        record: true,
        record_choices: true,
        details: true,
        source: Source::Replay(choices.clone()),
        ..settings.request.clone()
    };
    let mut run = catching(|| simulation.worker().run(&request)).ok()?;
    let signature = settings.target.among(&run.end.findings)?.signature_hash();
    let token = run.token(simulation.scenario(), seed, signature);
    Some((token, run))
}
