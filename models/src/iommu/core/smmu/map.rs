//! Mapping and unmapping: the core's loop and the driver's tables, with nobody holding a lock over them.

use std::mem;

use sim::{Draft, Kind};

use super::tlb::{Gather, tlb_inv_walk, tlb_sync, tlb_write};
use super::v3;
use crate::iommu::core::IommuDomain;
use crate::iommu::core::domain::{free_table_page, table_page};
use crate::iommu::core::objects::with_cookie;
use crate::iommu::pagetable::{
    ARM_PGSIZES, FreedPage, MapError, Mapped, Missing, Prot, Unmapped, WalkFlush, iommu_pgsize,
};
use crate::kernel::{GfpFlags, Kx};
use crate::mem::{DmaAddr, PhysAddr, Ptr};
use crate::oracle::check_tables_forgotten;

/// Translates a range to memory; says whether that worked. What was mapped of it is unmapped again if not.
///
/// Source: `drivers/iommu/iommu.c: __iommu_map()`, `drivers/iommu/io-pgtable-arm.c: arm_lpae_map_pages()`, v6.1, v6.12.
pub(crate) async fn map(
    kx: &Kx,
    domain: Ptr<IommuDomain>,
    addr: DmaAddr,
    phys: PhysAddr,
    size: u64,
    prot: Prot,
    gfp: GfpFlags,
) -> bool {
    let mut done = Mapped::default();
    while done.bytes < size {
        let (at, to) = (addr.wrapping_add(done.bytes), phys.wrapping_add(done.bytes));
        let result = match iommu_pgsize(ARM_PGSIZES, at, to, size - done.bytes) {
            Some(cut) => map_pages(kx, domain, at, to, cut, prot, gfp, &mut done).await,
            None => Err(MapError::Invalid),
        };
        let (walks, freed) = (mem::take(&mut done.walks), mem::take(&mut done.freed));
        free_tables(kx, domain, walks, freed).await;
        if let Err(error) = result {
            let complaint = match error {
                MapError::Exists(at) => Some(format!("__arm_lpae_map: {at} is mapped already (WARN_ON)")),
                MapError::BeyondWidth => Some(format!(
                    "arm_lpae_map_pages: {at} to {to} is wider than the SMMU's addresses \
                     (WARN_ON(iaext || paddr >> cfg->oas))"
                )),
                _ => None,
            };
            if let Some(complaint) = complaint {
                kx.report(Draft::warning("warn-on", format!("WARNING: in {complaint}")), Vec::new);
            }
            unmap(kx, domain, addr, done.bytes, false).await;
            return false;
        }
    }
    true
}

/// One call of the driver.
#[expect(clippy::too_many_arguments, reason = "the kernel's operation has these arguments")]
async fn map_pages(
    kx: &Kx,
    domain: Ptr<IommuDomain>,
    addr: DmaAddr,
    phys: PhysAddr,
    (pgsize, pgcount): (u64, u64),
    prot: Prot,
    gfp: GfpFlags,
    done: &mut Mapped,
) -> Result<(), MapError> {
    let _frame = kx.enter("__arm_lpae_map");
    kx.step(Kind::Write, kx.label(domain.id, 29)).await;
    loop {
        let tried = with_cookie(kx, domain, |cookie| {
            cookie.table.arm_try_map(addr, phys, pgsize, pgcount, prot, done)
        });
        match tried.unwrap_or(Err(MapError::NullRoot))? {
            None => return Ok(()),
            Some(missing) => install_table(kx, domain, missing, gfp).await?,
        }
    }
}

/// A table for where one is missing: made, and put there unless somebody else was faster.
///
/// Source: `drivers/iommu/io-pgtable-arm.c: __arm_lpae_map()`, `arm_lpae_install_table()`, v6.1, v6.12.
async fn install_table(
    kx: &Kx,
    domain: Ptr<IommuDomain>,
    missing: Missing,
    gfp: GfpFlags,
) -> Result<(), MapError> {
    let allocated = {
        let _frame = kx.enter("__arm_lpae_alloc_pages");
        kx.alloc_pages("IOMMU page table", 0, GfpFlags { zero: true, ..gfp }).await
    };
    let (page, _) = allocated.map_err(|_| MapError::NoMemory)?;
    kx.step(Kind::Atomic, kx.label(domain.id, 29)).await;
    let installed = with_cookie(kx, domain, |cookie| cookie.table.arm_install_table(missing, page));
    if !matches!(installed, Some(Ok(true))) {
        kx.note(|| "another context has put a table there meanwhile: this one is freed".to_owned());
        free_table_page(kx, page);
    }
    Ok(())
}

/// Takes the translation of a range back; the bytes that the kernel counts. Unless they are queued, what the hardware has
/// cached of it is invalid when this is over. Tables that go are freed here, after no walk leads through them any more.
///
/// Source: `drivers/iommu/iommu.c: __iommu_unmap()`, `iommu_iotlb_sync()`, `drivers/iommu/io-pgtable-arm.c:
/// arm_lpae_unmap_pages()`, v6.1, v6.12.
pub(crate) async fn unmap(kx: &Kx, domain: Ptr<IommuDomain>, addr: DmaAddr, size: u64, queued: bool) -> u64 {
    let mut gather = Gather::default();
    let mut bytes = 0;
    while bytes < size {
        let at = addr.wrapping_add(bytes);
        let Some(cut) = iommu_pgsize(ARM_PGSIZES, at, PhysAddr(at.0), size - bytes) else { break };
        let unmapped = {
            let _frame = kx.enter("__arm_lpae_unmap");
            kx.step(Kind::Write, kx.label(domain.id, 29)).await;
            with_cookie(kx, domain, |cookie| cookie.table.arm_unmap_pages(at, cut, &mut || table_page(kx)))
        };
        let Some(Unmapped { bytes: more, freed, walks, gathered, holes, .. }) = unmapped else { break };
        free_tables(kx, domain, walks, freed).await;
        for hole in holes {
            let title = format!("WARNING: in __arm_lpae_unmap: {hole} is not mapped (WARN_ON(!pte))");
            kx.report(Draft::warning("warn-on", title), Vec::new);
        }
        for pages in gathered.into_iter().filter(|_| !queued) {
            if v3(kx).is_none() {
                tlb_write(kx, domain, pages.iova, pages.pgsize * pages.pages, true).await;
            } else if let Some(before) = gather.add(pages) {
                before.sync(kx, domain).await;
            }
        }
        if more == 0 {
            break;
        }
        bytes += more;
    }
    if !queued {
        if v3(kx).is_some() {
            gather.sync(kx, domain).await;
        } else {
            tlb_sync(kx, domain).await;
        }
    }
    bytes
}

/// Tables that are out of the tree are freed when no walk leads through them any more (`io_pgtable_tlb_flush_walk()`).
async fn free_tables(kx: &Kx, domain: Ptr<IommuDomain>, walks: Vec<WalkFlush>, freed: Vec<FreedPage>) {
    for walk in walks {
        tlb_inv_walk(kx, domain, walk.iova, walk.size).await;
    }
    check_tables_forgotten(kx, domain, &freed);
    for table in freed {
        free_table_page(kx, table.page);
    }
}
