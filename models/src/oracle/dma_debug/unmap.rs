//! Checks of an unmap.

use super::{Misuse, dir_name, err_printk, type_name};
use crate::device::Device;
use crate::dma::{DMA_MAPPING_ERROR, Ops};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PhysAddr, Ptr};
use crate::oracle::ledger::{MapKind, Mapping};
use crate::swiotlb::Direction;

/// An unmap, as the driver asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Unmapped {
    /// Where the device found it.
    pub dma: DmaAddr,
    /// Bytes.
    pub size: u64,
    /// Direction.
    pub dir: Direction,
    /// By which function.
    pub kind: MapKind,
    /// Through which implementation.
    pub ops: Ops,
    /// The CPU address that was passed, if the function takes one.
    pub phys: Option<PhysAddr>,
    /// Entries of the list; 0 if it is none.
    pub entries: usize,
}

/// Compares an unmap with what was mapped there, if anything was.
///
/// Source: `kernel/dma/debug.c: check_unmap()`, v6.12.
pub(in crate::oracle) fn check_unmap(kx: &Kx, dev: Ptr<Device>, entry: Option<&Mapping>, unmap: &Unmapped) {
    let Unmapped { dma, size, .. } = *unmap;
    // Written down only for what is wrong: this is on the way of every unmap.
    let place = || format!("[device address={:#018x}] [size={size} bytes]", dma.0);
    let Some(mapping) = entry else {
        if dma.0 == DMA_MAPPING_ERROR {
            err_printk(kx, dev, Misuse::FreesInvalid, None, "");
        } else {
            err_printk(kx, dev, Misuse::FreesUnknown, None, &format!(" {}", place()));
        }
        return;
    };
    let new = &mapping.new;
    let wrong = |misuse, detail: String| err_printk(kx, dev, misuse, entry, &detail);
    if new.size != size {
        let sizes = format!("[map size={} bytes] [unmap size={size} bytes]", new.size);
        wrong(Misuse::FreesOtherSize, format!(" [device address={:#018x}] {sizes}", dma.0));
    }
    if new.kind != unmap.kind {
        let types = format!("[mapped as {}] [unmapped as {}]", type_name(new.kind), type_name(unmap.kind));
        wrong(Misuse::FreesWrongFunction, format!(" {} {types}", place()));
    } else if let Some(phys) = unmap.phys.filter(|phys| *phys != new.phys) {
        let addresses =
            format!("[cpu alloc address={:#018x}] [cpu free address={:#018x}]", new.phys.0, phys.0);
        wrong(Misuse::FreesOtherAddress, format!(" {} {addresses}", place()));
    }
    if unmap.entries > 0 && unmap.kind == MapKind::Scatter && unmap.entries != new.entries {
        let counts = format!("[map count={}] [unmap count={}]", new.entries, unmap.entries);
        wrong(Misuse::FreesOtherCount, format!(" {counts}"));
    }
    if new.dir != unmap.dir {
        let directions =
            format!("[mapped with {}] [unmapped with {}]", dir_name(new.dir), dir_name(unmap.dir));
        wrong(Misuse::FreesOtherDirection, format!(" {} {directions}", place()));
    }
    if mapping.unchecked {
        wrong(Misuse::Unchecked, format!("{} [mapped as {}]", place(), type_name(new.kind)));
    }
}
