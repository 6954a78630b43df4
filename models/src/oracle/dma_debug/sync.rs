//! Checks of a sync.

use super::{Misuse, dir_name, err_printk};
use crate::device::Device;
use crate::kernel::Kx;
use crate::mem::{DmaAddr, Ptr};
use crate::oracle::ledger::{MapKind, Mapping};
use crate::swiotlb::Direction;

/// A sync, as the driver asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Synced {
    /// Where the device finds what is synced.
    pub dma: DmaAddr,
    /// Bytes.
    pub size: u64,
    /// Direction.
    pub dir: Direction,
    /// Whether the CPU gets the buffer, and not the device.
    pub for_cpu: bool,
    /// Entries of the list; 0 if it is none.
    pub entries: usize,
}

/// Compares a sync with the mapping in which it lies, if there is one. The kernel has a further message for a sync that
/// reaches out of a mapping, which can never come: it looks for a mapping that holds all of it.
///
/// Source: `kernel/dma/debug.c: check_sync()`, v6.12.
pub(in crate::oracle) fn check_sync(kx: &Kx, dev: Ptr<Device>, entry: Option<&Mapping>, sync: &Synced) {
    let Some(mapping) = entry else {
        let place = format!(" [device address={:#018x}] [size={} bytes]", sync.dma.0, sync.size);
        err_printk(kx, dev, Misuse::SyncsUnknown, None, &place);
        return;
    };
    let new = &mapping.new;
    if new.dir == Direction::Bidirectional {
        return;
    }
    let wrong = |misuse| {
        let place = format!("[device address={:#018x}] [size={} bytes]", sync.dma.0, new.size);
        let directions = format!("[mapped with {}] [synced with {}]", dir_name(new.dir), dir_name(sync.dir));
        err_printk(kx, dev, misuse, entry, &format!(" {place} {directions}"));
    };
    if sync.dir != new.dir {
        wrong(Misuse::SyncsOtherDirection);
    }
    if sync.for_cpu && new.dir != Direction::FromDevice && sync.dir != Direction::ToDevice {
        wrong(Misuse::SyncsReadOnly);
    }
    if !sync.for_cpu && new.dir != Direction::ToDevice && sync.dir != Direction::FromDevice {
        wrong(Misuse::SyncsWriteOnly);
    }
    if sync.entries > 0 && new.kind == MapKind::Scatter && sync.entries != new.entries {
        let counts = format!(" [map count={}] [sync count={}]", new.entries, sync.entries);
        err_printk(kx, dev, Misuse::SyncsOtherCount, entry, &counts);
    }
}
