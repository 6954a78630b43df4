//! Test J: one buffer is mapped again and again until that fails.

use std::collections::BTreeMap;

use models::iommu::iova::order_base_2;
use models::mem::{DmaAddr, PAGE_SHIFT, PAGE_SIZE, PhysAddr};

use super::flushes::{Told, What};
use super::line::{Line, hex};
use super::session::{Check, Session};

const ROW: &str = "J exhaustion";
/// The driver makes no more maps of one size.
const MOST_MAPS: usize = 60_000;
/// A made-up place above 4 GiB, for a buffer whose place is not printed.
const HIGH: u64 = 1 << 40;

/// What the log tells of one size.
#[derive(Debug, Default)]
struct Told1 {
    size: u64,
    /// Addresses by number.
    addrs: BTreeMap<usize, DmaAddr>,
    /// The line with the totals: how many maps there were.
    mapped: Option<usize>,
    /// Its lines.
    lines: usize,
}

/// What the models say of one size.
struct Run {
    addrs: Vec<DmaAddr>,
    why: Option<String>,
    /// It ended with a map that failed.
    failed: bool,
}

impl Session<'_> {
    /// All lines of one size from `at` on; how many there were.
    pub(super) fn exhaustion(&mut self, at: usize) -> usize {
        let told = self.gather(at);
        if told.lines == 0 {
            self.tally(&self.lines[at], "lines that are cut, garbled or of an unknown kind");
            return 1;
        }
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
            if told.lines > 0 && size != told.size || told.mapped.is_some() || size == 0 || size > 1 << 30 {
                break;
            }
            told.size = size;
            told.lines += 1;
            if let Some(mapped) = line.dec("mapped") {
                told.mapped = usize::try_from(mapped).ok();
                let (first, last) = (line.hex("first"), line.hex("last"));
                if let (Some(count), Some(first), Some(last)) =
                    (told.mapped.filter(|count| *count > 0), first, last)
                {
                    told.addrs.insert(0, DmaAddr(first));
                    told.addrs.insert(count - 1, DmaAddr(last));
                }
            } else if let Some(number) = line.dec("n").and_then(|n| usize::try_from(n).ok()) {
                let after = line.text.split_once("-> ").and_then(|(_, text)| hex(text.trim()));
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
        told
    }

    /// The buffer's place is not printed. Where the device sees the buffer itself, the log does tell it.
    fn place(&self, told: &Told1) -> PhysAddr {
        let first = told.addrs.get(&0).copied().unwrap_or_default();
        let direct = &self.paths.direct;
        if !self.paths.translated() && !direct.bounced(first) { PhysAddr(first.0) } else { PhysAddr(HIGH) }
    }

    fn fill(&mut self, told: &Told1) -> Run {
        let phys = self.place(told);
        let mut run = Run { addrs: Vec::new(), why: None, failed: false };
        let what = What::Page { phys, size: told.size, coherent: false };
        if self.paths.translated() {
            let pages = (told.size >> PAGE_SHIFT).max(1);
            let class = order_base_2(pages);
            let online = self.machine.cpus;
            // What was pushed to the depot before may have been trimmed once since.
            self.paths.domain().perhaps(|space| {
                space.trim(class, online) | (0..class).any(|below| space.trim(below, online))
            });
        }
        let limit = if self.seen_directly(phys, told.size) { told.mapped.unwrap_or(1) } else { MOST_MAPS };
        let known = told.addrs.keys().copied().filter(|number| *number < 64).max().unwrap_or(0);
        while run.addrs.len() < limit.min(MOST_MAPS) {
            let number = run.addrs.len();
            let says = match told.addrs.get(&number) {
                Some(addr) => Told::Addr(*addr),
                None => Told::Nothing,
            };
            if self.paths.translated() && number > known {
                self.paths.domain().settle();
            }
            let mapped = self.paths.map_what(&self.params, what, says);
            if run.why.is_none() {
                run.why = mapped.why;
            }
            match mapped.modelled {
                Ok(addr) => run.addrs.push(addr),
                Err(_) => {
                    run.failed = true;
                    break;
                }
            }
        }
        run
    }

    /// A mapping that takes no place can be made for ever: the driver stops by itself.
    fn seen_directly(&self, phys: PhysAddr, size: u64) -> bool {
        use models::dma::rules::DirectWay;
        !self.paths.translated()
            && matches!(self.paths.direct.way(&self.params, phys, size), DirectWay::Direct(_))
    }

    fn compare_fill(&mut self, line: &Line, told: &Told1, run: &Run) {
        let addr = |number: usize| {
            run.addrs.get(number).map_or_else(|| "ERROR".to_owned(), |addr| format!("{:x}", addr.0))
        };
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
                    let before = number.checked_sub(1).map_or_else(|| "none".to_owned(), addr);
                    (recorded.trim_end().to_owned(), format!("{before} -> {}", addr(number)))
                }
                (None, None) => {
                    self.tally(line, "lines that are cut, garbled or of an unknown kind");
                    return;
                }
            }
        };
        self.check(Check { row: ROW, line, recorded, modelled, why });
    }

    /// The driver unmaps in the order in which it mapped.
    fn drain(&mut self, told: &Told1, run: &Run) {
        for addr in &run.addrs {
            self.forget_bounced(*addr, told.size);
            if self.paths.translated() {
                self.paths.with_domain(true, |domain, call| domain.unmap(call, *addr, told.size));
            } else {
                self.paths.direct.unmap_page(&self.params, *addr);
            }
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
