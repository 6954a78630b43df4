//! Translated domains by their events alone, without probes: one per IOMMU group.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use models::iommu::dma::{FqRings, IovaLimit};
use models::iommu::iova::{IovaPfn, IovaRules};

use super::event::Event;
use super::folder::Folder;
use super::line::Line;
use super::names::Names;
use super::probed::{SUBJECT, count};
use super::ranges::{Op, Ranges};
use super::space::{Limit, Outcome, Space, Wanted};
use super::tally::Tally;
use crate::replay::KernelRules;

/// Ranges that the first look at a trace remembers.
const MAX_RANGES: usize = 1 << 20;
/// Domains that are kept.
const MAX_DOMAINS: usize = 1 << 12;
/// Releases that may have to be taken back for an allocation that began before them.
const RECENT: usize = 256;
/// Nanoseconds after which the timer of a flush queue may have fired, and after which it must have.
///
/// Source: `drivers/iommu/dma-iommu.c: IOVA_FQ_TIMEOUT`, 10 ms in ticks, which begin anywhere within a tick.
const MAY_FIRE: u64 = 8_000_000;
const MUST_FIRE: u64 = 40_000_000;

const FLUSHED: &str = "when a flush queue was emptied, and on which CPU, is not shown";

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

#[derive(Debug)]
struct Domain {
    space: Space,
    /// With lazy invalidation: what waits for a flush, and since when.
    rings: Option<FqRings>,
    waiting: BTreeSet<u64>,
    oldest: Option<u64>,
    recent: VecDeque<(u64, u32, u64, u64)>,
}

/// The replay of all domains.
#[derive(Debug)]
pub(super) struct Domains {
    rules: KernelRules,
    cpus: u32,
    whole: bool,
    ranges: Ranges,
    before: BTreeMap<u64, Vec<(u64, u64)>>,
    domains: BTreeMap<u64, Domain>,
}

impl Domains {
    /// Begins with what is known to be older than the trace; `whole` if nothing is.
    pub(super) fn new(rules: &KernelRules, cpus: u32, before: Before, whole: bool) -> Self {
        Self {
            rules: *rules,
            cpus,
            whole,
            ranges: Ranges::default(),
            before: if whole { BTreeMap::new() } else { before.found },
            domains: BTreeMap::new(),
        }
    }

    /// Events were lost.
    pub(super) fn forget(&mut self) {
        self.ranges = Ranges::default();
        for domain in self.domains.values_mut() {
            domain.space.forget();
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
        let Self { rules, cpus, whole, ranges, before, domains } = self;
        let mut ops = None;
        ranges.event(at, line, event, |op| {
            let number = domain_of(folder, op.dev);
            if domains.len() >= MAX_DOMAINS && !domains.contains_key(&number) {
                return;
            }
            let domain = domains.entry(number).or_insert_with(|| {
                let older = before.remove(&number).unwrap_or_default();
                Domain::new(rules, *cpus, folder, number, &older, *whole)
            });
            ops = Some(());
            if op.allocated {
                let dev = names.number(op.dev);
                let mask = names.mask(dev).unwrap_or(u64::MAX);
                domain.allocate(&op, mask, at, line.nanos, tally);
            } else {
                domain.free(&op, line.nanos);
            }
        });
    }
}

impl Domain {
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
        Self {
            space,
            rings: lazy.then(|| FqRings::new(cpus as usize)),
            waiting: BTreeSet::new(),
            oldest: None,
            recent: VecDeque::new(),
        }
    }

    fn free(&mut self, op: &Op<'_>, now: u64) {
        let Some(rings) = self.rings.as_mut() else {
            self.give(op.line, op.cpu, op.pfn, op.pages);
            return;
        };
        let cpu = op.cpu as usize;
        if rings.is_full(cpu) {
            rings.start_flush();
            rings.finish_flush();
            let flushed = rings.take_flushed(cpu);
            for entry in flushed {
                self.waiting.remove(&entry.pfn.0);
                self.give(op.line, op.cpu, entry.pfn.0, entry.pages);
            }
        }
        if let Some(rings) = self.rings.as_mut() {
            rings.add(cpu, IovaPfn(op.pfn), op.pages);
            self.waiting.insert(op.pfn);
            self.oldest.get_or_insert(now);
        }
    }

    fn give(&mut self, line: u64, cpu: u32, pfn: u64, pages: u64) {
        self.space.free(cpu, pfn, pages);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((line, cpu, pfn, pages));
    }

    fn allocate(&mut self, op: &Op<'_>, mask: u64, at: u64, now: u64, tally: &mut Tally) {
        let limit = IovaLimit { mask, bus: 0, aperture_end: None, low_first: true };
        let wanted = Wanted {
            cpu: op.cpu,
            pages: op.pages,
            limit: Limit::Device(limit),
            slow: None,
            began_empty: false,
        };
        let recorded = Some(op.pfn);
        let what = || format!("{}: {} pages on CPU {}", op.dev, op.pages, op.cpu);
        let since = self.oldest.map(|oldest| now.saturating_sub(oldest));
        if since.is_some_and(|since| since >= MAY_FIRE) || self.waiting.contains(&op.pfn) {
            let must = since.is_some_and(|since| since >= MUST_FIRE) || self.waiting.contains(&op.pfn);
            self.guess_flush(&wanted, op.pfn, must);
            tally.open(SUBJECT, FLUSHED, at);
            return;
        }
        // What was given back after the allocation began was not there for it.
        let later: Vec<_> = self.recent.iter().filter(|freed| freed.0 > op.line).copied().collect();
        let mut taken_back = Vec::new();
        for (line, cpu, pfn, pages) in later.into_iter().rev() {
            if self.space.take_back(pfn, pages) {
                taken_back.push((line, cpu, pfn, pages));
            }
        }
        let outcome = self.space.allocate(&wanted, recorded);
        for (_, cpu, pfn, pages) in taken_back.into_iter().rev() {
            self.space.free(cpu, pfn, pages);
        }
        count(outcome, at, recorded, tally, what);
    }

    /// The timer may have emptied the queues since, on any CPU. What was recorded tells, or does not matter.
    fn guess_flush(&mut self, wanted: &Wanted, recorded: u64, must: bool) {
        if !must {
            let mut unflushed = self.space.clone();
            if agrees(unflushed.allocate(wanted, Some(recorded)), recorded) {
                self.space = unflushed;
                return;
            }
        }
        let mut entries = Vec::new();
        if let Some(rings) = self.rings.as_mut() {
            rings.disarm();
            rings.start_flush();
            rings.finish_flush();
            for ring in 0..rings.cpus() {
                entries.extend(rings.take_flushed(ring));
            }
        }
        self.waiting.clear();
        self.oldest = None;
        let own = wanted.cpu;
        let cpus = self.space.cpus();
        let mut fallback = None;
        for cpu in std::iter::once(own).chain((0..cpus).filter(|cpu| *cpu != own)) {
            let mut flushed = self.space.clone();
            for entry in &entries {
                flushed.free(cpu, entry.pfn.0, entry.pages);
            }
            if agrees(flushed.allocate(wanted, Some(recorded)), recorded) {
                self.space = flushed;
                return;
            }
            fallback.get_or_insert(flushed);
        }
        if let Some(flushed) = fallback {
            self.space = flushed;
        }
    }
}

fn agrees(outcome: Outcome, recorded: u64) -> bool {
    matches!(outcome, Outcome::Compared { modelled, .. } if modelled == Some(recorded))
}
