//! One domain, and the histories that it may have had.

use std::collections::BTreeSet;

use models::iommu::dma::{FqRings, IovaLimit};
use models::iommu::iova::IovaPfn;

use super::folder::Folder;
use super::names::Names;
use super::probed::{SUBJECT, count};
use super::space::{FLUSHED, Limit, Outcome, Space, Wanted};
use super::tally::Tally;
use crate::replay::KernelRules;

/// Nanoseconds after which the timer of a flush queue may have fired, and after which it must have.
///
/// Source: `drivers/iommu/dma-iommu.c: IOVA_FQ_TIMEOUT`, 10 ms in ticks, which begin anywhere within a tick.
const MAY_FIRE: u64 = 8_000_000;
const MUST_FIRE: u64 = 40_000_000;
/// Histories of a domain that are followed at once.
const MAX_HISTORIES: usize = 48;

const MASK: &str = "nobody says which driver the device has, and so which mask";

/// One history that a domain may have had.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) space: Space,
    /// With lazy invalidation: what waits for a flush, and since when.
    pub(super) rings: Option<FqRings>,
    pub(super) waiting: BTreeSet<u64>,
    pub(super) oldest: Option<u64>,
    /// The CPU whose queue was full: the event that says that it is being emptied is still to come.
    pub(super) emptied: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Domain {
    /// The histories that the trace allows.
    pub(super) states: Vec<State>,
    /// There were too many, or none was left. What is given back meanwhile is lost sight of, and since when nothing was.
    pub(super) lost: Option<u64>,
    /// Flushes are shown.
    pub(super) shown: bool,
}

/// An [`Op`] without the name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain {
    pub(super) pfn: u64,
    pub(super) pages: u64,
    pub(super) cpu: u32,
    pub(super) allocated: bool,
}

impl State {
    pub(super) fn new(
        rules: &KernelRules,
        cpus: u32,
        folder: &Folder,
        number: u64,
        older: &[(u64, u64)],
        whole: bool,
    ) -> Self {
        let group = folder.groups.get(&number);
        // In the order of iova_reserve_iommu_regions(): the bridge's windows come first.
        let mut reserved = folder.windows.clone();
        reserved.extend(group.iter().flat_map(|group| group.reserved.iter().copied()));
        let mut space = Space::new(rules, cpus, &reserved, whole);
        for (pfn, pages) in older {
            space.add_older(*pfn, *pages);
        }
        let lazy = match group.map(|group| group.kind.as_str()) {
            Some("DMA-FQ") => true,
            Some(_) => false,
            None => folder.strict == Some(false),
        };
        let rings = lazy.then(|| FqRings::new(cpus as usize));
        Self { space, rings, waiting: BTreeSet::new(), oldest: None, emptied: None }
    }

    /// Whether something has waited for so long.
    pub(super) fn is_due(&self, now: u64, wait: u64) -> bool {
        self.oldest.is_some_and(|oldest| now.saturating_sub(oldest) >= wait)
    }

    /// The kernel gives a range back: to the caches, or to a queue, which is emptied if it is full.
    pub(super) fn free(&mut self, op: &Plain, now: u64) {
        let Some(rings) = self.rings.as_mut() else {
            self.space.free(op.cpu, op.pfn, op.pages);
            return;
        };
        let cpu = op.cpu as usize;
        if rings.is_full(cpu) {
            rings.start_flush();
            rings.finish_flush();
            self.emptied = Some(op.cpu);
        }
        let flushed = rings.take_flushed(cpu);
        rings.add(cpu, IovaPfn(op.pfn), op.pages);
        self.waiting.insert(op.pfn);
        self.oldest.get_or_insert(now);
        for entry in flushed {
            self.waiting.remove(&entry.pfn.0);
            self.space.free(op.cpu, entry.pfn.0, entry.pages);
        }
    }

    /// A CPU empties the queues: of all CPUs, by the timer, unless its own is full.
    pub(super) fn flush(&mut self, cpu: u32) {
        let Some(rings) = self.rings.as_mut() else { return };
        let own = cpu as usize;
        let full = rings.is_full(own);
        rings.start_flush();
        rings.finish_flush();
        let mut entries = Vec::new();
        if full {
            entries.extend(rings.take_flushed(own));
        } else {
            rings.disarm();
            for ring in 0..rings.cpus() {
                entries.extend(rings.take_flushed(ring));
            }
            self.oldest = None;
        }
        for entry in entries {
            self.waiting.remove(&entry.pfn.0);
            self.space.free(cpu, entry.pfn.0, entry.pages);
        }
    }

    /// Where this history says that the kernel cannot have got this.
    pub(super) fn excludes(&self, wanted: &Wanted, pfn: u64) -> bool {
        self.waiting.contains(&pfn) || self.space.is_elsewhere(wanted, pfn)
    }

    /// Nothing is known of what was given back.
    pub(super) fn forget(&mut self) {
        if let Some(rings) = self.rings.as_mut() {
            let cpus = rings.cpus();
            *rings = FqRings::new(cpus);
        }
        self.waiting.clear();
        self.oldest = None;
        self.space.forget_caches();
    }
}

impl Domain {
    /// Where the timer of a flush queue may have fired unseen, each CPU on which it may have run makes a history of
    /// its own.
    pub(super) fn branch(&mut self, now: u64) {
        if self.shown || !self.states.iter().any(|state| state.is_due(now, MAY_FIRE)) {
            return;
        }
        let mut histories = Vec::new();
        for state in std::mem::take(&mut self.states) {
            if !state.is_due(now, MAY_FIRE) {
                histories.push(state);
                continue;
            }
            for cpu in 0..state.space.cpus() {
                if histories.len() >= MAX_HISTORIES {
                    break;
                }
                let mut flushed = state.clone();
                flushed.flush(cpu);
                histories.push(flushed);
            }
            if !state.is_due(now, MUST_FIRE) {
                histories.push(state);
            }
        }
        let too_many = histories.len() > MAX_HISTORIES;
        self.states = histories;
        if too_many {
            self.lose(now);
        }
    }

    /// No history is left, or too many. One is followed on, of which nothing is believed but what is in use.
    pub(super) fn lose(&mut self, now: u64) {
        self.states.truncate(1);
        self.states.iter_mut().for_each(State::forget);
        self.lost = Some(now);
    }

    /// Whether sight is lost. It is regained after a time without a release: then nothing waits any more.
    pub(super) fn is_lost(&mut self, now: u64) -> bool {
        self.lost = self.lost.filter(|since| now.saturating_sub(*since) < MUST_FIRE);
        self.lost.is_some()
    }

    pub(super) fn is_strict(&self) -> bool {
        self.states.iter().all(|state| state.rings.is_none())
    }

    pub(super) fn free(&mut self, op: &Plain, now: u64) {
        if self.is_lost(now) {
            self.lost = self.lost.max(Some(now));
            return;
        }
        self.branch(now);
        if self.lost.is_some() {
            return;
        }
        for state in &mut self.states {
            state.free(op, now);
        }
    }

    pub(super) fn allocate(
        &mut self,
        op: &Plain,
        (names, dev): (&Names, u32),
        at: u64,
        now: u64,
        tally: &mut Tally,
    ) {
        // A driver that nobody names may set any mask.
        let mask = names.parameters(dev).and(names.mask(dev));
        let known = mask.is_some();
        let mask = mask.unwrap_or(u64::MAX);
        let limit = IovaLimit { mask, bus: 0, aperture_end: None, low_first: true };
        let wanted = Wanted {
            cpu: op.cpu,
            pages: op.pages,
            limit: Limit::Device(limit),
            slow: None,
            began_empty: false,
        };
        if !self.is_lost(now) {
            self.branch(now);
        }
        if self.lost.is_some() {
            self.states.iter_mut().for_each(|state| state.space.follow(&wanted, op.pfn));
            tally.open(SUBJECT, FLUSHED, at);
            return;
        }
        if !known {
            self.states.iter_mut().for_each(|state| state.space.follow(&wanted, op.pfn));
            tally.open(SUBJECT, MASK, at);
            return;
        }
        if self.states.len() > 1 {
            let possible = |state: &State| !state.excludes(&wanted, op.pfn);
            if self.states.iter().any(possible) {
                self.states.retain(possible);
            }
        }
        let outcomes: Vec<Outcome> =
            self.states.iter_mut().map(|state| state.space.allocate(&wanted, Some(op.pfn))).collect();
        let Some(first) = outcomes.first().copied() else { return };
        let possible: Vec<bool> = outcomes.iter().map(|outcome| !contradicts(*outcome, op.pfn)).collect();
        let any = possible.contains(&true);
        let alike = outcomes.iter().all(|outcome| answer(*outcome) == answer(first));
        let outcome = if alike || !any { first } else { Outcome::Open(FLUSHED) };
        let what = || format!("{}: {} pages on CPU {}", names.name(dev), op.pages, op.cpu);
        count(outcome, at, Some(op.pfn), tally, what);
        let mut each = possible.into_iter();
        if any {
            self.states.retain(|_| each.next().unwrap_or(false));
        } else if self.states.iter().any(|state| state.rings.is_some()) && !self.shown {
            self.lose(now);
        }
    }
}

fn answer(outcome: Outcome) -> Option<Option<u64>> {
    match outcome {
        Outcome::Open(_) => None,
        Outcome::Compared { modelled, .. } => Some(modelled),
    }
}

fn contradicts(outcome: Outcome, recorded: u64) -> bool {
    answer(outcome).is_some_and(|modelled| modelled != Some(recorded))
}
