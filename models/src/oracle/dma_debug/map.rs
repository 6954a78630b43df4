//! Checks of a mapping: what may be mapped at all, overlaps, segments.

use sim::Draft;

use super::{Misuse, err_printk, is_on};
use crate::device::{Device, DeviceDmaParameters};
use crate::kernel::Kx;
use crate::mem::{PhysAddr, Ptr};
use crate::oracle::ledger::{MapKind, NewMapping};
use crate::swiotlb::Direction;

/// Type of the memory of stacks.
pub(in crate::oracle) const STACK: &str = "kernel stack";
/// log2 of the bytes of a cache line (`L1_CACHE_SHIFT` on x86).
const L1_CACHE_SHIFT: u32 = 6;
/// So many overlaps of a cache line are counted (`ACTIVE_CACHELINE_MAX_OVERLAP`).
const MAX_OVERLAP: usize = 7;

/// Looks at the memory that is mapped.
///
/// Source: `kernel/dma/debug.c: check_for_stack(), check_for_illegal_area(), debug_dma_map_single()`, v6.12.
pub(in crate::oracle) fn check_map(kx: &Kx, dev: Ptr<Device>, new: &NewMapping, pieces: &[(PhysAddr, u64)]) {
    // What a process has mapped into a domain of its own is no business of the DMA API.
    if matches!(new.kind, MapKind::Coherent | MapKind::User) {
        return;
    }
    for &(phys, len) in pieces {
        let addr = || format!("[addr={:016x}]", phys.virt());
        if is_own_stack(kx, phys) {
            err_printk(kx, dev, Misuse::MapsStack, None, &format!(" {}", addr()));
        }
        // What the page allocator has given out is no part of the image any more.
        if kx.k.image.is_read_only(phys) && kx.k.mem.borrow().heap.shadow().object_at(phys) == 0 {
            err_printk(kx, dev, Misuse::MapsKernelText, None, &format!(" {} [len={len}]", addr()));
        }
        if !kx.k.image.is_ram(phys) {
            err_printk(kx, dev, Misuse::MapsInvalid, None, &format!(" {} [len={len}]", addr()));
        }
    }
}

/// Whether this is the stack of whoever is running.
fn is_own_stack(kx: &Kx, phys: PhysAddr) -> bool {
    let mem = kx.k.mem.borrow();
    let id = mem.heap.shadow().object_at(phys);
    mem.heap.record(id).is_some_and(|record| record.type_name == STACK && record.alloc.ctx == kx.serial())
}

/// Memory that is not contiguous for a device is refused before anybody can map it.
///
/// Source: `include/linux/dma-mapping.h: dma_map_single_attrs()`, v5.13 to v6.12.
pub fn reject_vmalloc(kx: &Kx, dev: Ptr<Device>) {
    let title = format!("{}: {}", kx.k.dev_string(dev), Misuse::MapsVmalloc.words());
    if kx.k.globals.once(Misuse::MapsVmalloc.words()) {
        kx.log(|| title.clone());
    }
    kx.report(Draft::warning("dma-api-misuse", title).discriminator(Misuse::MapsVmalloc.name()), Vec::new);
}

/// Looks for other mappings whose first cache line is that of a new one: the device writes there, and what it writes may
/// be lost where caches are not coherent. `others` are the first bytes of all mappings through which a device may write.
///
/// Source: `kernel/dma/debug.c: add_dma_entry(), active_cacheline_insert(), active_cacheline_inc_overlap()`, v6.12.
pub(in crate::oracle) fn check_overlap(
    kx: &Kx,
    dev: Ptr<Device>,
    new: &NewMapping,
    others: impl Iterator<Item = PhysAddr>,
) {
    if !is_on(kx) || new.dir == Direction::ToDevice || new.kind == MapKind::User {
        return;
    }
    let line = |phys: PhysAddr| phys.0 >> L1_CACHE_SHIFT;
    let overlaps = others.filter(|other| line(*other) == line(new.phys)).count();
    if overlaps > 0 && new.given {
        err_printk(kx, dev, Misuse::Overlaps, None, "");
    }
    if overlaps > MAX_OVERLAP {
        err_printk(kx, dev, Misuse::OverlapsTooOften, None, &format!(" {:#x}", line(new.phys)));
    }
}

/// The longest segment of a device in bytes, and the mask of the boundary that none may cross.
///
/// Source: `include/linux/dma-mapping.h: dma_get_max_seg_size(), dma_get_seg_boundary()`, v5.13 to v6.12.
pub(in crate::oracle) fn segment_limits(kx: &Kx, dev: Ptr<Device>) -> (u64, u64) {
    let parms = kx.peek(dev, Device::dma_parms).unwrap_or(Ptr::NULL);
    let max = match kx.peek(parms, DeviceDmaParameters::max_segment_size) {
        None | Some(0) => crate::dma::rules::DEFAULT_MAX_SEGMENT,
        Some(max) => max,
    };
    let boundary = match kx.peek(parms, DeviceDmaParameters::segment_boundary_mask) {
        None | Some(0) => u64::from(u32::MAX),
        Some(boundary) => boundary,
    };
    (u64::from(max), boundary)
}

/// Holds a segment of a scatterlist against what the device says of itself.
///
/// Source: `kernel/dma/debug.c: check_sg_segment()`, v6.12. The length is that of the entry that was mapped.
pub(in crate::oracle) fn check_segment(kx: &Kx, dev: Ptr<Device>, new: &NewMapping, length: u64) {
    if !is_on(kx) || !kx.k.profile().config.dma_api_debug_sg || new.kind != MapKind::Scatter {
        return;
    }
    let (max, boundary) = segment_limits(kx, dev);
    if length > max {
        err_printk(kx, dev, Misuse::SegmentTooLong, None, &format!(" [len={length}] [max={max}]"));
    }
    let (start, end) = (new.dma.0, new.dma.0.wrapping_add(new.size.max(1) - 1));
    if (start ^ end) & !boundary != 0 {
        let place = format!("[start={start:#018x}] [end={end:#018x}] [boundary={boundary:#018x}]");
        err_printk(kx, dev, Misuse::SegmentAcross, None, &format!(" {place}"));
    }
}
