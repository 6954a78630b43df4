//! The ledger of live mappings: what the DMA API's rules are checked against.
//!
//! The rules that DMA-API debugging checks are in [`super::dma_debug`]; here is what they are checked against, and what the
//! kernel cannot see: where the bytes are.

use std::cell::RefCell;

use sim::Draft;
use smallvec::SmallVec;

use super::dma_debug::{self, Synced, Unmapped};
use crate::device::{Device, DeviceNode};
use crate::dma::{Attrs, Ops};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PhysAddr, PhysRange, Ptr, Site, Source};
use crate::swiotlb::Direction;

/// How a mapping was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// `dma_map_page` and `dma_map_single`.
    Single,
    /// `dma_map_sg`.
    Scatter,
    /// `dma_alloc_coherent`.
    Coherent,
}


/// A mapping that was just made.
#[derive(Clone, Copy, Debug)]
pub struct NewMapping {
    /// Where the device finds it.
    pub dma: DmaAddr,
    /// Bytes.
    pub size: u64,
    /// The buffer.
    pub phys: PhysAddr,
    /// Direction.
    pub dir: Direction,
    /// How it was asked for.
    pub kind: MapKind,
    /// Through which implementation.
    pub ops: Ops,
    /// Whether the device may look at the buffer already (no `DMA_ATTR_SKIP_CPU_SYNC`).
    pub given: bool,
    /// Entries of the list that it is a segment of; 0 if it is none.
    pub entries: usize,
}

/// A stretch of a mapping whose buffer is in one piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) dma: DmaAddr,
    pub(super) len: u64,
    /// The buffer.
    pub(super) phys: PhysAddr,
    /// The memory that the device reaches through it.
    pub(super) target: PhysAddr,
    /// The object that the buffer belongs to.
    pub(super) owner: u32,
    /// What the buffer held when it was last given to the device.
    pub(super) given: Option<(Source, u64)>,
}

impl Mapping {
    /// The piece that holds an address.
    pub(super) fn piece_at(&self, dma: DmaAddr) -> Option<&Piece> {
        self.pieces.iter().find(|piece| piece.dma <= dma && dma.0 < piece.dma.0 + piece.len)
    }
}

/// A live mapping.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    pub(super) device: usize,
    pub(super) new: NewMapping,
    /// Its pieces: one, or the entries of a scatterlist that were joined.
    pub(super) pieces: SmallVec<[Piece; 1]>,
    /// What the device wrote, and how much of it.
    pub(super) wrote: Option<(u32, u64)>,
    /// Whether the driver has not looked if the mapping failed.
    pub(super) unchecked: bool,
    pub(super) since: Site,
    /// Who mapped it, innermost first: kept only if the run is recorded.
    pub(super) stack: Vec<&'static str>,
}

/// All live mappings, and the last of those that are gone.
#[derive(Debug, Default)]
pub struct Ledger {
    live: RefCell<Vec<Mapping>>,
    gone: RefCell<Vec<(usize, DmaAddr, u64, Site)>>,
}

/// So many former mappings are remembered.
const MEMORY: usize = 64;

impl Ledger {
    /// Notes a new mapping, and checks that the device can reach it.
    pub fn mapped(&self, kx: &Kx, dev: Ptr<Device>, new: &NewMapping, pieces: &[(DmaAddr, PhysAddr, u64)]) {
        let Some(node) = kx.k.node_of(dev) else { return };
        let field = if new.kind == MapKind::Coherent { Device::coherent_dma_mask } else { Device::dma_mask };
        let mask = kx.peek(dev, field).unwrap_or(u64::MAX);
        let limit = kx.peek(dev, Device::bus_dma_limit).filter(|limit| *limit != 0).unwrap_or(u64::MAX);
        let last = new.dma.0.wrapping_add(new.size.max(1) - 1);
        if last > mask.min(limit) {
            let title = format!(
                "{} was given {:#x}-{last:#x}, beyond its mask {mask:#x} (bus limit {limit:#x})",
                node.bdf, new.dma.0
            );
            let kind = dma_debug::type_name(new.kind);
            kx.report(Draft::warning("dma-beyond-mask", title).discriminator(kind), Vec::new);
        }
        let memory: SmallVec<[(PhysAddr, u64); 1]> =
            pieces.iter().map(|&(_, phys, len)| (phys, len)).collect();
        dma_debug::check_map(kx, dev, new, &memory);
        dma_debug::check_segment(kx, dev, new, memory.first().map_or(0, |first| first.1));
        {
            let live = self.live.borrow();
            let written = live.iter().filter(|other| other.new.dir != Direction::ToDevice);
            dma_debug::check_overlap(kx, dev, new, written.map(|other| other.new.phys));
        }
        let pieces = pieces
            .iter()
            .map(|&(dma, phys, len)| Piece {
                dma,
                len,
                phys,
                target: target_of(kx, &node, new.ops, dma).unwrap_or(phys),
                owner: kx.k.mem.borrow().heap.shadow().object_at(phys),
                given: if new.given { content_at(kx, phys, len) } else { None },
            })
            .collect();
        let stack = if kx.sim().recording() { kx.frames() } else { Vec::new() };
        let mapping = Mapping {
            device: node.index,
            new: *new,
            pieces,
            wrote: None,
            unchecked: false,
            since: kx.site(),
            stack,
        };
        self.live.borrow_mut().push(mapping);
    }

    /// The driver goes on without having asked whether the mapping failed (`dma_mapping_error`). Who takes an address
    /// out of an `Option` has asked.
    pub fn not_checked(&self, kx: &Kx, dev: Ptr<Device>, dma: DmaAddr) {
        if let Some(node) = kx.k.node_of(dev) {
            self.change(node.index, dma, |mapping| mapping.unchecked = true);
        }
    }

    /// Checks an unmap against what was mapped. What is gone is gone: the mapping leaves the ledger when the unmap is
    /// done.
    pub fn unmapping(&self, kx: &Kx, dev: Ptr<Device>, unmap: &Unmapped) {
        let Some(node) = kx.k.node_of(dev) else { return };
        let found = self.best_fit(node.index, unmap);
        dma_debug::check_unmap(kx, dev, found.as_ref(), unmap);
        let Some(mapping) = found else { return };
        let (new, ops, dma) = (&mapping.new, unmap.ops, unmap.dma);
        if new.ops != ops {
            let title = format!(
                "{}: {:#x} was mapped through {:?} and is unmapped through {ops:?}: dev->dma_ops changed in between",
                node.bdf, dma.0, new.ops
            );
            kx.report(Draft::warning("dma-path-changed", title), Vec::new);
        }
    }

    /// The unmap is done: what the device wrote must be in the buffer.
    pub fn unmapped(&self, kx: &Kx, dev: Ptr<Device>, dma: DmaAddr, size: u64, attrs: Attrs) {
        let Some(node) = kx.k.node_of(dev) else { return };
        let mapping = {
            let mut live = self.live.borrow_mut();
            let at = live.iter().position(|mapping| mapping.device == node.index && mapping.new.dma == dma);
            at.map(|at| live.swap_remove(at))
        };
        let Some(mapping) = mapping else { return };
        let mut gone = self.gone.borrow_mut();
        if gone.len() >= MEMORY {
            gone.remove(0);
        }
        gone.push((node.index, dma, size, kx.site()));
        drop(gone);
        if !attrs.skip_cpu_sync && mapping.new.dir.reaches_cpu() {
            check_arrived(kx, &node, &mapping, mapping.new.dma, mapping.new.size);
        }
    }

    /// Checks a sync against what is mapped.
    pub fn syncing(&self, kx: &Kx, dev: Ptr<Device>, sync: &Synced) {
        let Some(node) = kx.k.node_of(dev) else { return };
        let found = self.covering(node.index, sync.dma, sync.size);
        dma_debug::check_sync(kx, dev, found.as_ref(), sync);
    }

    /// A sync is done.
    pub fn synced(&self, kx: &Kx, dev: Ptr<Device>, sync: &Synced) {
        let Some(node) = kx.k.node_of(dev) else { return };
        let Some(mapping) = self.covering(node.index, sync.dma, sync.size) else { return };
        let new = mapping.new;
        let whole = new.dma == sync.dma && new.size == sync.size;
        if sync.for_cpu {
            if new.dir.reaches_cpu() {
                check_arrived(kx, &node, &mapping, sync.dma, sync.size);
                // The CPU owns the buffer now, and may write to it.
                self.change(node.index, new.dma, |mapping| mapping.wrote = None);
            }
            return;
        }
        self.change(node.index, new.dma, |mapping| {
            for piece in &mut mapping.pieces {
                // Of a buffer of which a part was given nobody knows what the device is to find.
                piece.given = if whole { content_at(kx, piece.phys, piece.len) } else { None };
            }
        });
    }

    /// A driver was taken away from its device: it may have left nothing mapped.
    ///
    /// Source: `kernel/dma/debug.c: dma_debug_device_change()`, v5.13.
    pub fn check_unbound(&self, kx: &Kx, node: &DeviceNode) {
        let live = self.live.borrow();
        let left: Vec<_> = live.iter().filter(|mapping| mapping.device == node.index).collect();
        if let Some(first) = left.first() {
            let title = format!(
                "DMA-API: {}: device driver has pending DMA allocations while released from device [count={}]",
                kx.k.dev_string(node.ptr.get()),
                left.len()
            );
            let new = &first.new;
            let line = format!(
                "One of leaked entries details: [device address={:#018x}] [size={} bytes] [mapped with {}] [mapped as {}], in {}",
                new.dma.0,
                new.size,
                dma_debug::dir_name(new.dir),
                dma_debug::type_name(new.kind),
                first.since.func
            );
            dma_debug::log(kx, &title, Some(first));
            drop(left);
            drop(live);
            kx.report(Draft::warning("leak-mapping", title), || vec![("left".to_owned(), vec![line])]);
        }
    }

    /// Whether any live mapping leads into a range of memory.
    pub(super) fn reaches(&self, range: PhysRange) -> bool {
        let live = self.live.borrow();
        live.iter().flat_map(|mapping| &mapping.pieces).any(|piece| range.contains(piece.target))
    }

    /// The mapping at an address that fits best: without an IOMMU one buffer may be mapped several times, at one address.
    ///
    /// Source: `kernel/dma/debug.c: __hash_bucket_find()`, v6.12, which gives up where several fit and none quite does.
    fn best_fit(&self, device: usize, unmap: &Unmapped) -> Option<Mapping> {
        let live = self.live.borrow();
        let at = live.iter().filter(|mapping| mapping.device == device && mapping.new.dma == unmap.dma);
        let fit = |new: &NewMapping| {
            let fits = [
                new.size == unmap.size,
                new.kind == unmap.kind,
                new.dir == unmap.dir,
                new.entries == unmap.entries,
            ];
            fits.into_iter().filter(|fits| *fits).count()
        };
        // The first of those that fit equally.
        at.rev().max_by_key(|mapping| fit(&mapping.new)).cloned()
    }

    /// The mapping of a device in which a range lies.
    pub(super) fn covering(&self, device: usize, dma: DmaAddr, size: u64) -> Option<Mapping> {
        let end = dma.0.checked_add(size)?;
        let inside = |mapping: &&Mapping| {
            let new = &mapping.new;
            mapping.device == device && new.dma.0 <= dma.0 && end <= new.dma.0.saturating_add(new.size)
        };
        self.live.borrow().iter().find(inside).cloned()
    }

    /// When a range was last mapped for a device, if it is remembered.
    pub(super) fn was_mapped(&self, device: usize, dma: DmaAddr) -> Option<Site> {
        let gone = self.gone.borrow();
        let hit = gone.iter().rev().find(|(index, from, size, _)| {
            *index == device && from.0 <= dma.0 && dma.0 < from.0.saturating_add(*size)
        });
        hit.map(|(.., site)| *site)
    }

    pub(super) fn change(&self, device: usize, dma: DmaAddr, f: impl FnOnce(&mut Mapping)) {
        let mut live = self.live.borrow_mut();
        if let Some(mapping) = live.iter_mut().find(|m| m.device == device && m.new.dma == dma) {
            f(mapping);
        }
    }
}

/// The memory that a device reaches through a fresh mapping.
fn target_of(kx: &Kx, node: &DeviceNode, ops: Ops, dma: DmaAddr) -> Option<PhysAddr> {
    match ops {
        Ops::Direct => Some(PhysAddr(dma.0 & !(1 << 47))),
        Ops::Iommu => crate::iommu::core_internal::peek_translation(kx, node, dma),
    }
}

/// What a buffer holds, if all of it comes from one source.
fn content_at(kx: &Kx, phys: PhysAddr, size: u64) -> Option<(Source, u64)> {
    let mem = kx.k.mem.borrow();
    let mut extents = mem.heap.content().extents(phys, size);
    let (range, source, offset) = extents.next()?;
    (range.size() >= size).then_some((source, offset))
}

/// What the device wrote through a part of a mapping must be in the buffer now.
fn check_arrived(kx: &Kx, node: &DeviceNode, mapping: &Mapping, start: DmaAddr, size: u64) {
    let Some((tag, written)) = mapping.wrote else { return };
    let end = mapping.new.dma.0.saturating_add(written).min(start.0.saturating_add(size));
    for piece in &mapping.pieces {
        let skipped = start.0.saturating_sub(piece.dma.0).min(piece.len);
        let from = piece.dma.0 + skipped;
        let len = (piece.len - skipped).min(end.saturating_sub(from));
        let phys = piece.phys.wrapping_add(skipped);
        let offset_there = from - mapping.new.dma.0;
        let mem = kx.k.mem.borrow();
        let wrong = mem.heap.content().extents(phys, len).find(|(range, source, offset)| {
            *source != Source::Data { tag } || *offset != offset_there + (range.start.0 - phys.0)
        });
        let Some((range, source, _)) = wrong else { continue };
        drop(mem);
        let at = range.start;
        let title = format!(
            "{}: the device wrote {written} bytes, and the buffer holds {source:?} at {at}",
            node.bdf
        );
        kx.report(Draft::warning("lost-write", title), Vec::new);
        return;
    }
}

/// Whether the buffer behind an address has another owner now than when it was mapped.
pub(super) fn owner_changed(kx: &Kx, piece: &Piece) -> Option<&'static str> {
    let mem = kx.k.mem.borrow();
    let now = mem.heap.shadow().object_at(piece.phys);
    (piece.owner != 0 && now != piece.owner)
        .then(|| mem.heap.record(now).map_or("nobody", |record| record.type_name))
}
