//! Recorded choices, named by who decides what.

use std::collections::BTreeMap;
use std::fmt;

use crate::Name;
use crate::trace::Digest;

/// Where a choice is made: who asks, what for, about which object, and for the how-manieth time. Stable under
/// changes elsewhere, as positions in a list are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    /// The context that asks; for a schedule decision the one that would go on.
    pub who: Name,
    /// What is decided, or, for a schedule decision, what `who` is about to do.
    pub what: &'static str,
    /// The object concerned.
    pub object: Name,
    /// 0 for the first time this is asked, and so on.
    pub nth: u32,
}

impl Site {
    /// A hash over the content of the names.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut digest = Digest::new();
        digest.mix_str(self.who.text);
        digest.mix(u64::from(self.who.nth));
        digest.mix_str(self.what);
        digest.mix_str(self.object.text);
        digest.mix(u64::from(self.object.nth) << 32 | u64::from(self.nth));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "half of a digest is a hash as good as the whole"
        )]
        let low = digest.value() as u64;
        low
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.who, self.what)?;
        if !self.object.text.is_empty() {
            write!(f, " {}", self.object)?;
        }
        write!(f, " (time {})", self.nth + 1)
    }
}

/// How a choice was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The context that went on instead of the default one.
    Switch(Name),
    /// The alternative taken (0 is the simplest and is not recorded), of how many.
    Value {
        /// The alternative.
        taken: u64,
        /// How many there were.
        of: u64,
    },
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(to) => write!(f, "a switch to {to}"),
            Self::Value { taken, of } => write!(f, "{taken} of {of}"),
        }
    }
}

/// One recorded choice that differs from the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where.
    pub site: Site,
    /// What was answered.
    pub answer: Answer,
}

/// The choices of one run that differ from the default, in the order in which they were made.
///
/// The default of a schedule decision is to let the current context go on, or else the lowest one; the default of
/// any other choice is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChoiceList {
    /// The records.
    pub records: Vec<Record>,
}

impl ChoiceList {
    /// How many of the records are switches to another context.
    #[must_use]
    pub fn switches(&self) -> usize {
        self.records.iter().filter(|record| matches!(record.answer, Answer::Switch(_))).count()
    }
}

/// The first recorded choice that does not fit the run that replays it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// Where.
    pub site: String,
    /// What was recorded.
    pub recorded: String,
    /// What is on offer now.
    pub now: String,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at \"{}\": recorded {}, now {}", self.site, self.recorded, self.now)
    }
}

/// What a run offers where something is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// One of these contexts goes on, the first of them by default.
    Contexts(Vec<Name>),
    /// One of so many alternatives.
    Alternatives(u64),
}

/// A question that a run asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where.
    pub site: Site,
    /// What could be answered.
    pub offer: Offer,
}

/// A recorded choice that does not fit the run that replays it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// What was recorded.
    pub record: Record,
    /// What is on offer there now; `None` if the run never asks.
    pub offer: Option<Offer>,
}

/// A list being replayed.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    table: BTreeMap<u64, (Record, bool)>,
    order: Vec<u64>,
    pub(super) divergence: Option<Divergence>,
    misfits: Vec<Misfit>,
}

impl Replay {
    pub(super) fn new(list: &ChoiceList) -> Self {
        let mut table = BTreeMap::new();
        let mut order = Vec::with_capacity(list.records.len());
        for record in &list.records {
            let hash = record.site.hash();
            table.insert(hash, (*record, false));
            order.push(hash);
        }
        Self { table, order, divergence: None, misfits: Vec::new() }
    }

    pub(super) fn take(&mut self, site: &Site) -> Option<Answer> {
        let (record, used) = self.table.get_mut(&site.hash())?;
        *used = true;
        Some(record.answer)
    }

    pub(super) fn diverge(&mut self, site: &Site, recorded: String, now: String, offer: Offer) {
        if let Some((record, _)) = self.table.get(&site.hash()) {
            self.misfits.push(Misfit { record: *record, offer: Some(offer) });
        }
        if self.divergence.is_none() {
            self.divergence = Some(Divergence { site: site.to_string(), recorded, now });
        }
    }

    /// All records that do not fit, in the order of the list.
    pub(super) fn misfits(&self) -> Vec<Misfit> {
        let mut all = Vec::new();
        for hash in &self.order {
            let Some((record, used)) = self.table.get(hash) else { continue };
            if let Some(misfit) = self.misfits.iter().find(|misfit| misfit.record == *record) {
                all.push(misfit.clone());
            } else if !used {
                all.push(Misfit { record: *record, offer: None });
            }
        }
        all
    }

    /// The first record that was never asked for.
    pub(super) fn unused(&self) -> Option<Divergence> {
        let (record, _) =
            self.order.iter().filter_map(|hash| self.table.get(hash)).find(|(_, used)| !used)?;
        Some(Divergence {
            site: record.site.to_string(),
            recorded: record.answer.to_string(),
            now: "the run never comes to this point".to_owned(),
        })
    }
}
