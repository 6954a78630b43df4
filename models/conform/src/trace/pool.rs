//! A bounce-buffer pool that follows a recording: searches as the model does, takes what the kernel took.

use std::collections::{BTreeMap, VecDeque};

use models::dma::rules::dma_reaches;
use models::mem::{DmaAddr, PhysAddr};
use models::swiotlb::{
    DmaLimits, IO_TLB_SHIFT, MapRequest, Pool, PoolSize, Prepared, Search, SearchPlan, SearchRules,
};

use super::guess::{Answer, Ask, Basis, Guess, Verdict, Why, says_same};
use super::line::Context;
use crate::replay::KernelRules;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Mapped in the trace.
    Mapped,
    /// Mapped before it: the trace shows its release only.
    Before,
    /// In use, as a search passed over it.
    Supposed,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) nslots: u32,
    pub(super) limits: DmaLimits,
    /// Address under which the model knows it, and the one that the kernel gave.
    pub(super) model: PhysAddr,
    pub(super) tlb: u64,
    pub(super) dev: u32,
    pub(super) orig: u64,
    pub(super) group: u64,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Freed {
    pub(super) first: u32,
    pub(super) nslots: u32,
    pub(super) by: Context,
    pub(super) line: u64,
    /// Line of the next event of the thread that freed it.
    pub(super) next: Option<u64>,
}

/// The pool.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) pool: Pool,
    pub(super) rules: SearchRules,
    pub(super) cursor_known: Vec<bool>,
    /// Per slot: whether the trace has shown its state.
    pub(super) seen: Vec<bool>,
    pub(super) changes: u64,
    pub(super) per_area: Vec<u64>,
    pub(super) live: BTreeMap<u32, Live>,
    pub(super) by_orig: BTreeMap<(u32, u64), Vec<u32>>,
    pub(super) groups: BTreeMap<u64, Vec<u32>>,
    /// Mappings that must have been freed before the kernel said so: by address, the line until which it must say so,
    /// and what to call the search that has shown it.
    pub(super) early: BTreeMap<u64, (u64, usize)>,
    pub(super) recent: VecDeque<Freed>,
    pub(super) hiwater_exact: bool,
}

impl Tracked {
    /// A pool of which nothing is known; or, `fresh`, one that nobody has used.
    pub(super) fn new(rules: &KernelRules, start: PhysAddr, size: PoolSize, fresh: bool) -> Self {
        let areas = size.nareas as usize;
        Self {
            pool: Pool::new(rules.search, rules.bounce, start, size),
            rules: rules.search,
            cursor_known: vec![fresh; areas],
            seen: vec![fresh; size.nslabs as usize],
            changes: 0,
            per_area: vec![0; areas],
            live: BTreeMap::new(),
            by_orig: BTreeMap::new(),
            groups: BTreeMap::new(),
            early: BTreeMap::new(),
            recent: VecDeque::new(),
            hiwater_exact: fresh,
        }
    }

    /// Events were lost: what was known is known no more, save what is in use.
    pub(super) fn forget(&mut self) {
        self.cursor_known.fill(false);
        self.seen.fill(false);
        self.hiwater_exact = false;
        self.early.clear();
        self.recent.clear();
    }

    /// Whether an address lies in the pool.
    pub(super) fn contains(&self, addr: u64) -> bool {
        self.pool.contains(PhysAddr(addr))
    }

    /// Slots in use now, and the most that ever were, if the trace shows the pool's whole life.
    pub(super) fn counters(&self) -> Option<(u64, u64)> {
        self.hiwater_exact.then(|| (self.pool.used(), self.pool.usage().used_hiwater))
    }

    /// Number of slots.
    pub(super) fn slot_count(&self) -> usize {
        self.seen.len()
    }

    pub(super) fn slot_of(&self, tlb: u64) -> Option<u32> {
        if !self.contains(tlb) {
            return None;
        }
        u32::try_from((tlb - self.pool.start().0) >> IO_TLB_SHIFT).ok()
    }

    /// First slot and number of slots of a mapping of `size` bytes that begins at `tlb`.
    pub(super) fn run_of(&self, limits: DmaLimits, tlb: u64, size: u64) -> Option<(u32, u32)> {
        let slot = self.slot_of(tlb)?;
        let (prepared, nslots) = self.prepare(limits, &MapRequest::plain(PhysAddr(tlb), size))?;
        let first = slot.checked_sub(u32::from(prepared.pad))?;
        (first.checked_add(nslots)? <= self.pool.size().nslabs).then_some((first, nslots))
    }

    pub(super) fn prepare(&self, limits: DmaLimits, request: &MapRequest) -> Option<(Prepared, u32)> {
        let prepared = Prepared::new(self.rules, limits, request)?;
        let plan = SearchPlan::new(self.rules, limits, self.pool.start(), &prepared.request);
        Some((prepared, plan.nslots))
    }

    /// A mapping from before the trace, of which the trace shows only the end.
    pub(super) fn add_older(&mut self, dev: u32, limits: DmaLimits, tlb: u64, size: u64) {
        let request = MapRequest::plain(PhysAddr(tlb), size);
        let ask = Ask { dev, limits, request, mask: u64::MAX };
        self.adopt(&ask, tlb, Kind::Before);
    }

    pub(super) fn note_change(&mut self, slot: u32) {
        self.changes += 1;
        if let Some(area) = self.pool.area_of(slot).and_then(|area| self.per_area.get_mut(area as usize)) {
            *area += 1;
        }
    }

    pub(super) fn insert(&mut self, first: u32, live: Live) {
        if live.kind == Kind::Mapped {
            self.by_orig.entry((live.dev, live.orig)).or_default().push(first);
        }
        self.live.insert(first, live);
        self.note_change(first);
    }

    /// Searches for a mapping, and takes what the model finds.
    pub(super) fn search(&mut self, cpu: u32, line: u64, ask: Ask) -> Guess {
        let mut guess = Guess {
            ask,
            answer: Answer::Full,
            cpu,
            line,
            moved: None,
            used: 0,
            unseen: false,
            interleaved: false,
            done_at: 0,
            closed_at: None,
        };
        self.search_into(&mut guess);
        guess.done_at = self.changes;
        guess.used = self.pool.used();
        guess
    }

    pub(super) fn search_into(&mut self, guess: &mut Guess) {
        let ask = guess.ask;
        guess.answer = Answer::Full;
        guess.moved = None;
        guess.unseen = false;
        let Some((prepared, _)) = self.prepare(ask.limits, &ask.request) else { return };
        let plan = SearchPlan::new(self.rules, ask.limits, self.pool.start(), &prepared.request);
        for area in self.pool.area_order(guess.cpu) {
            if !self.cursor_known.get(area as usize).is_some_and(|known| *known) {
                guess.answer = Answer::Unknown;
                return;
            }
            let index = self.pool.areas()[area as usize].index();
            match self.pool.search_area(area, &plan) {
                Search::Full => {}
                Search::Hang | Search::Bug => {
                    guess.answer = Answer::Hang;
                    return;
                }
                Search::Found { slot, nslots } => {
                    let mapping = self.pool.record(&prepared, slot, nslots);
                    guess.moved = Some((area, index, self.pool.areas()[area as usize].index()));
                    guess.unseen = !self.all_seen(slot, nslots);
                    let addr = DmaAddr(mapping.tlb_addr.0);
                    if !dma_reaches(ask.mask, 0, addr, ask.request.mapping_size) {
                        self.pool.release_slots(ask.limits, mapping.tlb_addr);
                        guess.answer = Answer::Unreachable;
                        return;
                    }
                    guess.answer = Answer::At(mapping.tlb_addr.0);
                    let live = Live {
                        nslots,
                        limits: ask.limits,
                        model: mapping.tlb_addr,
                        tlb: mapping.tlb_addr.0,
                        dev: ask.dev,
                        orig: ask.request.orig_addr.0,
                        group: 0,
                        kind: Kind::Mapped,
                    };
                    self.insert(slot, live);
                    return;
                }
            }
        }
    }

    pub(super) fn all_seen(&self, first: u32, nslots: u32) -> bool {
        let run = first as usize..(first + nslots) as usize;
        self.seen.get(run).is_some_and(|run| run.iter().all(|seen| *seen))
    }

    pub(super) fn mark_seen(&mut self, first: u32, nslots: u32) {
        let run = first as usize..(first + nslots) as usize;
        if let Some(run) = self.seen.get_mut(run) {
            run.fill(true);
        }
    }

    /// The thread that searched has done something else: the search lies before that.
    pub(super) fn close(&self, guess: &mut Guess) {
        guess.closed_at.get_or_insert(self.changes);
    }

    /// Takes back guesses that were made before an earlier one proved wrong, the newest first.
    pub(super) fn take_back(&mut self, guess: &mut Guess) {
        guess.interleaved = self.is_interleaved(guess);
        self.withdraw(guess);
        if let Some((area, before, after)) = guess.moved
            && self.pool.areas()[area as usize].index() == after
        {
            self.pool.resume_at(area, before);
        }
    }

    /// Makes such a guess again.
    pub(super) fn again(&mut self, guess: &mut Guess) {
        self.search_into(guess);
        guess.done_at = self.changes;
        guess.closed_at = guess.closed_at.map(|_| self.changes);
    }

    /// Notes that another thread was searching the same area when this guess was made.
    pub(super) const fn overlap(guess: &mut Guess) {
        guess.interleaved = true;
    }

    /// Whether the thread that made the guess has done nothing since.
    pub(super) const fn is_open(guess: &Guess) -> bool {
        guess.closed_at.is_none()
    }

    /// Drops a guess whose mapping the kernel gave back without a word, such as the entries of a list of which a
    /// later one failed.
    pub(super) fn withdraw(&mut self, guess: &Guess) {
        if let Answer::At(tlb) = guess.answer {
            self.release_at(tlb);
        }
    }

    pub(super) fn is_interleaved(&self, guess: &Guess) -> bool {
        guess.interleaved || guess.closed_at.is_some_and(|closed| closed != guess.done_at)
    }

    /// Whether two searches ended in one area.
    pub(super) fn share_area(one: &Guess, other: &Guess) -> bool {
        one.moved.zip(other.moved).is_some_and(|(one, other)| one.0 == other.0)
    }

    /// Compares a guess with the recorded address, or with a failure, and goes on from what was recorded.
    pub(super) fn resolve(&mut self, guess: &mut Guess, recorded: Option<u64>) -> Verdict {
        self.close(guess);
        let basis = self.basis(guess);
        let mut verdict = Verdict {
            agreed: true,
            basis,
            why: None,
            impossible: false,
            freed_early: None,
            modelled: guess.answer,
            undetermined: guess.answer == Answer::Unknown,
        };
        if says_same(guess.answer, recorded) {
            if let Some((first, live)) = recorded.and_then(|tlb| self.covering(tlb)) {
                let nslots = live.nslots;
                self.mark_seen(first, nslots);
            }
            return verdict;
        }
        verdict.agreed = verdict.undetermined;
        let guessed = match guess.answer {
            Answer::At(tlb) => self.run_of(guess.ask.limits, tlb, guess.ask.request.mapping_size),
            _ => None,
        };
        self.withdraw(guess);
        if !verdict.undetermined {
            verdict.why = self.explain(guess, recorded, guessed);
            let found = matches!(verdict.why, Some(Why::Older | Why::Order));
            if found && says_same(guess.answer, recorded) {
                if let Some((first, live)) = recorded.and_then(|tlb| self.covering(tlb)) {
                    let nslots = live.nslots;
                    self.mark_seen(first, nslots);
                }
                return verdict;
            }
        }
        if let Some(tlb) = recorded {
            let adopted = self.adopt(&guess.ask, tlb, Kind::Mapped);
            verdict.impossible = adopted.is_none();
            if let Some((first, nslots, early)) = adopted {
                self.mark_seen(first, nslots);
                self.set_cursor(first, nslots);
                verdict.freed_early = early;
            }
        }
        verdict
    }

    /// A guess for what the kernel found no place for, noticed only now.
    pub(super) fn resolve_failed(&mut self, guess: &Guess) -> Verdict {
        self.withdraw(guess);
        Verdict {
            agreed: says_same(guess.answer, None),
            basis: self.basis(guess),
            why: None,
            impossible: false,
            freed_early: None,
            modelled: guess.answer,
            undetermined: guess.answer == Answer::Unknown,
        }
    }

    pub(super) fn basis(&self, guess: &Guess) -> Basis {
        if self.is_interleaved(guess) {
            Basis::Interleaved
        } else if guess.unseen {
            Basis::Unseen
        } else {
            Basis::Seen
        }
    }
}
