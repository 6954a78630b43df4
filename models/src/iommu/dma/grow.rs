//! AMD's page table gets more levels.

use super::range::with_cookie;
use crate::iommu::core::IommuDomain;
use crate::iommu::core_internal::{DOMAIN_LOCK, free_table_page};
use crate::kernel::{GfpFlags, Kx};
use crate::mem::Ptr;
use crate::profile::Behaviour;
use sim::sync::SpinLock;

/// Makes the domain's table reach `last`, if it is one that grows. Says whether it does then.
pub(super) async fn grow_for(kx: &Kx, domain: Ptr<IommuDomain>, last: u64) -> bool {
    while too_small(kx, domain, last) {
        if !increase_address_space(kx, domain, last).await {
            return false;
        }
    }
    true
}

fn too_small(kx: &Kx, domain: Ptr<IommuDomain>, last: u64) -> bool {
    with_cookie(kx, domain, |cookie| cookie.table.is_too_small_for(last)).unwrap_or(false)
}

/// Puts a new root above the old one, and tells the hardware.
///
/// Source: `drivers/iommu/amd/iommu.c: increase_address_space()`, v5.2; `drivers/iommu/amd/io_pgtable.c:
/// increase_address_space()`, v5.13, v6.12.
async fn increase_address_space(kx: &Kx, domain: Ptr<IommuDomain>, last: u64) -> bool {
    let _frame = kx.enter("increase_address_space");
    let object = kx.k.mem.object(domain);
    let Ok(object) = object else { return false };
    let flags = GfpFlags { atomic: true, ..GfpFlags::ZEROED };
    if !kx.k.has(Behaviour::AddressSpaceGrownOnce) {
        kx.step(sim::Kind::Read, kx.label(domain.id, 29)).await;
        let seen = with_cookie(kx, domain, |cookie| cookie.table.root_seen()).flatten();
        let Ok((page, _)) = kx.alloc_pages("IOMMU page table", 0, flags).await else { return false };
        kx.step(sim::Kind::Write, kx.label(domain.id, 29)).await;
        let put = with_cookie(kx, domain, |cookie| cookie.table.put_root_above(seen?, page).ok());
        return put.flatten().is_some();
    }
    let Ok((page, _)) = kx.alloc_pages("IOMMU page table", 0, flags).await else { return false };
    let lock = object.lock.get_or_init(|| SpinLock::new(kx.cx(), DOMAIN_LOCK));
    let irqs = lock.lock_irqsave(kx.cx()).await;
    let mut grown = true;
    let mut spare = Some(page);
    if too_small(kx, domain, last) {
        // The device table is written and flushed before others see the new root.
        kx.step(sim::Kind::Io, kx.label(domain.id, 29)).await;
        let put = with_cookie(kx, domain, |cookie| {
            let seen = cookie.table.root_seen()?;
            cookie.table.put_root_above(seen, page).ok()
        });
        grown = put.flatten().is_some();
        if grown {
            spare = None;
        }
    }
    lock.unlock_irqrestore(kx.cx(), irqs);
    if let Some(page) = spare {
        free_table_page(kx, page);
    }
    grown
}
