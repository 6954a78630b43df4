//! A first look at a trace: which events it holds, and what was mapped before it began.

use std::collections::BTreeMap;

use super::domains::Before;
use super::event::{self, Event, Skip};
use super::folder::Folder;
use super::line::{self, Parsed};
use super::names::Names;
use super::pool::Tracked;
use super::probed::Older;
use crate::{Source, SourceError};

/// Names of events that are counted one by one.
const MAX_NAMES: usize = 256;

/// What a trace holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    /// Lines that hold an event.
    pub(super) events: u64,
    /// `entries-in-buffer/entries-written` of the header.
    pub(super) entries: Option<(u64, u64)>,
    /// The last line that holds an event.
    pub(super) last_line: u64,
    /// Lines that say that events were lost, and how many.
    pub(super) lost: (u64, u64),
    /// Events by name that no model answers for.
    pub(super) unused: BTreeMap<String, u64>,
    /// Lines that could not be read, and the first of them.
    pub(super) broken: (u64, u64),
    /// Lines that are no events at all, and the first of them.
    pub(super) foreign: (u64, u64),
    /// Searches announced by `swiotlb_bounced`, probes on them, on their returns and on releases.
    pub(super) bounced: u64,
    /// See `bounced`.
    pub(super) sw_map: u64,
    /// See `bounced`.
    pub(super) sw_map_return: u64,
    /// See `bounced`.
    pub(super) sw_unmap: u64,
    /// Events of `dma:*`, which tell results.
    pub(super) dma_events: u64,
    /// Events of `iommu:map` and probes on `alloc_iova_fast()`.
    pub(super) iommu_maps: u64,
    /// See `iommu_maps`.
    pub(super) iova_allocs: u64,
    /// One more than the highest CPU seen.
    pub(super) cpus: u32,
    /// Events that show when a flush queue is emptied.
    pub(super) flushes: u64,
    /// The same by events alone.
    pub(super) before: Before,
    /// Ranges of I/O virtual addresses from before the trace, by probes.
    pub(super) older_ranges: Older,
    /// Releases in the pool without a mapping before: device, address, size.
    pub(super) older: Vec<(String, u64, u64)>,
}

impl Survey {
    /// Whether the file was cut: it holds fewer events than its header says.
    pub(super) fn cut(&self) -> bool {
        self.entries.is_some_and(|(kept, _)| self.events < kept)
    }

    /// Whether results of slot searches are shown, or nothing was searched.
    pub(super) fn answered(&self) -> bool {
        self.bounced == 0 || self.sw_map_return > 0 || self.dma_events > 0
    }

    /// Whether the ring buffer had overwritten the oldest events.
    pub(super) fn overwritten(&self) -> bool {
        self.entries.is_some_and(|(kept, written)| kept < written)
    }

    /// Reads a trace to its end.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or holds no event at all.
    pub(super) fn of(
        mut source: Source,
        folder: &Folder,
        pool: Option<&Tracked>,
    ) -> Result<Self, SourceError> {
        let mut survey = Self::default();
        let mut names = Names::new(folder);
        let slots = pool.map_or(0, Tracked::slot_count);
        let mut seen = vec![false; slots];
        while let Some(text) = source.next_line()? {
            let at = source.line();
            match line::parse(&text) {
                Parsed::Event(line) => {
                    survey.events += 1;
                    survey.last_line = at;
                    survey.cpus = survey.cpus.max(line.cpu + 1);
                    match event::parse(line.event, line.rest) {
                        Ok(event) => {
                            survey.older_ranges.event(at, &line, event);
                            survey.before.event(at, &line, event, folder);
                            survey.count(event, pool, &mut names, &mut seen);
                        }
                        Err(Skip::Broken) => first(&mut survey.broken, at),
                        Err(Skip::Unused) => survey.unused(line.event),
                    }
                }
                Parsed::Comment(text) => survey.header(text),
                Parsed::Lost(count) => {
                    survey.lost = (survey.lost.0 + 1, survey.lost.1.saturating_add(count));
                }
                Parsed::BufferStarted => survey.lost.0 += 1,
                Parsed::Empty => {}
                Parsed::Foreign => first(&mut survey.foreign, at),
            }
        }
        if survey.events == 0 {
            return Err(source.error(
                "no trace event in the whole file; a line of one looks like \
                 `sh-147 [000] d..1. 3.379711: swiotlb_bounced: dev_name: 0000:00:02.0 dma_mask=…`",
            ));
        }
        Ok(survey)
    }

    fn header(&mut self, text: &str) {
        let Some(rest) = text.trim().strip_prefix("entries-in-buffer/entries-written:") else { return };
        let Some((kept, written)) = rest.trim().split(' ').next().and_then(|pair| pair.split_once('/'))
        else {
            return;
        };
        if let (Ok(kept), Ok(written)) = (kept.parse(), written.parse()) {
            self.entries = Some((kept, written));
        }
    }

    fn unused(&mut self, name: &str) {
        let name =
            if self.unused.len() < MAX_NAMES || self.unused.contains_key(name) { name } else { "others" };
        *self.unused.entry(name.to_owned()).or_default() += 1;
    }

    fn count(&mut self, event: Event<'_>, pool: Option<&Tracked>, names: &mut Names, seen: &mut [bool]) {
        match event {
            Event::Bounced { .. } => self.bounced += 1,
            Event::SwMap { .. } => self.sw_map += 1,
            Event::SwMapReturn { .. } => self.sw_map_return += 1,
            Event::SwUnmap { .. } => self.sw_unmap += 1,
            Event::MapPage { .. } | Event::MapSg { .. } | Event::UnmapPage { .. } | Event::UnmapSg { .. } => {
                self.dma_events += 1;
            }
            Event::IommuMap { .. } => self.iommu_maps += 1,
            Event::IovaAlloc { .. } => self.iova_allocs += 1,
            Event::FlushAll { .. } => self.flushes += 1,
            _ => {}
        }
        let Some(pool) = pool else { return };
        match event {
            Event::MapPage { dev, dma, size, .. } => {
                self.run(pool, names, seen, (dev, dma, size), false);
            }
            Event::MapSg { dev, dma, sizes, .. } => {
                for (dma, size) in dma.iter().zip(sizes.iter()) {
                    if let (Some(dma), Some(size)) = (dma, size) {
                        self.run(pool, names, seen, (dev, dma, size), false);
                    }
                }
            }
            // A return tells no size, but the first slot is enough to know that it was free before.
            Event::SwMapReturn { tlb } => self.run(pool, names, seen, ("", tlb, 1), false),
            Event::UnmapPage { dev, dma, size } | Event::SwUnmap { dev, tlb: dma, size } => {
                self.run(pool, names, seen, (dev, dma, size), true);
            }
            _ => {}
        }
    }

    /// Notes that the trace shows this run; if its release comes first, it was mapped before.
    fn run(
        &mut self,
        pool: &Tracked,
        names: &mut Names,
        seen: &mut [bool],
        (dev, tlb, size): (&str, u64, u64),
        released: bool,
    ) {
        if !pool.contains(tlb) {
            return;
        }
        let number = names.number(dev);
        let limits = names.limits(number);
        let Some((first, nslots)) = pool.run_of(limits, tlb, size) else { return };
        let Some(run) = seen.get_mut(first as usize..(first + nslots) as usize) else { return };
        if released && run.iter().all(|seen| !*seen) {
            self.older.push((dev.to_owned(), tlb, size));
        }
        run.fill(true);
    }
}

fn first(count: &mut (u64, u64), at: u64) {
    if count.0 == 0 {
        count.1 = at;
    }
    count.0 += 1;
}
