//! The door itself.

use std::collections::BTreeMap;

use super::record::Replay;
use super::{
    Answer, Asked, ChoiceList, Divergence, Enumeration, Misfit, Offer, Record, Rng, Site, Stream, Streams,
};
use crate::Name;
use crate::explore::Search;

/// From where choices are answered.
#[derive(Clone, Debug)]
pub enum Mode {
    /// From the streams of this seed.
    Seed(u64),
    /// From a recorded list.
    Replay(ChoiceList),
    /// By enumeration.
    Enumerate(Enumeration),
    /// By a search that leaves out what commutes.
    Search(Box<Search>),
}

#[derive(Debug)]
enum Source {
    Seed(Streams),
    Replay(Box<Replay>, Streams),
    Enumerate(Enumeration, Streams),
    Search(Box<Search>, Streams),
}

/// The one door. See the module's text.
#[derive(Debug)]
pub struct Choices {
    source: Source,
    /// Whether sites must be told apart: when recording or replaying.
    named: bool,
    records: Option<Vec<Record>>,
    /// Every question, if that is wanted.
    asked: Option<Vec<Asked>>,
    counts: BTreeMap<u64, u32>,
}

/// What [`Choices::switch`] found for a schedule decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The strategy decides.
    Strategy,
    /// No switch is recorded here.
    Default,
    /// A switch to this context is recorded here.
    Switch(Name),
    /// The n-th alternative, the default being 0.
    Nth(u64),
}

impl Choices {
    /// Choices answered from `mode`, recorded if `record`.
    #[must_use]
    pub fn new(mode: Mode, record: bool) -> Self {
        let (source, named) = match mode {
            Mode::Seed(seed) => (Source::Seed(Streams::new(seed)), false),
            Mode::Replay(list) => (Source::Replay(Box::new(Replay::new(&list)), Streams::new(0)), true),
            Mode::Enumerate(walk) => (Source::Enumerate(walk, Streams::new(0)), false),
            Mode::Search(search) => (Source::Search(search, Streams::new(0)), false),
        };
        let records = record.then(Vec::new);
        Self { source, named: named || record, records, asked: None, counts: BTreeMap::new() }
    }

    /// Keeps every question with what could be answered, from now on.
    pub fn keep_questions(&mut self) {
        self.named = true;
        self.asked = Some(Vec::new());
    }

    /// Whether questions are kept.
    pub(crate) const fn keeps_questions(&self) -> bool {
        self.asked.is_some()
    }

    /// A schedule decision was asked for.
    pub(crate) fn asked_switch(&mut self, site: Site, contexts: Vec<Name>) {
        if let Some(asked) = &mut self.asked {
            asked.push(Asked { site, offer: Offer::Contexts(contexts) });
        }
    }

    /// The questions that were kept, in order.
    #[must_use]
    pub fn take_questions(&mut self) -> Vec<Asked> {
        self.asked.take().unwrap_or_default()
    }

    /// Whether choices have to be named: the caller need not look up names otherwise.
    #[inline]
    #[must_use]
    pub(crate) const fn named(&self) -> bool {
        self.named
    }

    /// Whether schedule decisions are answered by the strategy without further ado.
    #[inline]
    #[must_use]
    pub(crate) const fn unnamed_seed(&self) -> bool {
        !self.named && matches!(self.source, Source::Seed(_))
    }

    /// Whether choices are answered from a seed.
    #[must_use]
    pub(crate) const fn by_seed(&self) -> bool {
        matches!(self.source, Source::Seed(_))
    }

    /// The raw stream for schedule strategies; what they draw is not a choice of its own, the switch is.
    #[inline]
    pub(crate) fn schedule_rng(&mut self) -> &mut Rng {
        match &mut self.source {
            Source::Seed(streams)
            | Source::Replay(_, streams)
            | Source::Enumerate(_, streams)
            | Source::Search(_, streams) => streams.get(Stream::Schedule),
        }
    }

    fn site(&mut self, who: Name, what: &'static str, object: Name) -> Site {
        let mut site = Site { who, what, object, nth: 0 };
        let count = self.counts.entry(site.hash()).or_insert(0);
        site.nth = *count;
        *count += 1;
        site
    }

    /// Answers a choice of `of` alternatives. The name is asked for only if it matters.
    #[inline]
    pub(crate) fn value(
        &mut self,
        stream: Stream,
        what: &'static str,
        of: u64,
        name: impl FnOnce() -> (Name, Name),
    ) -> u64 {
        self.value_of(stream, what, of, &[], name)
    }

    /// The same, for a choice whose answers fall into few classes: a search tries `classes` alone, if there are any.
    #[inline]
    pub(crate) fn value_of(
        &mut self,
        stream: Stream,
        what: &'static str,
        of: u64,
        classes: &[u64],
        name: impl FnOnce() -> (Name, Name),
    ) -> u64 {
        if of <= 1 {
            return 0;
        }
        if !self.named {
            return match &mut self.source {
                Source::Seed(streams) => streams.get(stream).below(of),
                Source::Enumerate(walk, _) => walk.answer(of),
                Source::Search(search, _) => search.value(of, classes),
                Source::Replay(..) => 0,
            };
        }
        let (who, object) = name();
        let site = self.site(who, what, object);
        if let Some(asked) = &mut self.asked {
            asked.push(Asked { site, offer: Offer::Alternatives(of) });
        }
        let taken = match &mut self.source {
            Source::Seed(streams) => streams.get(stream).below(of),
            Source::Enumerate(walk, _) => walk.answer(of),
            Source::Search(search, _) => search.value(of, classes),
            Source::Replay(replay, _) => match replay.take(&site) {
                None => 0,
                Some(Answer::Value { taken, of: recorded }) => {
                    if recorded != of {
                        replay.diverge(
                            &site,
                            format!("{taken} of {recorded} alternatives"),
                            format!("{of} alternatives"),
                            Offer::Alternatives(of),
                        );
                    }
                    taken.min(of - 1)
                }
                Some(Answer::Switch(to)) => {
                    let recorded = format!("a switch to {to}");
                    replay.diverge(&site, recorded, format!("a choice of {of}"), Offer::Alternatives(of));
                    0
                }
            },
        };
        if taken != 0
            && let Some(records) = &mut self.records
        {
            records.push(Record { site, answer: Answer::Value { taken, of } });
        }
        taken
    }

    /// A choice made before there is an engine: which strategy, say.
    pub fn choose_for_run(&mut self, stream: Stream, what: &'static str, of: u64) -> u64 {
        self.value(stream, what, of, || (Name::new("run"), Name::new("")))
    }

    /// A choice that a seed asks for only now and then: only if `due`, and if then `really` says so. A replayed one
    /// happens where it was recorded.
    pub(crate) fn value_if(
        &mut self,
        due: bool,
        stream: Stream,
        what: &'static str,
        of: u64,
        name: impl FnOnce() -> (Name, Name),
        really: impl FnOnce(&mut Rng) -> bool,
    ) -> u64 {
        if let Source::Seed(streams) = &mut self.source {
            let drawn = due && really(streams.get(stream));
            let taken = if drawn { streams.get(stream).below(of) } else { 0 };
            if self.named {
                let (who, object) = name();
                let site = self.site(who, what, object);
                if taken != 0
                    && let Some(records) = &mut self.records
                {
                    records.push(Record { site, answer: Answer::Value { taken, of } });
                }
            }
            return taken;
        }
        // An enumeration does not enumerate lengths of delays: the schedule already covers their orders.
        if matches!(self.source, Source::Enumerate(..) | Source::Search(..)) {
            0
        } else {
            self.value(stream, what, of, name)
        }
    }

    /// What is recorded for a schedule decision at which `who` is about to do `what` on `object`.
    pub(crate) fn switch(
        &mut self,
        who: Name,
        what: &'static str,
        object: Name,
        of: u64,
    ) -> (Decision, Site) {
        let site = self.site(who, what, object);
        let decision = match &mut self.source {
            Source::Seed(_) => Decision::Strategy,
            // The search is asked by itself.
            Source::Search(..) => Decision::Default,
            Source::Enumerate(walk, _) => Decision::Nth(if of > 1 { walk.answer(of) } else { 0 }),
            Source::Replay(replay, _) => match replay.take(&site) {
                None => Decision::Default,
                Some(Answer::Switch(to)) => Decision::Switch(to),
                Some(Answer::Value { taken, of }) => {
                    let now = "a schedule decision".to_owned();
                    replay.diverge(&site, format!("{taken} of {of}"), now, Offer::Contexts(Vec::new()));
                    Decision::Default
                }
            },
        };
        (decision, site)
    }

    /// The n-th alternative of a schedule decision whose site has no name.
    pub(crate) fn nth_unnamed(&mut self, of: u64) -> u64 {
        match &mut self.source {
            Source::Enumerate(walk, _) if of > 1 => walk.answer(of),
            _ => 0,
        }
    }

    pub(crate) fn record_switch(&mut self, site: Site, to: Name) {
        if let Some(records) = &mut self.records {
            records.push(Record { site, answer: Answer::Switch(to) });
        }
    }

    pub(crate) fn diverge(&mut self, site: &Site, recorded: String, now: String, offer: Offer) {
        if let Source::Replay(replay, _) = &mut self.source {
            replay.diverge(site, recorded, now, offer);
        }
    }

    /// All recorded choices that did not fit, or were never asked for. Empty unless replaying.
    #[must_use]
    pub fn misfits(&self) -> Vec<Misfit> {
        match &self.source {
            Source::Replay(replay, _) => replay.misfits(),
            Source::Seed(_) | Source::Enumerate(..) | Source::Search(..) => Vec::new(),
        }
    }

    /// What was recorded so far; empty if nothing was to be.
    #[must_use]
    pub fn take_records(&mut self) -> ChoiceList {
        ChoiceList { records: self.records.take().unwrap_or_default() }
    }

    /// The first recorded choice that did not fit, or was never asked for. `None` unless replaying.
    #[must_use]
    pub fn divergence(&self) -> Option<Divergence> {
        match &self.source {
            Source::Replay(replay, _) => replay.divergence.clone().or_else(|| replay.unused()),
            Source::Seed(_) | Source::Enumerate(..) | Source::Search(..) => None,
        }
    }

    /// The walk, to be advanced, if choices were enumerated.
    #[must_use]
    pub fn into_enumeration(self) -> Option<Enumeration> {
        match self.source {
            Source::Enumerate(walk, _) => Some(walk),
            Source::Seed(_) | Source::Replay(..) | Source::Search(..) => None,
        }
    }

    /// The search, to be advanced, if one answered the choices.
    #[must_use]
    pub fn into_search(self) -> Option<Box<Search>> {
        match self.source {
            Source::Search(search, _) => Some(search),
            Source::Seed(_) | Source::Replay(..) | Source::Enumerate(..) => None,
        }
    }

    pub(crate) const fn searching(&self) -> bool {
        matches!(self.source, Source::Search(..))
    }

    pub(crate) fn search(&mut self) -> Option<&mut Search> {
        match &mut self.source {
            Source::Search(search, _) => Some(search),
            Source::Seed(_) | Source::Replay(..) | Source::Enumerate(..) => None,
        }
    }
}
