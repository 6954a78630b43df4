//! The state of a campaign in a file: what was found in the seeds that were run, and from which seed to go on.
//!
//! The summary of a campaign is a sum over its seeds, so that the part that is kept and the part that is still to be
//! run give together what one undivided run gives.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;

use models::scenario::intern;
use serde::{Deserialize, Serialize};
use sim::explore::{SignatureStats, Slow, Summary};
use sim::{Finding, Name, Severity};

use crate::expect::Tally;
use crate::input::Failure;
use crate::keep::write_for_user;

/// A larger file is something else.
const MAX_BYTES: u64 = 256 << 20;
const FORMAT: u32 = 3;

/// What a campaign was asked for: a state belongs to one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    pub(crate) engine: u32,
    pub(crate) scenario: String,
    pub(crate) seeds: Range<u64>,
    pub(crate) settings: String,
    pub(crate) expected: String,
}

/// A campaign that is not at its end yet, or is.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) asked: Asked,
    /// The first seed that was not run.
    pub(crate) next: u64,
    pub(crate) summary: Summary,
    pub(crate) tally: Tally,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    dmasim_campaign: u32,
    asked: Asked,
    next: u64,
    ran: u64,
    failed: u64,
    digest: String,
    steps: u64,
    max_steps: u64,
    /// Steps and seed.
    slowest: Vec<(u64, u64)>,
    rechecked: u64,
    endings: BTreeMap<String, u64>,
    signatures: Vec<Signature>,
    tally: Tally,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    count: u64,
    first_seed: u64,
    led: u64,
    leader: u64,
    kind: String,
    title: String,
    fatal: bool,
    frames: Vec<String>,
    object: String,
    discriminator: String,
    context: (String, u32),
    cpu: Option<u8>,
    time: u64,
    step: u64,
    ending: String,
}

impl Signature {
    fn of(stats: &SignatureStats) -> Self {
        let finding = &stats.finding;
        Self {
            count: stats.count,
            first_seed: stats.first_seed,
            led: stats.led,
            leader: stats.leader,
            kind: finding.kind.to_owned(),
            title: finding.title.clone(),
            fatal: finding.severity == Severity::Fatal,
            frames: finding.frames.iter().map(|frame| (*frame).to_owned()).collect(),
            object: finding.object.to_owned(),
            discriminator: finding.discriminator.to_owned(),
            context: (finding.context.text.to_owned(), finding.context.nth),
            cpu: finding.cpu,
            time: finding.time,
            step: finding.step,
            ending: finding.ending.to_owned(),
        }
    }

    fn stats(self) -> Result<SignatureStats, models::scenario::InternerFull> {
        let finding = Finding {
            kind: intern(&self.kind)?,
            title: self.title,
            severity: if self.fatal { Severity::Fatal } else { Severity::Warning },
            frames: self.frames.iter().map(|frame| intern(frame)).collect::<Result<_, _>>()?,
            object: intern(&self.object)?,
            discriminator: intern(&self.discriminator)?,
            context: Name { text: intern(&self.context.0)?, nth: self.context.1 },
            cpu: self.cpu,
            time: self.time,
            step: self.step,
            ending: intern(&self.ending)?,
            details: Vec::new(),
        };
        // Campaigns that guide their runs are not kept.
        let Self { count, first_seed, led, leader, .. } = self;
        Ok(SignatureStats { finding, count, first_seed, guide: None, led, leader })
    }
}

impl State {
    /// The state in the file, or that of a campaign that has not begun.
    pub(crate) fn open(path: &Path, asked: Asked, tally: Tally) -> Result<Self, Failure> {
        let unreadable = |why: String| {
            Failure::text(format!("cannot go on with the campaign in {}: {why}", path.display()))
        };
        let about = match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let next = asked.seeds.start;
                return Ok(Self { asked, next, summary: Summary::default(), tally });
            }
            about => about.map_err(|error| unreadable(error.to_string()))?,
        };
        if !about.is_file() || about.len() > MAX_BYTES {
            return Err(unreadable("it is no regular file, or too large".to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let file: File = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        if file.dmasim_campaign != FORMAT {
            return Err(unreadable(format!("format {} is not known here", file.dmasim_campaign)));
        }
        if file.asked != asked {
            return Err(Failure::text(format!(
                "{} belongs to another campaign: {}\n  help: give the same options as then, or another file",
                path.display(),
                difference(&file.asked, &asked)
            )));
        }
        let digest = u128::from_str_radix(&file.digest, 16).map_err(|error| unreadable(error.to_string()))?;
        let expected = file.next.checked_sub(asked.seeds.start);
        if expected != Some(file.ran) || file.next > asked.seeds.end || !file.tally.is_like(&tally) {
            return Err(unreadable("its numbers do not fit together".to_owned()));
        }
        let mut signatures = BTreeMap::new();
        for signature in file.signatures {
            let stats = signature.stats().map_err(|error| unreadable(error.to_string()))?;
            signatures.insert(stats.finding.signature_hash(), stats);
        }
        let summary = Summary {
            ran: file.ran,
            failed: file.failed,
            digest,
            steps: file.steps,
            max_steps: file.max_steps,
            slowest: file.slowest.into_iter().map(|(steps, seed)| Slow { steps, seed }).collect(),
            rechecked: file.rechecked,
            endings: file.endings,
            signatures,
            ..Summary::default()
        };
        Ok(Self { asked, next: file.next, summary, tally: file.tally })
    }

    /// Writes it, whole.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Failure> {
        let summary = &self.summary;
        let file = File {
            dmasim_campaign: FORMAT,
            asked: self.asked.clone(),
            next: self.next,
            ran: summary.ran,
            failed: summary.failed,
            digest: format!("{:032x}", summary.digest),
            steps: summary.steps,
            max_steps: summary.max_steps,
            slowest: summary.slowest.iter().map(|slow| (slow.steps, slow.seed)).collect(),
            rechecked: summary.rechecked,
            endings: summary.endings.clone(),
            signatures: summary.signatures.values().map(Signature::of).collect(),
            tally: self.tally.clone(),
        };
        let text = serde_json::to_string(&file).map_err(|error| Failure::text(error.to_string()))?;
        write_for_user(path, &format!("{text}\n"))
    }
}

/// In what two campaigns differ, in words.
fn difference(there: &Asked, here: &Asked) -> String {
    let rows = [
        ("engine", there.engine.to_string(), here.engine.to_string()),
        ("scenario", there.scenario.clone(), here.scenario.clone()),
        ("seeds", format!("{:?}", there.seeds), format!("{:?}", here.seeds)),
        ("settings", there.settings.clone(), here.settings.clone()),
        ("expectation", there.expected.clone(), here.expected.clone()),
    ];
    let differs = rows.iter().find(|(_, a, b)| a != b);
    differs.map_or_else(String::new, |(word, a, b)| format!("its {word} is {a}, and here {b}"))
}
