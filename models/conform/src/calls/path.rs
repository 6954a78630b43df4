//! Which way each device's mappings go, and the state along it.

use std::collections::{BTreeMap, BTreeSet};

use models::iommu::dma::SgSegment;
use models::iommu::iova::CachedNode;
use models::iommu::pagetable::PageTable;
use models::mem::{DmaAddr, PhysAddr};
use models::swiotlb::Pool;

use crate::replay::{DirectDma, DmaDomain, DmaParams, DomainSpec, MapFailed};

use super::flushes::{Call, Domain, Told, What};
use super::guide::Guide;
use super::line::{Line, hex};
use super::machine::{IommuKind, Machine};
use super::session::shown;
use super::state::Window;

/// `IOMMU_DOMAIN_IDENTITY`. Source: `include/linux/iommu.h`.
const IDENTITY: u64 = 4;
/// `IOMMU_DOMAIN_DMA`.
const DMA: u64 = 3;
/// `IOMMU_DOMAIN_DMA_FQ`.
const DMA_FQ: u64 = 11;

/// What a device's domain looks like.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    /// `IOMMU_DOMAIN_*`, if the log or the state file tells.
    kind: Option<u64>,
    /// Page sizes, one bit each.
    pub(super) pgsizes: u64,
    /// The last address.
    pub(super) aperture_end: u64,
}

/// The ways, and who goes them now.
pub(super) struct Paths<'a> {
    machine: &'a Machine,
    /// Without an IOMMU.
    pub(super) direct: DirectDma,
    /// By group.
    domains: BTreeMap<String, Domain>,
    shapes: BTreeMap<String, Shape>,
    guide: Guide,
    /// The device under test.
    pub(super) device: String,
    /// The CPU on which the driver runs.
    pub(super) cpu: u32,
    /// The time of the line before, in microseconds.
    pub(super) earlier: Option<u64>,
    /// The time of the line.
    pub(super) now: Option<u64>,
    /// The time of the next line.
    pub(super) later: Option<u64>,
    /// How often the driver was found on another CPU.
    moves: u64,
    /// Addresses that the log says were handed out, but that the state could not take: they are not given back either.
    absent: BTreeSet<u64>,
}

/// One map: what the models say, and where the address leads.
#[derive(Clone, Debug)]
pub(super) struct Mapped {
    pub(super) modelled: Result<DmaAddr, MapFailed>,
    pub(super) leads_to: Option<PhysAddr>,
    pub(super) why: Option<String>,
}

impl<'a> Paths<'a> {
    pub(super) fn new(machine: &'a Machine, guide: Guide, lines: &[Line]) -> Self {
        let rules = machine.rules;
        let pool = machine.pool.map(|(start, size)| Pool::new(rules.search, rules.bounce, start, size));
        Self {
            machine,
            direct: DirectDma::new(rules.version, pool, machine.force),
            domains: BTreeMap::new(),
            shapes: shapes(lines),
            guide,
            device: String::new(),
            cpu: 0,
            earlier: None,
            now: None,
            later: None,
            moves: 0,
            absent: BTreeSet::new(),
        }
    }

    /// The shape of the device's domain.
    pub(super) fn shape(&self) -> Option<Shape> {
        self.shapes.get(&self.device).copied()
    }

    /// Whether a line tells of a domain; it was read before the walk began.
    pub(super) fn learn(&self, line: &Line) -> Option<()> {
        line.hex("pgsize_bitmap")?;
        line.value("aperture")?.split_once('-').map(|_| ())
    }

    /// Notes that the driver sees a domain or none; the type that the state file lets expect.
    pub(super) fn attach(&mut self, domain: bool, kind: u64) -> Option<u64> {
        let shape = self.shapes.entry(self.device.clone()).or_default();
        shape.kind = Some(if domain { kind } else { 0 });
        let group = self.machine.group_of(&self.device)?;
        match group.kind.as_str() {
            "identity" => Some(IDENTITY),
            "DMA" => Some(DMA),
            "DMA-FQ" => Some(DMA_FQ),
            _ => None,
        }
    }

    fn kind(&self) -> u64 {
        let told = self.shape().and_then(|shape| shape.kind);
        let of_group = || match self.machine.group_of(&self.device)?.kind.as_str() {
            "DMA" => Some(DMA),
            "DMA-FQ" => Some(DMA_FQ),
            _ => None,
        };
        told.or_else(of_group).unwrap_or(0)
    }

    /// Whether the device's addresses are translated.
    pub(super) fn translated(&self) -> bool {
        matches!(self.kind(), DMA | DMA_FQ)
    }

    /// Whether unmapped addresses wait for a flush.
    pub(super) fn lazy(&self) -> bool {
        self.kind() == DMA_FQ
    }

    /// Devices in the group of the device under test.
    pub(super) fn group_size(&self) -> Option<usize> {
        self.machine.group_of(&self.device).map(|group| group.devices.len())
    }

    fn domain_name(&self) -> String {
        let group = self.machine.group_of(&self.device);
        group.map_or_else(|| self.device.clone(), |group| format!("group {}", group.name))
    }

    fn make_domain(&self) -> Domain {
        let machine = self.machine;
        let shape = self.shape();
        let mut reserved: Vec<(u64, u64)> = Vec::new();
        let segment = self.device.split(':').next().unwrap_or_default();
        for (bus, first, last) in &machine.windows {
            if bus == segment {
                reserved.push((*first, *last));
            }
        }
        match machine.group_of(&self.device) {
            Some(group) => reserved.extend(&group.reserved),
            // What x86 reserves for interrupts.
            None => reserved.push((0xfee0_0000, 0xfeef_ffff)),
        }
        let lazy = self.lazy();
        let spec = DomainSpec {
            rules: machine.rules,
            cpus: machine.cpus,
            aperture_end: shape.map(|shape| shape.aperture_end).filter(|end| *end != 0),
            reserved,
            lazy,
            low_first: !machine.forcedac,
        };
        let vtd = machine.iommu == Some(IommuKind::Vtd);
        let dma = DmaDomain::new(&spec, |source| {
            let mut source = source;
            if vtd { PageTable::vtd_second_level(5, &mut source) } else { PageTable::amd_v1(&mut source) }
                .ok()
        });
        Domain::new(dma, lazy, machine.cpus)
    }

    /// The domain of the device under test.
    pub(super) fn domain(&mut self) -> &mut Domain {
        let name = self.domain_name();
        if !self.domains.contains_key(&name) {
            let domain = self.make_domain();
            self.domains.insert(name.clone(), domain);
        }
        self.domains.get_mut(&name).expect("it was just put there")
    }

    fn call(&self, plain: bool) -> Call<'static> {
        // The guide is borrowed anew by each call; see `with_domain`.
        let at = Window { after: self.earlier, before: self.now };
        Call { cpu: self.cpu, at, guide: &Guide::Clock, plain }
    }

    /// Does something that happened after the line was printed.
    pub(super) fn then<R>(&mut self, step: impl FnOnce(&mut Self) -> R) -> R {
        let (earlier, now) = (self.earlier, self.now);
        (self.earlier, self.now) = (now, self.later);
        let result = step(self);
        (self.earlier, self.now) = (earlier, now);
        result
    }

    /// Does something that happened between the line before and this one, in calls that otherwise come after a line.
    pub(super) fn before_line<R>(&mut self, step: impl FnOnce(&mut Self) -> R) -> R {
        let times = (self.earlier, self.now, self.later);
        (self.now, self.later) = (self.earlier, self.now);
        let result = step(self);
        (self.earlier, self.now, self.later) = times;
        result
    }

    /// Runs `step` on the device's domain.
    pub(super) fn with_domain<R>(
        &mut self,
        plain: bool,
        step: impl FnOnce(&mut Domain, &Call<'_>) -> R,
    ) -> R {
        let guide = std::mem::replace(&mut self.guide, Guide::Clock);
        let call = Call { guide: &guide, ..self.call(plain) };
        let result = step(self.domain(), &call);
        self.guide = guide;
        result
    }

    /// Maps one buffer; after a contradiction the state follows the log.
    pub(super) fn map(
        &mut self,
        params: &DmaParams,
        phys: PhysAddr,
        size: u64,
        recorded: Option<DmaAddr>,
    ) -> Mapped {
        self.map_what(params, What::Page { phys, size, coherent: false }, Told::of(recorded))
    }

    /// Maps, with what the log tells.
    pub(super) fn map_what(&mut self, params: &DmaParams, what: What<'_>, told: Told) -> Mapped {
        if self.translated() {
            let params = *params;
            let (segments, fits, cpu) =
                self.with_domain(false, |domain, call| domain.map(call, &params, what, told));
            self.runs_on(cpu);
            let modelled = match &segments {
                Ok(list) => list.first().map_or(Err(MapFailed::Table), |first: &SgSegment| Ok(first.dma)),
                Err(failed) => Err(*failed),
            };
            let leads_to = match (modelled, what) {
                // The translation was taken back; it led where it was to lead.
                (Ok(_), What::Page { phys, .. }) if !fits => Some(phys),
                (Ok(addr), _) => self.domain().iova_to_phys(addr),
                (Err(_), _) => None,
            };
            let why = if fits { None } else { self.why_translated() };
            if let (Some(addr), Told::Addr(_)) = (self.domain().lost_addr.take(), told) {
                self.absent.insert(addr.0);
            }
            return Mapped { modelled, leads_to, why };
        }
        let What::Page { phys, size, .. } = what else {
            return Mapped { modelled: Err(MapFailed::Table), leads_to: None, why: None };
        };
        if let Told::Addr(addr) = told {
            self.find_cpu(params, phys, size, addr);
        }
        let cpu = self.cpu;
        let modelled = self.direct.map_page(cpu, params, phys, size);
        let leads_to = modelled.ok().map(|addr| PhysAddr(addr.0));
        let mut why = None;
        let recorded = match told {
            Told::Addr(addr) => Some(addr),
            Told::Failed => None,
            Told::Nothing => modelled.ok(),
        };
        if modelled.ok() != recorded {
            let held = self.direct.accept(params, phys, size, modelled.ok(), recorded);
            why = self.why_pool(held);
            if let (false, Some(addr)) = (held, recorded) {
                self.absent.insert(addr.0);
            }
        }
        Mapped { modelled, leads_to, why }
    }

    /// Finds the CPU whose area explains `addr`.
    pub(super) fn find_cpu(&mut self, params: &DmaParams, phys: PhysAddr, size: u64, addr: DmaAddr) {
        let cpus = u32::try_from(self.machine.cpus).unwrap_or(1).min(64);
        if cpus > 1 {
            let elsewhere = (0..cpus).filter(|other| *other != self.cpu);
            let mut candidates = std::iter::once(self.cpu).chain(elsewhere);
            let found = candidates.find(|cpu| self.direct.foresee(*cpu, params, phys, size) == Some(addr));
            self.runs_on(found.unwrap_or(self.cpu));
        }
    }

    /// The driver is found on this CPU.
    pub(super) fn runs_on(&mut self, cpu: u32) {
        if cpu != self.cpu {
            self.cpu = cpu;
            self.moves += 1;
        }
    }

    /// Whether the state never took `addr`; once.
    pub(super) fn is_absent(&mut self, addr: DmaAddr) -> bool {
        self.absent.remove(&addr.0)
    }

    /// Unmaps one buffer.
    pub(super) fn unmap(&mut self, params: &DmaParams, addr: DmaAddr, size: u64) {
        if self.is_absent(addr) {
            return;
        }
        if self.translated() {
            self.then(|paths| paths.with_domain(false, |domain, call| domain.unmap(call, addr, size)));
        } else {
            self.direct.unmap_page(params, addr);
        }
    }

    /// As the driver prints a map: the address and where it leads, and whether it differs from the buffer's.
    pub(super) fn shown_map(&self, mapped: &Mapped, phys: PhysAddr, long: bool) -> String {
        match (mapped.modelled, mapped.leads_to) {
            (Ok(addr), leads_to) => {
                let leads_to = shown(Some(leads_to.map_or(0, |phys| phys.0)));
                if long {
                    let other = u8::from(addr.0 != phys.0);
                    format!("dma={:x} bounced_or_mapped={other} iova_to_phys={leads_to}", addr.0)
                } else {
                    format!("{:x} i2p={leads_to}", addr.0)
                }
            }
            (Err(MapFailed::Pool(models::swiotlb::MapError::Hang)), _) => {
                MapFailed::Pool(models::swiotlb::MapError::Hang).to_string()
            }
            (Err(_), _) => shown(None),
        }
    }

    fn others(&self, in_group: bool) -> Vec<String> {
        let group = self.machine.group_of(&self.device);
        let drivers = self.machine.drivers.iter().filter(|(device, _)| **device != self.device);
        let shares = |device: &String| !in_group || group.is_some_and(|group| group.devices.contains(device));
        drivers
            .filter(|(device, _)| shares(device))
            .map(|(device, driver)| format!("{device} ({driver})"))
            .collect()
    }

    /// Why a pool may differ.
    pub(super) fn why_pool(&self, held: bool) -> Option<String> {
        if self.machine.pool.is_none() && !held {
            return Some("if there is a pool, console.log does not tell where".to_owned());
        }
        self.machine.pool?;
        let others = self.others(false);
        if others.is_empty() {
            return (!held).then(|| "the place is not free in the model: an earlier difference".to_owned());
        }
        Some(format!(
            "perhaps another device: the pool also serves {}, whose mappings are not in this log",
            others.join(", ")
        ))
    }

    /// Why a domain may differ.
    pub(super) fn why_translated(&mut self) -> Option<String> {
        let others = self.others(true);
        if !others.is_empty() {
            return Some(format!(
                "perhaps another device: the domain also serves {}, whose mappings are not in this log",
                others.join(", ")
            ));
        }
        if self.lazy() && self.guide == Guide::Clock {
            return Some(
                "when the flush queue was flushed is not in this log, and no trace beside it tells"
                    .to_owned(),
            );
        }
        None
    }

    /// The state, for a reader who looks into a difference.
    pub(super) fn describe(&mut self) -> Vec<String> {
        let mut lines = vec![format!("the state before; device {}, CPU {}", self.device, self.cpu)];
        if self.translated() {
            let domain = self.domain();
            let space = domain.space();
            let iovad = space.iovad();
            let node = |node| match node {
                CachedNode::Anchor => "the top".to_owned(),
                CachedNode::Range(pfn) => format!("{:x}", pfn.0),
                CachedNode::Null => "NULL".to_owned(),
            };
            lines.push(format!(
                "{} ranges; searches below 4 GiB begin at {}, others at {}; {} ranges wait for a flush",
                iovad.range_count(),
                node(iovad.cached32_node()),
                node(iovad.cached_node()),
                space.pending(),
            ));
            for class in 0..6 {
                let view = iovad.rcache(class);
                let cpu = models::iommu::iova::Cpu(0);
                let newest: Vec<_> =
                    view.loaded(cpu).iter().rev().take(4).map(|pfn| format!("{:x}", pfn.0)).collect();
                if !newest.is_empty() {
                    lines.push(format!(
                        "cached by CPU 0, {} pages each, newest first: {}",
                        1 << class,
                        newest.join(" ")
                    ));
                }
            }
        } else if let Some(pool) = self.direct.pool() {
            for (number, area) in pool.areas().iter().enumerate().take(16) {
                lines.push(format!(
                    "area {number}: next search at slot {} of {}, {} in use",
                    area.index(),
                    area.nslabs(),
                    area.used()
                ));
            }
        }
        lines
    }

    /// What the reader should know of the domains.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.moves > 0 {
            let moves = self.moves;
            notes.push(format!("the driver moved to another CPU {moves} times, by what only that CPU's caches or area explain"));
        }
        let inferred: u64 = self.domains.values().map(|domain| domain.inferred).sum();
        match &self.guide {
            Guide::Trace { flushes, .. } if self.domains.values().any(|domain| domain.inferred > 0) => {
                notes.push(format!("flushes of the lazy domain: {} are placed by the trace beside the log", flushes.len()));
            }
            Guide::Clock if inferred > 0 => notes.push(format!(
                "flushes of the lazy domain: {inferred} are inferred from addresses that without them would contradict"
            )),
            Guide::Trace { .. } | Guide::Clock => {}
        }
        if self.domains.values().any(|domain| domain.cut) {
            notes.push("more flush positions fitted at once than are followed; some were dropped".to_owned());
        }
        if self.domains.values().any(|domain| domain.lost) {
            notes.push("after a difference the state could not take what was logged: later lines may differ for that".to_owned());
        }
        notes
    }
}

/// What the log itself tells of each device's domain.
fn shapes(lines: &[Line]) -> BTreeMap<String, Shape> {
    let mut shapes: BTreeMap<String, Shape> = BTreeMap::new();
    let mut device = String::new();
    for line in lines {
        if line.text.starts_with("probe ") {
            line.words().nth(1).unwrap_or_default().clone_into(&mut device);
        } else if line.text.starts_with("A dev=") {
            if let (Some(domain), Some(kind)) = (line.value("domain"), line.hex("type")) {
                let kind = if domain == "yes" { kind } else { 0 };
                shapes.entry(device.clone()).or_default().kind = Some(kind);
            }
        } else if line.text.starts_with("A domain ") {
            let end = line.value("aperture").and_then(|aperture| hex(aperture.split_once('-')?.1));
            let shape = shapes.entry(device.clone()).or_default();
            shape.pgsizes = line.hex("pgsize_bitmap").unwrap_or(0);
            shape.aperture_end = end.unwrap_or(0);
        }
    }
    shapes
}
