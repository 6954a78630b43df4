//! Probes on the allocator of I/O virtual addresses, given to the model of each domain.

use std::collections::{BTreeMap, BTreeSet};

use models::iommu::iova::IovaRules;

use super::event::Event;
use super::folder::Folder;
use super::line::{Context, Line};
use super::space::{Basis, Limit, Outcome, Space, Wanted};
use super::tally::{Compared, Tally};
use crate::Exception;
use crate::replay::KernelRules;

pub(super) const SUBJECT: &str = "I/O virtual addresses";
/// Domains and waiting allocations that are kept.
const MAX: usize = 1 << 16;
/// Ranges that the first look at a trace remembers.
const MAX_RANGES: usize = 1 << 20;

/// A call that has not returned.
#[derive(Clone, Copy, Debug)]
struct Call {
    line: u64,
    cpu: u32,
    domain: u64,
    pages: u64,
    limit: u64,
    flush: bool,
    slow: bool,
    began_empty: bool,
}

/// Follows the calls of the allocator through the threads.
#[derive(Clone, Debug, Default)]
struct Calls(BTreeMap<Context, Call>);

impl Calls {
    /// A call that has returned, and its result.
    fn event(&mut self, at: u64, line: &Line<'_>, event: Event<'_>) -> Option<(Call, Option<u64>)> {
        match event {
            Event::IovaAlloc { domain, pages, limit, flush } => {
                if self.0.len() >= MAX {
                    self.0.clear();
                }
                let call = Call {
                    line: at,
                    cpu: line.cpu,
                    domain,
                    pages,
                    limit,
                    flush,
                    slow: false,
                    began_empty: false,
                };
                self.0.insert(line.context, call);
                None
            }
            Event::IovaSlow { domain, .. } => {
                if let Some(call) = self.0.get_mut(&line.context).filter(|call| call.domain == domain) {
                    call.slow = true;
                }
                None
            }
            Event::IovaAllocReturn { pfn } => {
                let call = self.0.remove(&line.context)?;
                Some((call, (pfn != 0).then_some(pfn)))
            }
            _ => None,
        }
    }
}

/// What was allocated before the trace began: found by what it frees, or finds in caches, without having allocated it.
#[derive(Clone, Debug, Default)]
pub(super) struct Older {
    calls: Calls,
    known: BTreeSet<(u64, u64)>,
    /// Domain, page frame and number of pages.
    pub(super) ranges: Vec<(u64, u64, u64)>,
    /// Whether probes show when the caches had nothing.
    pub(super) slow_shown: bool,
}

impl Older {
    /// Takes an event.
    pub(super) fn event(&mut self, at: u64, line: &Line<'_>, event: Event<'_>) {
        self.slow_shown |= matches!(event, Event::IovaSlow { .. });
        if let Event::IovaFree { domain, pfn, pages } = event {
            self.note(domain, pfn, pages, true);
        } else if let Some((call, Some(pfn))) = self.calls.event(at, line, event) {
            self.note(call.domain, pfn, call.pages, !call.slow);
        }
    }

    fn note(&mut self, domain: u64, pfn: u64, pages: u64, older: bool) {
        if self.known.len() < MAX_RANGES && self.known.insert((domain, pfn)) && older {
            self.ranges.push((domain, pfn, pages));
        }
    }
}

/// The replay of all domains.
#[derive(Debug)]
pub(super) struct Probed {
    rules: KernelRules,
    cpus: u32,
    calls: Calls,
    spaces: BTreeMap<u64, Space>,
    older: BTreeMap<u64, Vec<(u64, u64)>>,
    slow_shown: bool,
    /// The device of the DMA call in which a thread is.
    devices: BTreeMap<Context, String>,
}

impl Probed {
    /// Begins with what is known to be older than the trace.
    pub(super) fn new(rules: &KernelRules, cpus: u32, older: &Older) -> Self {
        let mut by_domain: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
        for (domain, pfn, pages) in &older.ranges {
            by_domain.entry(*domain).or_default().push((*pfn, IovaRules::range_pages(*pages)));
        }
        Self {
            rules: *rules,
            cpus,
            calls: Calls::default(),
            spaces: BTreeMap::new(),
            older: by_domain,
            slow_shown: older.slow_shown,
            devices: BTreeMap::new(),
        }
    }

    /// Events were lost.
    pub(super) fn forget(&mut self) {
        self.calls = Calls::default();
        self.spaces.values_mut().for_each(Space::forget);
    }

    /// A domain is known by the device for which it is first used, and with it what is reserved there.
    fn space(&mut self, domain: u64, context: Context, folder: &Folder) -> Option<&mut Space> {
        if self.spaces.len() >= MAX && !self.spaces.contains_key(&domain) {
            return None;
        }
        let Self { rules, cpus, spaces, older, devices, .. } = self;
        Some(spaces.entry(domain).or_insert_with(|| {
            let mut reserved = folder.windows.clone();
            let device = devices.get(&context).and_then(|dev| folder.devices.get(dev));
            let group = device.and_then(|device| folder.groups.get(&device.group?));
            reserved.extend(group.iter().flat_map(|group| group.reserved.iter().copied()));
            let mut space = Space::new(rules, *cpus, &reserved, false);
            for (pfn, pages) in older.remove(&domain).unwrap_or_default() {
                space.add_older(pfn, pages);
            }
            space
        }))
    }

    /// Takes an event.
    pub(super) fn event(
        &mut self,
        at: u64,
        line: &Line<'_>,
        event: Event<'_>,
        folder: &Folder,
        tally: &mut Tally,
    ) {
        if let Event::ProbeMapPage { dev } | Event::ProbeMapSg { dev } | Event::ProbeOther { dev } = event {
            if self.devices.len() >= MAX {
                self.devices.clear();
            }
            self.devices.insert(line.context, dev.to_owned());
            return;
        }
        if let Event::IovaFree { domain, pfn, pages } = event {
            if let Some(space) = self.space(domain, line.context, folder) {
                space.free(line.cpu, pfn, pages);
            }
            return;
        }
        let done = self.calls.event(at, line, event);
        if let Event::IovaAlloc { domain, pages, .. } = event {
            let empty =
                self.space(domain, line.context, folder).is_some_and(|space| space.is_empty(line.cpu, pages));
            if let Some(call) = self.calls.0.get_mut(&line.context) {
                call.began_empty = empty;
            }
        }
        let Some((call, pfn)) = done else { return };
        let slow = self.slow_shown.then_some(call.slow);
        let limit = Limit::Probed { last: call.limit, flush: call.flush };
        let wanted = Wanted { cpu: call.cpu, pages: call.pages, limit, slow, began_empty: call.began_empty };
        let Some(space) = self.space(call.domain, line.context, folder) else { return };
        let outcome = space.allocate(&wanted, pfn);
        count(outcome, call.line, pfn, tally, || {
            format!(
                "domain {:#x}: {} pages up to {:#x} on CPU {}",
                call.domain, call.pages, call.limit, call.cpu
            )
        });
    }
}

/// Counts the outcome of an allocation.
pub(super) fn count(
    outcome: Outcome,
    line: u64,
    recorded: Option<u64>,
    tally: &mut Tally,
    what: impl FnOnce() -> String,
) {
    match outcome {
        Outcome::Open(cause) => tally.open(SUBJECT, cause, line),
        Outcome::Compared { modelled, basis, why } => {
            let row = match basis {
                Basis::Seen => SUBJECT,
                Basis::Unseen => "I/O virtual addresses, ranges not seen yet taken for free",
                Basis::OlderCache => "I/O virtual addresses, caches not seen yet taken for empty",
            };
            let sure = basis == Basis::Seen;
            let compared = Compared { subject: SUBJECT, row, sure, agreed: modelled == recorded };
            let text = |pfn: Option<u64>| {
                pfn.map_or_else(|| "no address".to_owned(), |pfn| format!("page {pfn:#x}"))
            };
            tally.compare(&compared, why, || Exception {
                line,
                what: what(),
                recorded: text(recorded),
                modelled: text(modelled),
                why: None,
                detail: Vec::new(),
            });
        }
    }
}
