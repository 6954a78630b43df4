//! Bus addresses: what the allocator takes must lie where the domain and the device allow it.

use sim::Draft;

use crate::iommu::core::msi_window;
use crate::iommu::iova::{AllocError, IovaPfn, IovaRange};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PAGE_SHIFT};

/// Checks what the allocator of a domain gave for `size` bytes. A range that it took counts also where its caller reads
/// the answer as a failure.
pub fn check_iova(kx: &Kx, taken: Result<DmaAddr, AllocError>, start: IovaPfn, last: u64, size: u64) {
    let (lo, hi) = match taken {
        Ok(addr) => (addr.0 >> PAGE_SHIFT, addr.0.wrapping_add(size.max(1) - 1) >> PAGE_SHIFT),
        Err(AllocError::PageZero(IovaRange { lo, hi })) => (lo.0, hi.0),
        Err(_) => return,
    };
    let inside = lo >= start.0 && hi >= lo && hi <= last >> PAGE_SHIFT;
    let interrupts = msi_window(kx).is_some_and(|(first, last)| lo <= last.0 && first.0 <= hi);
    if inside && !interrupts {
        return;
    }
    let side = match (inside, lo < start.0) {
        (true, _) => "in the window of interrupt messages",
        (false, true) => "below its first page frame",
        (false, false) => "beyond the limit of the device",
    };
    let title = format!(
        "the IOVA allocator took page frames {lo:#x}-{hi:#x}, {side} (from {:#x} to {:#x})",
        start.0,
        last >> PAGE_SHIFT
    );
    kx.report(Draft::warning("iova-out-of-range", title).discriminator(side), Vec::new);
}
