//! Translated domains by their events alone, without probes: one per IOMMU group.

use std::collections::{BTreeMap, BTreeSet};

use models::iommu::iova::IovaRules;

use super::event::Event;
use super::folder::Folder;
use super::history::{Domain, Plain, State};
use super::line::Line;
use super::names::Names;
use super::ranges::{Op, Ranges};
use super::tally::Tally;
use crate::replay::KernelRules;

/// Ranges that the first look at a trace remembers.
const MAX_RANGES: usize = 1 << 20;
/// Domains that are kept.
const MAX_DOMAINS: usize = 1 << 12;
/// Lines within which an allocation that has begun is complete.
const AGE: u64 = 4096;

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
            self.step(&step, folder, names, tally);
        }
    }

    /// What waits still, at the end.
    pub(super) fn finish(&mut self, folder: &Folder, names: &Names, tally: &mut Tally) {
        for step in std::mem::take(&mut self.steps).into_values() {
            self.step(&step, folder, names, tally);
        }
    }

    fn step(&mut self, step: &Step, folder: &Folder, names: &Names, tally: &mut Tally) {
        match *step {
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
