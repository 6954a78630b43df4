//! A domain in which the moment of each flush may be unknown: every state that fits what was logged so far.

use models::iommu::dma::{IOVA_FQ_TIMEOUT, SgSegment};
use models::mem::{DmaAddr, PAGE_SIZE, PhysAddr, align_up};

use crate::replay::{DmaDomain, DmaParams, IovaSpace, MapFailed};

use super::guide::Guide;

/// How many states are followed at once. They differ in a flush that no address has told yet.
const MOST_STATES: usize = 256;

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

/// One possible state.
#[derive(Clone, Debug)]
struct State {
    space: IovaSpace,
    /// When the timer was armed, in microseconds of the log.
    armed: Option<u64>,
    /// Flushes of the trace that are behind it.
    flushed: usize,
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
        let states = vec![State { space: dma.space().clone(), armed: None, flushed: 0 }];
        let cpus = u32::try_from(cpus).unwrap_or(1);
        Self { dma, states, lazy, cpus, calls: 0, inferred: 0, cut: false, lost: false }
    }

    /// Where an address leads.
    pub(super) fn iova_to_phys(&self, addr: DmaAddr) -> Option<PhysAddr> {
        self.dma.iova_to_phys(addr)
    }

    /// The addresses, in the state that is followed first.
    pub(super) fn space(&self) -> &IovaSpace {
        &self.states[0].space
    }

    /// Puts one more state beside the others: the first, after `change`.
    pub(super) fn perhaps(&mut self, change: impl FnOnce(&mut IovaSpace) -> bool) {
        let mut state = self.states[0].clone();
        if change(&mut state.space) {
            self.states.push(state);
        }
    }

    /// The states in which a call may find the domain.
    fn before_call(&mut self, cpu: u32, now: Option<u64>, guide: &Guide) -> Vec<State> {
        if !self.lazy {
            return std::mem::take(&mut self.states);
        }
        let states = std::mem::take(&mut self.states);
        let mut fitting = Vec::with_capacity(states.len() * 2);
        for mut state in states {
            match guide {
                Guide::Trace { after, covers } if self.calls < *covers => {
                    while after.get(state.flushed).is_some_and(|calls| *calls < self.calls) {
                        state.flush(cpu);
                    }
                    // One that came during this call may have found it done or not.
                    let mut later = state.clone();
                    while after.get(later.flushed).is_some_and(|calls| *calls == self.calls) {
                        later.flush(cpu);
                    }
                    if later.flushed != state.flushed {
                        fitting.push(later);
                    }
                    fitting.push(state);
                }
                Guide::Trace { .. } | Guide::Clock => {
                    for flusher in state.flushers(cpu, self.cpus, now) {
                        let mut later = state.clone();
                        later.flush(flusher);
                        fitting.push(later);
                    }
                    fitting.push(state);
                }
            }
        }
        // A state without a guess comes first.
        fitting.reverse();
        if fitting.len() > MOST_STATES {
            fitting.truncate(MOST_STATES);
            self.cut = true;
        }
        fitting
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

    /// Maps; the prediction, and whether it fits what the log says.
    pub(super) fn map(
        &mut self,
        call: &Call<'_>,
        params: &DmaParams,
        what: What<'_>,
        told: Told,
    ) -> (Segments, bool) {
        let before = self.before_call(call.cpu, call.now, call.guide);
        self.calls += 1;
        let guesses = before.iter().map(|state| state.flushed).min();
        let mut others = Vec::new();
        let mut before = before.into_iter();
        let Some(mut state) = before.next() else { return (Err(MapFailed::Table), false) };
        if before.len() > 0 && told != Told::Nothing {
            let mut fitting = Vec::new();
            for state in std::iter::once(state.clone()).chain(before) {
                let mut after = state.clone();
                if told.fits(Self::probe(&mut after.space, call.cpu, params, what)) {
                    fitting.push((state, after));
                }
            }
            let mut fitting = fitting.into_iter();
            if let Some((first, _)) = fitting.next() {
                state = first;
                others.extend(fitting.map(|(_, after)| after));
            }
        }
        let copy = (told != Told::Nothing).then(|| state.clone());
        std::mem::swap(self.dma.space_mut(), &mut state.space);
        let result = self.run(call.cpu, params, what);
        std::mem::swap(self.dma.space_mut(), &mut state.space);
        let fits = told.fits(start_of(&result));
        match copy {
            Some(copy) if !fits => self.accept(copy, call.cpu, what, told, &result),
            _ => {
                self.states.push(state);
                self.states.append(&mut others);
                self.count_guesses(guesses);
            }
        }
        (result, fits)
    }

    fn count_guesses(&mut self, before: Option<usize>) {
        let least = self.states.iter().map(|state| state.flushed).min();
        if let (Some(before), Some(least)) = (before, least) {
            self.inferred += u64::try_from(least.saturating_sub(before)).unwrap_or(0);
        }
    }

    /// Goes on from `state` with what the log says.
    fn accept(&mut self, mut state: State, cpu: u32, what: What<'_>, told: Told, modelled: &Segments) {
        if let (Ok(segments), What::Page { phys, size, .. }) = (modelled, what)
            && let Some(first) = segments.first()
        {
            let length = align_up(size.saturating_add(phys.page_offset()), PAGE_SIZE);
            self.dma.untranslate(DmaAddr(first.dma.0 - first.dma.page_offset()), length);
        }
        if let (Told::Addr(addr), What::Page { phys, size, .. }) = (told, what) {
            let length = align_up(size.saturating_add(phys.page_offset()), PAGE_SIZE);
            let start = DmaAddr(addr.0 - addr.page_offset());
            if state.space.take(cpu, start, length) {
                self.dma.translate(start, PhysAddr(phys.0 - phys.page_offset()), length);
            } else {
                self.lost = true;
            }
        }
        self.states = vec![state];
    }

    /// Unmaps.
    pub(super) fn unmap(&mut self, call: &Call<'_>, addr: DmaAddr, size: u64) {
        let start = DmaAddr(addr.0 - addr.page_offset());
        let length = align_up(size.saturating_add(addr.page_offset()), PAGE_SIZE);
        let before = if call.plain {
            std::mem::take(&mut self.states)
        } else {
            self.before_call(call.cpu, call.now, call.guide)
        };
        self.calls += 1;
        self.dma.untranslate(start, length);
        self.states = before;
        for state in &mut self.states {
            state.space.free(call.cpu, start, length);
            if state.armed.is_none() {
                state.armed = call.now;
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
    pub(super) now: Option<u64>,
    pub(super) guide: &'a Guide,
    /// No flush of the timer is looked for.
    pub(super) plain: bool,
}

impl State {
    fn flush(&mut self, cpu: u32) {
        self.space.flush(cpu);
        self.armed = None;
        self.flushed += 1;
    }

    /// The CPUs on which the timer may have fired by now.
    fn flushers(&self, cpu: u32, cpus: u32, now: Option<u64>) -> Vec<u32> {
        if self.space.pending() == 0 {
            return Vec::new();
        }
        let due = match (self.armed, now) {
            (Some(armed), Some(now)) => now.saturating_sub(armed) >= IOVA_FQ_TIMEOUT / 1_000,
            // Without time stamps it may come whenever something waits.
            (None, _) | (_, None) => true,
        };
        if !due {
            return Vec::new();
        }
        // Whose timer it is is mostly, but not always, the CPU that armed it.
        std::iter::once(cpu).chain((0..cpus.min(4)).filter(|other| *other != cpu)).collect()
    }
}
