//! The ledger of live mappings: what the DMA API's rules are checked against.
//!
//! The rules that DMA-API debugging checks are in [`super::dma_debug`]; here is what they are checked against, and what the
//! kernel cannot see: where the bytes are.

use std::rc::Rc;

use sim::cell::{Cell, RefCell};

use sim::Draft;
use smallvec::SmallVec;

use super::before::Before;
use super::content::{check_arrived, check_kept};
use super::dma_debug::{self, Synced, Unmapped};
use super::iotlb::check_strict;
use super::ought::{Ought, Stretches};
use super::place::{check_alignment, check_exposed, check_overlap, check_permission};
use super::segment::check_segment_fits;
use crate::device::{Device, DeviceNode};
use crate::dma::{Attrs, Ops};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PhysAddr, Ptr, Site};
use crate::swiotlb::Direction;

/// Which mapping it is, whatever others come to its address. No two mappings of a run have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingId(u64);

/// How a mapping was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// `dma_map_page` and `dma_map_single`.
    Single,
    /// `dma_map_sg`.
    Scatter,
    /// `dma_alloc_coherent`.
    Coherent,
    /// `iommu_map` for a user of its own domain.
    User,
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
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) dma: DmaAddr,
    pub(super) len: u64,
    /// The buffer.
    pub(super) phys: PhysAddr,
    /// The memory that the device reaches through it.
    pub(super) target: PhysAddr,
    /// The object that the buffer belongs to.
    pub(super) owner: u32,
    /// What its bytes ought to be.
    pub(super) ought: Stretches,
}

impl Piece {
    /// Whether what the device reaches is not the buffer itself.
    pub(super) fn bounced(&self) -> bool {
        self.target != self.phys
    }

    /// The bytes of the piece that lie in a range of the device's addresses.
    pub(super) fn part(&self, dma: DmaAddr, size: u64) -> (u64, u64) {
        let from = dma.0.saturating_sub(self.dma.0).min(self.len);
        // Counted from the piece's start: the end of a piece may be the end of the address space.
        let to = match dma.0.checked_sub(self.dma.0) {
            Some(skipped) => skipped.saturating_add(size),
            None => size.saturating_sub(self.dma.0 - dma.0),
        };
        let to = to.min(self.len);
        (from, to)
    }
}

impl Mapping {
    /// The piece that holds an address.
    pub(super) fn piece_at(&self, dma: DmaAddr) -> Option<&Piece> {
        self.pieces.iter().find(|piece| piece.dma <= dma && dma.0 - piece.dma.0 < piece.len)
    }
}

/// A live mapping.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    pub(super) id: MappingId,
    pub(super) device: usize,
    pub(super) new: NewMapping,
    /// Its pieces: one, or the entries of a scatterlist that were joined.
    pub(super) pieces: SmallVec<[Piece; 1]>,
    /// Whether the device has written any of it.
    pub(super) written: bool,
    /// Whether an unmap has begun: its slots may be others' already.
    pub(super) leaving: bool,
    /// Whether the driver has not looked if the mapping failed.
    pub(super) unchecked: bool,
    pub(super) since: Site,
    /// Who mapped it, innermost first: kept only if the run is recorded.
    pub(super) stack: Vec<&'static str>,
}

/// All live mappings, and the last of those that are gone.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Shared with whoever looks at one: a copy of what its bytes ought to be costs more than all that is done with it.
    pub(super) live: RefCell<Vec<Rc<Mapping>>>,
    /// How many there were.
    made: Cell<u64>,
    gone: RefCell<Vec<(usize, DmaAddr, u64, Site)>>,
}

/// The space of addresses that a device uses, in a recorded run.
fn addresses_of(node: &DeviceNode) -> String {
    format!("addresses of {}", node.bdf)
}

/// So many former mappings are remembered.
const MEMORY: usize = 64;

impl Ledger {
    /// Notes a new mapping, and checks that the device can reach it. `before` is what its buffers held when it was asked for.
    pub fn mapped(
        &self,
        kx: &Kx,
        dev: Ptr<Device>,
        new: &NewMapping,
        pieces: &[(DmaAddr, PhysAddr, u64)],
        before: &mut Before,
    ) {
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
            let counts = |other: &&Rc<Mapping>| {
                other.new.dir != Direction::ToDevice && other.new.kind != MapKind::User
            };
            let written = live.iter().filter(counts);
            dma_debug::check_overlap(kx, dev, new, written.map(|other| other.new.phys));
        }
        let pieces = pieces
            .iter()
            .map(|&(dma, phys, len)| {
                let mut piece = Piece {
                    dma,
                    len,
                    phys,
                    target: target_of(kx, &node, new, dma).unwrap_or(phys),
                    owner: kx.k.mem.borrow().heap.shadow().object_at(phys),
                    ought: Stretches::open(len),
                };
                if new.given && piece.bounced() {
                    match before.take(phys, len) {
                        Some(held) => piece.ought = held,
                        None => piece.ought.give(kx, phys, 0, len),
                    }
                }
                piece
            })
            .collect();
        let stack = if kx.sim().recording() { kx.frames() } else { Vec::new() };
        kx.interval_begins(|| {
            (addresses_of(&node), new.dma.0, new.size, format!("{:?} mapping by {}", new.ops, kx.function()))
        });
        let id = MappingId(self.made.get());
        self.made.set(id.0 + 1);
        let mapping = Mapping {
            id,
            device: node.index,
            new: *new,
            pieces,
            written: false,
            leaving: false,
            unchecked: false,
            since: kx.site(),
            stack,
        };
        check_alignment(kx, dev, &node, &mapping);
        check_segment_fits(kx, dev, &node, &mapping);
        check_exposed(kx, &node, &mapping);
        check_overlap(kx, &node, &mapping, &self.live.borrow());
        self.live.borrow_mut().push(Rc::new(mapping));
    }

    /// The driver goes on without having asked whether the mapping failed (`dma_mapping_error`). Who takes an address
    /// out of an `Option` has asked.
    pub fn not_checked(&self, kx: &Kx, dev: Ptr<Device>, dma: DmaAddr) {
        if let Some(node) = kx.k.node_of(dev) {
            let mut live = self.live.borrow_mut();
            let here = |mapping: &&mut Rc<Mapping>| mapping.device == node.index && mapping.new.dma == dma;
            if let Some(mapping) = live.iter_mut().filter(here).min_by_key(|mapping| mapping.leaving) {
                Rc::make_mut(mapping).unchecked = true;
            }
        }
    }

    /// Checks an unmap against what was mapped, and says which mapping it takes away: at the unmap's end its address may be
    /// another's already. The mapping leaves the ledger then.
    pub fn unmapping(&self, kx: &Kx, dev: Ptr<Device>, unmap: &Unmapped) -> Option<MappingId> {
        let node = kx.k.node_of(dev)?;
        let found = self.best_fit(node.index, unmap);
        dma_debug::check_unmap(kx, dev, found.as_deref(), unmap);
        let (id, new) = found.map(|mapping| (mapping.id, mapping.new))?;
        self.change(id, |mapping| mapping.leaving = true);
        let (ops, dma) = (unmap.ops, unmap.dma);
        if new.ops != ops {
            let title = format!(
                "{}: {:#x} was mapped through {} and is unmapped through {ops}: dev->dma_ops changed in between",
                node.bdf, dma.0, new.ops
            );
            kx.report(Draft::warning("dma-path-changed", title), Vec::new);
        }
        Some(id)
    }

    /// The same where nothing is checked, of the live mapping at an address.
    pub fn leaving(&self, kx: &Kx, dev: Ptr<Device>, dma: DmaAddr) -> Option<MappingId> {
        let node = kx.k.node_of(dev)?;
        let mut live = self.live.borrow_mut();
        let here = |mapping: &&mut Rc<Mapping>| mapping.device == node.index && mapping.new.dma == dma;
        let mapping = live.iter_mut().filter(here).find(|mapping| !mapping.leaving)?;
        Rc::make_mut(mapping).leaving = true;
        Some(mapping.id)
    }

    /// An unmap is done that began with [`Self::unmapping`]: what the device wrote must be in the buffer.
    pub fn unmapped(&self, kx: &Kx, dev: Ptr<Device>, id: Option<MappingId>, attrs: Attrs) {
        let Some(node) = kx.k.node_of(dev) else { return };
        let mapping = {
            let mut live = self.live.borrow_mut();
            // Not any other that came to the address since this unmap gave it back, nor one that came and goes, too.
            let at = live.iter().position(|mapping| Some(mapping.id) == id);
            at.map(|at| live.swap_remove(at))
        };
        let Some(mapping) = mapping else { return };
        let NewMapping { dma, size, .. } = mapping.new;
        kx.interval_ends(|| (addresses_of(&node), dma.0, size, String::new()));
        check_strict(kx, &node, &mapping);
        check_coherent_kept(kx, &node, &mapping);
        let mut gone = self.gone.borrow_mut();
        if gone.len() >= MEMORY {
            gone.remove(0);
        }
        gone.push((node.index, dma, size, kx.site()));
        drop(gone);
        if !attrs.skip_cpu_sync && mapping.new.dir.reaches_cpu() {
            check_arrived(kx, &node, &mapping, dma, size);
            check_kept(kx, &node, &mapping, dma, size);
        }
    }

    /// The CPU wrote to memory, without asking whose it is.
    pub fn cpu_wrote(&self, phys: PhysAddr, size: u64) {
        let end = phys.0.saturating_add(size);
        for mapping in self.live.borrow_mut().iter_mut() {
            if mapping.new.dir.reaches_device() {
                // What the device was given stays what it must find; whether the CPU has told it so is asked there.
                continue;
            }
            for piece in &mut Rc::make_mut(mapping).pieces {
                let (from, to) = (phys.0.saturating_sub(piece.phys.0), end.saturating_sub(piece.phys.0));
                let given: SmallVec<[_; 2]> = piece
                    .ought
                    .within(from.min(piece.len), to.min(piece.len))
                    .filter(|stretch| matches!(stretch.ought, Ought::Given(..)))
                    .collect();
                for stretch in given {
                    piece.ought.set(stretch.from, stretch.to, Ought::Open);
                }
            }
        }
    }

    /// Checks a sync against what is mapped.
    pub fn syncing(&self, kx: &Kx, dev: Ptr<Device>, sync: &Synced) {
        let Some(node) = kx.k.node_of(dev) else { return };
        let found = self.covering(node.index, sync.dma, sync.size);
        dma_debug::check_sync(kx, dev, found.as_deref(), sync);
    }

    /// A sync of part of a mapping, or of all of it, is done.
    pub fn synced(&self, kx: &Kx, dev: Ptr<Device>, sync: &Synced) {
        let Synced { dma, size, for_cpu, .. } = *sync;
        let Some(node) = kx.k.node_of(dev) else { return };
        let Some(mapping) = self.covering(node.index, dma, size) else { return };
        let dir = mapping.new.dir;
        if for_cpu && dir.reaches_cpu() {
            check_arrived(kx, &node, &mapping, dma, size);
            check_kept(kx, &node, &mapping, dma, size);
        }
        let id = mapping.id;
        drop(mapping);
        self.change(id, |mapping| {
            for piece in &mut mapping.pieces {
                let (from, to) = piece.part(dma, size);
                if for_cpu && dir.reaches_cpu() {
                    // The CPU owns these bytes now, and may write to them.
                    let owned: SmallVec<[_; 2]> = piece
                        .ought
                        .within(from, to)
                        .filter(|s| !dir.reaches_device() || matches!(s.ought, Ought::Device(..)))
                        .collect();
                    for stretch in owned {
                        piece.ought.set(stretch.from, stretch.to, Ought::Open);
                    }
                } else if !for_cpu && dir.reaches_device() && piece.bounced() {
                    let phys = piece.phys;
                    piece.ought.give(kx, phys, from, to);
                }
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

    /// The live mappings as text, without when and by whom they were made.
    pub(crate) fn describe(&self, out: &mut String) {
        let mut list: Vec<_> = self
            .live
            .borrow()
            .iter()
            .map(|one| {
                format!(
                    "{} {:?} {:?} {} {} {}\n",
                    one.device, one.new, one.pieces, one.written, one.leaving, one.unchecked
                )
            })
            .collect();
        list.sort_unstable();
        out.extend(list);
    }

    /// Where the pieces of all live mappings lead: address and bytes, by address.
    pub(super) fn targets(&self) -> Vec<(PhysAddr, u64)> {
        let live = self.live.borrow();
        let pieces = live.iter().flat_map(|mapping| &mapping.pieces);
        let mut targets: Vec<_> = pieces.map(|piece| (piece.target, piece.len)).collect();
        targets.sort_unstable();
        targets
    }

    /// Whether a mapping of one of these devices has any of a range of addresses that an IOMMU translates.
    pub(super) fn covers(&self, devices: &[usize], dma: DmaAddr, size: u64) -> bool {
        let (first, last) = (dma.0, dma.0.wrapping_add(size.max(1) - 1));
        self.live.borrow().iter().any(|mapping| {
            let new = &mapping.new;
            let end = new.dma.0.wrapping_add(new.size.max(1) - 1);
            new.ops == Ops::Iommu && devices.contains(&mapping.device) && new.dma.0 <= last && first <= end
        })
    }

    /// The mapping at an address that fits best: without an IOMMU one buffer may be mapped several times, at one address.
    /// While an unmap is on its way the address may be another's already: then that one is meant.
    ///
    /// Source: `kernel/dma/debug.c: __hash_bucket_find()`, v6.12, which gives up where several fit and none quite does.
    fn best_fit(&self, device: usize, unmap: &Unmapped) -> Option<Rc<Mapping>> {
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
        at.rev().max_by_key(|mapping| (!mapping.leaving, fit(&mapping.new))).cloned()
    }

    /// The mapping of a device in which a range lies.
    pub(super) fn covering(&self, device: usize, dma: DmaAddr, size: u64) -> Option<Rc<Mapping>> {
        let inside = |mapping: &&Rc<Mapping>| {
            let new = &mapping.new;
            // Without ends, which may lie just behind the last address.
            let skipped = dma.0.checked_sub(new.dma.0).filter(|skipped| *skipped <= new.size);
            mapping.device == device && skipped.is_some_and(|skipped| size <= new.size - skipped)
        };
        self.live.borrow().iter().filter(inside).min_by_key(|mapping| mapping.leaving).cloned()
    }

    /// When a range was last mapped for a device, if it is remembered.
    pub(super) fn was_mapped(&self, device: usize, dma: DmaAddr) -> Option<Site> {
        let gone = self.gone.borrow();
        let hit = gone
            .iter()
            .rev()
            .find(|(index, from, size, _)| *index == device && from.0 <= dma.0 && dma.0 - from.0 < *size);
        hit.map(|(.., site)| *site)
    }

    pub(super) fn change(&self, id: MappingId, f: impl FnOnce(&mut Mapping)) {
        if let Some(mapping) = self.live.borrow_mut().iter_mut().find(|mapping| mapping.id == id) {
            f(Rc::make_mut(mapping));
        }
    }
}

/// The memory that a device reaches through a fresh mapping, by a translation that allows what the mapping is for.
fn target_of(kx: &Kx, node: &DeviceNode, new: &NewMapping, dma: DmaAddr) -> Option<PhysAddr> {
    match new.ops {
        Ops::Direct => Some(PhysAddr(dma.0 & !(1 << 47))),
        Ops::Iommu => {
            let (leaf, format) = crate::iommu::core_internal::peek_translation(kx, node, dma)?;
            check_permission(kx, node, new, dma, (leaf.prot, format));
            Some(PhysAddr(leaf.phys.0 + (dma.0 - leaf.iova.0)))
        }
    }
}

/// Coherent memory is the core's own: it may go back only when the device is led there no more.
fn check_coherent_kept(kx: &Kx, node: &DeviceNode, mapping: &Mapping) {
    if mapping.new.kind != MapKind::Coherent {
        return;
    }
    if let Some(owner) = mapping.pieces.iter().find_map(|piece| owner_changed(kx, piece)) {
        let title = format!(
            "{}: coherent memory at {} was freed before it was taken from the device; it belongs to {owner} now",
            node.bdf, mapping.new.dma
        );
        kx.report(Draft::warning("dma-use-after-free", title).discriminator("coherent memory"), Vec::new);
    }
}

/// Whether the buffer behind an address has another owner now than when it was mapped.
pub(super) fn owner_changed(kx: &Kx, piece: &Piece) -> Option<&'static str> {
    let mem = kx.k.mem.borrow();
    let now = mem.heap.shadow().object_at(piece.phys);
    (piece.owner != 0 && now != piece.owner)
        .then(|| mem.heap.record(now).map_or("nobody", |record| record.type_name))
}
