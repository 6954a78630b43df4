//! When a lazy domain's queue was flushed: from the trace beside the log, if it tells.

use std::path::Path;

use crate::source::{Source, SourceError};

use super::line::{Line, hex};
use super::machine::beside;

/// How many lines of a trace are read.
const MOST_LINES: u64 = 5_000_000;
/// How many maps of the trace must be those of the log, from the first on.
const COMPARED: usize = 64;

/// A map of one buffer.
const MAP: &str = ": dma_map_page: ";
/// The calls that take addresses or give them back.
const CALLS: [&str; 6] =
    [MAP, ": dma_unmap_page: ", ": dma_map_sg: ", ": dma_unmap_sg: ", ": dma_alloc: ", ": dma_free: "];

/// What is known of the flushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Guide {
    /// Only that a flush comes some time after the first unmap.
    Clock,
    /// For each flush, how many calls of the DMA API were over when it came; and how many calls the trace covers.
    Trace {
        /// By flush, in order.
        after: Vec<u64>,
        /// Calls.
        covers: u64,
    },
}

impl Guide {
    /// Reads `trace_dmatest.txt` beside the log. A trace that lost events, that begins elsewhere or that has no flush
    /// events is of no use.
    ///
    /// # Errors
    ///
    /// If it is there and cannot be read.
    pub(super) fn beside(log: &Path, lines: &[Line]) -> Result<Self, SourceError> {
        let Some(path) = beside(log, "trace_dmatest.txt") else { return Ok(Self::Clock) };
        let mut source = Source::open(&path)?;
        let mut trace = Trace::default();
        while let Some(line) = source.next_line()? {
            trace.look(&line);
            if source.line() > MOST_LINES {
                return Err(source.error(format!("more than {MOST_LINES} lines")));
            }
        }
        Ok(trace.guide(lines))
    }
}

#[derive(Default)]
struct Trace {
    lossless: bool,
    /// The first device of the trace: the one under test, if the maps are the log's.
    device: Option<String>,
    calls: u64,
    flushes: Vec<u64>,
    /// Domains that were flushed.
    domains: Vec<String>,
    /// Address and size of the first maps.
    maps: Vec<(u64, u64)>,
}

impl Trace {
    fn look(&mut self, line: &str) {
        if let Some((_, counts)) = line.split_once("entries-in-buffer/entries-written: ") {
            let counts = counts.split_ascii_whitespace().next().unwrap_or_default();
            self.lossless = counts.split_once('/').is_some_and(|(kept, written)| kept == written);
        }
        let is = |event: &str| line.contains(event);
        if is(": cache_tag_flush_all: ") && is(" type iotlb ") {
            self.flushes.push(self.calls);
            let domain = line.split_once(" did ").and_then(|(_, rest)| rest.split(' ').next());
            let domain = domain.unwrap_or_default();
            if !self.domains.iter().any(|known| known == domain) {
                self.domains.push(domain.to_owned());
            }
        } else if let Some((event, rest)) =
            CALLS.iter().find_map(|event| Some((*event, line.split_once(*event)?.1)))
        {
            let device = rest.split(' ').next().unwrap_or_default();
            let own = self.device.get_or_insert_with(|| device.to_owned());
            if own != device {
                return;
            }
            self.calls += 1;
            let value = |key: &str| rest.split_once(key).and_then(|(_, rest)| rest.split(' ').next());
            if event == MAP
                && self.maps.len() < COMPARED
                && let Some(phys) = value("phys_addr=").and_then(hex)
                && let Some(size) = value("size=").and_then(|text| text.parse().ok())
            {
                self.maps.push((phys, size));
            }
        }
    }

    fn guide(self, lines: &[Line]) -> Guide {
        let maps = lines.iter().filter(|line| line.text.starts_with("B ") || line.text.starts_with("C "));
        let maps = maps.filter_map(|line| Some((line.hex("phys")?, line.dec("size")?)));
        let same = self.maps.len() == COMPARED && maps.take(COMPARED).eq(self.maps.iter().copied());
        if self.lossless && same && self.domains.len() == 1 {
            Guide::Trace { after: self.flushes, covers: self.calls }
        } else {
            Guide::Clock
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<Line> {
        let text = |n: usize| {
            format!("B mask=64 zone=normal min_align=0 off=0 phys={:x} size=8 -> 1000 i2p=0", n * 4096)
        };
        (0..count).map(|n| Line { number: 1, time: None, text: text(n) }).collect()
    }

    fn trace(kept: u64, shift: usize) -> Trace {
        let mut trace = Trace::default();
        trace.look(&format!("# entries-in-buffer/entries-written: {kept}/500   #P:1"));
        for n in 0..100 {
            let phys = (n + shift) * 4096;
            trace.look(&format!(" i-1 [000] ..... 1.0: dma_map_page: 0:1.0 dir=X dma_addr=1000 size=8 phys_addr={phys:x} attrs="));
            trace.look(" i-1 [000] ..... 1.0: dma_unmap_page: 0:1.0 dir=X dma_addr=1000 size=8 attrs=");
            if n % 50 == 2 {
                trace.look(
                    " i-1 [000] ..... 1.0: cache_tag_flush_all: dmar0/dmar0 type iotlb did 3 pasid 0 ref 1",
                );
            }
        }
        trace
    }

    #[test]
    fn flushes_are_placed_between_calls() {
        let guide = trace(500, 0).guide(&lines(100));
        assert_eq!(guide, Guide::Trace { after: vec![6, 106], covers: 200 });
    }

    #[test]
    fn a_trace_that_lost_events_or_begins_elsewhere_is_not_used() {
        assert_eq!(trace(499, 0).guide(&lines(100)), Guide::Clock);
        assert_eq!(trace(500, 1).guide(&lines(100)), Guide::Clock);
        assert_eq!(trace(500, 0).guide(&lines(3)), Guide::Clock);
    }
}
