//! A domain in which the moment of each flush may be unknown: every state that fits what was logged so far.

use models::iommu::dma::{SgLayout, SgSegment};
use models::mem::{DmaAddr, PAGE_SIZE, PhysAddr, align_up};

use crate::replay::{DmaDomain, DmaParams, IovaSpace, MapFailed};

use super::guide::Guide;
use super::state::{Armed, Due, State, USUAL, Window, alike};

/// How many states are followed at once. They differ in a flush that no address has told yet.
const MOST_STATES: usize = 96;

/// How many states with full trees are followed at once.
const MOST_CHOSEN: usize = 4;
/// On how many CPUs the driver is looked for.
const MOST_CPUS: u32 = 64;

/// What the log says of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It gave this address.
    Addr(DmaAddr),
    /// It failed.
    Failed,
    /// Nothing.
    Nothing,
}

impl Told {
    pub(super) fn of(recorded: Option<DmaAddr>) -> Self {
        recorded.map_or(Self::Failed, Self::Addr)
    }

    fn fits(self, result: Result<DmaAddr, MapFailed>) -> bool {
        match self {
            Self::Addr(addr) => result == Ok(addr),
            Self::Failed => result.is_err(),
            Self::Nothing => true,
        }
    }
}

/// The domain.
#[derive(Clone, Debug)]
pub(super) struct Domain {
    dma: DmaDomain,
    states: Vec<State>,
    lazy: bool,
    cpus: u32,
    /// Calls so far.
    calls: u64,
    /// Flushes that no trace places.
    pub(super) inferred: u64,
    /// More states fitted than are followed.
    pub(super) cut: bool,
    /// After a contradiction, the state could not take what was logged.
    pub(super) lost: bool,
    /// What the last contradiction could not take.
    pub(super) lost_addr: Option<DmaAddr>,
}

/// What a map is made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum What<'a> {
    /// One buffer; coherent memory has a mask of its own.
    Page { phys: PhysAddr, size: u64, coherent: bool },
    /// A scatterlist.
    List(&'a [(PhysAddr, u32)]),
}

/// What a map gave: the segments, one for a single buffer.
pub(super) type Segments = Result<Vec<SgSegment>, MapFailed>;

fn start_of(segments: &Segments) -> Result<DmaAddr, MapFailed> {
    match segments {
        Ok(list) => list.first().map_or(Err(MapFailed::Table), |first| Ok(first.dma)),
        Err(failed) => Err(*failed),
    }
}

impl Domain {
    pub(super) fn new(dma: DmaDomain, lazy: bool, cpus: usize) -> Self {
        let states =
            vec![State { space: dma.space().clone(), armed: None, flushed: 0, unseen: None, late: 0 }];
        let cpus = u32::try_from(cpus).unwrap_or(1);
        Self { dma, states, lazy, cpus, calls: 0, inferred: 0, cut: false, lost: false, lost_addr: None }
    }

    /// Where an address leads.
    pub(super) fn iova_to_phys(&self, addr: DmaAddr) -> Option<PhysAddr> {
        self.dma.iova_to_phys(addr)
    }

    /// The addresses, in the state that is followed first.
    pub(super) fn space(&self) -> &IovaSpace {
        &self.states[0].space
    }

    /// Goes on from the state of those that `change` can make of the first, numbered from 0, whose next map fits what
    /// the log says; `change` says whether there is such a state. They are made one by one, since each is large.
    pub(super) fn choose(
        &mut self,
        call: &Call<'_>,
        params: &DmaParams,
        what: What<'_>,
        told: Told,
        states: usize,
        mut change: impl FnMut(&mut IovaSpace, usize) -> bool,
    ) {
        let fits = |state: &State| {
            let mut after = state.space.clone();
            told.fits(Self::probe(&mut after, call.cpu, params, what))
        };
        if fits(&self.states[0]) {
            return;
        }
        let mut fitting = Vec::new();
        for number in 0..states {
            let mut space = self.states[0].space.clone();
            if change(&mut space, number) && told.fits(Self::probe(&mut space, call.cpu, params, what)) {
                // The probe took the place: once more, without it.
                let mut state = self.states[0].clone();
                change(&mut state.space, number);
                fitting.push(state);
            }
            if fitting.len() >= MOST_CHOSEN {
                break;
            }
        }
        if !fitting.is_empty() {
            self.states = fitting;
        }
    }

    /// Goes on from the state in which the next maps give `told`, if the depot's work has run at most `most` times since
    /// no line was printed: an address that it cannot have otherwise lies in a magazine that was trimmed. Says whether
    /// there is such a state.
    pub(super) fn infer_trims(
        &mut self,
        call: &Call<'_>,
        params: &DmaParams,
        what: What<'_>,
        told: &[DmaAddr],
        most: usize,
    ) -> bool {
        let waiting = self.states[0].space.pending();
        // Either the flush queue's timer has not fired yet, or it has, and all is flushed.
        let flushes = if waiting == 0 { &[0][..] } else { &[0, waiting][..] };
        for count in flushes {
            let mut base = self.states[0].space.clone();
            base.flush_oldest(call.cpu, *count);
            let mut trimmed: Vec<(usize, DmaAddr)> = Vec::new();
            loop {
                let mut space = base.clone();
                // In the order in which they were full.
                trimmed.sort_unstable();
                trimmed.iter().for_each(|(_, addr)| {
                    space.trim_holding(*addr);
                });
                let before = space.clone();
                let wrong =
                    told.iter().find(|addr| Self::probe(&mut space, call.cpu, params, what) != Ok(**addr));
                let Some(wrong) = wrong else {
                    self.states[0].space = before;
                    self.states.truncate(1);
                    return true;
                };
                match before.depot_place(*wrong) {
                    Some(place) if trimmed.len() < most => {
                        // Places are told in the state in which nothing is trimmed.
                        let place = base.depot_place(*wrong).unwrap_or(place);
                        trimmed.push((place, *wrong));
                    }
                    _ => break,
                }
            }
        }
        false
    }

    /// The states in which a call may find the domain.
    fn before_call(&mut self, cpu: u32, at: Window, guide: &Guide) -> Vec<State> {
        if !self.lazy {
            return std::mem::take(&mut self.states);
        }
        let states = std::mem::take(&mut self.states);
        let mut fitting = Vec::with_capacity(states.len() * 2);
        for mut state in states {
            match guide {
                Guide::Trace { flushes, calls } if self.calls < calls.len() as u64 => {
                    let next = |state: &State| flushes.get(state.flushed).copied();
                    while let Some(flush) = next(&state).filter(|flush| flush.after < self.calls) {
                        state.flush(flush.cpu);
                    }
                    // One that came during this call may have found it done or not.
                    let mut later = state.clone();
                    while let Some(flush) = next(&later).filter(|flush| flush.after == self.calls) {
                        later.flush(flush.cpu);
                    }
                    if later.flushed != state.flushed {
                        fitting.push(later);
                    }
                    fitting.push(state);
                }
                Guide::Trace { .. } | Guide::Clock => {
                    let due = state.due(at);
                    if due != Due::NotYet {
                        for flusher in state.flushers(cpu) {
                            let mut later = state.clone();
                            later.late += state.lateness(at);
                            later.flush(flusher);
                            fitting.push(later);
                        }
                    }
                    if due != Due::Over {
                        fitting.push(state);
                    }
                }
            }
        }
        // A state without a guess comes first.
        fitting.reverse();
        let mut fitting = self.distinct(fitting);
        if fitting.len() > MOST_STATES {
            fitting.sort_by_key(|state| state.late + state.lateness(at));
            fitting.truncate(MOST_STATES);
            self.cut = true;
        }
        fitting
    }

    /// Leaves out states that are the same as one before.
    fn distinct(&self, states: Vec<State>) -> Vec<State> {
        let mut distinct: Vec<State> = Vec::with_capacity(states.len());
        for state in states {
            let same = |other: &State| {
                other.unseen == state.unseen
                    && alike(other.armed, state.armed)
                    && other.space.same_as(&state.space, self.cpus)
            };
            if !distinct.iter().any(same) {
                distinct.push(state);
            }
        }
        distinct
    }

    fn run(&mut self, cpu: u32, params: &DmaParams, what: What<'_>) -> Segments {
        match what {
            What::Page { phys, size, coherent } => {
                let dma = self.dma.map_page(cpu, params, phys, size, coherent)?;
                Ok(vec![SgSegment { dma, length: u32::try_from(size).unwrap_or(u32::MAX) }])
            }
            What::List(entries) => self.dma.map_sg(cpu, params, entries),
        }
    }

    /// The start that the first segment of a call would have, out of `space`.
    fn probe(
        space: &mut IovaSpace,
        cpu: u32,
        params: &DmaParams,
        what: What<'_>,
    ) -> Result<DmaAddr, MapFailed> {
        let (start, phys) = match what {
            What::Page { phys, size, coherent } => {
                (space.take_page(cpu, params, phys, size, coherent)?.0, phys)
            }
            What::List(entries) => (
                space.take_list(cpu, params, entries)?.0,
                entries.first().map_or(PhysAddr(0), |entry| entry.0),
            ),
        };
        Ok(start.wrapping_add(phys.page_offset()))
    }

    /// Maps; the prediction, whether it fits what the log says, and on which CPU. The log tells the driver's CPU when it
    /// was loaded; where only another CPU's caches explain an address, it has moved there since.
    pub(super) fn map(
        &mut self,
        call: &Call<'_>,
        params: &DmaParams,
        what: What<'_>,
        told: Told,
    ) -> (Segments, bool, u32) {
        let traced = call.guide.cpu_of(self.calls);
        let known = traced.unwrap_or(call.cpu);
        let before = if told == Told::Nothing {
            std::mem::take(&mut self.states)
        } else {
            self.before_call(known, call.at, call.guide)
        };
        self.calls += 1;
        let guesses = before.iter().map(|state| state.flushed).min();
        let mut cpu = known;
        let mut others = Vec::new();
        let mut first = None;
        if told != Told::Nothing && (before.len() > 1 || self.cpus > 1) {
            let elsewhere = (0..self.cpus.min(MOST_CPUS)).filter(|other| *other != known && traced.is_none());
            for candidate in std::iter::once(known).chain(elsewhere) {
                for state in &before {
                    let mut after = state.clone();
                    if told.fits(Self::probe(&mut after.space, candidate, params, what)) {
                        match first {
                            None => first = Some(state.clone()),
                            Some(_) => others.push(after),
                        }
                    }
                }
                if first.is_some() {
                    cpu = candidate;
                    break;
                }
            }
        }
        let Some(mut state) = first.or_else(|| before.into_iter().next()) else {
            return (Err(MapFailed::Table), false, cpu);
        };
        let copy = (told != Told::Nothing).then(|| state.clone());
        std::mem::swap(self.dma.space_mut(), &mut state.space);
        let result = self.run(cpu, params, what);
        std::mem::swap(self.dma.space_mut(), &mut state.space);
        let fits = told.fits(start_of(&result));
        match copy {
            Some(copy) if !fits => self.accept(copy, cpu, params, what, told, &result),
            _ => {
                self.states.push(state);
                self.states.append(&mut others);
                self.count_guesses(guesses);
            }
        }
        (result, fits, cpu)
    }

    /// Maps one buffer whose address the log does not tell.
    pub(super) fn map_unseen(
        &mut self,
        call: &Call<'_>,
        params: &DmaParams,
        what: What<'_>,
    ) -> Result<DmaAddr, MapFailed> {
        let cpu = self.cpu_of(call);
        self.states = self.before_call(cpu, call.at, call.guide);
        self.calls += 1;
        for state in &mut self.states {
            state.unseen = Self::probe(&mut state.space, cpu, params, what).ok();
        }
        self.states[0].unseen.ok_or(MapFailed::Iova(models::iommu::iova::AllocError::NoSpace))
    }

    /// Unmaps it.
    pub(super) fn unmap_unseen(&mut self, call: &Call<'_>, size: u64) {
        let cpu = self.cpu_of(call);
        self.states = self.before_call(cpu, call.at, call.guide);
        self.calls += 1;
        for state in &mut self.states {
            if let Some(addr) = state.unseen.take() {
                let start = DmaAddr(addr.0 - addr.page_offset());
                let length = align_up(size.saturating_add(addr.page_offset()), PAGE_SIZE);
                state.space.free(cpu, start, length);
                state.arm(call);
            }
        }
    }

    /// Where a call is made: what the trace says, or else the log.
    fn cpu_of(&self, call: &Call<'_>) -> u32 {
        call.guide.cpu_of(self.calls).unwrap_or(call.cpu)
    }

    fn count_guesses(&mut self, before: Option<usize>) {
        let least = self.states.iter().map(|state| state.flushed).min();
        if let (Some(before), Some(least)) = (before, least) {
            self.inferred += u64::try_from(least.saturating_sub(before)).unwrap_or(0);
        }
    }

    /// Goes on from `state` with what the log says.
    fn accept(
        &mut self,
        mut state: State,
        cpu: u32,
        params: &DmaParams,
        what: What<'_>,
        told: Told,
        modelled: &Segments,
    ) {
        if let (Ok(segments), What::Page { phys, size, .. }) = (modelled, what)
            && let Some(first) = segments.first()
        {
            let length = align_up(size.saturating_add(phys.page_offset()), PAGE_SIZE);
            self.dma.untranslate(DmaAddr(first.dma.0 - first.dma.page_offset()), length);
        }
        if let Told::Addr(addr) = told {
            let start = DmaAddr(addr.0 - addr.page_offset());
            let (length, phys) = match what {
                What::Page { phys, size, .. } => {
                    (align_up(size.saturating_add(phys.page_offset()), PAGE_SIZE), Some(phys))
                }
                What::List(entries) => (SgLayout::of(entries, params.boundary).total, None),
            };
            if state.space.take(cpu, start, length) {
                if let Some(phys) = phys {
                    self.dma.translate(start, PhysAddr(phys.0 - phys.page_offset()), length);
                }
            } else {
                self.lost = true;
                self.lost_addr = Some(addr);
            }
        }
        self.states = vec![state];
    }

    /// Unmaps.
    pub(super) fn unmap(&mut self, call: &Call<'_>, addr: DmaAddr, size: u64) {
        let start = DmaAddr(addr.0 - addr.page_offset());
        let length = align_up(size.saturating_add(addr.page_offset()), PAGE_SIZE);
        let cpu = self.cpu_of(call);
        let before = if call.plain {
            std::mem::take(&mut self.states)
        } else {
            self.before_call(cpu, call.at, call.guide)
        };
        self.calls += 1;
        self.dma.untranslate(start, length);
        self.states = before;
        for state in &mut self.states {
            state.space.free(cpu, start, length);
            state.arm(call);
        }
    }

    /// The timer fires in every state.
    pub(super) fn flush(&mut self, cpu: u32) {
        for state in &mut self.states {
            state.flush(cpu);
        }
    }

    /// Time goes on while nothing is printed: the timer fires when it is due.
    pub(super) fn pass_time(&mut self, now: Option<u64>) {
        if !self.lazy {
            return;
        }
        for state in &mut self.states {
            if let (Some(Armed { at, cpu }), Some(now)) = (state.armed, now)
                && let Some(armed) = at.after.or(at.before)
                && state.space.pending() > 0
                && now >= armed.saturating_add(USUAL)
            {
                state.flush(cpu);
            }
        }
    }

    /// Follows only the first state from here on.
    pub(super) fn settle(&mut self) {
        self.states.truncate(1);
    }
}

/// Who calls, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) cpu: u32,
    pub(super) at: Window,
    pub(super) guide: &'a Guide,
    /// No flush of the timer is looked for.
    pub(super) plain: bool,
}
