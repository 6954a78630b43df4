//! How a scatterlist is laid out in one range of bus addresses, and which entries become one segment.

use crate::mem::{DmaAddr, PAGE_SIZE, PhysAddr, align_up};

/// A range that a list needs, and where each entry lies in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SgLayout {
    /// By entry: the start of its pages in the range, and their length with the padding behind them, in bytes.
    pub places: Vec<SgPlace>,
    /// Bytes of the whole range.
    pub total: u64,
}

/// Where one entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SgPlace {
    /// Start of its first page, from the start of the range.
    pub start: u64,
    /// Bytes of its pages, with the padding that follows them: what is mapped.
    pub length: u64,
}

/// A segment as the device is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SgSegment {
    /// First byte.
    pub dma: DmaAddr,
    /// Bytes.
    pub length: u32,
}

impl SgLayout {
    /// Lays out entries of (address, bytes). An entry that would cross a multiple of `boundary` plus one is moved
    /// behind it; the padding is mapped as part of the entry before it.
    ///
    /// Source: `drivers/iommu/dma-iommu.c: iommu_dma_map_sg()`, v5.13 to v6.12.
    #[must_use]
    pub fn of(entries: &[(PhysAddr, u32)], boundary: u64) -> Self {
        let mut layout = Self::default();
        for (phys, length) in entries {
            let length = align_up(u64::from(*length) + phys.page_offset(), PAGE_SIZE);
            let pad = boundary.wrapping_sub(layout.total).wrapping_add(1) & boundary;
            if pad != 0 && pad < length.wrapping_sub(1) {
                if let Some(before) = layout.places.last_mut() {
                    before.length += pad;
                }
                layout.total += pad;
            }
            layout.places.push(SgPlace { start: layout.total, length });
            layout.total += length;
        }
        layout
    }

    /// Joins entries into segments, for the range at `start`. An entry is joined if the one before it ended where
    /// its pages end, it starts at a page's start, but not on a boundary, and the segment does not become longer than
    /// `max_segment`, counted modulo 2^32 as the kernel does: a single entry that is too long takes any other.
    ///
    /// Source: `drivers/iommu/dma-iommu.c: __finalise_sg()`, v5.13 to v6.12.
    #[must_use]
    pub fn finalise(
        &self,
        entries: &[(PhysAddr, u32)],
        start: DmaAddr,
        max_segment: u32,
        boundary: u64,
    ) -> Vec<SgSegment> {
        let mut segments: Vec<SgSegment> = Vec::with_capacity(entries.len());
        // Bytes of the segment that can still grow, 0 if there is none.
        let mut growing = 0_u32;
        for ((phys, length), place) in entries.iter().zip(&self.places) {
            let at = start.wrapping_add(place.start);
            let joins = growing != 0
                && phys.page_offset() == 0
                && at.0 & boundary != 0
                && max_segment.wrapping_sub(growing) >= *length;
            match segments.last_mut() {
                Some(segment) if joins => {
                    growing = growing.wrapping_add(*length);
                    segment.length = growing;
                }
                _ => {
                    growing = *length;
                    segments.push(SgSegment { dma: at.wrapping_add(phys.page_offset()), length: *length });
                }
            }
            if u64::from(*length) + phys.page_offset() < place.length {
                growing = 0;
            }
        }
        segments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_BOUNDARY: u64 = 0xffff_ffff;

    fn joined(entries: &[(u64, u32)], max_segment: u32, boundary: u64) -> Vec<(u64, u32)> {
        let entries: Vec<_> = entries.iter().map(|(phys, length)| (PhysAddr(*phys), *length)).collect();
        let layout = SgLayout::of(&entries, boundary);
        let segments = layout.finalise(&entries, DmaAddr(0x10_0000), max_segment, boundary);
        segments.iter().map(|segment| (segment.dma.0, segment.length)).collect()
    }

    #[test]
    fn whole_pages_join_and_parts_end_a_segment() {
        let list = [(0x200, 0xe00), (0x5000, 0x1000), (0x8000, 0x400), (0x9000, 0x1000)];
        assert_eq!(joined(&list, 0x1_0000, NO_BOUNDARY), [(0x10_0200, 0x2200), (0x10_3000, 0x1000)]);
    }

    #[test]
    fn a_boundary_pads_only_what_would_cross_it() {
        let list = [(0, 0x8000), (0, 0xc000), (0, 0x4000)];
        let entries = list.map(|(phys, length)| (PhysAddr(phys), length));
        let layout = SgLayout::of(&entries, 0xffff);
        assert_eq!(
            layout.places.iter().map(|place| place.start).collect::<Vec<_>>(),
            [0, 0x1_0000, 0x1_c000]
        );
        assert_eq!(layout.places[0].length, 0x1_0000);
        assert_eq!(layout.total, 0x2_0000);
        assert_eq!(joined(&list, u32::MAX, 0xffff), [(0x10_0000, 0x8000), (0x11_0000, 0x1_0000)]);
    }

    #[test]
    fn an_entry_longer_than_the_limit_takes_any_other() {
        let list = [(0, 0x3000), (0, 0x1000)];
        assert_eq!(joined(&list, 0x2000, NO_BOUNDARY), [(0x10_0000, 0x4000)]);
        assert_eq!(joined(&list, 0x3000, NO_BOUNDARY), [(0x10_0000, 0x3000), (0x10_3000, 0x1000)]);
    }
}
