//! Probes on the allocator of I/O virtual addresses, given to the model of each domain.

use std::collections::{BTreeMap, BTreeSet};

use models::iommu::iova::IovaRules;

use super::event::Event;
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
                let call = Call { line: at, cpu: line.cpu, domain, pages, limit, flush, slow: false };
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
        }
    }

    /// Events were lost.
    pub(super) fn forget(&mut self) {
        self.calls = Calls::default();
        self.spaces.values_mut().for_each(Space::forget);
    }

    fn space(&mut self, domain: u64) -> Option<&mut Space> {
        if self.spaces.len() >= MAX && !self.spaces.contains_key(&domain) {
            return None;
        }
        let Self { rules, cpus, spaces, older, .. } = self;
        Some(spaces.entry(domain).or_insert_with(|| {
            let mut space = Space::new(rules, *cpus, &[], false);
            for (pfn, pages) in older.remove(&domain).unwrap_or_default() {
                space.add_older(pfn, pages);
            }
            space
        }))
    }

    /// Takes an event.
    pub(super) fn event(&mut self, at: u64, line: &Line<'_>, event: Event<'_>, tally: &mut Tally) {
        if let Event::IovaFree { domain, pfn, pages } = event {
            if let Some(space) = self.space(domain) {
                space.free(line.cpu, pfn, pages);
            }
            return;
        }
        let Some((call, pfn)) = self.calls.event(at, line, event) else { return };
        let slow = self.slow_shown.then_some(call.slow);
        let limit = Limit::Probed { last: call.limit, flush: call.flush };
        let wanted = Wanted { cpu: call.cpu, pages: call.pages, limit, slow };
        let Some(space) = self.space(call.domain) else { return };
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
