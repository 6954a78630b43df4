//! Test E: scatterlists.

use models::dma::rules::dma_bit_mask;
use models::iommu::dma::SgSegment;
use models::mem::{DmaAddr, PhysAddr};

use super::flushes::{Told, What};
use super::line::{Line, index};
use super::session::{Check, Session};

const ROW: &str = "E scatterlists";
/// The driver's lists have at most four entries.
const MOST_ENTRIES: usize = 128;
/// The driver's entries have at most 128 KiB.
const LONGEST_ENTRY: u32 = 1 << 22;

/// The list under test.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    name: String,
    entries: Vec<(PhysAddr, u32)>,
    /// What the models say, once it was mapped.
    modelled: Option<Vec<SgSegment>>,
    /// What is to be unmapped: the models' segments, or the log's where they differ.
    recorded: Vec<SgSegment>,
    mapped: bool,
}

impl Session<'_> {
    /// `E NAME in[I] …`, `E NAME maxseg=… nents=N -> M`, `E NAME out[I] …`, `E mask bits=N`.
    pub(super) fn lists(&mut self, line: &Line) -> Option<()> {
        let name = line.words().nth(1)?;
        let second = line.words().nth(2)?;
        if name == "mask" {
            self.params.mask = dma_bit_mask(u32::try_from(line.dec("bits")?).ok()?);
            self.tally(line, "input: masks and entries of scatterlists");
            return Some(());
        }
        if second.starts_with("in[") {
            let number = index(second)?;
            if number == 0 {
                self.list = List { name: name.to_owned(), ..List::default() };
            }
            if number != self.list.entries.len() || number >= MOST_ENTRIES || self.list.name != name {
                return None;
            }
            let entry = (PhysAddr(line.hex("phys")?), u32::try_from(line.hex("len")?).ok()?);
            if entry.1 > LONGEST_ENTRY {
                return None;
            }
            self.list.entries.push(entry);
            self.tally(line, "input: masks and entries of scatterlists");
            return Some(());
        }
        if second.starts_with("out[") {
            return self.segment(line, index(second)?);
        }
        let entries = usize::try_from(line.dec("nents")?).ok()?;
        if entries != self.list.entries.len() || self.list.name != name {
            return None;
        }
        self.params.max_segment = u32::try_from(line.hex("maxseg")?).ok()?;
        self.params.boundary = line.hex("boundary")?;
        self.map_list(line)
    }

    fn map_list(&mut self, line: &Line) -> Option<()> {
        let recorded: i64 = line.result()?.parse().ok()?;
        // The segments follow in lines of their own.
        let at = self.lines.iter().position(|other| other.number == line.number)?;
        let told: Vec<SgSegment> = self.lines[at + 1..]
            .iter()
            .map_while(|line| {
                line.words().nth(2).filter(|word| word.starts_with("out["))?;
                let length = u32::try_from(line.hex("len")?).ok()?;
                Some(SgSegment { dma: DmaAddr(line.hex("dma")?), length })
            })
            .take(MOST_ENTRIES)
            .collect();
        let entries = std::mem::take(&mut self.list.entries);
        let held;
        let (modelled, why) = if self.paths.translated() {
            let first = told.first().map(|segment| segment.dma);
            let params = self.params;
            let (segments, fits, cpu) = self.paths.with_domain(false, |domain, call| {
                domain.map(call, &params, What::List(&entries), Told::of(first))
            });
            self.paths.runs_on(cpu);
            held = self.paths.domain().lost_addr.take().is_none();
            (segments.ok(), if fits { None } else { self.paths.why_translated() })
        } else {
            let (modelled, why, placed) = self.map_direct_list(&entries, &told);
            held = placed;
            (modelled, why)
        };
        self.list.entries = entries;
        let count = modelled.as_ref().map_or(0, Vec::len);
        let recorded_text = format!("{}", recorded.max(0));
        self.check(Check { row: ROW, line, recorded: recorded_text, modelled: count.to_string(), why });
        self.list.mapped = recorded > 0 && held;
        self.list.recorded = told;
        self.list.modelled = modelled;
        Some(())
    }

    /// Each entry by itself; after a difference the state follows the log.
    fn map_direct_list(
        &mut self,
        entries: &[(PhysAddr, u32)],
        told: &[SgSegment],
    ) -> (Option<Vec<SgSegment>>, Option<String>, bool) {
        let before = self.paths.direct.clone();
        if let ([(phys, length), ..], [first, ..]) = (entries, told) {
            self.paths.find_cpu(&self.params, *phys, u64::from(*length), first.dma);
        }
        let cpu = self.paths.cpu;
        let modelled = self.paths.direct.map_sg(cpu, &self.params, entries).ok();
        let segments = modelled.map(|addrs| {
            let segment =
                |(dma, (_, length)): (DmaAddr, &(PhysAddr, u32))| SgSegment { dma, length: *length };
            addrs.into_iter().zip(entries).map(segment).collect::<Vec<_>>()
        });
        if segments.as_deref().unwrap_or_default() == told {
            return (segments, None, true);
        }
        self.paths.direct = before;
        let mut held = true;
        for ((phys, length), segment) in entries.iter().zip(told) {
            let (params, size) = (&self.params, u64::from(*length));
            held &= self.paths.direct.accept(params, *phys, size, None, Some(segment.dma));
        }
        (segments, self.paths.why_pool(held), held)
    }

    fn segment(&mut self, line: &Line, number: usize) -> Option<()> {
        let (dma, length, leads_to) = (line.hex("dma")?, line.hex("len")?, line.hex("i2p")?);
        let show =
            |dma: u64, length: u64, leads_to: u64| format!("dma={dma:x} len={length:x} i2p={leads_to:x}");
        let recorded = show(dma, length, leads_to);
        let segment = self.list.modelled.as_ref()?.get(number).copied();
        let modelled = match segment {
            Some(segment) => {
                let leads_to = if self.paths.translated() {
                    self.paths.domain().iova_to_phys(segment.dma).map_or(0, |phys| phys.0)
                } else {
                    segment.dma.0
                };
                show(segment.dma.0, u64::from(segment.length), leads_to)
            }
            None => "no such segment".to_owned(),
        };
        let why = match segment {
            Some(segment) if segment.dma.0 != dma && self.paths.translated() => self.paths.why_translated(),
            Some(segment) if segment.dma.0 != dma => self.paths.why_pool(true),
            _ => None,
        };
        self.check(Check { row: ROW, line, recorded, modelled, why });
        Some(())
    }

    /// The list is unmapped as soon as its segments were printed.
    pub(super) fn unmap_list(&mut self) {
        if !std::mem::take(&mut self.list.mapped) {
            return;
        }
        let segments = std::mem::take(&mut self.list.recorded);
        if self.paths.translated() {
            if let (Some(first), Some(last)) = (segments.first(), segments.last()) {
                let end = last.dma.0.saturating_add(u64::from(last.length));
                let size = end.saturating_sub(first.dma.0);
                self.paths.then(|paths| {
                    paths.with_domain(false, |domain, call| domain.unmap(call, first.dma, size));
                });
            }
            return;
        }
        for segment in segments {
            self.forget_bounced(segment.dma, u64::from(segment.length));
            self.paths.direct.unmap_page(&self.params, segment.dma);
        }
    }
}
