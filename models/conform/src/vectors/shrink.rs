//! Leaves out of a sequence what a disagreement does not need.
//!
//! What the kernel would have answered to a shorter sequence is not known. So an operation is only left out while every
//! kept one still gives its recorded result, and the last one the very answer that differs. Then nothing that was left
//! out shows in any result that is kept.

use super::difference::Place;
use super::parse::Sequence;
use super::replay::{Answer, Difference, recorded, replay_kept};
use super::table::Role;

/// So many operations are carried out at most, for one sequence.
const BUDGET: usize = 100_000;

/// What is left of a sequence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shrunk {
    /// Indices of the operations before the one that differs.
    pub(super) kept: Vec<usize>,
    /// Whether no further operation can be left out; otherwise the search became too long.
    pub(super) least: bool,
}

/// What has to stay as it is.
struct Target<'a> {
    answer: &'a Answer,
    place: Place,
}

impl<'a> Target<'a> {
    fn new(sequence: &Sequence, difference: &'a Difference) -> Self {
        let answer = &difference.answer;
        let place = match answer {
            Answer::Result(modelled) => {
                let place = Place::of(recorded(sequence, difference.at), modelled);
                // Nothing can stay nothing for many reasons: what holds it has to stay as it is.
                if place.get(modelled).is_none() { place.parent() } else { place }
            }
            Answer::Panic(_) => Place::default(),
        };
        Self { answer, place }
    }

    fn met(&self, answer: &Answer) -> bool {
        match (self.answer, answer) {
            (Answer::Result(wanted), Answer::Result(got)) => self.place.get(wanted) == self.place.get(got),
            (wanted, got) => wanted == got,
        }
    }
}

/// Shortens the sequence up to the difference.
pub(super) fn shrink(sequence: &Sequence, difference: &Difference) -> Shrunk {
    let target = Target::new(sequence, difference);
    let mut kept: Vec<usize> = (0..difference.at).collect();
    let mut spent = 0;
    let mut chunk = kept.len().next_power_of_two();
    let mut changed = false;
    while chunk > 0 {
        let mut end = kept.len();
        while end > 0 {
            let start = end.saturating_sub(chunk);
            let fewer: Vec<usize> = kept
                .iter()
                .enumerate()
                .filter(|(n, index)| !(start..end).contains(n) || first_maker(sequence, **index))
                .map(|(_, index)| *index)
                .collect();
            if fewer.len() < kept.len() {
                spent += fewer.len() + 1;
                if spent > BUDGET {
                    return Shrunk { kept, least: false };
                }
                if replay_kept(sequence, &fewer, difference.at).is_some_and(|answer| target.met(&answer)) {
                    kept = fewer;
                    changed = true;
                }
            }
            end = start;
        }
        // What could not be left out before can perhaps be now.
        chunk = if chunk == 1 && changed { 1 } else { chunk / 2 };
        changed &= chunk > 1;
    }
    Shrunk { kept, least: true }
}

/// Whether the operation makes the subject: nothing goes without it.
fn first_maker(sequence: &Sequence, index: usize) -> bool {
    let makes = |index: usize| sequence.ops.get(index).is_some_and(|op| op.spec.role == Role::Makes);
    makes(index) && !(0..index).any(makes)
}
