//! Content: what the device finds where it reads, and what the CPU finds when the device is done.

use sim::Draft;

use super::ledger::{Mapping, Piece};
use super::ought::{Ought, differs};
use crate::device::{Device, DeviceNode};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PhysAddr, Ptr, Source};

/// What the device reads through a bounce buffer must be what the driver gave it.
pub(super) fn check_read(kx: &Kx, node: &DeviceNode, piece: &Piece, at: DmaAddr, phys: PhysAddr, len: u64) {
    if !piece.bounced() {
        return;
    }
    let (from, to) = piece.part(at, len);
    for stretch in piece.ought.within(from, to) {
        let Ought::Given(source, offset) = stretch.ought else { continue };
        let len = stretch.to - stretch.from;
        let slot = phys.wrapping_add(stretch.from - from);
        if let Some((_, found, _)) = differs(kx, slot, len, (source, offset)) {
            let title = format!("{} reads {found} at {at}, where the driver gave it {source}", node.bdf);
            kx.report(Draft::warning("wrong-data", title), Vec::new);
            return;
        }
        // The slots hold what was given; the driver may have meant something newer.
        let buffer = piece.phys.wrapping_add(stretch.from);
        let newer = {
            let mem = kx.k.mem.borrow();
            mem.heap.content().extents(buffer, len).find(|(_, found, _)| *found != source)
        };
        if let Some((_, newer, _)) = newer {
            let title = format!(
                "{} reads {source} at {at}, and the buffer holds {newer}: written by the CPU without a sync for the device",
                node.bdf
            );
            kx.report(Draft::warning("wrong-data", title).discriminator("no sync"), Vec::new);
            return;
        }
    }
}

/// Coherent memory comes cleared: what a driver or a device finds there before anybody wrote to it is nobody's secret.
pub fn check_cleared(kx: &Kx, dev: Ptr<Device>, phys: PhysAddr, size: u64) {
    let found = {
        let mem = kx.k.mem.borrow();
        mem.heap.content().extents(phys, size).find(|(_, source, _)| *source != Source::Zero)
    };
    if let Some((range, source, _)) = found {
        let title = format!(
            "{}: coherent memory of {size} bytes is handed out with {source} at {}",
            kx.k.dev_string(dev),
            range.start
        );
        kx.report(Draft::warning("not-cleared", title), Vec::new);
    }
}

/// What the device wrote in a range must be in the buffer now.
pub(super) fn check_arrived(kx: &Kx, node: &DeviceNode, mapping: &Mapping, dma: DmaAddr, size: u64) {
    for piece in &mapping.pieces {
        let (from, to) = piece.part(dma, size);
        for stretch in piece.ought.within(from, to) {
            let Ought::Device(..) = stretch.ought else { continue };
            let Some(source) = stretch.ought.source() else { continue };
            let (len, buffer) = (stretch.to - stretch.from, piece.phys.wrapping_add(stretch.from));
            let Some((range, found, _)) = differs(kx, buffer, len, source) else { continue };
            let at = range.start;
            let title =
                format!("{}: the device wrote {len} bytes, and the buffer holds {found} at {at}", node.bdf);
            kx.report(Draft::warning("lost-write", title), Vec::new);
            return;
        }
    }
}

/// What the device did not write in a range must be as it was when the device got it: the copy back may bring nothing
/// that was somebody else's. A mapping of which the device has written nothing was given up and tells nobody anything.
pub(super) fn check_kept(kx: &Kx, node: &DeviceNode, mapping: &Mapping, dma: DmaAddr, size: u64) {
    if !mapping.written {
        return;
    }
    for piece in mapping.pieces.iter().filter(|piece| piece.bounced()) {
        let (from, to) = piece.part(dma, size);
        for stretch in piece.ought.within(from, to) {
            let Ought::Given(source, offset) = stretch.ought else { continue };
            let (len, buffer) = (stretch.to - stretch.from, piece.phys.wrapping_add(stretch.from));
            let Some((range, found, _)) = differs(kx, buffer, len, (source, offset)) else { continue };
            let at = range.start;
            let title = format!(
                "{}: the buffer holds {found} at {at}, which the device has not written; it held {source} when it was mapped",
                node.bdf
            );
            kx.report(Draft::warning("foreign-data", title), Vec::new);
            return;
        }
    }
}
