//! From events to allocations: `iommu:map` and `iommu:unmap` tell of ranges, the `dma:*` event behind or before them of
//! which device.

use std::collections::BTreeMap;

use models::mem::{PAGE_SHIFT, PAGE_SIZE};

use super::event::Event;
use super::line::{Context, Line};

/// Threads, and ranges of one thread, that are kept.
const MAX: usize = 1 << 13;

/// Something that happened to a device's addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op<'a> {
    /// The device.
    pub(super) dev: &'a str,
    /// First page frame.
    pub(super) pfn: u64,
    /// Number of pages.
    pub(super) pages: u64,
    /// The CPU.
    pub(super) cpu: u32,
    /// The line from which on it had happened.
    pub(super) line: u64,
    /// Allocated, or given back.
    pub(super) allocated: bool,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    start: u64,
    end: u64,
    cpu: u32,
    line: u64,
}

#[derive(Clone, Debug, Default)]
struct Thread {
    mapped: Vec<Range>,
    unmapped: Vec<Range>,
    /// The device whose list is about to be unmapped.
    list_of: Option<String>,
}

/// What each thread has said so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges(BTreeMap<Context, Thread>);

impl Ranges {
    /// Takes an event; `done` is told what it completes.
    pub(super) fn event(&mut self, at: u64, line: &Line<'_>, event: Event<'_>, done: impl FnOnce(Op<'_>)) {
        match event {
            Event::IommuMap { iova, size, .. } => {
                let Some(range) = range(at, line, iova, size) else { return };
                push(&mut self.thread(line.context).mapped, range);
            }
            Event::IommuUnmap { iova, size } => {
                let Some(range) = range(at, line, iova, size) else { return };
                let thread = self.thread(line.context);
                match thread.list_of.take() {
                    Some(dev) => done(op(&dev, range, false)),
                    None => push(&mut thread.unmapped, range),
                }
            }
            Event::MapPage { dev, dma, .. } | Event::Alloc { dev, dma, .. } => {
                self.allocated(line.context, dev, dma, done);
            }
            Event::MapSg { dev, dma, .. } => {
                if let Some(first) = dma.iter().next().flatten() {
                    self.allocated(line.context, dev, first, done);
                }
            }
            Event::UnmapSg { dev, .. } => {
                let thread = self.thread(line.context);
                thread.unmapped.clear();
                thread.list_of = Some(dev.to_owned());
            }
            Event::UnmapPage { dev, dma, .. } | Event::Free { dev, dma, .. } => {
                let Some(thread) = self.0.get_mut(&line.context) else { return };
                let ranges = std::mem::take(&mut thread.unmapped);
                thread.list_of = None;
                if let Some(range) = ranges.iter().rev().find(|range| (range.start..range.end).contains(&dma))
                {
                    done(op(dev, *range, false));
                }
                self.leave(line.context);
            }
            _ => {}
        }
    }

    /// The line at which the oldest allocation began that is not complete; those of more than `age` lines ago never
    /// will be, such as mappings without the DMA API.
    pub(super) fn oldest_open(&self, at: u64, age: u64) -> Option<u64> {
        let begun = self.0.values().filter_map(|thread| Some(thread.mapped.first()?.line));
        begun.filter(|line| at.saturating_sub(*line) <= age).min()
    }

    fn thread(&mut self, context: Context) -> &mut Thread {
        if self.0.len() >= MAX && !self.0.contains_key(&context) {
            self.0.clear();
        }
        self.0.entry(context).or_default()
    }

    fn leave(&mut self, context: Context) {
        let idle = |thread: &Thread| {
            thread.mapped.is_empty() && thread.unmapped.is_empty() && thread.list_of.is_none()
        };
        if self.0.get(&context).is_some_and(idle) {
            self.0.remove(&context);
        }
    }

    /// The ranges mapped last, as far as they follow each other, are one allocation if it begins where the device's
    /// address lies.
    fn allocated(&mut self, context: Context, dev: &str, dma: u64, done: impl FnOnce(Op<'_>)) {
        let Some(thread) = self.0.get_mut(&context) else { return };
        let ranges = std::mem::take(&mut thread.mapped);
        self.leave(context);
        let page = dma & !(PAGE_SIZE - 1);
        let Some(last) = ranges.last().copied() else { return };
        let mut next = last.start;
        let mut first = last;
        for range in ranges.iter().rev().skip(1) {
            if first.start == page || range.end > next || range.start < page {
                break;
            }
            first = *range;
            next = range.start;
        }
        if first.start == page {
            done(op(dev, Range { end: last.end, ..first }, true));
        }
    }
}

fn push(ranges: &mut Vec<Range>, range: Range) {
    if ranges.len() >= MAX {
        ranges.clear();
    }
    ranges.push(range);
}

fn range(line: u64, at: &Line<'_>, start: u64, size: u64) -> Option<Range> {
    let end = start.checked_add(size).filter(|_| size > 0)?;
    Some(Range { start, end, cpu: at.cpu, line })
}

const fn op(dev: &str, range: Range, allocated: bool) -> Op<'_> {
    Op {
        dev,
        pfn: range.start >> PAGE_SHIFT,
        pages: (range.end - range.start).div_ceil(PAGE_SIZE),
        cpu: range.cpu,
        line: range.line,
        allocated,
    }
}
