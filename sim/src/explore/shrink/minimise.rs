//! Shortening a recorded run: fewer choices with the same finding.

use crate::choices::{Answer, ChoiceList, Record};

/// A shortened list of choices.
#[derive(Clone, Debug)]
pub struct Minimised {
    /// The choices that are left.
    pub choices: ChoiceList,
    /// How many runs it took.
    pub runs: u32,
    /// Whether the budget ended before a fixed point was reached.
    pub gave_up: bool,
}

/// Drops choices while `shows` says that what is left still shows the finding: switches between contexts first, then
/// all other choices, in blocks that halve (delta debugging). Takes at most `budget` runs. Deterministic.
pub fn minimise(start: &ChoiceList, budget: u32, mut shows: impl FnMut(&ChoiceList) -> bool) -> Minimised {
    let mut best = start.records.clone();
    let mut runs = 0;
    let mut try_list = |records: &[Record]| -> Option<bool> {
        if runs >= budget {
            return None;
        }
        runs += 1;
        Some(shows(&ChoiceList { records: records.to_vec() }))
    };
    let mut gave_up = false;
    for switches in [true, false] {
        if pass(&mut best, switches, &mut try_list).is_none() {
            gave_up = true;
            break;
        }
    }
    Minimised { choices: ChoiceList { records: best }, runs, gave_up }
}

/// One delta-debugging pass over the records of one sort. `None` when the budget is used up.
fn pass(
    best: &mut Vec<Record>,
    switches: bool,
    shows: &mut impl FnMut(&[Record]) -> Option<bool>,
) -> Option<()> {
    let of_sort = |record: &Record| matches!(record.answer, Answer::Switch(_)) == switches;
    let mut block = best.iter().filter(|record| of_sort(record)).count();
    while block > 0 {
        let mut from = 0;
        let mut dropped_any = false;
        loop {
            let count = best.iter().filter(|record| of_sort(record)).count();
            if from >= count {
                break;
            }
            let mut nth = 0;
            let without: Vec<Record> = best
                .iter()
                .filter(|record| {
                    if !of_sort(record) {
                        return true;
                    }
                    nth += 1;
                    !(from < nth && nth <= from + block)
                })
                .copied()
                .collect();
            if shows(&without)? {
                *best = without;
                dropped_any = true;
            } else {
                from += block;
            }
        }
        if block == 1 && !dropped_any {
            break;
        }
        block = if block == 1 { 1 } else { block / 2 };
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Name;
    use crate::choices::Site;

    fn list(n: u32) -> ChoiceList {
        let records = (0..n)
            .map(|nth| Record {
                site: Site { who: Name::new("a"), what: "read", object: Name::new("x"), nth },
                answer: if nth % 3 == 0 {
                    Answer::Value { taken: 1, of: 2 }
                } else {
                    Answer::Switch(Name::new("b"))
                },
            })
            .collect();
        ChoiceList { records }
    }

    #[test]
    fn what_is_needed_is_left_and_nothing_else() {
        let needed = [7, 9, 31];
        let minimised = minimise(&list(60), 1000, |list| {
            needed.iter().all(|nth| list.records.iter().any(|record| record.site.nth == *nth))
        });
        let left: Vec<_> = minimised.choices.records.iter().map(|record| record.site.nth).collect();
        assert_eq!(left, needed);
        assert!(!minimised.gave_up);
        assert!(minimised.runs < 150, "{}", minimised.runs);
    }

    #[test]
    fn the_budget_is_kept_and_the_best_so_far_returned() {
        let minimised =
            minimise(&list(60), 5, |list| list.records.iter().any(|record| record.site.nth == 59));
        assert!(minimised.gave_up && minimised.runs == 5);
        assert!(minimised.choices.records.iter().any(|record| record.site.nth == 59));
    }
}
