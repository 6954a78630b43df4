//! Translated domains by their events alone, without probes: one per IOMMU group.

use std::collections::{BTreeMap, BTreeSet};

use models::iommu::dma::{FqRings, IovaLimit};
use models::iommu::iova::{IovaPfn, IovaRules};

use super::event::Event;
use super::folder::Folder;
use super::line::Line;
use super::names::Names;
use super::probed::{SUBJECT, count};
use super::ranges::{Op, Ranges};
use super::space::{FLUSHED, Limit, Outcome, Space, Wanted};
use super::tally::Tally;
use crate::replay::KernelRules;

/// Ranges that the first look at a trace remembers.
const MAX_RANGES: usize = 1 << 20;
/// Domains that are kept.
const MAX_DOMAINS: usize = 1 << 12;
/// Lines within which an allocation that has begun is complete.
const AGE: u64 = 4096;
/// Nanoseconds after which the timer of a flush queue may have fired, and after which it must have.
///
/// Source: `drivers/iommu/dma-iommu.c: IOVA_FQ_TIMEOUT`, 10 ms in ticks, which begin anywhere within a tick.
const MAY_FIRE: u64 = 8_000_000;
const MUST_FIRE: u64 = 40_000_000;

const MASK: &str = "nobody says which driver the device has, and so which mask";
/// Histories of a domain that are followed at once.
const MAX_HISTORIES: usize = 48;

const GUESSED: &str =
    "not determined: a flush queue was emptied at another time, or on another CPU, than was guessed";

/// What was allocated before the trace began: what it gives back without having allocated it.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    ranges: Ranges,
    known: BTreeSet<(u64, u64)>,
    found: BTreeMap<u64, Vec<(u64, u64)>>,
}

impl Before {
    /// Takes an event.
    pub(super) fn event(&mut self, at: u64, line: &Line<'_>, event: Event<'_>, folder: &Folder) {
        let Self { ranges, known, found } = self;
        ranges.event(at, line, event, |op| {
            let domain = domain_of(folder, op.dev);
            if known.len() < MAX_RANGES && known.insert((domain, op.pfn)) && !op.allocated {
                found.entry(domain).or_default().push((op.pfn, IovaRules::range_pages(op.pages)));
            }
        });
    }
}

/// The number of a device's domain: its group's, or one of its own.
fn domain_of(folder: &Folder, dev: &str) -> u64 {
    let alone =
        || dev.bytes().fold(1 << 32, |sum: u64, byte| sum.wrapping_mul(257).wrapping_add(u64::from(byte)));
    folder.devices.get(dev).and_then(|device| device.group).unwrap_or_else(alone)
}

/// An event of a domain that waits for its place: allocations are complete only some events after they began.
#[derive(Clone, Debug)]
enum Step {
    Op { domain: u64, dev: u32, op: Plain, nanos: u64, at: u64 },
    Flush { did: u64, cpu: u32, nanos: u64 },
    Attach { domain: u64 },
}

/// An [`Op`] without the name.
#[derive(Clone, Copy, Debug)]
struct Plain {
    pfn: u64,
    pages: u64,
    cpu: u32,
    allocated: bool,
}

/// One history that a domain may have had.
#[derive(Clone, Debug)]
struct State {
    space: Space,
    /// With lazy invalidation: what waits for a flush, and since when.
    rings: Option<FqRings>,
    waiting: BTreeSet<u64>,
    oldest: Option<u64>,
    /// The CPU whose queue was full: the event that says that it is being emptied is still to come.
    emptied: Option<u32>,
}

#[derive(Debug)]
struct Domain {
    /// The histories that the trace allows.
    states: Vec<State>,
    /// There were too many, or none was left. What is given back meanwhile is lost sight of, and since when nothing was.
    lost: Option<u64>,
    /// Flushes are shown.
    shown: bool,
}

/// The replay of all domains.
#[derive(Debug)]
pub(super) struct Domains {
    rules: KernelRules,
    cpus: u32,
    whole: bool,
    shown: bool,
    /// Domains by the number that flush events call them.
    dids: BTreeMap<u64, u64>,
    /// By the line at which they happened.
    steps: BTreeMap<(u64, u64), Step>,
    ranges: Ranges,
    before: BTreeMap<u64, Vec<(u64, u64)>>,
    domains: BTreeMap<u64, Domain>,
}

impl Domains {
    /// Begins with what is known to be older than the trace; `whole` if nothing is.
    pub(super) fn new(rules: &KernelRules, cpus: u32, before: Before, whole: bool, shown: bool) -> Self {
        Self {
            rules: *rules,
            cpus,
            whole,
            shown,
            dids: BTreeMap::new(),
            steps: BTreeMap::new(),
            ranges: Ranges::default(),
            before: if whole { BTreeMap::new() } else { before.found },
            domains: BTreeMap::new(),
        }
    }

    /// Events were lost.
    pub(super) fn forget(&mut self) {
        self.ranges = Ranges::default();
        self.steps.clear();
        for state in self.domains.values_mut().flat_map(|domain| domain.states.iter_mut()) {
            state.space.forget();
        }
    }

    /// Takes an event.
    pub(super) fn event(
        &mut self,
        at: u64,
        line: &Line<'_>,
        event: Event<'_>,
        folder: &Folder,
        names: &mut Names,
        tally: &mut Tally,
    ) {
        let nanos = line.nanos;
        let mut step = match event {
            Event::FlushAll { did } => Some((at, Step::Flush { did, cpu: line.cpu, nanos })),
            Event::Attach { dev } => Some((at, Step::Attach { domain: domain_of(folder, dev) })),
            _ => None,
        };
        self.ranges.event(at, line, event, |op| {
            let Op { pfn, pages, cpu, allocated, .. } = op;
            let (domain, dev) = (domain_of(folder, op.dev), names.number(op.dev));
            let plain = Plain { pfn, pages, cpu, allocated };
            step = Some((op.line, Step::Op { domain, dev, op: plain, nanos, at }));
        });
        if let Some((since, step)) = step {
            self.steps.insert((since, at), step);
        }
        let open = self.ranges.oldest_open(at, AGE).unwrap_or(at);
        while let Some(entry) = self.steps.first_entry() {
            if entry.key().0 > open {
                break;
            }
            let step = entry.remove();
            self.step(step, folder, names, tally);
        }
    }

    /// What waits still, at the end.
    pub(super) fn finish(&mut self, folder: &Folder, names: &Names, tally: &mut Tally) {
        for step in std::mem::take(&mut self.steps).into_values() {
            self.step(step, folder, names, tally);
        }
    }

    fn step(&mut self, step: Step, folder: &Folder, names: &Names, tally: &mut Tally) {
        match step {
            Step::Flush { did, cpu, nanos } => self.flush(did, cpu, nanos),
            // Another domain, or the same one again: nothing is known of it.
            Step::Attach { domain } => {
                if self.domains.remove(&domain).is_some() {
                    self.whole = false;
                    self.before.remove(&domain);
                }
            }
            Step::Op { domain: number, dev, op, nanos, at } => {
                let Self { rules, cpus, whole, shown, before, domains, .. } = self;
                if domains.len() >= MAX_DOMAINS && !domains.contains_key(&number) {
                    return;
                }
                let domain = domains.entry(number).or_insert_with(|| {
                    let older = before.remove(&number).unwrap_or_default();
                    let state = State::new(rules, *cpus, folder, number, &older, *whole);
                    Domain { states: vec![state], lost: None, shown: *shown }
                });
                if op.allocated {
                    domain.allocate(&op, (names, dev), at, nanos, tally);
                } else {
                    domain.free(&op, nanos);
                }
            }
        }
    }

    /// A flush event names its domain by a number of the hardware's. Which one it is shows when only one has anything
    /// to flush.
    fn flush(&mut self, did: u64, cpu: u32, now: u64) {
        let known = self.dids.get(&did).copied().or_else(|| {
            let taken: BTreeSet<u64> = self.dids.values().copied().collect();
            let due = |domain: &Domain| domain.states.iter().any(|state| state.is_due(now, 0));
            let mut due =
                self.domains.iter().filter(|(number, domain)| !taken.contains(number) && due(domain));
            let (number, _) = due.next()?;
            due.next().is_none().then_some(*number)
        });
        let Some(domain) = known.and_then(|number| self.domains.get_mut(&number)) else {
            // The type of a domain may have been changed since the state file was written.
            for domain in self.domains.values_mut().filter(|domain| domain.is_strict()) {
                domain.lost = Some(u64::MAX);
            }
            return;
        };
        if let Some(number) = known
            && self.dids.len() < MAX_DOMAINS
        {
            self.dids.insert(did, number);
        }
        for state in &mut domain.states {
            if state.emptied.take() != Some(cpu) {
                state.flush(cpu);
            }
        }
    }
}

impl State {
    fn new(
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
    fn is_due(&self, now: u64, wait: u64) -> bool {
        self.oldest.is_some_and(|oldest| now.saturating_sub(oldest) >= wait)
    }

    /// The kernel gives a range back: to the caches, or to a queue, which is emptied if it is full.
    fn free(&mut self, op: &Plain, now: u64) {
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
    fn flush(&mut self, cpu: u32) {
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
    fn excludes(&self, wanted: &Wanted, pfn: u64) -> bool {
        self.waiting.contains(&pfn) || self.space.is_elsewhere(wanted, pfn)
    }

    /// Nothing is known of what was given back.
    fn forget(&mut self) {
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
    fn branch(&mut self, now: u64) {
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
    fn lose(&mut self, now: u64) {
        self.states.truncate(1);
        self.states.iter_mut().for_each(State::forget);
        self.lost = Some(now);
    }

    /// Whether sight is lost. It is regained after a time without a release: then nothing waits any more.
    fn is_lost(&mut self, now: u64) -> bool {
        self.lost = self.lost.filter(|since| now.saturating_sub(*since) < MUST_FIRE);
        self.lost.is_some()
    }

    fn is_strict(&self) -> bool {
        self.states.iter().all(|state| state.rings.is_none())
    }

    fn free(&mut self, op: &Plain, now: u64) {
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

    fn allocate(&mut self, op: &Plain, (names, dev): (&Names, u32), at: u64, now: u64, tally: &mut Tally) {
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
