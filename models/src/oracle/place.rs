//! Where a mapping leads: to memory of its own, placed as the device needs it, and with nothing beside it that is not
//! the device's.

use std::rc::Rc;

use sim::Draft;

use super::dma_debug::dir_name;
use super::ledger::{MapKind, Mapping, NewMapping, Piece};
use crate::device::{Device, DeviceDmaParameters, DeviceNode};
use crate::dma::Ops;
use crate::iommu::pagetable::{Format, Prot};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PAGE_SIZE, PhysAddr, PhysRange, Ptr, Source, align_up};
use crate::scenario::schema::E820Kind;

/// A device that asked for it finds the low bits of a buffer's address in the address that it is given; and where nobody
/// asked for anything, a bounced page begins a page, as it always did.
pub(super) fn check_alignment(kx: &Kx, dev: Ptr<Device>, node: &DeviceNode, mapping: &Mapping) {
    if mapping.new.kind == MapKind::Coherent || !mapping.pieces.iter().any(Piece::bounced) {
        return;
    }
    let parms = kx.peek(dev, Device::dma_parms).filter(|parms| !parms.is_null());
    let mask = parms.and_then(|parms| kx.peek(parms, DeviceDmaParameters::min_align_mask)).unwrap_or(0);
    // Translated addresses keep the offset in a page, and nothing above it.
    let kept = if mapping.new.ops == Ops::Iommu { PAGE_SIZE - 1 } else { u64::MAX };
    let tested = u64::from(mask) & kept;
    for piece in mapping.pieces.iter().filter(|piece| piece.bounced()) {
        let (dma, phys, len) = (piece.dma, piece.phys, piece.len);
        if (dma.0 ^ phys.0) & tested != 0 {
            let title = format!(
                "{}: {len} bytes at {phys} are mapped at {dma}: the device needs the bits {tested:#x} of the address kept",
                node.bdf
            );
            kx.report(Draft::warning("dma-misaligned", title).discriminator("min_align_mask"), Vec::new);
        } else if mask == 0 && len >= PAGE_SIZE && dma.page_offset() != 0 {
            let title = format!(
                "{}: {len} bytes at {phys} are mapped at {dma}: a bounced page begins in the middle of one",
                node.bdf
            );
            kx.report(Draft::warning("dma-misaligned", title).discriminator("page"), Vec::new);
        }
    }
}

/// An untrusted device reaches whole pages; beside what was bounced for it there may be nothing that is somebody's.
pub(super) fn check_exposed(kx: &Kx, node: &DeviceNode, mapping: &Mapping) {
    if mapping.new.ops != Ops::Iommu || !node.spec(&kx.k).untrusted {
        return;
    }
    for piece in mapping.pieces.iter().filter(|piece| piece.bounced()) {
        let (start, end) = (piece.target, piece.target.wrapping_add(piece.len));
        let head = PhysAddr(start.0 - start.page_offset());
        let sides = [(head, start, "in front of"), (end, PhysAddr(align_up(end.0, PAGE_SIZE)), "behind")];
        for (from, to, side) in sides {
            let found = {
                let mem = kx.k.mem.borrow();
                let mut extents = mem.heap.content().extents(from, to.0 - from.0);
                extents.find(|(_, source, _)| !matches!(source, Source::Zero | Source::Untouched))
            };
            let Some((range, source, _)) = found else { continue };
            let title = format!(
                "{}: the untrusted device can read {source} at {}, {side} the {} bytes that are mapped for it at {}",
                node.bdf, range.start, piece.len, piece.dma
            );
            kx.report(Draft::warning("exposed-data", title).discriminator(side), Vec::new);
        }
    }
}

/// A translation allows what the direction of its mapping needs, and no more; but VT-d's driver lets everything be read. A
/// user of his own domain says himself what he wants.
///
/// Source: `drivers/iommu/dma-iommu.c: dma_info_to_prot()`, `drivers/iommu/intel/iommu.c: __domain_mapping()`
/// (`DMA_FL_PTE_PRESENT`), v6.12.
pub(super) fn check_permission(
    kx: &Kx,
    node: &DeviceNode,
    new: &NewMapping,
    dma: DmaAddr,
    (found, format): (Prot, Format),
) {
    let wanted =
        Prot { read: new.dir.reaches_device() || format != Format::AmdV1, write: new.dir.reaches_cpu() };
    if found == wanted || new.kind == MapKind::User {
        return;
    }
    let more = (found.read && !wanted.read) || (found.write && !wanted.write);
    let (side, words) =
        if more { ("too much", "allows more") } else { ("too little", "does not allow that") };
    let title = format!(
        "{}: {dma} is mapped {}, and its translation {words} (read: {}, write: {})",
        node.bdf,
        dir_name(new.dir),
        found.read,
        found.write
    );
    kx.report(Draft::warning("wrong-permission", title).discriminator(side), Vec::new);
}

/// Devices of one group share their addresses.
fn check_addresses_of(kx: &Kx, node: &DeviceNode, mapping: &Mapping, live: &[Rc<Mapping>]) {
    if mapping.new.ops != Ops::Iommu {
        return;
    }
    let last = |mapping: &Mapping| mapping.new.dma.0.wrapping_add(mapping.new.size.max(1) - 1);
    let group = node.group.get();
    let taken = live.iter().find(|other| {
        other.new.ops == Ops::Iommu
            && !other.leaving
            && other.new.kind != MapKind::User
            && mapping.new.kind != MapKind::User
            && other.new.dma.0 <= last(mapping)
            && mapping.new.dma.0 <= last(other)
            && kx.k.node(other.device).is_some_and(|other| other.group.get() == group)
    });
    if let Some(other) = taken {
        let title = format!(
            "{}: {} bytes are mapped at {}, where {} bytes are mapped since {}",
            node.bdf,
            mapping.new.size,
            mapping.new.dma,
            other.new.size,
            crate::kernel::seconds(other.since.time_ns)
        );
        kx.report(Draft::warning("overlapping-mappings", title).discriminator("bus addresses"), Vec::new);
    }
}

/// Slots and coherent memory belong to one mapping at a time, and so do addresses that an IOMMU translates.
pub(super) fn check_overlap(kx: &Kx, node: &DeviceNode, mapping: &Mapping, live: &[Rc<Mapping>]) {
    check_addresses_of(kx, node, mapping, live);
    let own = |mapping: &Mapping, piece: &Piece| mapping.new.kind == MapKind::Coherent || piece.bounced();
    let reached = |piece: &Piece| PhysRange::new(piece.target, piece.len);
    for piece in mapping.pieces.iter().filter(|piece| own(mapping, piece)) {
        let range = reached(piece);
        for other in live.iter().filter(|other| !other.leaving) {
            let shares = |piece: &&Piece| {
                let theirs = reached(piece);
                own(other, piece) && theirs.start < range.end && range.start < theirs.end
            };
            let Some(victim) = other.pieces.iter().find(shares) else { continue };
            let whose = kx.k.node(other.device).map_or("", |node| node.bdf);
            let title = format!(
                "{}: {} bytes are mapped at {}, over {} bytes that are mapped at {} for {whose} since {}",
                node.bdf,
                piece.len,
                range.start,
                victim.len,
                victim.target,
                crate::kernel::seconds(other.since.time_ns)
            );
            kx.report(Draft::warning("overlapping-mappings", title), Vec::new);
            return;
        }
    }
}

/// What an IOMMU is told to let devices reach is memory, of which the firmware has told.
pub fn check_memory(kx: &Kx, start: PhysAddr, size: u64) {
    let usable = |at: u64| {
        let mut ranges = kx.k.scenario.machine.e820.iter().filter(|entry| entry.kind == E820Kind::Usable);
        ranges.find(|entry| entry.start <= at && at <= entry.end)
    };
    let end = start.0.saturating_add(size);
    let mut at = start.0;
    while at < end {
        let Some(entry) = usable(at) else { break };
        at = entry.end.saturating_add(1);
    }
    if at < end {
        let title = format!("{start}-{:#x} is given to devices, and there is no memory at {at:#x}", end - 1);
        kx.report(Draft::warning("maps-no-memory", title), Vec::new);
    }
}
