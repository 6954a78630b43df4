//! The ledger of live mappings: what the DMA API's rules are checked against.
//!
//! The wording follows `kernel/dma/debug.c`, v5.13, which users know.

use std::cell::RefCell;

use sim::Draft;
use smallvec::SmallVec;

use super::content::{check_arrived, check_kept};
use super::ought::{Ought, Stretches};
use super::place::{check_alignment, check_exposed, check_overlap};
use crate::device::{Device, DeviceNode};
use crate::dma::{Attrs, Ops};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PhysAddr, PhysRange, Ptr, Site};
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
    /// `iommu_map` for a user of its own domain.
    User,
}

impl MapKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Single => "page",
            Self::Scatter => "scatter-gather",
            Self::Coherent => "coherent",
            Self::User => "user",
        }
    }
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
    pub(super) device: usize,
    pub(super) new: NewMapping,
    /// Its pieces: one, or the entries of a scatterlist that were joined.
    pub(super) pieces: SmallVec<[Piece; 1]>,
    /// Whether the device has written any of it.
    pub(super) written: bool,
    /// Whether an unmap has begun: its slots may be others' already.
    pub(super) leaving: bool,
    pub(super) since: Site,
}

/// All live mappings, and the last of those that are gone.
#[derive(Debug, Default)]
pub struct Ledger {
    live: RefCell<Vec<Mapping>>,
    gone: RefCell<Vec<(usize, DmaAddr, u64, Site)>>,
}

/// The space of addresses that a device uses, in a recorded run.
fn addresses_of(node: &DeviceNode) -> String {
    format!("addresses of {}", node.bdf)
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
            kx.report(Draft::warning("dma-beyond-mask", title).discriminator(new.kind.word()), Vec::new);
        }
        let pieces = pieces
            .iter()
            .map(|&(dma, phys, len)| {
                let mut piece = Piece {
                    dma,
                    len,
                    phys,
                    target: target_of(kx, &node, new.ops, dma).unwrap_or(phys),
                    owner: kx.k.mem.borrow().heap.shadow().object_at(phys),
                    ought: Stretches::open(len),
                };
                if new.given && piece.bounced() {
                    piece.ought.give(kx, phys, 0, len);
                }
                piece
            })
            .collect();
        kx.interval_begins(|| {
            (addresses_of(&node), new.dma.0, new.size, format!("{:?} mapping by {}", new.ops, kx.function()))
        });
        let mapping = Mapping {
            device: node.index,
            new: *new,
            pieces,
            written: false,
            leaving: false,
            since: kx.site(),
        };
        check_alignment(kx, dev, &node, &mapping);
        check_exposed(kx, &node, &mapping);
        check_overlap(kx, &node, &mapping, &self.live.borrow());
        self.live.borrow_mut().push(mapping);
    }

    /// Checks an unmap against what was mapped. What is gone is gone: the mapping leaves the ledger when the unmap is
    /// done.
    #[expect(
        clippy::too_many_arguments,
        reason = "the arguments of dma_unmap_page_attrs, and how it was called"
    )]
    pub fn unmapping(
        &self,
        kx: &Kx,
        dev: Ptr<Device>,
        dma: DmaAddr,
        size: u64,
        dir: Direction,
        kind: MapKind,
        ops: Ops,
    ) {
        let Some(node) = kx.k.node_of(dev) else { return };
        let found = self.find(node.index, dma);
        self.change(node.index, dma, |mapping| mapping.leaving = true);
        let misuse = |what: &'static str, title: String| {
            kx.report(Draft::warning("dma-api-misuse", title).discriminator(what), Vec::new);
        };
        let Some(mapping) = found else {
            misuse(
                "unmap of what is not mapped",
                format!(
                    "DMA-API: {}: device driver tries to free DMA memory it has not allocated [device address={:#018x}] [size={size} bytes]",
                    node.bdf, dma.0
                ),
            );
            return;
        };
        let new = &mapping.new;
        if new.size != size {
            misuse(
                "different size",
                format!(
                    "DMA-API: {}: device driver frees DMA memory with different size [device address={:#018x}] [map size={} bytes] [unmap size={size} bytes]",
                    node.bdf, dma.0, new.size
                ),
            );
        }
        if new.kind != kind {
            misuse(
                "wrong function",
                format!(
                    "DMA-API: {}: device driver frees DMA memory with wrong function [device address={:#018x}] [mapped as {}] [unmapped as {}]",
                    node.bdf,
                    dma.0,
                    new.kind.word(),
                    kind.word()
                ),
            );
        }
        if new.dir != dir {
            misuse(
                "different direction",
                format!(
                    "DMA-API: {}: device driver frees DMA memory with different direction [device address={:#018x}]",
                    node.bdf, dma.0
                ),
            );
        }
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
            let here = |at: &usize| live[*at].device == node.index && live[*at].new.dma == dma;
            // Not one that came to the address since this unmap gave it back.
            let ours = |at: &usize| (!live[*at].leaving, live[*at].new.size != size);
            let at = (0..live.len()).filter(here).min_by_key(ours);
            at.map(|at| live.swap_remove(at))
        };
        let Some(mapping) = mapping else { return };
        kx.interval_ends(|| (addresses_of(&node), dma.0, size, String::new()));
        let mut gone = self.gone.borrow_mut();
        if gone.len() >= MEMORY {
            gone.remove(0);
        }
        gone.push((node.index, dma, size, kx.site()));
        drop(gone);
        if !attrs.skip_cpu_sync && mapping.new.dir.reaches_cpu() {
            check_arrived(kx, &node, &mapping, dma, mapping.new.size);
            check_kept(kx, &node, &mapping, dma, mapping.new.size);
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
            for piece in &mut mapping.pieces {
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
    pub fn syncing(&self, kx: &Kx, dev: Ptr<Device>, dma: DmaAddr, size: u64, for_cpu: bool) {
        let Some(node) = kx.k.node_of(dev) else { return };
        let covered = self.covering(node.index, dma, size).is_some();
        if !covered {
            let way = if for_cpu { "for the CPU" } else { "for the device" };
            let title = format!(
                "DMA-API: {}: device driver tries to sync DMA memory it has not allocated [device address={:#018x}] [size={size} bytes] {way}",
                node.bdf, dma.0
            );
            kx.report(
                Draft::warning("dma-api-misuse", title).discriminator("sync outside a mapping"),
                Vec::new,
            );
        }
    }

    /// A sync of part of a mapping, or of all of it, is done.
    pub fn synced(&self, kx: &Kx, dev: Ptr<Device>, dma: DmaAddr, size: u64, for_cpu: bool) {
        let Some(node) = kx.k.node_of(dev) else { return };
        let Some(mapping) = self.covering(node.index, dma, size) else { return };
        let dir = mapping.new.dir;
        if for_cpu && dir.reaches_cpu() {
            check_arrived(kx, &node, &mapping, dma, size);
            check_kept(kx, &node, &mapping, dma, size);
        }
        self.change(node.index, mapping.new.dma, |mapping| {
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
                node.bdf,
                left.len()
            );
            let since = first.since;
            let line =
                format!("first: {} bytes at {}, mapped in {}", first.new.size, first.new.dma, since.func);
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

    /// The mapping that begins at an address of a device. While an unmap is on its way, the address may be another's
    /// already: then that one is meant.
    fn find(&self, device: usize, dma: DmaAddr) -> Option<Mapping> {
        let live = self.live.borrow();
        let here = live.iter().filter(|mapping| mapping.device == device && mapping.new.dma == dma);
        here.min_by_key(|mapping| mapping.leaving).cloned()
    }

    /// The mapping of a device in which a range lies.
    pub(super) fn covering(&self, device: usize, dma: DmaAddr, size: u64) -> Option<Mapping> {
        let inside = |mapping: &&Mapping| {
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

    pub(super) fn change(&self, device: usize, dma: DmaAddr, f: impl FnOnce(&mut Mapping)) {
        let mut live = self.live.borrow_mut();
        let here = live.iter_mut().filter(|mapping| mapping.device == device && mapping.new.dma == dma);
        if let Some(mapping) = here.min_by_key(|mapping| mapping.leaving) {
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

/// Whether the buffer behind an address has another owner now than when it was mapped.
pub(super) fn owner_changed(kx: &Kx, piece: &Piece) -> Option<&'static str> {
    let mem = kx.k.mem.borrow();
    let now = mem.heap.shadow().object_at(piece.phys);
    (piece.owner != 0 && now != piece.owner)
        .then(|| mem.heap.record(now).map_or("nobody", |record| record.type_name))
}
