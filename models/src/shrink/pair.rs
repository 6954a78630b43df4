//! The failing run and the nearest clean one.

use sim::choices::{Answer, ChoiceList, Offer, Record};
use sim::explore::catching;
use sim::explore::shrink::{Halt, Search};

use super::judge::Settings;
use crate::run::{Request, Run, Simulation, Source};

/// In what the clean schedule differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairChange {
    /// It lacks this switch.
    Without(Record),
    /// It has this switch more.
    With(Record),
    /// It answers this choice by a smaller number: when something happens, or how much of it.
    Lower(Record, u64),
}

/// A failing run and a clean one that differ in one switch, or in one other choice.
#[derive(Debug)]
pub struct Pair {
    /// The run that shows the finding.
    pub failing: Run,
    /// The one that does not.
    pub clean: Run,
    /// The difference.
    pub change: PairChange,
}

/// The clean schedule nearest to `failing`: one switch less or, if no switch is to blame, one more, the later the
/// better. A run without any finding is nearest; else one without the finding that is looked for. If no switch makes a
/// difference, another choice may: contexts also come in another order because one sleeps for less time. Then it is the
/// answer that is lowered least. `None` if no single choice makes a difference.
///
/// # Errors
/// When the search has to end.
pub fn nearest_clean(
    search: &mut Search<'_>,
    settings: &Settings,
    simulation: &Simulation,
    failing: &ChoiceList,
) -> Result<Option<Pair>, Halt> {
    let full = |choices: &ChoiceList| {
        let request = Request {
            record: true,
            record_choices: true,
            details: true,
            record_questions: true,
            source: Source::Replay(choices.clone()),
            ..settings.request.clone()
        };
        catching(|| simulation.worker().run(&request)).ok()
    };
    let Some(mut run) = full(failing) else { return Ok(None) };
    let questions = run.end.choices.take_questions();
    // Candidates as (list, change), the fewer switches first.
    let mut candidates = Vec::new();
    for (at, record) in failing.records.iter().enumerate().rev() {
        if matches!(record.answer, Answer::Switch(_)) {
            let mut records = failing.records.clone();
            records.remove(at);
            candidates.push((ChoiceList { records }, PairChange::Without(*record)));
        }
    }
    for question in questions.iter().rev() {
        let Offer::Contexts(names) = &question.offer else { continue };
        if failing.records.iter().any(|record| record.site == question.site) {
            continue;
        }
        for name in names.iter().skip(1) {
            let record = Record { site: question.site, answer: Answer::Switch(*name) };
            let mut records = failing.records.clone();
            records.push(record);
            candidates.push((ChoiceList { records }, PairChange::With(record)));
        }
    }
    // The nearest lower answers first.
    let lowered =
        (0..u64::BITS).flat_map(|shift| failing.records.iter().enumerate().rev().map(move |at| (shift, at)));
    let lowered: Vec<(ChoiceList, PairChange)> = lowered
        .filter_map(|(shift, (at, record))| {
            let Answer::Value { taken, of } = record.answer else { return None };
            // By 1, 2, 4, ...; the last is the default, 0.
            let less = 1_u64 << shift;
            let clean = taken.saturating_sub(less);
            (less < taken.saturating_mul(2)).then(|| {
                let mut records = failing.records.clone();
                if clean == 0 {
                    records.remove(at);
                } else {
                    records[at].answer = Answer::Value { taken: clean, of };
                }
                (ChoiceList { records }, PairChange::Lower(*record, clean))
            })
        })
        .collect();
    for (candidates, wholly) in
        [(&candidates, true), (&candidates, false), (&lowered, true), (&lowered, false)]
    {
        let judge = |(list, change): &(ChoiceList, PairChange)| {
            let request = Request { source: Source::Replay(list.clone()), ..settings.request.clone() };
            let end = catching(|| simulation.worker().run(&request).end).ok()?;
            let bad = settings.target.among(&end.findings).is_some() || (wholly && !end.findings.is_empty());
            (!bad).then(|| (list.clone(), *change))
        };
        if let Some((_, (list, change))) = search.first(candidates, &judge)? {
            return Ok(full(&list).map(|clean| Pair { failing: run, clean, change }));
        }
    }
    Ok(None)
}
