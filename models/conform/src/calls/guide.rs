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
    /// What a trace tells of each flush and each call of the DMA API.
    Trace {
        /// By flush, in order.
        flushes: Vec<Flush>,
        /// On which CPU each call was made; the trace covers as many.
        calls: Vec<u32>,
    },
}

/// A flush of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flush {
    /// How many calls of the DMA API were over when it came.
    pub(super) after: u64,
    /// Where it ran: the addresses go to the caches of this CPU.
    pub(super) cpu: u32,
}

impl Guide {
    /// The CPU of a call, if the trace tells.
    pub(super) fn cpu_of(&self, call: u64) -> Option<u32> {
        match self {
            Self::Trace { calls, .. } => calls.get(usize::try_from(call).ok()?).copied(),
            Self::Clock => None,
        }
    }

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
    /// By call, the CPU.
    calls: Vec<u32>,
    flushes: Vec<Flush>,
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
            self.flushes.push(Flush { after: self.calls.len() as u64, cpu: cpu_of(line) });
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
            self.calls.push(cpu_of(line));
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
            Guide::Trace { flushes: self.flushes, calls: self.calls }
        } else {
            Guide::Clock
        }
    }
}

/// `COMM-PID  [CPU] FLAGS TIME: EVENT`; names may hold brackets, the time stamp's word comes two behind the CPU's.
fn cpu_of(line: &str) -> u32 {
    let words = || line.split_ascii_whitespace();
    let number = |word: &str| word.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    words()
        .zip(words().skip(2))
        .find_map(|(word, time)| time.strip_suffix(':').and_then(|_| number(word)))
        .unwrap_or(0)
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
        let flush = |after| Flush { after, cpu: 0 };
        assert_eq!(guide, Guide::Trace { flushes: vec![flush(6), flush(106)], calls: vec![0; 200] });
    }

    #[test]
    fn the_cpu_stands_before_flags_and_time() {
        assert_eq!(cpu_of("  kworker/0:[3]-227     [012] d.s2.     7.640783: cache_tag_flush_all: x"), 12);
        assert_eq!(cpu_of(" garbled"), 0);
    }

    #[test]
    fn a_trace_that_lost_events_or_begins_elsewhere_is_not_used() {
        assert_eq!(trace(499, 0).guide(&lines(100)), Guide::Clock);
        assert_eq!(trace(500, 1).guide(&lines(100)), Guide::Clock);
        assert_eq!(trace(500, 0).guide(&lines(3)), Guide::Clock);
    }
}
