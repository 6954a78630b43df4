//! Fitting a recorded list to a run that has changed: what no longer fits becomes the closest choice that does.

use super::{Answer, Asked, ChoiceList, Misfit, Offer, Record, Site};
use crate::Name;

/// What was done about a recorded choice that did not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What was recorded.
    pub was: Record,
    /// What stands in its place; `None` if there is nothing like it, and the default is taken.
    pub now: Option<Record>,
}

/// A list that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// The list.
    pub choices: ChoiceList,
    /// What was changed to make it fit, in order.
    pub changes: Vec<Change>,
}

/// Changes `list` until all of it fits. `run` replays a list and gives what did not fit and every question that the
/// run asked. The first misfit is changed first, since what comes after it may be its consequence. Each record is
/// changed once at most, and then dropped, so that this ends after twice as many runs as there are records.
pub fn fit(list: &ChoiceList, mut run: impl FnMut(&ChoiceList) -> (Vec<Misfit>, Vec<Asked>)) -> Fitted {
    let mut choices = list.clone();
    let mut changes: Vec<Change> = Vec::new();
    loop {
        let (misfits, asked) = run(&choices);
        let Some(misfit) = misfits.first() else { return Fitted { choices, changes } };
        let at = choices.records.iter().position(|record| *record == misfit.record);
        let Some(at) = at else { return Fitted { choices, changes } };
        // What was put in place of something else, and does not fit either, goes.
        let earlier = changes.iter().position(|change| change.now == Some(misfit.record));
        let now = if earlier.is_none() { closest(misfit, &asked, &choices) } else { None };
        match now {
            Some(record) => choices.records[at] = record,
            None => {
                choices.records.remove(at);
            }
        }
        match earlier {
            Some(earlier) => changes[earlier].now = None,
            None => changes.push(Change { was: misfit.record, now }),
        }
    }
}

/// The choice that is most like the one recorded.
fn closest(misfit: &Misfit, asked: &[Asked], list: &ChoiceList) -> Option<Record> {
    let Record { site, answer } = misfit.record;
    if let Some(offer) = &misfit.offer {
        return answered(answer, offer).map(|answer| Record { site, answer });
    }
    // The run never asks there: take the most similar question that nothing answers yet.
    let free = asked.iter().filter(|question| list.records.iter().all(|record| record.site != question.site));
    let scored = free.filter_map(|question| {
        let score = similarity(&site, &question.site)?;
        let answer = answered(answer, &question.offer)?;
        Some((score, Record { site: question.site, answer }))
    });
    // Among equals the first asked.
    scored
        .fold(None, |best: Option<(u64, Record)>, this| match best {
            Some(best) if best.0 >= this.0 => Some(best),
            _ => Some(this),
        })
        .map(|(_, record)| record)
}

/// The answer on offer that is most like the recorded one; `None` if only the default is.
fn answered(answer: Answer, offer: &Offer) -> Option<Answer> {
    match (answer, offer) {
        (Answer::Switch(to), Offer::Contexts(names)) => {
            let same = names.iter().filter(|name| name.text == to.text);
            let name = same.min_by_key(|name| name.nth.abs_diff(to.nth)).copied().or_else(|| {
                let near = names.iter().map(|name| (shared(name.text, to.text), *name));
                near.filter(|(shared, _)| *shared >= 3)
                    .max_by_key(|(shared, _)| *shared)
                    .map(|(_, name)| name)
            })?;
            (names.first() != Some(&name)).then_some(Answer::Switch(name))
        }
        (Answer::Value { taken, .. }, Offer::Alternatives(of)) => {
            let taken = taken.min(of.saturating_sub(1));
            (taken > 0).then_some(Answer::Value { taken, of: *of })
        }
        (Answer::Switch(_), Offer::Alternatives(_)) | (Answer::Value { .. }, Offer::Contexts(_)) => None,
    }
}

/// How alike two places are; `None` if they have nothing to do with each other.
fn similarity(a: &Site, b: &Site) -> Option<u64> {
    if a.what != b.what || a.who.text != b.who.text {
        return None;
    }
    let near = |a: u32, b: u32| 99 - u64::from(a.abs_diff(b).min(99));
    let name = |a: Name, b: Name| if a.text == b.text { 100 + near(a.nth, b.nth) } else { 0 };
    Some(name(a.object, b.object) * 100_000 + name(a.who, b.who) * 100 + near(a.nth, b.nth))
}

/// How many bytes two texts have in common at their beginning.
fn shared(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(who: &'static str, what: &'static str, object: &'static str, nth: u32) -> Site {
        Site { who: Name::new(who), what, object: Name::new(object), nth }
    }

    fn switch(site: Site, to: &'static str) -> Record {
        Record { site, answer: Answer::Switch(Name::new(to)) }
    }

    /// A run that asks these questions and nothing else.
    fn run(asked: &[Asked]) -> impl FnMut(&ChoiceList) -> (Vec<Misfit>, Vec<Asked>) {
        let asked = asked.to_vec();
        move |list| {
            let misfit = |record: &Record| {
                let question = asked.iter().find(|question| question.site == record.site);
                let fits = match (record.answer, question.map(|question| &question.offer)) {
                    (Answer::Switch(to), Some(Offer::Contexts(names))) => names.contains(&to),
                    (Answer::Value { of, .. }, Some(Offer::Alternatives(n))) => of == *n,
                    _ => false,
                };
                let offer = question.map(|question| question.offer.clone());
                (!fits).then_some(Misfit { record: *record, offer })
            };
            (list.records.iter().filter_map(misfit).collect(), asked.clone())
        }
    }

    #[test]
    fn what_fits_is_left_alone_and_what_does_not_becomes_the_closest() {
        let contexts = |names: &[&'static str]| Offer::Contexts(names.iter().map(|n| Name::new(n)).collect());
        let asked = [
            Asked { site: site("a", "read", "x", 0), offer: contexts(&["a", "b"]) },
            Asked { site: site("a", "read", "y", 3), offer: contexts(&["a", "kworker/1"]) },
            Asked { site: site("b", "write", "x", 7), offer: contexts(&["b", "a"]) },
            Asked { site: site("b", "size", "x", 0), offer: Offer::Alternatives(4) },
        ];
        let list = ChoiceList {
            records: vec![
                switch(site("a", "read", "x", 0), "b"),
                // Another worker is there.
                switch(site("a", "read", "y", 3), "kworker/2"),
                // The n-th time became another one.
                switch(site("b", "write", "x", 5), "a"),
                // Fewer alternatives.
                Record { site: site("b", "size", "x", 0), answer: Answer::Value { taken: 9, of: 10 } },
                // Nobody is like this.
                switch(site("z", "read", "x", 0), "a"),
            ],
        };
        let fitted = fit(&list, run(&asked));
        assert_eq!(
            fitted.choices.records,
            [
                switch(site("a", "read", "x", 0), "b"),
                switch(site("a", "read", "y", 3), "kworker/1"),
                switch(site("b", "write", "x", 7), "a"),
                Record { site: site("b", "size", "x", 0), answer: Answer::Value { taken: 3, of: 4 } },
            ]
        );
        assert_eq!(fitted.changes.len(), 4);
        assert_eq!(fitted.changes[3], Change { was: list.records[4], now: None });
    }

    #[test]
    fn it_ends_when_nothing_ever_fits() {
        let list = ChoiceList { records: (0..50).map(|n| switch(site("a", "read", "x", n), "b")).collect() };
        let mut runs = 0;
        let fitted = fit(&list, |list| {
            runs += 1;
            let asked = vec![Asked {
                site: site("a", "read", "x", 1000 + runs),
                offer: Offer::Contexts(vec![Name::new("a"), Name::new("b")]),
            }];
            (list.records.iter().map(|record| Misfit { record: *record, offer: None }).collect(), asked)
        });
        assert!(fitted.choices.records.is_empty());
        assert!(fitted.changes.iter().all(|change| change.now.is_none()));
        assert!(runs <= 101, "{runs}");
    }
}
