//! Test H: the allocator of bus addresses by itself, without and with its caches.

use std::collections::BTreeMap;

use models::iommu::iova::{CachedNode, Cpu, IovaDomain, IovaPfn, IovaRange, Plenty, Reserved};
use models::mem::PAGE_SIZE;

use super::line::{Line, hex, index};
use super::session::{Check, Session};

const RANGES: &str = "H iova_domain";
const CACHES: &str = "H iova caches";
/// The driver's caches are asked for page frames below 4 GiB.
const LOW: IovaPfn = IovaPfn(0xf_ffff);
/// The driver takes 300 page frames at once.
const MOST_AT_ONCE: u64 = 1 << 16;

/// The domains under test.
#[derive(Debug, Default)]
pub(super) struct RawIova {
    ranges: Option<IovaDomain>,
    caches: Option<IovaDomain>,
    /// What the second round over the page frames that were taken at once gives.
    again: Vec<Option<IovaPfn>>,
    /// Sizes of what is allocated, by page frame.
    sizes: BTreeMap<u64, u64>,
}

fn node(node: CachedNode) -> String {
    match node {
        CachedNode::Anchor => format!("{:x}", u64::MAX),
        CachedNode::Range(pfn) => format!("{:x}", pfn.0),
        CachedNode::Null => "0".to_owned(),
    }
}

fn range(range: Option<IovaRange>) -> String {
    range.map_or_else(|| "none".to_owned(), |range| format!("{:x}-{:x}", range.lo.0, range.hi.0))
}

fn nodes(domain: &IovaDomain) -> String {
    format!("cached32={} cached={}", node(domain.cached32_node()), node(domain.cached_node()))
}

/// `A-B`.
fn bounds(text: &str) -> Option<(u64, u64)> {
    let (lo, hi) = text.split_once('-')?;
    let (lo, hi) = (hex(lo)?, hex(hi)?);
    (lo <= hi).then_some((lo, hi))
}

impl Session<'_> {
    fn new_domain(&self) -> Option<IovaDomain> {
        IovaDomain::init_iova_domain(self.machine.rules.iova, PAGE_SIZE, IovaPfn(1)).ok()
    }

    /// One line about the domain without caches.
    pub(super) fn iova_domain(&mut self, line: &Line) -> Option<()> {
        let word = line.words().nth(1)?;
        if word == "init" {
            return self.init_iova(line);
        }
        if self.iova.ranges.is_none() {
            self.tally(line, "addresses of a domain whose beginning is not in the log");
            return Some(());
        }
        let mut domain = self.iova.ranges.take()?;
        let answer = one(&mut domain, line, word);
        self.iova.ranges = Some(domain);
        match answer? {
            Some((recorded, modelled)) => {
                self.check(Check { row: RANGES, line, recorded, modelled, why: None });
            }
            None => self.tally(line, "input: addresses given back"),
        }
        Some(())
    }

    fn init_iova(&mut self, line: &Line) -> Option<()> {
        let domain = self.new_domain()?;
        let modelled = format!(
            "granule={PAGE_SIZE} start_pfn={:x} dma_32bit_pfn={:x} max32_alloc_size={:x} anchor={anchor:x}-{anchor:x}",
            domain.start_pfn().0,
            1_u64 << (32 - domain.iova_shift()),
            domain.max32_alloc_size(),
            anchor = u64::MAX,
        );
        let recorded = line.text.split_once("init ")?.1.trim_end().to_owned();
        self.check(Check { row: RANGES, line, recorded, modelled, why: None });
        self.iova.ranges = Some(domain);
        Some(())
    }

    /// One line about the domain with caches.
    pub(super) fn iova_caches(&mut self, line: &Line) -> Option<()> {
        let word = line.words().nth(1)?;
        if word == "rcaches" {
            let mut domain = self.new_domain()?;
            domain.iova_domain_init_rcaches();
            let recorded = line.result()?.to_owned();
            self.check(Check { row: CACHES, line, recorded, modelled: "0".to_owned(), why: None });
            self.iova.caches = Some(domain);
            return Some(());
        }
        if self.iova.caches.is_none() {
            self.tally(line, "addresses of a domain whose beginning is not in the log");
            return Some(());
        }
        let cpu = Cpu(self.paths.cpu);
        let mut domain = self.iova.caches.take()?;
        let answer = self.one_cached(&mut domain, cpu, line, word);
        self.iova.caches = Some(domain);
        match answer? {
            Some((recorded, modelled)) => {
                self.check(Check { row: CACHES, line, recorded, modelled, why: None });
            }
            None => self.tally(line, "input: addresses given back"),
        }
        Some(())
    }

    #[expect(clippy::option_option, reason = "a line that cannot be read, and one without a result")]
    fn one_cached(
        &mut self,
        domain: &mut IovaDomain,
        cpu: Cpu,
        line: &Line,
        word: &str,
    ) -> Option<Option<(String, String)>> {
        match word {
            "alloc_fast" => {
                let pages = line.dec("n")?;
                let recorded = hex(line.result()?)?;
                let pfn = domain.alloc_iova_fast(cpu, pages, LOW, true, &mut Plenty).map_or(0, |pfn| pfn.0);
                self.iova.sizes.insert(recorded, pages);
                Some(Some((format!("{recorded:x}"), format!("{pfn:x}"))))
            }
            "free_fast" => {
                let pfn = line.hex("pfn")?;
                self.iova.sizes.remove(&pfn);
                domain.free_iova_fast(cpu, IovaPfn(pfn), line.dec("n")?, &mut Plenty).ok()?;
                Some(None)
            }
            _ if word.starts_with("again[") => {
                let recorded = hex(line.result()?)?;
                let modelled = (*self.iova.again.get(index(word)?)?).map_or(0, |pfn| pfn.0);
                Some(Some((format!("{recorded:x}"), format!("{modelled:x}"))))
            }
            _ => {
                let count: u64 =
                    word.strip_suffix('x')?.parse().ok().filter(|count| *count <= MOST_AT_ONCE)?;
                let pages = line.dec("n")?;
                let mut take = || domain.alloc_iova_fast(cpu, pages, LOW, true, &mut Plenty).ok();
                let taken: Vec<_> = (0..count).map(|_| take()).collect();
                let text = |pfn: Option<&Option<IovaPfn>>| pfn.and_then(|pfn| *pfn).map_or(0, |pfn| pfn.0);
                let modelled = format!("first={:x} last={:x}", text(taken.first()), text(taken.last()));
                let recorded = format!("first={} last={}", line.value("first")?, line.value("last")?);
                for pfn in taken.into_iter().flatten() {
                    domain.free_iova_fast(cpu, pfn, pages, &mut Plenty).ok()?;
                }
                self.iova.again = (0..count)
                    .map(|_| domain.alloc_iova_fast(cpu, pages, LOW, true, &mut Plenty).ok())
                    .collect();
                Some(Some((recorded, modelled)))
            }
        }
    }
}

/// One call: what the log and the model say, or nothing if it has no result.
#[expect(clippy::option_option, reason = "a line that cannot be read, and one without a result")]
fn one(domain: &mut IovaDomain, line: &Line, word: &str) -> Option<Option<(String, String)>> {
    if word.starts_with("cached32=") {
        let recorded = format!("cached32={} cached={}", line.value("cached32")?, line.value("cached")?);
        return Some(Some((recorded, nodes(domain))));
    }
    match word {
        "reserve" => {
            let (lo, hi) = bounds(line.words().nth(2)?)?;
            let reserved = domain.reserve_iova(IovaPfn(lo), IovaPfn(hi), &mut Plenty);
            let modelled = match reserved {
                Reserved::Range(covers) => range(Some(covers)),
                Reserved::Nonsensical | Reserved::NoMemory => range(None),
            };
            Some(Some((line.result()?.to_owned(), modelled)))
        }
        "find" => {
            let pfn = IovaPfn(hex(line.words().nth(2)?)?);
            Some(Some((line.result()?.to_owned(), range(domain.find_iova(pfn)))))
        }
        "big" | "too" => {
            let (pages, limit) = (line.hex("n")?, IovaPfn(line.hex("limit")?));
            let taken = domain.alloc_iova(pages, limit, true, &mut Plenty).map_or(0, |range| range.lo.0);
            let modelled = format!("{taken:x} max32_alloc_size={:x}", domain.max32_alloc_size());
            Some(Some((line.result()?.to_owned(), modelled)))
        }
        _ if word.starts_with("alloc_iova[") || word.starts_with("realloc_iova[") => {
            let (pages, limit) = (line.dec("n")?, IovaPfn(line.hex("limit")?));
            let aligned = line.value("aligned")? == "1";
            let taken = domain.alloc_iova(pages, limit, aligned, &mut Plenty).ok();
            let mut modelled = range(taken);
            let recorded = line.result()?;
            if recorded.contains("cached32=") {
                modelled = format!("{modelled} {}", nodes(domain));
            }
            Some(Some((recorded.to_owned(), modelled)))
        }
        _ if word.starts_with("free_iova[") => {
            let pfn = IovaPfn(hex(line.words().nth(2)?)?);
            domain.free_iova(pfn).ok()?;
            Some(None)
        }
        _ => None,
    }
}
