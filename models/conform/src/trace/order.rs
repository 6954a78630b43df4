//! Another order of threads, as far as the trace leaves it open.

use super::bounces::{Bounces, Pending};
use super::guess::says_same;
use super::pool::Tracked;

/// Searches that are put into another order to explain one result.
const MAX_REORDERED: usize = 4096;

impl Bounces {
    /// Lets a search come before that of another thread which was under way when it began; whether that explains
    /// what was recorded. If not, all is as before.
    pub(super) fn swap(
        &mut self,
        pending: &mut Pending,
        rest: &mut [(Pending, u64)],
        recorded: Option<u64>,
    ) -> bool {
        let Self { threads, pool, .. } = self;
        let line = pending.line;
        let waiting = threads.values_mut().flat_map(|thread| thread.pending.iter_mut());
        let waiting =
            waiting.chain(rest.iter_mut().map(|(later, _)| later)).filter(|other| !other.given_back);
        let mut all: Vec<&mut Pending> = waiting.collect();
        let under_way = |other: &&mut Pending| {
            other.line < line
                && other.next.is_none_or(|next| next > line)
                && Tracked::share_area(&other.guess, &pending.guess)
        };
        let Some(rival) = all.iter().filter(|other| under_way(other)).map(|other| other.line).max() else {
            return false;
        };
        all.retain(|other| other.line >= rival);
        if all.len() > MAX_REORDERED {
            return false;
        }
        all.sort_by_key(|other| other.line);
        let own = all.partition_point(|other| other.line < line);
        let (before, after) = all.split_at_mut(own);
        let mut undo = |pending: &mut Pending, before: &mut [&mut Pending], after: &mut [&mut Pending]| {
            for later in after.iter_mut().rev() {
                pool.take_back(&mut later.guess);
            }
            pool.take_back(&mut pending.guess);
            for earlier in before.iter_mut().rev() {
                pool.take_back(&mut earlier.guess);
            }
            pool.again(&mut pending.guess);
            says_same(pending.guess.answer, recorded)
        };
        let fits = undo(pending, before, after);
        if !fits {
            pool.take_back(&mut pending.guess);
        }
        for earlier in before.iter_mut() {
            pool.again(&mut earlier.guess);
        }
        if !fits {
            pool.again(&mut pending.guess);
        }
        for later in after.iter_mut() {
            pool.again(&mut later.guess);
        }
        fits
    }
}
