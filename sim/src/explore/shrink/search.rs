//! Trying candidates in order, on several threads.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Why a search ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// Somebody asked for it.
    Interrupted,
    /// As many candidates were tried as may be.
    Budget,
    /// A journal says that a candidate showed the finding, and now it does not: it belongs to another search.
    Journal,
}

/// What is remembered of candidates, so that a search that was ended can go on.
///
/// A search is a function of what its candidates show. So one bit for each candidate in order is all that has to be
/// kept: a search that is begun again with it comes to where it was without trying those that failed.
pub trait Journal: Send {
    /// What an earlier search found for the next candidate, if it came so far.
    fn recall(&mut self) -> Option<bool>;

    /// The next candidate was tried.
    fn note(&mut self, shown: bool);
}

/// Nothing is remembered.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn recall(&mut self) -> Option<bool> {
        None
    }

    fn note(&mut self, _: bool) {}
}

/// A search over many lists of candidates, one after the other.
pub struct Search<'a> {
    jobs: usize,
    budget: u64,
    tried: u64,
    shown: u64,
    stop: &'a AtomicBool,
    journal: &'a mut dyn Journal,
}

impl std::fmt::Debug for Search<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Search")
            .field("tried", &self.tried)
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}

impl<'a> Search<'a> {
    /// A search on `jobs` threads that tries at most `budget` candidates and ends when `stop` becomes true.
    pub fn new(jobs: usize, budget: u64, stop: &'a AtomicBool, journal: &'a mut dyn Journal) -> Self {
        Self { jobs: jobs.max(1), budget, tried: 0, shown: 0, stop, journal }
    }

    /// How many candidates were tried.
    #[must_use]
    pub const fn tried(&self) -> u64 {
        self.tried
    }

    /// How many of them showed the finding.
    #[must_use]
    pub const fn shown(&self) -> u64 {
        self.shown
    }

    /// The first of `candidates` for which `judge` gives something, with what it gives. Some that come later may be
    /// judged at the same time, and are then forgotten. `judge` must depend on its argument alone.
    ///
    /// # Errors
    /// When the search has to end.
    pub fn first<C: Sync, T: Send>(
        &mut self,
        candidates: &[C],
        judge: &(impl Fn(&C) -> Option<T> + Sync),
    ) -> Result<Option<(usize, T)>, Halt> {
        // What an earlier search found out.
        let mut at = 0;
        while at < candidates.len() {
            if self.tried >= self.budget {
                return Err(Halt::Budget);
            }
            let Some(shown) = self.journal.recall() else { break };
            self.tried += 1;
            if shown {
                self.shown += 1;
                // That it shows is known; what it gives has to be found out again.
                return judge(&candidates[at]).map(|given| Some((at, given))).ok_or(Halt::Journal);
            }
            at += 1;
        }
        let left = usize::try_from(self.budget - self.tried).unwrap_or(usize::MAX);
        let end = candidates.len().min(at.saturating_add(left));
        let round = Round {
            next: AtomicUsize::new(at),
            end: AtomicUsize::new(end),
            stop: self.stop,
            told: Mutex::new(Told {
                verdicts: BTreeMap::new(),
                noted: at,
                journal: self.journal,
                first: None,
            }),
        };
        let threads = self.jobs.min(end - at);
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|| round.work(candidates, judge));
            }
            round.work(candidates, judge);
        });
        let told = round.told.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.tried += (told.noted - at) as u64;
        if let Some((n, given)) = told.first
            && n < told.noted
        {
            self.shown += 1;
            return Ok(Some((n, given)));
        }
        match told.noted {
            noted if noted < end => Err(Halt::Interrupted),
            noted if noted < candidates.len() => Err(Halt::Budget),
            _ => Ok(None),
        }
    }
}

/// The candidates of one list that several threads try together.
struct Round<'a, T> {
    /// The next that nobody tries yet.
    next: AtomicUsize,
    /// Behind the last that matters: what comes after one that shows does not.
    end: AtomicUsize,
    stop: &'a AtomicBool,
    told: Mutex<Told<'a, T>>,
}

struct Told<'a, T> {
    /// Of candidates that were tried before one in front of them was.
    verdicts: BTreeMap<usize, bool>,
    /// All before this one are in the journal.
    noted: usize,
    journal: &'a mut dyn Journal,
    /// The first that shows, as far as is known.
    first: Option<(usize, T)>,
}

impl<T: Send> Round<'_, T> {
    fn work<C: Sync>(&self, candidates: &[C], judge: &(impl Fn(&C) -> Option<T> + Sync)) {
        while !self.stop.load(Ordering::Relaxed) {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if n >= self.end.load(Ordering::Relaxed) {
                return;
            }
            let given = judge(&candidates[n]);
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.verdicts.insert(n, given.is_some());
            if let Some(given) = given {
                self.end.fetch_min(n + 1, Ordering::Relaxed);
                if told.first.as_ref().is_none_or(|(first, _)| n < *first) {
                    told.first = Some((n, given));
                }
            }
            // In order, and none behind the first that shows: what the journal holds does not depend on threads.
            let end = self.end.load(Ordering::Relaxed);
            while told.noted < end {
                let noted = told.noted;
                let Some(shown) = told.verdicts.remove(&noted) else { break };
                told.journal.note(shown);
                told.noted += 1;
            }
        }
    }
}

/// Delta debugging: takes blocks of parts away from `best` while what is left still shows the finding; blocks halve
/// until single parts are tried, and single parts are tried again until none can go. `len` says how many parts there
/// are, `without` gives what is left without some of them, if that shows the finding. True if anything was taken away.
///
/// # Errors
/// When the search has to end; `best` is then the best so far.
pub fn drop_blocks<B: Sync + Send>(
    search: &mut Search<'_>,
    best: &mut B,
    len: impl Fn(&B) -> usize,
    without: &(impl Fn(&B, Range<usize>) -> Option<B> + Sync),
) -> Result<bool, Halt> {
    let mut block = len(best);
    let mut any = false;
    while block > 0 {
        let mut dropped = false;
        let mut from = 0;
        loop {
            let end = len(best);
            let blocks: Vec<usize> = (from..end).step_by(block).collect();
            let base = &*best;
            let judge = |start: &usize| without(base, *start..(*start + block).min(end));
            let Some((n, smaller)) = search.first(&blocks, &judge)? else { break };
            from = blocks[n];
            *best = smaller;
            dropped = true;
            any = true;
        }
        if block == 1 && !dropped {
            break;
        }
        block = (block / 2).max(1).min(len(best));
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers everything, and forgets what is behind `keep` when it begins again.
    #[derive(Default)]
    struct Bits {
        bits: Vec<bool>,
        at: usize,
    }

    impl Journal for Bits {
        fn recall(&mut self) -> Option<bool> {
            let bit = self.bits.get(self.at).copied();
            self.at += usize::from(bit.is_some());
            bit
        }

        fn note(&mut self, shown: bool) {
            self.bits.push(shown);
            self.at += 1;
        }
    }

    fn needs(all: &[u32]) -> impl Fn(&Vec<u32>, Range<usize>) -> Option<Vec<u32>> + Sync {
        let all = all.to_vec();
        move |list, range| {
            let mut left = list.clone();
            left.drain(range);
            all.iter().all(|n| left.contains(n)).then_some(left)
        }
    }

    fn shrink(jobs: usize, budget: u64, journal: &mut Bits) -> (Vec<u32>, Result<bool, Halt>, u64) {
        let stop = AtomicBool::new(false);
        let mut search = Search::new(jobs, budget, &stop, journal);
        let mut best: Vec<u32> = (0..100).collect();
        let end = drop_blocks(&mut search, &mut best, Vec::len, &needs(&[3, 50, 51, 99]));
        (best, end, search.tried())
    }

    #[test]
    fn what_is_needed_is_left_whatever_the_number_of_threads() {
        let mut one = Bits::default();
        let (best, end, tried) = shrink(1, 10_000, &mut one);
        assert_eq!((best, end), (vec![3, 50, 51, 99], Ok(true)));
        assert!(tried < 120, "{tried}");
        for jobs in [2, 3, 8] {
            let mut bits = Bits::default();
            assert_eq!(shrink(jobs, 10_000, &mut bits).2, tried);
            assert_eq!(bits.bits, one.bits);
        }
    }

    #[test]
    fn a_search_that_was_ended_anywhere_goes_on_to_the_same_end() {
        let mut whole = Bits::default();
        let (best, ..) = shrink(2, 10_000, &mut whole);
        for cut in 0..whole.bits.len() {
            let mut journal = Bits { bits: whole.bits[..cut].to_vec(), at: 0 };
            assert_eq!(shrink(2, 10_000, &mut journal).0, best);
            assert_eq!(journal.bits, whole.bits);
        }
    }

    #[test]
    fn the_budget_is_kept_and_a_false_journal_noticed() {
        let (best, end, tried) = shrink(4, 7, &mut Bits::default());
        assert_eq!((end, tried), (Err(Halt::Budget), 7));
        assert!(best.len() < 100 && best.contains(&99));
        let mut journal = Bits { bits: vec![true; 3], at: 0 };
        assert_eq!(shrink(1, 100, &mut journal).1, Err(Halt::Journal));
    }
}
