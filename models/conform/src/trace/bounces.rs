//! The events of bounce buffers, given to the pool.

use std::collections::BTreeMap;

use models::mem::PhysAddr;
use models::swiotlb::MapRequest;

use super::bounced::{SUBJECT, report, text};
use super::event::{Event, List};
use super::full::{Message, Refused, compare, keep};
use super::guess::{Answer, Ask, Basis, Guess, Verdict, Why, says_same};
use super::line::{Context, Line};
use super::names::Names;
use super::pool::Tracked;
use super::survey::Survey;
use super::tally::Tally;

/// `DMA_MAPPING_ERROR`.
const FAILED: u64 = u64::MAX;
/// Searches of one thread that wait for their results.
const MAX_PENDING: usize = 1 << 16;
/// Threads that have such.
const MAX_THREADS: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) line: u64,
    pub(super) nanos: u64,
    /// Line of the thread's next event: the search lies between the two.
    pub(super) next: Option<u64>,
    pub(super) dev: u32,
    pub(super) orig: u64,
    pub(super) size: u64,
    pub(super) guess: Guess,
    pub(super) sure: bool,
    /// Its slots are free again, as a later entry of the list had no place.
    pub(super) given_back: bool,
}

#[derive(Debug, Default)]
pub(super) struct Thread {
    pub(super) pending: Vec<Pending>,
    /// What a probe has just shown to be released, and the event behind it will say again.
    pub(super) released: Option<u64>,
}

/// The replay of one pool.
#[derive(Debug)]
pub(super) struct Bounces {
    /// Searches without a place.
    pub(super) refused: Vec<Refused>,
    pub(super) pool: Tracked,
    pub(super) threads: BTreeMap<Context, Thread>,
    /// Searches are shown by probes, not only by the event before them.
    pub(super) probed: bool,
    /// Releases are shown by probes.
    pub(super) probed_release: bool,
    /// Results are shown at all.
    pub(super) answered: bool,
}

impl Bounces {
    /// A replay that begins with what the survey knows to be mapped.
    pub(super) fn new(mut pool: Tracked, survey: &Survey, names: &mut Names) -> Self {
        for (dev, tlb, size) in &survey.older {
            let number = names.number(dev);
            pool.add_older(number, names.limits(number), *tlb, *size);
        }
        Self {
            refused: Vec::new(),
            pool,
            threads: BTreeMap::new(),
            probed: survey.sw_map > 0,
            probed_release: survey.sw_unmap > 0,
            answered: survey.answered(),
        }
    }

    /// Events were lost.
    pub(super) fn forget(&mut self) {
        self.threads.clear();
        self.pool.forget();
    }

    /// Holds the log's messages against the searches that found no place.
    pub(super) fn compare_full(&self, messages: &[Message], tally: &mut Tally) {
        compare(messages, &self.refused, self.pool.counters().is_some(), tally);
    }

    /// Whether an address lies in the pool.
    pub(super) fn contains(&self, addr: u64) -> bool {
        self.pool.contains(addr)
    }

    /// Slots in use and the most that ever were, if the trace shows the pool's whole life.
    pub(super) fn counters(&self) -> Option<(u64, u64)> {
        self.pool.counters()
    }

    /// Takes an event; whether it was about a bounce buffer.
    pub(super) fn event(
        &mut self,
        at: u64,
        line: &Line<'_>,
        event: Event<'_>,
        names: &mut Names,
        tally: &mut Tally,
    ) -> bool {
        self.pool.saw(line.context, at);
        if let Some(thread) = self.threads.get_mut(&line.context)
            && let Some(last) = thread.pending.last_mut()
        {
            self.pool.close(&mut last.guess);
            last.next.get_or_insert(at);
        }
        match event {
            Event::Bounced { dev, mask, orig, size } => {
                let dev = names.number(dev);
                names.set_mask(dev, mask);
                if !self.answered {
                    tally.open(SUBJECT, "the trace shows no results of searches", at);
                } else if !self.probed {
                    self.search(at, line, dev, MapRequest::plain(PhysAddr(orig), size), mask, names, tally);
                }
                true
            }
            Event::SwMap { dev, orig, size, alloc_size, align } => {
                let dev = names.number(dev);
                let align = u32::try_from(align).unwrap_or(u32::MAX);
                let request = MapRequest {
                    orig_addr: PhysAddr(orig),
                    mapping_size: size,
                    alloc_size: alloc_size.unwrap_or(size),
                    alloc_align_mask: align,
                };
                self.search(at, line, dev, request, u64::MAX, names, tally);
                true
            }
            Event::SwMapReturn { tlb } => {
                if let Some(pending) = self.thread(line.context).pending.pop() {
                    self.resolve(at, pending, tlb, &mut [], names, tally);
                }
                self.leave(line.context);
                true
            }
            Event::MapPage { dev, dma, size, phys } => {
                let dev = names.number(dev);
                self.mapped(at, line.context, (dev, phys, size), dma, names, tally)
            }
            Event::MapSg { dev, nents, dma, phys, .. } => {
                let dev = names.number(dev);
                self.mapped_list(at, line.context, dev, nents, (dma, phys), names, tally)
            }
            Event::SwUnmap { dev, tlb, size } => {
                let dev = names.number(dev);
                self.unmap(at, line.context, dev, tlb, size, names, tally);
                self.thread(line.context).released = Some(tlb);
                true
            }
            Event::UnmapPage { dev, dma, size } if self.pool.contains(dma) => {
                let dev = names.number(dev);
                let released = self.thread(line.context).released.take();
                self.leave(line.context);
                if released != Some(dma) {
                    self.unmap(at, line.context, dev, dma, size, names, tally);
                }
                true
            }
            Event::UnmapSg { dev, phys } => {
                let dev = names.number(dev);
                if self.probed_release {
                    return false;
                }
                let origs: Vec<u64> = phys.iter().flatten().collect();
                self.pool.unmap_list(dev, &origs, line.context, at) > 0
            }
            _ => false,
        }
    }

    fn thread(&mut self, context: Context) -> &mut Thread {
        if self.threads.len() >= MAX_THREADS && !self.threads.contains_key(&context) {
            self.threads.clear();
        }
        self.threads.entry(context).or_default()
    }

    /// Threads without anything open are forgotten, so that their number does not grow with the trace.
    fn leave(&mut self, context: Context) {
        let idle = |thread: &Thread| thread.pending.is_empty() && thread.released.is_none();
        if self.threads.get(&context).is_some_and(idle) {
            self.threads.remove(&context);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "an event and what it is compared against")]
    fn search(
        &mut self,
        at: u64,
        line: &Line<'_>,
        dev: u32,
        request: MapRequest,
        mask: u64,
        names: &Names,
        tally: &mut Tally,
    ) {
        let limits = names.limits(dev);
        self.retried(at, dev, request.orig_addr.0, names, tally);
        let mut guess = self.pool.search(line.cpu, at, Ask { dev, limits, request, mask });
        let others = self.threads.values().filter_map(|thread| thread.pending.last());
        for other in others {
            if Tracked::is_open(&other.guess) && Tracked::share_area(&other.guess, &guess) {
                Tracked::overlap(&mut guess);
            }
        }
        let pending = Pending {
            line: at,
            nanos: line.nanos,
            next: None,
            dev,
            orig: request.orig_addr.0,
            size: request.mapping_size,
            guess,
            sure: names.parameters(dev).is_some(),
            given_back: false,
        };
        if matches!(pending.guess.answer, Answer::Full | Answer::Unreachable) {
            self.give_back(line.context);
        }
        let thread = self.thread(line.context);
        if thread.pending.len() >= MAX_PENDING {
            tally.open(SUBJECT, "the thread has searched too often without a result", at);
            thread.pending.remove(0);
        }
        thread.pending.push(pending);
    }

    /// Compares a guess with its result. `rest` are guesses that were made after it and rest on it, the last first;
    /// if it was wrong, they are made again, from where the kernel really was.
    fn resolve(
        &mut self,
        at: u64,
        mut pending: Pending,
        tlb: u64,
        rest: &mut [(Pending, u64)],
        names: &Names,
        tally: &mut Tally,
    ) {
        let recorded = Some(tlb).filter(|tlb| *tlb != FAILED);
        if pending.given_back {
            self.pool.again(&mut pending.guess);
        }
        let modelled = pending.guess.answer;
        let right = says_same(modelled, recorded);
        let swapped = !right && self.swap(&mut pending, rest, recorded);
        if !right && !swapped {
            for (later, _) in rest.iter_mut() {
                self.pool.take_back(&mut later.guess);
            }
        }
        let mut verdict = self.pool.resolve(&mut pending.guess, recorded);
        if swapped {
            verdict = Verdict {
                agreed: false,
                why: Some(Why::Order),
                modelled,
                basis: Basis::Interleaved,
                ..verdict
            };
        }
        if recorded.is_none() && verdict.agreed && !verdict.undetermined && pending.sure {
            let (dev, used) = (names.name(pending.dev).to_owned(), pending.guess.used);
            let (line, nanos, size) = (pending.line, pending.nanos, pending.size);
            keep(&mut self.refused, Refused { line, nanos, dev, size, used });
        }
        let listed = report(at, &pending, recorded, &verdict, names, tally);
        if let (Some(tlb), Some(listed)) = (verdict.freed_early, listed) {
            self.pool.expect_release(tlb, at, listed);
        }
        if !right && !swapped {
            for (later, _) in rest.iter_mut().rev() {
                self.pool.again(&mut later.guess);
            }
        }
    }

    /// The result of a single mapping.
    fn mapped(
        &mut self,
        at: u64,
        context: Context,
        (dev, phys, size): (u32, u64, u64),
        dma: u64,
        names: &Names,
        tally: &mut Tally,
    ) -> bool {
        let mut stale = Vec::new();
        let mut found = None;
        if let Some(thread) = self.threads.get_mut(&context) {
            let fits = |pending: &Pending| (pending.dev, pending.orig, pending.size) == (dev, phys, size);
            if let Some(position) = thread.pending.iter().rposition(fits) {
                stale = thread.pending.split_off(position);
                found = Some(stale.remove(0));
                stale.append(&mut thread.pending);
            }
        }
        self.failed(at, stale, names, tally);
        let bounced = found.is_some();
        if let Some(pending) = found {
            self.resolve(at, pending, dma, &mut [], names, tally);
        }
        self.leave(context);
        bounced || self.pool.contains(dma)
    }

    /// An entry of a list has no place: the kernel gives back the entries before it, without an event.
    fn give_back(&mut self, context: Context) {
        let Self { threads, pool, .. } = self;
        for pending in threads.get_mut(&context).into_iter().flat_map(|thread| thread.pending.iter_mut()) {
            if !pending.given_back {
                pool.withdraw(&pending.guess);
                pending.given_back = true;
            }
        }
    }

    /// Mappings without a result: the entries of a list of which the last had no place. All were given back at once,
    /// without an event.
    fn failed(&mut self, at: u64, mut stale: Vec<Pending>, names: &Names, tally: &mut Tally) {
        let Some(last) = stale.pop() else { return };
        for pending in stale {
            tally.open(
                SUBJECT,
                "a later entry of the list had no place, so the event with the results is missing",
                pending.line,
            );
            if !pending.given_back {
                self.pool.withdraw(&pending.guess);
            }
        }
        let verdict = self.pool.resolve_failed(&last.guess);
        report(at, &last, None, &verdict, names, tally);
    }

    /// A buffer is mapped again of which an earlier mapping, the first of its thread, has no result: that one failed.
    fn retried(&mut self, at: u64, dev: u32, orig: u64, names: &Names, tally: &mut Tally) {
        let fits = |thread: &&mut Thread| {
            thread.pending.first().is_some_and(|first| first.dev == dev && first.orig == orig)
                && thread.pending.last().is_some_and(|last| last.next.is_some())
        };
        let stale = self.threads.values_mut().find(fits).map(|thread| std::mem::take(&mut thread.pending));
        self.failed(at, stale.unwrap_or_default(), names, tally);
    }

    /// The result of a list. Only the first 128 entries are in the event.
    #[expect(clippy::too_many_arguments, reason = "an event and what it is compared against")]
    fn mapped_list(
        &mut self,
        at: u64,
        context: Context,
        dev: u32,
        nents: u64,
        (dma, phys): (List<'_>, List<'_>),
        names: &Names,
        tally: &mut Tally,
    ) -> bool {
        let entries: Vec<(u64, u64)> =
            phys.iter().zip(dma.iter()).filter_map(|(phys, dma)| Some((phys?, dma?))).collect();
        let mut pending = self
            .threads
            .get_mut(&context)
            .map(|thread| std::mem::take(&mut thread.pending))
            .unwrap_or_default();
        let mut tail = Vec::new();
        if nents > entries.len() as u64
            && let Some((last, _)) = entries.last()
            && let Some(position) = pending.iter().rposition(|pending| pending.orig == *last)
        {
            tail = pending.split_off(position + 1);
        }
        let mut pairs = Vec::new();
        for (phys, dma) in entries.iter().rev() {
            if pending.last().is_some_and(|pending| pending.orig == *phys && pending.dev == dev)
                && let Some(pending) = pending.pop()
            {
                pairs.push((pending, *dma));
            }
        }
        self.failed(at, pending, names, tally);
        let bounced = !pairs.is_empty();
        while let Some((pending, dma)) = pairs.pop() {
            self.resolve(at, pending, dma, &mut pairs, names, tally);
        }
        for (_, dma) in &entries {
            if self.pool.contains(*dma) {
                self.pool.set_group(*dma, at);
            }
        }
        for pending in tail {
            tally.open(SUBJECT, "the event shows only the first 128 entries of a list", pending.line);
            if let Answer::At(tlb) = pending.guess.answer {
                self.pool.set_group(tlb, at);
            }
        }
        if at.is_multiple_of(1024) {
            self.pool.tidy();
        }
        self.leave(context);
        bounced
    }

    #[expect(clippy::too_many_arguments, reason = "an event and what it is compared against")]
    fn unmap(
        &mut self,
        at: u64,
        context: Context,
        dev: u32,
        tlb: u64,
        size: u64,
        names: &Names,
        tally: &mut Tally,
    ) {
        if let Some(listed) = self.pool.unmap(names.limits(dev), tlb, size, context, at) {
            tally.explain(listed, SUBJECT, text(Why::FreedEarlier));
        }
    }
}
