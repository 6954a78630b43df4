//! Compares what the kernel prints of nodes, zones and numbers of pages.

use std::fmt::Debug;

use models::bootmem::movable::movable_starts;
use models::bootmem::{ZoneMap, pages};
use models::mem::{PAGE_SIZE, PhysRange};
use models::memblock::{NodeId, PfnRange};

use super::line::show;
use super::replay::Replay;
use super::state::State;
use crate::{Exception, Report};

fn bytes(pages: PfnRange) -> PhysRange {
    PhysRange { start: pages.start.phys(), end: pages.end.phys() }
}

/// Compares two lists item by item. Where the log goes on behind the lines, one that misses differs, too.
pub(crate) fn compare_lists<T: PartialEq>(
    report: &mut Report,
    name: &str,
    recorded: &[(u64, T)],
    modelled: &[T],
    goes_on: bool,
    show: impl Fn(&T) -> String,
) {
    let last = recorded.last().map_or(0, |(line, _)| *line);
    let count = if goes_on { recorded.len().max(modelled.len()) } else { recorded.len() };
    for index in 0..count {
        let (found, expected) = (recorded.get(index), modelled.get(index));
        let agrees = found.map(|(_, item)| item) == expected;
        report.count(name, agrees);
        if !agrees {
            report.exceptions.push(Exception {
                line: found.map_or(last, |(line, _)| *line),
                what: name.to_owned(),
                recorded: found.map_or_else(|| "no such line".to_owned(), |(_, item)| show(item)),
                modelled: expected.map_or_else(|| "no such line".to_owned(), &show),
                why: None,
                detail: Vec::new(),
            });
        }
    }
}

/// A number that is shown in hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hex(pub(crate) u64);

impl Debug for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Compares one value.
pub(crate) fn compare_value<T: PartialEq + Debug>(
    report: &mut Report,
    name: &str,
    line: u64,
    recorded: &T,
    modelled: &T,
) -> bool {
    let agrees = recorded == modelled;
    report.count(name, agrees);
    if !agrees {
        report.exceptions.push(Exception {
            line,
            what: name.to_owned(),
            recorded: format!("{recorded:?}"),
            modelled: format!("{modelled:?}"),
            why: None,
            detail: Vec::new(),
        });
    }
    agrees
}

impl Replay<'_> {
    pub(crate) fn compare_zones(&mut self) {
        let seen = std::mem::take(&mut self.nodes.seen);
        // The lists may be cut off with the log.
        let goes_on = seen.total_pages.is_some() || self.hand_over.is_some();
        if !seen.joined.is_empty() || !self.nodes.joined.is_empty() {
            let show_union = |union: &models::bootmem::Union| {
                let (first, second) = (show(union.first), show(union.second));
                format!("node {} {first} + {second} -> {}", union.nid.0, show(union.both))
            };
            let joined = std::mem::take(&mut self.nodes.joined);
            compare_lists(self.report, "blocks of nodes joined", &seen.joined, &joined, goes_on, show_union);
        }
        self.nodes.seen = seen.clone();
        self.take_zones();
        let (Some(map), Some(mb)) = (&self.zones, &self.nodes.lists) else { return };

        let limits: Vec<_> = map
            .limits
            .iter()
            .map(|(zone, limit)| (zone.name().to_owned(), (limit.pages() > 0).then(|| bytes(*limit))))
            .collect();
        compare_lists(self.report, "zone ranges", &seen.limits, &limits, goes_on, |(zone, range)| {
            format!("{zone} {}", range.map_or_else(|| "empty".to_owned(), show))
        });

        let request = self.facts.movable();
        let known = !(self.facts.mirrored || request.movable_node && !self.reserved_known);
        if known {
            let dma32_end =
                map.limits.iter().rev().find(|(_, limit)| limit.pages() > 0).map(|found| found.1.start);
            let starts = movable_starts(mb, &request, dma32_end.unwrap_or_default(), self.rules.numa);
            let starts: Vec<_> = starts.into_iter().map(|(nid, pfn)| (nid.0, pfn.phys().0)).collect();
            if !starts.is_empty() || !seen.movable.is_empty() {
                let show_start = |(nid, start): &(i32, u64)| format!("node {nid} from {start:#x}");
                let name = "start of movable memory";
                compare_lists(self.report, name, &seen.movable, &starts, goes_on, show_start);
            }
        } else if !seen.movable.is_empty() {
            self.report.notes.push(
                "where movable memory begins is taken from the log: which memory is mirrored or can be unplugged \
                 does not follow from it"
                    .to_owned(),
            );
        }

        let ranges: Vec<_> = mb
            .pfn_ranges(NodeId::MAX_NUMNODES)
            .map(|run| (run.nid.0, bytes(PfnRange { start: run.start, end: run.end })))
            .collect();
        let show_node = |(nid, range): &(i32, PhysRange)| format!("node {nid} {}", show(*range));
        compare_lists(self.report, "memory of nodes", &seen.ranges, &ranges, goes_on, show_node);

        let spans: Vec<_> = map.nodes.iter().map(|node| (node.nid.0, bytes(node.span))).collect();
        compare_lists(self.report, "first and last page of nodes", &seen.spans, &spans, goes_on, show_node);

        let unavailable: Vec<_> = map
            .unavailable
            .iter()
            .map(|hole| (hole.nid.0, hole.zone.name().to_owned(), hole.pages))
            .collect();
        let name = "unavailable pages";
        compare_lists(self.report, name, &seen.unavailable, &unavailable, goes_on, |(nid, zone, pages)| {
            format!("node {nid}, zone {zone}: {pages} pages")
        });

        if seen.memoryless > 0 {
            let note = format!(
                "{} nodes without memory are not compared: the log does not say why they are there",
                seen.memoryless
            );
            self.report.notes.push(note);
        }
        if let Some((line, recorded)) = seen.total_pages {
            let modelled = if self.rules.counts_early {
                self.dma_reserve.map(|reserve| pages::estimated_pages(map, reserve))
            } else {
                Some(pages::present_pages(map))
            };
            match modelled {
                Some(modelled) => {
                    compare_value(self.report, "Total pages", line, &recorded, &modelled);
                }
                None => self.report.notes.push("the number of all pages needs the reserved list".to_owned()),
            }
        }
    }

    /// Sizes of zones as the running system reports them.
    pub(crate) fn compare_zoneinfo(&mut self, state: &State) {
        let Some(map) = &self.zones else { return };
        let why = state.later_memory(&self.facts.ram);
        for (line, zone) in &state.zones {
            let modelled = sizes(map, zone.nid, &zone.name);
            let recorded = (zone.spanned, zone.present);
            let agrees = modelled == recorded;
            self.report.count("spanned and present pages of zones (state)", agrees);
            if !agrees {
                let show = |(spanned, present)| format!("spanned {spanned}, present {present}");
                self.report.exceptions.push(Exception {
                    line: *line,
                    what: format!("node {}, zone {} in {}", zone.nid, zone.name, state.name),
                    recorded: show(recorded),
                    modelled: show(modelled),
                    why: why.clone(),
                    detail: Vec::new(),
                });
            }
        }
    }
}

fn sizes(map: &ZoneMap, nid: i32, name: &str) -> (u64, u64) {
    let zone = map.node(NodeId(nid)).and_then(|node| node.zones.iter().find(|size| size.zone.name() == name));
    zone.map_or((0, 0), |size| (size.span.pages(), size.present))
}

/// A whole number of KiB.
pub(crate) const fn kib(pages: u64) -> u64 {
    pages.saturating_mul(PAGE_SIZE / 1024)
}
