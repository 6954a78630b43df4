//! Scatterlists.

use smallvec::SmallVec;

use super::mapping::{note_path, refuses_without_mask, sync_part, tell_mask};
use super::{Attrs, Ops, dma_direct_map_page, dma_direct_unmap_page, get_dma_ops};
use crate::device::Device;
use crate::iommu::dma::{iommu_dma_map_sg, iommu_dma_unmap_sg};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PhysAddr, Ptr};
use crate::oracle::{Before, MapKind, NewMapping, Synced, Unmapped};
use crate::profile::Behaviour;
use crate::swiotlb::Direction;

/// An entry of a scatterlist (`struct scatterlist`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SgEntry {
    /// The buffer.
    pub phys: PhysAddr,
    /// Its length.
    pub length: u64,
    /// Where the device finds it.
    pub dma: DmaAddr,
    /// How many bytes there.
    pub dma_length: u64,
    /// Where the device finds this very entry, in whatever segment it ended up.
    pub at: DmaAddr,
}

/// Maps a list; the number of segments for the device, 0 if it failed. The segments' addresses are in the first
/// entries.
///
/// With `map-sg-wrapped` the caller is taken for one of `dma_map_sgtable`.
///
/// Source: `kernel/dma/mapping.c: dma_map_sg_attrs()`, `kernel/dma/direct.c: dma_direct_map_sg()`, v5.13;
/// `dma_map_sgtable()`, `__dma_map_sg_attrs()`, v6.1, v6.12.
pub async fn dma_map_sg_attrs(
    kx: &Kx,
    dev: Ptr<Device>,
    list: &mut [SgEntry],
    dir: Direction,
    attrs: Attrs,
) -> usize {
    let wrapped = kx.k.has(Behaviour::MapSgWrapped);
    let _frame = kx.enter(if wrapped { "dma_map_sgtable" } else { "dma_map_sg_attrs" });
    let _inner = wrapped.then(|| kx.enter("__dma_map_sg_attrs"));
    if refuses_without_mask(kx, dev) {
        return 0;
    }
    let ops = get_dma_ops(kx, dev).await;
    let mut before = if attrs.skip_cpu_sync {
        Before::default()
    } else {
        Before::of(kx, list.iter().map(|entry| (entry.phys, entry.length)))
    };
    let segments = match ops {
        Ops::Direct => direct_map_sg(kx, dev, list, dir, attrs).await,
        Ops::Iommu => iommu_dma_map_sg(kx, dev, list, dir, attrs).await,
    };
    if segments == 0 {
        tell_mask(kx, dev, ops).await;
    }
    note_path(kx, dev, ops, segments == 0);
    for entry in list.iter().take(segments) {
        let (dma, size, phys) = (entry.dma, entry.dma_length, entry.phys);
        let inside = |e: &&SgEntry| dma <= e.at && e.at.0 - dma.0 < size;
        let pieces: Vec<_> = list.iter().filter(inside).map(|e| (e.at, e.phys, e.length)).collect();
        let (given, entries) = (!attrs.skip_cpu_sync, list.len());
        let new = NewMapping { dma, size, phys, dir, kind: MapKind::Scatter, ops, given, entries };
        kx.k.ledger.mapped(kx, dev, &new, &pieces, &mut before);
    }
    segments
}

async fn direct_map_sg(
    kx: &Kx,
    dev: Ptr<Device>,
    list: &mut [SgEntry],
    dir: Direction,
    attrs: Attrs,
) -> usize {
    let _frame = kx.enter("dma_direct_map_sg");
    for n in 0..list.len() {
        let (phys, length) = (list[n].phys, list[n].length);
        match dma_direct_map_page(kx, dev, phys, length, dir, attrs).await {
            Some(dma) => {
                list[n].dma = dma;
                list[n].dma_length = length;
                list[n].at = dma;
            }
            None => {
                for entry in &list[..n] {
                    let attrs = attrs.with_skip_cpu_sync();
                    dma_direct_unmap_page(kx, dev, entry.dma, entry.dma_length, dir, attrs).await;
                }
                return 0;
            }
        }
    }
    list.len()
}

/// Undoes it.
///
/// Source: `kernel/dma/mapping.c: dma_unmap_sg_attrs()`, v5.13.
pub async fn dma_unmap_sg_attrs(
    kx: &Kx,
    dev: Ptr<Device>,
    list: &[SgEntry],
    segments: usize,
    dir: Direction,
    attrs: Attrs,
) {
    let _frame = kx.enter("dma_unmap_sg_attrs");
    let ops = get_dma_ops(kx, dev).await;
    let leaving = |entry: &SgEntry| {
        let (dma, size, kind, entries) = (entry.dma, entry.dma_length, MapKind::Scatter, list.len());
        kx.k.ledger.unmapping(kx, dev, &Unmapped { dma, size, dir, kind, ops, phys: None, entries })
    };
    let leaving: SmallVec<[_; 8]> = list.iter().take(segments).map(leaving).collect();
    match ops {
        Ops::Direct => {
            let _frame = kx.enter("dma_direct_unmap_sg");
            for entry in list {
                dma_direct_unmap_page(kx, dev, entry.dma, entry.dma_length, dir, attrs).await;
            }
        }
        Ops::Iommu => iommu_dma_unmap_sg(kx, dev, list, segments, dir, attrs).await,
    }
    for id in leaving {
        kx.k.ledger.unmapped(kx, dev, id, attrs);
    }
}

/// Hands the first `segments` segments of a mapped list of `entries` entries to the CPU or back to the device.
///
/// Source: `kernel/dma/mapping.c: dma_sync_sg_for_cpu()`, `dma_sync_sg_for_device()`, v5.13, v6.1; `__dma_sync_sg_for_cpu()`,
/// v6.12.
pub async fn dma_sync_sg(
    kx: &Kx,
    dev: Ptr<Device>,
    list: &[SgEntry],
    entries: usize,
    segments: usize,
    dir: Direction,
    for_cpu: bool,
) {
    let skips = kx.k.has(Behaviour::DmaSkipSync);
    let _frame = kx.enter(match (skips, for_cpu) {
        (false, true) => "dma_sync_sg_for_cpu",
        (false, false) => "dma_sync_sg_for_device",
        (true, true) => "__dma_sync_sg_for_cpu",
        (true, false) => "__dma_sync_sg_for_device",
    });
    let syncs: Vec<Synced> = list
        .iter()
        .take(segments)
        .map(|entry| Synced { dma: entry.dma, size: entry.dma_length, dir, for_cpu, entries })
        .collect();
    for sync in &syncs {
        kx.k.ledger.syncing(kx, dev, sync);
    }
    if !(skips && kx.load(dev, Device::dma_skip_sync).await) {
        let ops = get_dma_ops(kx, dev).await;
        for sync in &syncs {
            sync_part(kx, dev, sync, ops).await;
        }
    }
    for sync in &syncs {
        kx.k.ledger.synced(kx, dev, sync);
    }
}
