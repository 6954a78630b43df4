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
    replay: &(impl Fn(&ChoiceList) -> Option<ChoiceList> + Sync),
) -> Result<(), Halt> {
    loop {
        let before = Weight::of(best);
        for switches in [true, false] {
            drop_some(search, best, switches, replay)?;
        }
        retarget(search, best, replay)?;
        lower(search, best, replay)?;
        swap(search, best, replay)?;
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

/// Lowers each answer as far as it goes: 1, then by halves.
fn lower(
    search: &mut Search<'_>,
    best: &mut ChoiceList,
    replay: &(impl Fn(&ChoiceList) -> Option<ChoiceList> + Sync),
) -> Result<(), Halt> {
    let mut at = 0;
    while at < best.records.len() {
        let Some(now) = taken(&best.records[at]) else {
            at += 1;
            continue;
        };
        let mut lower: Vec<u64> = vec![1, now / 2, now - now / 4, now.saturating_sub(1)];
        lower.retain(|n| *n > 0 && *n < now);
        lower.dedup();
        let base = &*best;
        let judge = |&taken: &u64| {
            let mut records = base.records.clone();
            if let Answer::Value { of, .. } = records[at].answer {
                records[at].answer = Answer::Value { taken, of };
            }
            smaller(replay(&ChoiceList { records }), base)
        };
        match search.first(&lower, &judge)? {
            Some((_, list)) => *best = list,
            None => at += 1,
        }
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
        shrink_choices(&mut search, &mut best, &replay).expect("it comes to its end");
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
