//! A bounce-buffer pool that follows a recording: searches as the model does, takes what the kernel took.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use models::dma::rules::dma_reaches;
use models::mem::{DmaAddr, PhysAddr};
use models::swiotlb::{
    DmaLimits, IO_TLB_SHIFT, MapRequest, Pool, PoolSize, Prepared, Search, SearchPlan, SearchRules,
};

use super::line::Context;
use crate::replay::KernelRules;

/// One call of `swiotlb_tbl_map_single()`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    /// Number of the device.
    pub(super) dev: u32,
    /// What its driver demands.
    pub(super) limits: DmaLimits,
    /// The arguments.
    pub(super) request: MapRequest,
    /// Highest address that the caller accepts; it gives back what lies above.
    pub(super) mask: u64,
}

/// How sure a guess is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Basis {
    /// All that it rests on was seen.
    Seen,
    /// It takes slots for free that the trace has not shown so far.
    Unseen,
    /// Another thread took or freed slots of the area between the event before the search and the one behind it.
    Interleaved,
}

/// What the model would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Slots at this address.
    At(u64),
    /// No place.
    Full,
    /// A place, but outside the device's mask.
    Unreachable,
    /// A search without end.
    Hang,
    /// Where the search of this area begins was not seen yet.
    Unknown,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(tlb) => write!(f, "{tlb:#x}"),
            Self::Full => f.write_str("no place"),
            Self::Unreachable => f.write_str("a place that the device cannot reach"),
            Self::Hang => f.write_str("a search without end"),
            Self::Unknown => f.write_str("not determined"),
        }
    }
}

/// A guess that waits for what the kernel did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess {
    ask: Ask,
    /// What the model would do.
    pub(super) answer: Answer,
    cpu: u32,
    line: u64,
    /// Area searched last, where its cursor stood before and after.
    moved: Option<(u32, u32, u32)>,
    unseen: bool,
    interleaved: bool,
    /// Changes to the pool when the search was done, and when the thread's next event came.
    done_at: u64,
    closed_at: Option<u64>,
}

/// Why a guess was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// Slots that the trace never showed must be in use since before.
    Older,
    /// The other order of two threads gives what was recorded.
    Order,
    /// The kernel got slots whose release another thread reported only afterwards.
    FreedEarlier,
    /// The place was released by another thread that had not reported anything after it.
    FreedLater,
}

/// What became of a guess.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    /// Whether it was right.
    pub(super) agreed: bool,
    /// What it rests on.
    pub(super) basis: Basis,
    /// Why it was wrong.
    pub(super) why: Option<Why>,
    /// The recorded address cannot be the result of any search.
    pub(super) impossible: bool,
    /// Address of a mapping that the kernel must have freed earlier than it said.
    pub(super) freed_early: Option<u64>,
    /// What the model answered when it was asked.
    pub(super) modelled: Answer,
    /// The trace does not show enough for an answer.
    pub(super) undetermined: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Mapped in the trace.
    Mapped,
    /// Mapped before it: the trace shows its release only.
    Before,
    /// In use, as a search passed over it.
    Supposed,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    nslots: u32,
    limits: DmaLimits,
    /// Address under which the model knows it, and the one that the kernel gave.
    model: PhysAddr,
    tlb: u64,
    dev: u32,
    orig: u64,
    group: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
struct Freed {
    first: u32,
    nslots: u32,
    by: Context,
    line: u64,
    /// Line of the next event of the thread that freed it.
    next: Option<u64>,
}

/// Releases that are remembered to explain a miss.
const RECENT: usize = 64;

/// A release that has been done is reported within so many lines.
const SOON: u64 = 64;

/// The pool.
#[derive(Debug)]
pub(super) struct Tracked {
    pool: Pool,
    rules: SearchRules,
    cursor_known: Vec<bool>,
    /// Per slot: whether the trace has shown its state.
    seen: Vec<bool>,
    changes: u64,
    per_area: Vec<u64>,
    live: BTreeMap<u32, Live>,
    by_orig: BTreeMap<(u32, u64), Vec<u32>>,
    groups: BTreeMap<u64, Vec<u32>>,
    /// Mappings that must have been freed before the kernel said so: by address, the line until which it must say so,
    /// and what to call the search that has shown it.
    early: BTreeMap<u64, (u64, usize)>,
    recent: VecDeque<Freed>,
    hiwater_exact: bool,
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

    fn slot_of(&self, tlb: u64) -> Option<u32> {
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

    fn prepare(&self, limits: DmaLimits, request: &MapRequest) -> Option<(Prepared, u32)> {
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

    fn note_change(&mut self, slot: u32) {
        self.changes += 1;
        if let Some(area) = self.pool.area_of(slot).and_then(|area| self.per_area.get_mut(area as usize)) {
            *area += 1;
        }
    }

    fn insert(&mut self, first: u32, live: Live) {
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
            unseen: false,
            interleaved: false,
            done_at: 0,
            closed_at: None,
        };
        self.search_into(&mut guess);
        guess.done_at = self.changes;
        guess
    }

    fn search_into(&mut self, guess: &mut Guess) {
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

    fn all_seen(&self, first: u32, nslots: u32) -> bool {
        let run = first as usize..(first + nslots) as usize;
        self.seen.get(run).is_some_and(|run| run.iter().all(|seen| *seen))
    }

    fn mark_seen(&mut self, first: u32, nslots: u32) {
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

    fn is_interleaved(&self, guess: &Guess) -> bool {
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

    fn basis(&self, guess: &Guess) -> Basis {
        if self.is_interleaved(guess) {
            Basis::Interleaved
        } else if guess.unseen {
            Basis::Unseen
        } else {
            Basis::Seen
        }
    }

    /// Looks for what the trace does not show and would make the model do what was recorded. On success, the model
    /// has done it.
    fn explain(
        &mut self,
        guess: &mut Guess,
        recorded: Option<u64>,
        guessed: Option<(u32, u32)>,
    ) -> Option<Why> {
        let began = guess.moved;
        let interleaved = self.is_interleaved(guess);
        // Others first: from where they left the cursor.
        if interleaved {
            self.search_into(guess);
            if says_same(guess.answer, recorded) {
                return Some(Why::Order);
            }
            self.undo(guess);
        }
        if let Some((area, before, after)) = began
            && self.pool.areas()[area as usize].index() == after
        {
            self.pool.resume_at(area, before);
        }
        // What others freed meanwhile was free already.
        if interleaved {
            self.search_into(guess);
            if says_same(guess.answer, recorded) {
                return Some(Why::Order);
            }
            self.undo(guess);
        }
        // Unseen slots that the search must have passed over; what it took in the end was free.
        let taken =
            recorded.and_then(|tlb| self.run_of(guess.ask.limits, tlb, guess.ask.request.mapping_size));
        let taken = taken.map_or(0..0, |(first, nslots)| first..first + nslots);
        let mut supposed = Vec::new();
        let mut run = guessed;
        while let Some((first, nslots)) = run {
            let candidate = |slot: &u32| {
                !self.seen.get(*slot as usize).is_some_and(|seen| *seen) && !taken.contains(slot)
            };
            let Some(slot) = (first..first + nslots).rev().find(candidate) else { break };
            if supposed.len() >= 4096 {
                break;
            }
            self.suppose(slot);
            supposed.push(slot);
            self.search_into(guess);
            if says_same(guess.answer, recorded) {
                return Some(Why::Older);
            }
            run = match guess.answer {
                Answer::At(tlb) => self.run_of(guess.ask.limits, tlb, guess.ask.request.mapping_size),
                _ => None,
            };
            self.undo(guess);
        }
        for slot in supposed {
            self.drop_live(slot);
        }
        guessed.and_then(|(first, nslots)| self.freed_by_another(first, nslots, guess.line))
    }

    /// Takes back what a search took, cursor included.
    fn undo(&mut self, guess: &Guess) {
        self.withdraw(guess);
        if let Some((area, before, _)) = guess.moved {
            self.pool.resume_at(area, before);
        }
    }

    fn suppose(&mut self, slot: u32) {
        let tlb = self.pool.slot_addr(slot).0;
        let request = MapRequest::plain(PhysAddr(tlb), 1);
        let ask = Ask { dev: u32::MAX, limits: DmaLimits::default(), request, mask: u64::MAX };
        self.adopt(&ask, tlb, Kind::Supposed);
    }

    /// Whether the place was being freed when the search began: its release was announced, and the thread that
    /// announced it did nothing else before.
    fn freed_by_another(&self, first: u32, nslots: u32, line: u64) -> Option<Why> {
        let hit = |freed: &&Freed| {
            freed.first < first + nslots
                && first < freed.first + freed.nslots
                && freed.next.is_none_or(|next| next > line)
        };
        self.recent.iter().rev().find(hit).map(|_| Why::FreedLater)
    }

    /// The cursor stands behind a run that a search has taken.
    fn set_cursor(&mut self, first: u32, nslots: u32) {
        let Some(area) = self.pool.area_of(first) else { return };
        let index = (first + nslots).saturating_sub(self.pool.areas()[area as usize].first());
        self.pool.resume_at(area, index);
        self.cursor_known[area as usize] = true;
    }

    /// Takes the recorded run, freeing what the model believes to be there. The answer: the run, and the address of
    /// a mapping that was in the way.
    fn adopt(&mut self, ask: &Ask, tlb: u64, kind: Kind) -> Option<(u32, u32, Option<u64>)> {
        let slot = self.slot_of(tlb)?;
        let (mut prepared, mut nslots) = self.prepare(ask.limits, &ask.request)?;
        let within = tlb & ((1 << IO_TLB_SHIFT) - 1);
        if u64::from(prepared.offset) != within {
            // Limits other than those known: keep to what the address says.
            let request = MapRequest::plain(PhysAddr(tlb), ask.request.mapping_size.saturating_add(within));
            (prepared, nslots) = self.prepare(DmaLimits::default(), &request)?;
        }
        let limits = if u64::from(prepared.offset) == within { ask.limits } else { DmaLimits::default() };
        let first = slot.checked_sub(u32::from(prepared.pad))?;
        let mut early = None;
        while let Some((other, live)) = self.overlapping(first, nslots) {
            if live.kind != Kind::Supposed {
                early = Some(live.tlb);
            }
            self.drop_live(other);
        }
        let mapping = self.pool.adopt(limits, &prepared, first)?;
        let live = Live {
            nslots,
            limits,
            model: mapping.tlb_addr,
            tlb,
            dev: ask.dev,
            orig: ask.request.orig_addr.0,
            group: 0,
            kind,
        };
        self.insert(first, live);
        Some((first, nslots, early))
    }

    fn overlapping(&self, first: u32, nslots: u32) -> Option<(u32, Live)> {
        let (at, live) = self.live.range(..first.saturating_add(nslots)).next_back()?;
        (at.saturating_add(live.nslots) > first).then_some((*at, *live))
    }

    fn covering(&self, tlb: u64) -> Option<(u32, Live)> {
        self.overlapping(self.slot_of(tlb)?, 1)
    }

    fn release_at(&mut self, tlb: u64) -> Option<(u32, Live)> {
        let (first, live) = self.covering(tlb)?;
        self.drop_live(first);
        Some((first, live))
    }

    fn drop_live(&mut self, first: u32) {
        let Some(live) = self.live.remove(&first) else { return };
        self.pool.release_slots(live.limits, live.model);
        if let Some(all) = self.by_orig.get_mut(&(live.dev, live.orig)) {
            all.retain(|other| *other != first);
            if all.is_empty() {
                self.by_orig.remove(&(live.dev, live.orig));
            }
        }
        self.note_change(first);
    }

    /// The mapping at `tlb` must have been freed when search `which` was made; the event is expected soon.
    pub(super) fn expect_release(&mut self, tlb: u64, line: u64, which: usize) {
        self.early.retain(|_, (until, _)| *until >= line);
        self.early.insert(tlb, (line + SOON, which));
    }

    /// The kernel freed the mapping at `tlb`. The answer: the search that had shown so before.
    pub(super) fn unmap(
        &mut self,
        limits: DmaLimits,
        tlb: u64,
        size: u64,
        by: Context,
        line: u64,
    ) -> Option<usize> {
        if let Some((until, which)) = self.early.remove(&tlb)
            && line <= until
        {
            return Some(which);
        }
        match self.release_at(tlb) {
            Some((first, live)) if live.kind != Kind::Supposed => {
                self.mark_seen(first, live.nslots);
                self.remember(Freed { first, nslots: live.nslots, by, line, next: None });
            }
            Some(_) | None => {
                if let Some((first, nslots)) = self.run_of(limits, tlb, size) {
                    while let Some((other, live)) = self.overlapping(first, nslots) {
                        if live.kind != Kind::Supposed {
                            break;
                        }
                        self.drop_live(other);
                    }
                    self.mark_seen(first, nslots);
                    self.remember(Freed { first, nslots, by, line, next: None });
                }
            }
        }
        None
    }

    /// A thread has done something.
    pub(super) fn saw(&mut self, thread: Context, line: u64) {
        for freed in self.recent.iter_mut().filter(|freed| freed.by == thread && freed.line < line) {
            freed.next.get_or_insert(line);
        }
    }

    fn remember(&mut self, freed: Freed) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(freed);
    }

    /// Binds mappings to one list, so that they are freed together.
    pub(super) fn set_group(&mut self, tlb: u64, group: u64) {
        if let Some((first, _)) = self.covering(tlb)
            && let Some(live) = self.live.get_mut(&first)
        {
            live.group = group;
            self.groups.entry(group).or_default().push(first);
        }
    }

    /// The kernel frees a list whose entries lie at these originals. Returns how many mappings were freed.
    pub(super) fn unmap_list(&mut self, dev: u32, origs: &[u64], by: Context, line: u64) -> usize {
        let Some(group) = self.find_group(dev, origs) else { return 0 };
        let members = self.groups.remove(&group).unwrap_or_default();
        let mut count = 0;
        for first in members {
            if let Some(live) = self.live.get(&first).copied().filter(|live| live.group == group) {
                self.drop_live(first);
                self.remember(Freed { first, nslots: live.nslots, by, line, next: None });
                count += 1;
            }
        }
        count
    }

    /// The list that holds these originals; of several, the oldest.
    fn find_group(&self, dev: u32, origs: &[u64]) -> Option<u64> {
        let candidates = origs.iter().find_map(|orig| self.by_orig.get(&(dev, *orig)))?;
        let groups = candidates.iter().filter_map(|first| self.live.get(first)).map(|live| live.group);
        let fits = |group: &u64| {
            let members = self.groups.get(group).into_iter().flatten();
            let mut held = members.filter_map(|first| self.live.get(first)).map(|live| live.orig);
            held.all(|orig| origs.contains(&orig)) || origs.len() >= 128
        };
        groups.filter(|group| *group != 0).find(fits)
    }

    /// Lists that have lost all their mappings are forgotten.
    pub(super) fn tidy(&mut self) {
        let Self { groups, live, .. } = self;
        groups.retain(|group, members| {
            members.iter().any(|first| live.get(first).is_some_and(|live| live.group == *group))
        });
    }
}

/// Whether the model's answer is the recorded one.
pub(super) const fn says_same(answer: Answer, recorded: Option<u64>) -> bool {
    match (answer, recorded) {
        (Answer::At(tlb), Some(recorded)) => tlb == recorded,
        (Answer::Full | Answer::Unreachable, None) => true,
        _ => false,
    }
}
