//! Test J: one buffer is mapped again and again until that fails.

use std::collections::BTreeMap;

use models::iommu::dma::IOVA_FQ_SIZE;
use models::iommu::iova::{DepotRule, IOVA_RANGE_CACHE_MAX_SIZE, order_base_2};
use models::mem::{DmaAddr, PAGE_SHIFT, PAGE_SIZE, PhysAddr};

use super::flushes::{Told, What};
use super::line::{Line, hex};
use super::session::{Check, Session, shown};

const ROW: &str = "J exhaustion";
/// The driver makes no more maps of one size.
const MOST_MAPS: usize = 60_000;
/// The driver's largest buffer has 256 KiB.
const LARGEST: u64 = 1 << 22;
/// The driver fills three times; more often, and only time would be lost.
const MOST_FILLS: u32 = 64;
/// So many addresses are asked what happened while nothing was printed.
const MOST_HINTS: usize = 64;
/// The depot's work runs so often, in microseconds. Source: `drivers/iommu/iova.c: IOVA_DEPOT_DELAY`, v6.12.
const DEPOT_DELAY: u64 = 100_000;
/// The driver prints so many jumps of one size.
const PRINTED_JUMPS: usize = 39;
/// A made-up place above 4 GiB, for a buffer whose place is not printed.
const HIGH: u64 = 1 << 40;

/// What the log tells of one size.
#[derive(Debug, Default)]
struct Told1 {
    size: u64,
    /// Addresses by number.
    addrs: BTreeMap<usize, DmaAddr>,
    /// When they were printed.
    times: BTreeMap<usize, u64>,
    /// The line with the totals: how many maps there were.
    mapped: Option<usize>,
    /// When that line was printed.
    ended: Option<u64>,
    /// When the next line was: all is unmapped by then.
    drained: Option<u64>,
    /// Its lines.
    lines: usize,
}

impl Told1 {
    /// When a map was made: as printed, or else spread evenly up to the line with the totals.
    fn time_of(&self, number: usize) -> Option<u64> {
        let printed = self.times.get(&number).copied();
        let spread = || {
            let (last, from) = self.times.last_key_value().filter(|(last, _)| **last < number)?;
            spread(*from, self.ended?, number - last, self.mapped?.checked_sub(*last)?)
        };
        printed.or_else(spread)
    }
}

/// The `part`-th of `parts` equal steps from one time to another.
fn spread(from: u64, to: u64, part: usize, parts: usize) -> Option<u64> {
    let (part, parts) = (u64::try_from(part).ok()?, u64::try_from(parts).ok().filter(|parts| *parts > 0)?);
    Some(from + to.checked_sub(from)?.checked_mul(part.min(parts))? / parts)
}

/// What the models say of one size.
struct Run {
    addrs: Vec<DmaAddr>,
    why: Option<String>,
    /// Where the models say something else, by number.
    differs: BTreeMap<usize, Option<DmaAddr>>,
}

impl Run {
    fn modelled(&self, number: usize) -> Option<DmaAddr> {
        self.differs.get(&number).copied().unwrap_or_else(|| self.addrs.get(number).copied())
    }
}

impl Session<'_> {
    /// All lines of one size from `at` on; how many there were.
    pub(super) fn exhaustion(&mut self, at: usize) -> usize {
        let mut told = self.gather(at);
        self.fills += 1;
        if self.fills > MOST_FILLS {
            told.lines = 0;
        }
        if told.lines == 0 {
            self.tally(&self.lines[at], "lines that are cut, garbled or of an unknown kind");
            return 1;
        }
        self.between_jumps(&mut told);
        let run = self.fill(&told);
        let end = (at + told.lines).min(self.lines.len());
        for line in &self.lines[at..end] {
            self.compare_fill(line, &told, &run);
        }
        self.drain(&told, &run);
        told.lines
    }

    fn gather(&self, at: usize) -> Told1 {
        let mut told = Told1::default();
        for line in &self.lines[at..] {
            let Some(size) = line.text.strip_prefix("J ").and_then(|_| line.dec("size")) else { break };
            if told.lines > 0 && size != told.size || told.mapped.is_some() || size == 0 || size > LARGEST {
                break;
            }
            told.size = size;
            told.lines += 1;
            if let Some(mapped) = line.dec("mapped") {
                told.mapped = usize::try_from(mapped).ok();
                told.ended = line.time;
                let (first, last) = (line.hex("first"), line.hex("last"));
                if let (Some(count), Some(first), Some(last)) =
                    (told.mapped.filter(|count| *count > 0), first, last)
                {
                    told.addrs.insert(0, DmaAddr(first));
                    told.addrs.insert(count - 1, DmaAddr(last));
                }
            } else if let Some(number) = line.dec("n").and_then(|n| usize::try_from(n).ok()) {
                let after = line.text.split_once("-> ").and_then(|(_, text)| hex(text.trim()));
                if let Some(time) = line.time {
                    told.times.insert(number, time);
                }
                if let Some(addr) = line.hex("dma").or(after) {
                    told.addrs.insert(number, DmaAddr(addr));
                }
                let before =
                    line.text.split_once("jump ").and_then(|(_, text)| hex(text.split(' ').next()?));
                if let (Some(before), Some(number)) = (before, number.checked_sub(1)) {
                    told.addrs.insert(number, DmaAddr(before));
                }
            }
        }
        told.drained = self.lines.get(at + told.lines).and_then(|line| line.time);
        told
    }

    /// Every jump is printed, up to a number: what lies between two of them is one behind the other.
    fn between_jumps(&self, told: &mut Told1) {
        let (Some(mapped), Some(first)) = (told.mapped, told.addrs.get(&0).copied()) else { return };
        if self.paths.translated() || !self.paths.direct.bounced(first) {
            return;
        }
        let mut addr = first;
        let mut jumps = 0;
        for number in 1..mapped.min(MOST_MAPS) {
            let next = addr.wrapping_add(told.size);
            match told.addrs.get(&number) {
                Some(printed) if *printed != next => {
                    jumps += 1;
                    addr = *printed;
                }
                _ => addr = next,
            }
            if jumps >= PRINTED_JUMPS {
                return;
            }
            told.addrs.entry(number).or_insert(addr);
        }
    }

    /// The buffer's place is not printed. Where the device sees the buffer itself, the log does tell it.
    fn place(&self, told: &Told1) -> PhysAddr {
        let first = told.addrs.get(&0).copied().unwrap_or_default();
        let direct = &self.paths.direct;
        if !self.paths.translated() && !direct.bounced(first) { PhysAddr(first.0) } else { PhysAddr(HIGH) }
    }

    fn fill(&mut self, told: &Told1) -> Run {
        let phys = self.place(told);
        let mut run = Run { addrs: Vec::new(), why: None, differs: BTreeMap::new() };
        let what = What::Page { phys, size: told.size, coherent: false };
        if self.paths.translated() {
            self.choose_start(told, what);
        }
        let limit = if self.seen_directly(phys, told.size) { told.mapped.unwrap_or(1) } else { MOST_MAPS };
        let known = told.addrs.keys().copied().filter(|number| *number < 64).max().unwrap_or(0);
        while run.addrs.len() < limit.min(MOST_MAPS) {
            let number = run.addrs.len();
            let says = match told.addrs.get(&number) {
                Some(addr) => Told::Addr(*addr),
                None => Told::Nothing,
            };
            self.paths.earlier = self.paths.now;
            self.paths.now = told.time_of(number).or(self.paths.now);
            self.paths.later = told.time_of(number + 1);
            if self.paths.translated() && number > known {
                let now = self.paths.now;
                self.paths.domain().settle();
                self.paths.domain().pass_time(now);
            }
            let mapped = self.paths.map_what(&self.params, what, says);
            if run.why.is_none() {
                run.why = mapped.why;
            }
            // A contradiction is told once; the run goes on with what the log says.
            match (mapped.modelled, says) {
                (Ok(addr), Told::Addr(recorded)) if addr != recorded => {
                    run.differs.entry(number).or_insert(Some(addr));
                    run.addrs.push(recorded);
                }
                (Ok(addr), _) => run.addrs.push(addr),
                (Err(_), Told::Addr(recorded)) => {
                    run.differs.entry(number).or_insert(None);
                    run.addrs.push(recorded);
                }
                (Err(_), _) => break,
            }
        }
        run
    }

    /// What the timers did since the last line is not printed: how many of the ranges unmapped last still wait, and
    /// whether the depot was trimmed. Both show in the first address.
    fn choose_start(&mut self, told: &Told1, what: What<'_>) {
        let Some(first) = told.addrs.get(&0).copied() else { return };
        let (params, online) = (self.params, self.machine.cpus);
        let addrs: Vec<DmaAddr> =
            (0..MOST_HINTS).map_while(|number| told.addrs.get(&number).copied()).collect();
        let most = if matches!(self.machine.rules.iova.depot, DepotRule::Trimmed) {
            // Once each 100 ms, and whatever of that lies across the ends.
            self.silent.map_or(1, |time| 1 + usize::try_from(time / DEPOT_DELAY).unwrap_or(usize::MAX))
        } else {
            0
        };
        let mut inferred = false;
        self.paths.with_domain(true, |domain, call| {
            inferred = domain.infer_trims(call, &params, what, &addrs, most);
        });
        if inferred {
            return;
        }
        let class = order_base_2((told.size >> PAGE_SHIFT).max(1)).min(IOVA_RANGE_CACHE_MAX_SIZE - 1);
        self.paths.with_domain(true, |domain, call| {
            let waiting = domain.space().pending();
            domain.choose(call, &params, what, Told::Addr(first), 2 * (waiting + 1), |space, number| {
                space.flush_oldest(call.cpu, number / 2);
                number % 2 == 0 || (0..=class).any(|class| space.trim(class, online))
            });
        });
    }

    /// A mapping that takes no place can be made for ever: the driver stops by itself.
    fn seen_directly(&self, phys: PhysAddr, size: u64) -> bool {
        use models::dma::rules::DirectWay;
        !self.paths.translated()
            && matches!(self.paths.direct.way(&self.params, phys, size), DirectWay::Direct(_))
    }

    fn compare_fill(&mut self, line: &Line, told: &Told1, run: &Run) {
        let addr = |number: usize| shown(run.modelled(number).map(|addr| addr.0));
        let why = run.why.clone();
        let (recorded, modelled) = if line.value("mapped").is_some() {
            let Some((_, recorded)) = line.text.split_once(" mapped=") else { return };
            (format!("mapped={}", recorded.trim_end()), totals(told.size, run))
        } else {
            let Some(number) = line.dec("n").and_then(|number| usize::try_from(number).ok()) else {
                self.tally(line, "lines that are cut, garbled or of an unknown kind");
                return;
            };
            match (line.value("dma"), line.text.split_once("jump ")) {
                (Some(recorded), _) => (format!("dma={recorded}"), format!("dma={}", addr(number))),
                (None, Some((_, recorded))) => {
                    let before = number.checked_sub(1).and_then(|before| run.addrs.get(before));
                    let before = shown(before.map(|addr| addr.0));
                    (recorded.trim_end().to_owned(), format!("{before} -> {}", addr(number)))
                }
                (None, None) => {
                    self.tally(line, "lines that are cut, garbled or of an unknown kind");
                    return;
                }
            }
        };
        let why = why.or_else(|| self.why_exhausted(told));
        self.check(Check { row: ROW, line, recorded, modelled, why });
    }

    /// The totals of a domain depend on what timers did while no line was printed.
    fn why_exhausted(&self, told: &Told1) -> Option<String> {
        let trimmed = matches!(self.machine.rules.iova.depot, DepotRule::Trimmed);
        if !self.paths.translated() || told.mapped.is_none() {
            return None;
        }
        let mut timed = Vec::new();
        if trimmed {
            timed.push("the depot's work trims every 100 ms");
        }
        if self.paths.lazy() {
            timed.push("the flush queue's timer fires");
        }
        (!timed.is_empty())
            .then(|| format!("{}: when, is not in this log while no line is printed", timed.join(", and ")))
    }

    /// The driver unmaps in the order in which it mapped.
    fn drain(&mut self, told: &Told1, run: &Run) {
        // The queue takes back in the order in which it was filled, so that only how many wait at the end matters; as
        // many as can wait are left to `choose_start`.
        let waits = run.addrs.len().saturating_sub(IOVA_FQ_SIZE - 1);
        self.silent = told.ended.zip(told.drained).map(|(ended, drained)| drained.saturating_sub(ended));
        self.paths.earlier = told.ended;
        self.paths.now = told.drained;
        self.paths.later = told.drained;
        for (number, addr) in run.addrs.iter().enumerate() {
            self.forget_bounced(*addr, told.size);
            if !self.paths.translated() {
                self.paths.unmap(&self.params, *addr, told.size);
                continue;
            }
            if self.paths.is_absent(*addr) {
                continue;
            }
            self.paths.with_domain(true, |domain, call| {
                if number == waits {
                    domain.flush(call.cpu);
                }
                domain.unmap(call, *addr, told.size);
            });
        }
    }
}

/// The driver's totals: a jump is an address that is not the end of the one before.
fn totals(size: u64, run: &Run) -> String {
    let pairs = || run.addrs.iter().zip(run.addrs.iter().skip(1));
    let jumps = pairs().filter(|(before, addr)| addr.0 != before.0.wrapping_add(size)).count();
    let descents = pairs().filter(|(before, addr)| addr.0 < before.0).count();
    let (first, last) =
        (run.addrs.first().map_or(0, |addr| addr.0), run.addrs.last().map_or(0, |addr| addr.0));
    debug_assert!(size > 0 && PAGE_SIZE > 0, "sizes were looked at");
    format!("mapped={} first={first:x} last={last:x} jumps={jumps} descents={descents}", run.addrs.len())
}
