//! Segments: what a mapping function makes of a buffer must be what the device says that it can take.

use sim::Draft;

use super::dma_debug::segment_limits;
use super::ledger::{MapKind, Mapping, Piece};
use crate::device::{Device, DeviceNode};
use crate::dma::Ops;
use crate::kernel::Kx;
use crate::mem::{PAGE_SIZE, Ptr, align_up};

/// Where the core chooses the place of a mapping, or joins entries of a list, it keeps to the device's longest segment and
/// to its boundary; entries that keep to neither by themselves are their driver's mistake, and left out.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_dma_map_sg(), __finalise_sg()`, `kernel/dma/swiotlb.c:
/// swiotlb_search_pool_area()`, v6.12; `Documentation/core-api/dma-api.rst`.
pub(super) fn check_segment_fits(kx: &Kx, dev: Ptr<Device>, node: &DeviceNode, mapping: &Mapping) {
    let new = &mapping.new;
    let translated = new.ops == Ops::Iommu;
    let chosen = translated || mapping.pieces.iter().any(Piece::bounced);
    if !chosen || matches!(new.kind, MapKind::Coherent | MapKind::User) {
        return;
    }
    let (longest, boundary) = segment_limits(kx, dev);
    if new.size > longest && mapping.pieces.iter().all(|piece| piece.len <= longest) {
        let title = format!(
            "{}: {} entries were joined to {} bytes at {}, and the device takes {longest} at most",
            node.bdf,
            mapping.pieces.len(),
            new.size,
            new.dma
        );
        kx.report(Draft::warning("bad-segment", title).discriminator("too long"), Vec::new);
    }
    let fits = |piece: &Piece| {
        let bytes = piece.len + piece.dma.page_offset();
        let taken = if translated { align_up(bytes, PAGE_SIZE) } else { bytes };
        taken - 1 <= boundary
    };
    let last = new.dma.0.wrapping_add(new.size.max(1) - 1);
    if (new.dma.0 ^ last) & !boundary != 0 && mapping.pieces.iter().all(fits) {
        let title = format!(
            "{}: {} bytes at {} lie across a boundary of {boundary:#x}, and would fit between two",
            node.bdf, new.size, new.dma
        );
        kx.report(Draft::warning("bad-segment", title).discriminator("across a boundary"), Vec::new);
    }
}
