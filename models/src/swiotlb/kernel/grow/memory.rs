//! Memory of pools that come and go: from the page allocator, or from the pools of atomic allocations.

use super::super::object::IoTlbPool;
use crate::device::Device;
use crate::dma::atomic_pool::{dma_alloc_from_pool, dma_free_from_pool, force_dma_unencrypted};
use crate::kernel::{GfpFlags, Kx, NoMemory};
use crate::mem::{Gfp, PAGE_SIZE, PhysAddr, PhysRange, Ptr};
use crate::profile::Behaviour;
use crate::swiotlb::Zone;
use crate::swiotlb::grow::get_order;

/// The bounce buffer of a pool: where it is, and to whom it goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlb {
    /// First byte.
    pub(super) start: PhysAddr,
    /// Bytes.
    bytes: u64,
    /// Order and heap id of its pages; `None` if it comes from a pool of atomic allocations.
    pages: Option<(u8, u32)>,
}

impl Tlb {
    /// Its bytes.
    pub(super) const fn range(self) -> PhysRange {
        PhysRange { start: self.start, end: self.start.wrapping_add(self.bytes) }
    }
}

/// Why pages could not be had.
enum NoPages {
    /// There are none, or they could not be shared with the host.
    None,
    /// They lie too high (`-EAGAIN`).
    TooHigh,
}

/// The kernel's name of a zone.
pub(super) const fn gfp_of(zone: Zone) -> Gfp {
    match zone {
        Zone::Dma => Gfp::Dma,
        Zone::Dma32 => Gfp::Dma32,
        Zone::Normal => Gfp::Kernel,
    }
}

/// Gets the memory of a pool below `phys_limit`, shared with the host where memory is encrypted.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_alloc_tlb()`, v6.12.
pub(super) async fn alloc_tlb(
    kx: &Kx,
    dev: Option<Ptr<Device>>,
    bytes: u64,
    phys_limit: u64,
    flags: GfpFlags,
) -> Option<Tlb> {
    // Sharing pages may sleep: an atomic request takes memory that was shared beforehand.
    if flags.atomic
        && let Some(dev) = dev
        && force_dma_unencrypted(kx, dev).await
    {
        let start = dma_alloc_from_pool(kx, Some(dev), bytes).await?;
        return Some(Tlb { start, bytes, pages: None });
    }
    let mut zone = Zone::first(phys_limit);
    loop {
        match alloc_dma_pages(kx, bytes, phys_limit, GfpFlags { zone: gfp_of(zone), ..flags }).await {
            Ok(tlb) => return Some(tlb),
            Err(NoPages::None) => return None,
            Err(NoPages::TooHigh) => zone = zone.lower(phys_limit)?,
        }
    }
}

/// Gets pages, and shares them with the host.
///
/// Before `grown-pages-encrypted-again` they are shared first and judged then, and what cannot be shared goes back as it
/// is.
///
/// Source: `kernel/dma/swiotlb.c: alloc_dma_pages()`, v6.12; with the loop of `swiotlb_alloc_tlb()`, v6.6.
async fn alloc_dma_pages(kx: &Kx, bytes: u64, phys_limit: u64, flags: GfpFlags) -> Result<Tlb, NoPages> {
    let _frame = kx.enter("swiotlb_alloc_tlb");
    let order = u8::try_from(get_order(bytes)).map_err(|_| NoPages::None)?;
    let pages = kx.alloc_pages("swiotlb bounce buffer", order, flags).await;
    let (start, id) = pages.map_err(|NoMemory| NoPages::None)?;
    let too_high = start.0.wrapping_add(bytes).wrapping_sub(1) > phys_limit;
    let careful = kx.k.has(Behaviour::GrownPagesEncryptedAgain);
    if careful && too_high {
        kx.free_pages(start, order, id).await;
        return Err(NoPages::TooHigh);
    }
    let count = bytes.div_ceil(PAGE_SIZE);
    if kx.set_memory_decrypted(start, count).await.is_err() {
        if careful && kx.set_memory_encrypted(start, count).await.is_err() {
            // Leaked on purpose: the host may read them.
            kx.leak_pages(start, count, id);
            return Err(NoPages::None);
        }
        kx.free_pages(start, order, id).await;
        return Err(NoPages::None);
    }
    if too_high {
        kx.free_pages(start, order, id).await;
        return Err(NoPages::TooHigh);
    }
    Ok(Tlb { start, bytes, pages: Some((order, id)) })
}

/// Gives the memory of a pool back, private again; or leaks it if it cannot be.
///
/// Source: `kernel/dma/swiotlb.c: swiotlb_free_tlb()`, v6.12.
pub(super) async fn free_tlb(kx: &Kx, tlb: Tlb) {
    let Some((order, id)) = tlb.pages else {
        dma_free_from_pool(kx, tlb.start, tlb.bytes).await;
        return;
    };
    let count = tlb.bytes.div_ceil(PAGE_SIZE);
    if kx.set_memory_encrypted(tlb.start, count).await.is_ok() {
        kx.free_pages(tlb.start, order, id).await;
    } else {
        kx.leak_pages(tlb.start, count, id);
    }
}

/// Bytes of a descriptor with its areas.
pub(super) const fn descriptor_bytes(nareas: u32) -> u64 {
    DESCRIPTOR + AREA * nareas as u64
}

/// Bytes of `struct io_tlb_pool`.
const DESCRIPTOR: u64 = 0x68;
/// Bytes of `struct io_tlb_area`.
const AREA: u64 = super::super::object::IoTlbArea::SIZE;

/// The memory of a descriptor goes back.
pub(super) async fn free_descriptor(kx: &Kx, pool: Ptr<IoTlbPool>) {
    if let Some(at) = pool.phys() {
        kx.kfree(at, pool.id).await;
    }
}
