//! Coherent memory.

use sim::choices::Stream;

use super::atomic_pool::{dma_alloc_from_pool, dma_free_from_pool, force_dma_unencrypted};
use super::declared::{dma_alloc_from_dev_coherent, dma_release_from_dev_coherent};
use super::{Ops, get_dma_ops, phys_to_dma};
use crate::device::Device;
use crate::iommu::dma::{iommu_dma_map_coherent, iommu_dma_unmap_coherent};
use crate::kernel::{GfpFlags, Kx, NoMemory};
use crate::mem::{DmaAddr, Gfp, PAGE_SIZE, PhysAddr, Ptr, Source};
use crate::oracle::{Before, MapKind, NewMapping, Unmapped, check_cleared};
use crate::profile::Behaviour;
use crate::swiotlb::Direction;
use crate::swiotlb::kernel::{is_swiotlb_for_alloc, swiotlb_alloc, swiotlb_free};

/// A piece of coherent memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coherent {
    /// Where the CPU finds it.
    pub phys: PhysAddr,
    /// Where the device finds it.
    pub dma: DmaAddr,
    /// Bytes.
    pub size: u64,
    /// log2 of its pages.
    order: u8,
    /// Heap id of the memory; 0 if it comes from a pool.
    id: u32,
}

impl Coherent {
    /// The same for a driver that has got its CPU address wrong.
    #[must_use]
    pub const fn with_cpu_offset(self, offset: u64) -> Self {
        Self { phys: self.phys.wrapping_add(offset), ..self }
    }
}

/// Allocates coherent memory.
///
/// Source: `kernel/dma/mapping.c: dma_alloc_attrs()`, `kernel/dma/direct.c: dma_direct_alloc()`, v5.13;
/// `swiotlb_alloc()`, next of June 2021.
pub async fn dma_alloc_attrs(kx: &Kx, dev: Ptr<Device>, size: u64) -> Option<Coherent> {
    let _frame = kx.enter("dma_alloc_attrs");
    let own = dma_alloc_from_dev_coherent(kx, dev, size).await;
    if let Some(found) = own {
        // Where the device finds it nothing stands in between: it is not mapped.
        let (phys, dma) = found?;
        return Some(Coherent { phys, dma, size, order: 0, id: 0 });
    }
    let ops = get_dma_ops(kx, dev).await;
    let coherent = match ops {
        Ops::Direct => direct_alloc(kx, dev, size).await?,
        Ops::Iommu => {
            let (phys, order, id) = iommu_pages(kx, dev, size).await?;
            let dma = iommu_dma_map_coherent(kx, dev, phys, size).await;
            let Some(dma) = dma else {
                if id != 0 || !dma_free_from_pool(kx, phys, size).await {
                    kx.free_pages(phys, order, id).await;
                }
                return None;
            };
            Coherent { phys, dma, size, order, id }
        }
    };
    let new = NewMapping {
        dma: coherent.dma,
        size,
        phys: coherent.phys,
        dir: Direction::Bidirectional,
        kind: MapKind::Coherent,
        ops,
        given: true,
        entries: 0,
    };
    kx.k.ledger.mapped(kx, dev, &new, &[(new.dma, new.phys, size)], &mut Before::default());
    check_cleared(kx, dev, coherent.phys, size);
    Some(coherent)
}

/// Pages behind an IOMMU. A device that does not snoop caches needs them mapped a second time; who may not sleep for that
/// takes them from a pool.
///
/// Before `pool-page-tested` the address is tested that the pool sets if it has something: a variable on the stack.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_dma_alloc()`, v5.10, v6.1, v6.12.
async fn iommu_pages(kx: &Kx, dev: Ptr<Device>, size: u64) -> Option<(PhysAddr, u8, u32)> {
    let non_coherent = kx.k.node_of(dev).is_some_and(|node| node.spec(&kx.k).non_coherent);
    let remapped = kx.k.profile().config.dma_direct_remap && non_coherent;
    if !remapped || kx.atomic_reason().is_none() {
        return pages(kx, size, Gfp::Kernel).await;
    }
    let _frame = kx.enter("iommu_dma_alloc");
    if let Some(phys) = dma_alloc_from_pool(kx, None, size).await {
        return Some((phys, 0, 0));
    }
    let left_on_stack = !kx.k.has(Behaviour::PoolPageTested)
        && kx.choose(Stream::Content, "what the stack holds: 0 or not", 2) == 1;
    left_on_stack.then_some((NULL_PAGE, 0, 0))
}

/// `page_to_phys(NULL)` on x86: what lies as far behind 0 as `vmemmap` lies in front of it.
const NULL_PAGE: PhysAddr = PhysAddr(0x5_8000_0000_0000);

async fn pages(kx: &Kx, size: u64, zone: Gfp) -> Option<(PhysAddr, u8, u32)> {
    let pages = size.div_ceil(4096).max(1).next_power_of_two();
    let order = u8::try_from(pages.ilog2()).ok()?;
    let flags = GfpFlags { zone, atomic: kx.atomic_reason().is_some(), zero: true, spared: false };
    let (phys, id) = kx.alloc_pages("coherent memory", order, flags).await.ok()?;
    Some((phys, order, id))
}

/// Source: `kernel/dma/direct.c: dma_direct_alloc()`, v5.13, v6.1, v6.12.
async fn direct_alloc(kx: &Kx, dev: Ptr<Device>, size: u64) -> Option<Coherent> {
    let _frame = kx.enter("dma_direct_alloc");
    if is_swiotlb_for_alloc(kx, dev).await {
        let phys = swiotlb_alloc(kx, dev, size).await?;
        // memset: whatever the slots held is gone, and what lies there if they are somebody else's, too.
        let _ = kx.k.mem.borrow_mut().heap.write_at(phys, size, Source::Zero, 0);
        let dma = phys_to_dma(kx, phys, true);
        if dma.0.saturating_add(size - 1) > kx.load(dev, Device::coherent_dma_mask).await {
            swiotlb_free(kx, dev, phys).await;
            return None;
        }
        return Some(Coherent { phys, dma, size, order: 0, id: 0 });
    }
    let unencrypted = force_dma_unencrypted(kx, dev).await;
    // Sharing pages may sleep: who may not takes memory that was shared beforehand.
    if unencrypted && kx.atomic_reason().is_some() {
        let phys = dma_alloc_from_pool(kx, Some(dev), size).await?;
        return Some(Coherent { phys, dma: phys_to_dma(kx, phys, true), size, order: 0, id: 0 });
    }
    let (phys, order, id) = direct_alloc_pages(kx, dev, size, unencrypted).await?;
    if unencrypted && dma_set_decrypted(kx, phys, size).await.is_err() {
        if kx.k.has(Behaviour::LeakPagesNotDecrypted) {
            kx.leak_pages(phys, size.div_ceil(PAGE_SIZE), id);
        } else {
            kx.free_pages(phys, order, id).await;
        }
        return None;
    }
    Some(Coherent { phys, dma: phys_to_dma(kx, phys, unencrypted), size, order, id })
}

/// Pages that the device reaches: the zone is guessed from the mask, and what lies too high is given back and asked for
/// lower down.
///
/// Source: `kernel/dma/direct.c: __dma_direct_alloc_pages()`, v5.13, v6.1, v6.12.
async fn direct_alloc_pages(
    kx: &Kx,
    dev: Ptr<Device>,
    size: u64,
    unencrypted: bool,
) -> Option<(PhysAddr, u8, u32)> {
    let bus_limit = kx.load(dev, Device::bus_dma_limit).await;
    let mask =
        kx.load(dev, Device::coherent_dma_mask).await.min(if bus_limit == 0 { u64::MAX } else { bus_limit });
    let mut zone = match mask {
        0..=0xff_ffff => Gfp::Dma,
        0x100_0000..=0xffff_ffff => Gfp::Dma32,
        _ => Gfp::Kernel,
    };
    loop {
        let (phys, order, id) = pages(kx, size, zone).await?;
        if phys_to_dma(kx, phys, unencrypted).0.saturating_add(size - 1) <= mask {
            return Some((phys, order, id));
        }
        kx.free_pages(phys, order, id).await;
        zone = match zone {
            Gfp::Kernel => Gfp::Dma32,
            Gfp::Dma32 => Gfp::Dma,
            Gfp::Dma => return None,
        };
    }
}

/// Shares coherent memory with the host. Source: `kernel/dma/direct.c: dma_set_decrypted()`, v5.17 to v6.12.
async fn dma_set_decrypted(kx: &Kx, phys: PhysAddr, size: u64) -> Result<(), NoMemory> {
    kx.set_memory_decrypted(phys, size.div_ceil(PAGE_SIZE)).await
}

/// Gives the pages of coherent memory back; those that cannot be made private again are leaked, once the kernel looks
/// whether they can.
///
/// Source: `kernel/dma/direct.c: dma_direct_free(), dma_set_encrypted()`, v5.13, v6.1, v6.12.
async fn direct_free(kx: &Kx, dev: Ptr<Device>, coherent: &Coherent) {
    let Coherent { phys, size, order, id, .. } = *coherent;
    let _frame = kx.enter("dma_direct_free");
    if force_dma_unencrypted(kx, dev).await
        && kx.set_memory_encrypted(phys, size.div_ceil(PAGE_SIZE)).await.is_err()
        && kx.k.has(Behaviour::LeakPagesNotEncrypted)
    {
        kx.log(|| "leaking DMA memory that can't be re-encrypted".to_owned());
        kx.leak_pages(phys, size.div_ceil(PAGE_SIZE), id);
        return;
    }
    kx.free_pages(phys, order, id).await;
}

/// Frees it.
///
/// Source: `kernel/dma/mapping.c: dma_free_attrs()`, v5.13.
pub async fn dma_free_attrs(kx: &Kx, dev: Ptr<Device>, coherent: &Coherent) {
    let _frame = kx.enter("dma_free_attrs");
    let Coherent { phys, dma, size, order, id } = *coherent;
    if dma_release_from_dev_coherent(kx, dev, phys, size).await {
        return;
    }
    let ops = get_dma_ops(kx, dev).await;
    let (dir, kind) = (Direction::Bidirectional, MapKind::Coherent);
    let unmap = Unmapped { dma, size, dir, kind, ops, phys: Some(phys), entries: 0 };
    let leaving = kx.k.ledger.unmapping(kx, dev, &unmap);
    if ops == Ops::Iommu {
        iommu_dma_unmap_coherent(kx, dev, dma, size).await;
    }
    kx.k.ledger.unmapped(kx, dev, leaving, super::Attrs { skip_cpu_sync: true, no_warn: false });
    match ops {
        Ops::Direct if id != 0 => direct_free(kx, dev, coherent).await,
        Ops::Iommu if id != 0 => kx.free_pages(phys, order, id).await,
        Ops::Direct | Ops::Iommu => {
            if !dma_free_from_pool(kx, phys, size).await {
                swiotlb_free(kx, dev, phys).await;
            }
        }
    }
}
