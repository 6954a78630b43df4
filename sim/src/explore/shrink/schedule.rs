//! Shrinking the choices of one run: fewer switches first, then fewer and smaller answers.

use std::cmp::Ordering;
use std::ops::Range;

use super::{Halt, Search, drop_blocks};
use crate::choices::{Answer, ChoiceList, Record};

/// At most so many switches that follow one are tried in its place.
const RETARGET_REACH: usize = 6;

/// How large a list is: first its switches, then its other choices, then how large their answers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight {
    /// Switches to another context.
    pub switches: usize,
    /// Other choices that differ from the default.
    pub values: usize,
    /// Their answers, added up.
    pub sum: u128,
}

impl Weight {
    /// Of a list.
    #[must_use]
    pub fn of(list: &ChoiceList) -> Self {
        let switches = list.switches();
        let sum = list.records.iter().filter_map(taken).map(u128::from).sum();
        Self { switches, values: list.records.len() - switches, sum }
    }
}

const fn is_switch(record: &Record) -> bool {
    matches!(record.answer, Answer::Switch(_))
}

const fn taken(record: &Record) -> Option<u64> {
    match record.answer {
        Answer::Value { taken, .. } => Some(taken),
        Answer::Switch(_) => None,
    }
}

/// How far answers are lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lowering {
    /// To the simplest answer that is not the default, or not at all: for as long as other things may still make the
    /// question go away.
    Coarse,
    /// As far as they go.
    Fine,
}

/// Makes `best` smaller until no pass can: switches and other choices are dropped in blocks, switches go to where a
/// later one leads at once, answers are lowered, and larger ones exchanged for smaller ones. After each success the
/// list is what the run itself recorded, so that what it no longer asks for is gone.
///
/// `replay` replays a list, and gives what was recorded meanwhile if the finding showed. `better` hears of each success.
///
/// # Errors
/// When the search has to end; `best` is then the best so far.
pub fn shrink_choices(
    search: &mut Search<'_>,
    best: &mut ChoiceList,
    lowering: Lowering,
    replay: &(impl Fn(&ChoiceList) -> Option<ChoiceList> + Sync),
) -> Result<(), Halt> {
    loop {
        let before = Weight::of(best);
        for switches in [true, false] {
            drop_some(search, best, switches, replay)?;
        }
        retarget(search, best, replay)?;
        lower(search, best, lowering, replay)?;
        if lowering == Lowering::Fine {
            swap(search, best, replay)?;
        }
        if Weight::of(best) >= before {
            return Ok(());
        }
    }
}

/// The list with the records at these places among those of one sort taken away.
fn without(list: &ChoiceList, switches: bool, range: &Range<usize>) -> ChoiceList {
    let mut nth = 0;
    let keep = |record: &&Record| {
        if is_switch(record) != switches {
            return true;
        }
        nth += 1;
        !range.contains(&(nth - 1))
    };
    ChoiceList { records: list.records.iter().filter(keep).copied().collect() }
}

/// What the run recorded, if that is smaller than `than`.
fn smaller(recorded: Option<ChoiceList>, than: &ChoiceList) -> Option<ChoiceList> {
    recorded.filter(|list| Weight::of(list).cmp(&Weight::of(than)) == Ordering::Less)
}

fn drop_some(
    search: &mut Search<'_>,
    best: &mut ChoiceList,
    switches: bool,
    replay: &(impl Fn(&ChoiceList) -> Option<ChoiceList> + Sync),
) -> Result<(), Halt> {
    let count =
        |list: &ChoiceList| list.records.iter().filter(|record| is_switch(record) == switches).count();
    let shorter =
        |list: &ChoiceList, range: Range<usize>| smaller(replay(&without(list, switches, &range)), list);
    drop_blocks(search, best, count, &shorter).map(drop)
}

/// Lets a switch go straight to where a later one leads, and leaves out what is between.
fn retarget(
    search: &mut Search<'_>,
    best: &mut ChoiceList,
    replay: &(impl Fn(&ChoiceList) -> Option<ChoiceList> + Sync),
) -> Result<(), Halt> {
    loop {
        let places: Vec<usize> = (0..best.records.len()).filter(|at| is_switch(&best.records[*at])).collect();
        let mut pairs = Vec::new();
        for (n, &from) in places.iter().enumerate() {
            for &to in places[n + 1..].iter().take(RETARGET_REACH) {
                if best.records[from].answer != best.records[to].answer {
                    pairs.push((from, to));
                }
            }
        }
        let base = &*best;
        let judge = |&(from, to): &(usize, usize)| {
            let mut records = base.records.clone();
            records[from].answer = records[to].answer;
            let mut at = 0;
            records.retain(|record| {
                at += 1;
                !(is_switch(record) && (from + 1..=to).contains(&(at - 1)))
            });
            smaller(replay(&ChoiceList { records }), base)
        };
        match search.first(&pairs, &judge)? {
            Some((_, list)) => *best = list,
            None => return Ok(()),
        }
    }
}

/// Lowers each answer in turn.
fn lower(
    search: &mut Search<'_>,
    best: &mut ChoiceList,
    lowering: Lowering,
    replay: &(impl Fn(&ChoiceList) -> Option<ChoiceList> + Sync),
) -> Result<(), Halt> {
    let mut at = 0;
    while let Some(record) = best.records.get(at).copied() {
        lower_one(search, best, at, lowering, replay)?;
        // If another choice came to this place meanwhile, it is its turn.
        if best.records.get(at).is_none_or(|now| now.site == record.site) {
            at += 1;
        }
    }
    Ok(())
}

/// Lowers an answer to 1 if that is enough; else, if it is to be fine, to where the next lower one is not enough. The
/// bound is looked for by thirds, as if whatever is enough stayed enough with a larger answer: that takes a few tries
/// for each digit of the answer. If it is not so, a bound is found all the same.
fn lower_one(
    search: &mut Search<'_>,
    best: &mut ChoiceList,
    at: usize,
    lowering: Lowering,
    replay: &(impl Fn(&ChoiceList) -> Option<ChoiceList> + Sync),
) -> Result<(), Halt> {
    let site = best.records[at].site;
    let now = |list: &ChoiceList| list.records.get(at).filter(|record| record.site == site).and_then(taken);
    let mut attempt = |best: &mut ChoiceList, answers: &[u64]| {
        let base = &*best;
        let judge = |&taken: &u64| {
            let mut records = base.records.clone();
            if let Answer::Value { of, .. } = records[at].answer {
                records[at].answer = Answer::Value { taken, of };
            }
            smaller(replay(&ChoiceList { records }), base)
        };
        let found = search.first(answers, &judge)?;
        Ok(found.map(|(n, list)| {
            *best = list;
            n
        }))
    };
    let Some(first) = now(best).filter(|first| *first > 1) else { return Ok(()) };
    if attempt(best, &[1])?.is_some() || lowering == Lowering::Coarse {
        return Ok(());
    }
    // The largest that is known not to be enough.
    let mut low = 1;
    // Most that were lowered before are at their bound.
    if first > 2 && attempt(best, &[first - 1])?.is_none() {
        return Ok(());
    }
    while let Some(now) = now(best).filter(|now| low + 1 < *now) {
        let third = ((now - low) / 3).max(1);
        let mut answers = vec![low + third, now - third];
        answers.dedup();
        low = match attempt(best, &answers)? {
            Some(0) => low,
            Some(n) => answers[n - 1],
            None => now - third,
        };
    }
    Ok(())
}

/// Exchanges the answers of two neighbours that decide the same thing, if the larger one comes first: then what is
/// simple comes first, and the later one may be lowered.
fn swap(
    search: &mut Search<'_>,
    best: &mut ChoiceList,
    replay: &(impl Fn(&ChoiceList) -> Option<ChoiceList> + Sync),
) -> Result<(), Halt> {
    let mut at = 0;
    while at + 1 < best.records.len() {
        let later = (at + 1..best.records.len()).find(|later| {
            let (a, b) = (&best.records[at], &best.records[*later]);
            a.site.what == b.site.what && taken(a).zip(taken(b)).is_some_and(|(a, b)| a > b)
        });
        if let Some(later) = later {
            let base = &*best;
            let judge = |later: &usize| {
                let mut records = base.records.clone();
                let (a, b) = (records[at].answer, records[*later].answer);
                records[at].answer = b;
                records[*later].answer = a;
                // The weight stays the same; what is gained is the order.
                replay(&ChoiceList { records }).filter(|list| Weight::of(list) <= Weight::of(base))
            };
            if let Some((_, list)) = search.first(&[later], &judge)? {
                *best = list;
            }
        }
        at += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::super::NoJournal;
    use super::*;
    use crate::Name;
    use crate::choices::Site;

    fn record(nth: u32, answer: Answer) -> Record {
        Record { site: Site { who: Name::new("a"), what: "read", object: Name::new("x"), nth }, answer }
    }

    fn shrink(start: Vec<Record>, shows: impl Fn(&[Record]) -> bool + Sync) -> Vec<Record> {
        let stop = AtomicBool::new(false);
        let mut journal = NoJournal;
        let mut search = Search::new(2, 10_000, &stop, &mut journal);
        let mut best = ChoiceList { records: start };
        let replay = |list: &ChoiceList| shows(&list.records).then(|| list.clone());
        shrink_choices(&mut search, &mut best, Lowering::Fine, &replay).expect("it comes to its end");
        best.records
    }

    #[test]
    fn answers_are_dropped_and_lowered_to_what_is_needed() {
        let value = |nth, taken| record(nth, Answer::Value { taken, of: 1000 });
        let at = |list: &[Record], nth| {
            list.iter().find(|r| r.site.nth == nth).and_then(taken).unwrap_or_default()
        };
        let start = (0..40).map(|nth| value(nth, 900)).collect();
        let left = shrink(start, |list| at(list, 7) >= 123 && at(list, 30) >= 1);
        assert_eq!(left, [value(7, 123), value(30, 1)]);
    }

    #[test]
    fn a_bound_far_up_is_found_in_few_tries_and_coarsely_in_none() {
        let list =
            ChoiceList { records: vec![record(0, Answer::Value { taken: 30_000_000, of: 33_333_334 })] };
        let shows = |list: &ChoiceList| {
            let enough = list.records.first().and_then(taken).is_some_and(|taken| taken >= 29_123_456);
            enough.then(|| list.clone())
        };
        let stop = AtomicBool::new(false);
        for (lowering, left, most) in [(Lowering::Coarse, 30_000_000, 6), (Lowering::Fine, 29_123_456, 60)] {
            let mut journal = NoJournal;
            let mut search = Search::new(1, 10_000, &stop, &mut journal);
            let mut best = list.clone();
            shrink_choices(&mut search, &mut best, lowering, &shows).expect("it comes to its end");
            assert_eq!(best.records.first().and_then(taken), Some(left));
            assert!(search.tried() <= most, "{lowering:?}: {}", search.tried());
        }
    }

    #[test]
    fn a_detour_of_switches_becomes_one_switch() {
        let to = |nth, name| record(nth, Answer::Switch(Name::new(name)));
        // Who gets to "d" early enough shows it; in the beginning only by way of the others.
        let shows = |list: &[Record]| {
            let last = list.last().map(|r| r.answer);
            let first = list.first().map(|r| (r.site.nth, r.answer));
            last == Some(Answer::Switch(Name::new("d"))) && first.is_some_and(|(nth, _)| nth == 0)
        };
        let left = shrink(vec![to(0, "b"), to(1, "c"), to(2, "d")], shows);
        assert_eq!(left, [to(0, "d")]);
    }
}
