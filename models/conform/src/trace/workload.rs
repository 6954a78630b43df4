//! The bounces of a trace as a workload: what was asked of the pool and when it was given back, so that other pools can
//! be tried with it.

use std::collections::BTreeMap;
use std::path::Path;

use models::mem::PhysAddr;
use models::sizing::{MapId, Workload};
use models::swiotlb::{BounceRules, MapRequest, PoolSize, SearchRules, SizingRules};

use super::event::{self, Event};
use super::folder::Folder;
use super::line::{self, Context, Parsed};
use super::names::Names;
use super::rules_of;
use crate::{Source, SourceError};

/// `DMA_MAPPING_ERROR`.
const FAILED: u64 = u64::MAX;
/// Searches of all threads that wait for their results.
const MAX_PENDING: usize = 1 << 16;

/// What a trace tells of the bounces of a system.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The bounces.
    pub workload: Workload,
    /// The kernel's version.
    pub version: String,
    /// How it searches.
    pub search: SearchRules,
    /// How it makes pools.
    pub sizing: SizingRules,
    /// What it copies.
    pub bounce: BounceRules,
    /// First byte of the pool; somewhere below 4 GiB if it is not known.
    pub start: PhysAddr,
    /// The pool that there was, if that is known.
    pub size: Option<PoolSize>,
    /// Possible CPUs, if they are known.
    pub cpus: Option<u32>,
    /// Whether `swiotlb=force` was on the command line.
    pub force: bool,
}

/// Which events tell of searches, of results and of returns.
#[derive(Debug, Default)]
struct Shown {
    probes: bool,
    releases: bool,
    results: bool,
    returns: bool,
    bounces: bool,
}

/// Reads the bounces of the trace at `path`. Files beside it are used as by [`compare`](super::compare), and `release`
/// is meant as there.
///
/// # Errors
///
/// If a file cannot be read, the trace holds no event, the kernel's rules are not modelled, or the trace does not show
/// when a mapping is given back.
pub fn workload(path: &Path, release: Option<&str>) -> Result<Recorded, SourceError> {
    let mut folder = Folder::read(path)?;
    let shown = shown(Source::open(path)?)?;
    let mut source = Source::open(path)?;
    let release = release.map(str::to_owned).or_else(|| folder.release.clone());
    let release = release.ok_or_else(|| {
        let what = "which kernel was it? Neither a console log nor a state file is next to the trace; name the version";
        SourceError::of_file(path, what)
    })?;
    let rules = rules_of(&release).map_err(|what| SourceError::of_file(path, what))?;
    if !shown.bounces && !shown.probes {
        let what = "no bounce is in this trace: record swiotlb:swiotlb_bounced and the events of dma";
        return Err(SourceError::of_file(path, what));
    }
    if !shown.results || !shown.returns {
        let what = "the trace does not show when bounces are given back: record the events of dma (from 6.12 on), or \
                    probes on swiotlb_tbl_map_single and swiotlb_tbl_unmap_single";
        return Err(SourceError::of_file(path, what));
    }
    folder.settle(&rules);
    let mut reader = Reader {
        shown,
        names: Names::new(&folder),
        workload: Workload::default(),
        pending: BTreeMap::new(),
        waiting: 0,
        placed: BTreeMap::new(),
    };
    while let Some(text) = source.next_line()? {
        if let Parsed::Event(line) = line::parse(&text)
            && let Ok(event) = event::parse(line.event, line.rest)
        {
            reader.event(&line, event);
        }
    }
    Ok(Recorded {
        workload: reader.workload,
        version: rules.version.name().to_owned(),
        search: rules.search,
        sizing: rules.sizing,
        bounce: rules.bounce,
        start: folder.pool.map_or(PhysAddr(0x7000_0000), |(start, _)| start),
        size: folder.pool.map(|(_, size)| size),
        cpus: folder.cpus,
        force: folder.forced(),
    })
}

fn shown(mut source: Source) -> Result<Shown, SourceError> {
    let mut shown = Shown::default();
    let mut events = 0_u64;
    while let Some(text) = source.next_line()? {
        let Parsed::Event(line) = line::parse(&text) else { continue };
        events += 1;
        match event::parse(line.event, line.rest) {
            Ok(Event::SwMap { .. }) => shown.probes = true,
            Ok(Event::SwUnmap { .. }) => {
                shown.releases = true;
                shown.returns = true;
            }
            Ok(Event::Bounced { .. }) => shown.bounces = true,
            Ok(Event::SwMapReturn { .. } | Event::MapPage { .. } | Event::MapSg { .. }) => {
                shown.results = true;
            }
            Ok(Event::UnmapPage { .. } | Event::UnmapSg { .. }) => shown.returns = true,
            _ => {}
        }
    }
    if events == 0 { Err(source.error("no event is in this file: this is no trace")) } else { Ok(shown) }
}

struct Pending {
    id: MapId,
    device: u32,
    orig: u64,
}

struct Reader {
    shown: Shown,
    names: Names,
    workload: Workload,
    pending: BTreeMap<Context, Vec<Pending>>,
    /// How many wait in all threads.
    waiting: usize,
    /// Bounce addresses by device and original, for lists that are given back by original.
    placed: BTreeMap<(u32, u64), u64>,
}

impl Reader {
    fn event(&mut self, line: &line::Line<'_>, event: Event<'_>) {
        match event {
            Event::Bounced { dev, orig, size, .. } if !self.shown.probes => {
                self.asked(line, dev, MapRequest::plain(PhysAddr(orig), size));
            }
            Event::SwMap { dev, orig, size, alloc_size, align } => {
                let request = MapRequest {
                    orig_addr: PhysAddr(orig),
                    mapping_size: size,
                    alloc_size: alloc_size.unwrap_or(size),
                    alloc_align_mask: u32::try_from(align).unwrap_or(u32::MAX),
                };
                self.asked(line, dev, request);
            }
            Event::SwMapReturn { tlb } => {
                let last = self.pending.get_mut(&line.context).and_then(Vec::pop);
                self.given(line, last, tlb);
            }
            Event::MapPage { dev, dma, phys, .. } if !self.shown.probes => {
                self.answered(line, dev, phys, dma);
                self.give_up(line);
            }
            Event::MapSg { dev, dma, phys, .. } if !self.shown.probes => {
                for (phys, dma) in phys.iter().zip(dma.iter()) {
                    if let (Some(phys), Some(dma)) = (phys, dma) {
                        self.answered(line, dev, phys, dma);
                    }
                }
                self.give_up(line);
            }
            Event::SwUnmap { tlb, .. } => self.returned(line, tlb),
            Event::UnmapPage { dma, .. } if !self.shown.releases => self.returned(line, dma),
            Event::UnmapSg { dev, phys } if !self.shown.releases => {
                let device = self.names.number(dev);
                for orig in phys.iter().flatten() {
                    if let Some(dma) = self.placed.remove(&(device, orig)) {
                        self.returned(line, dma);
                    }
                }
            }
            _ => {}
        }
    }

    /// What the thread asked for and got no answer to was refused, or undone with the list that it was part of: the
    /// event with the results comes only for those that worked.
    fn give_up(&mut self, line: &line::Line<'_>) {
        for one in self.pending.remove(&line.context).into_iter().flatten() {
            self.waiting -= 1;
            self.workload.refuse(line.nanos, line.cpu, one.id);
        }
    }

    fn asked(&mut self, line: &line::Line<'_>, dev: &str, request: MapRequest) {
        let number = self.names.number(dev);
        // The same buffer again: the list was given up and is tried anew.
        let orig = request.orig_addr.0;
        let again = |one: &Pending| one.device == number && one.orig == orig;
        if self.pending.get(&line.context).is_some_and(|pending| pending.iter().any(again)) {
            self.give_up(line);
        }
        let device = self.workload.device(dev, self.names.limits(number));
        let Some(id) = self.workload.map(line.nanos, line.cpu, device, request) else { return };
        if self.waiting < MAX_PENDING {
            self.waiting += 1;
            let pending = Pending { id, device: number, orig: request.orig_addr.0 };
            self.pending.entry(line.context).or_default().push(pending);
        }
    }

    fn answered(&mut self, line: &line::Line<'_>, dev: &str, orig: u64, dma: u64) {
        let device = self.names.number(dev);
        let Some(pending) = self.pending.get_mut(&line.context) else { return };
        let fits = |one: &Pending| one.device == device && one.orig == orig;
        let found = pending.iter().position(fits).map(|at| pending.remove(at));
        self.given(line, found, dma);
    }

    fn given(&mut self, line: &line::Line<'_>, pending: Option<Pending>, dma: u64) {
        let Some(pending) = pending else { return };
        self.waiting -= 1;
        if dma == FAILED {
            self.workload.refuse(line.nanos, line.cpu, pending.id);
        } else {
            self.workload.given(pending.id, dma);
            self.placed.insert((pending.device, pending.orig), dma);
        }
    }

    fn returned(&mut self, line: &line::Line<'_>, dma: u64) {
        if self.workload.is_live(dma) {
            self.workload.unmap(line.nanos, line.cpu, dma);
        }
    }
}
