//! A user of the IOMMU other than the DMA API, as VFIO is: a domain of its own, to which whole groups are attached.

use super::domain::{iommu_attach_device, iommu_domain_alloc, iommu_domain_free};
use super::group::{assert_locked, lock, unlock, with_group};
use super::objects::OWNER;
use super::state::write_entry;
use super::{DeviceEntry, DomainType, IommuDomain, IommuDriver, IommuGroup, smmu};
use crate::device::{Device, DeviceNode};
use crate::iommu::core_internal::{free_table_page, table_page};
use crate::iommu::pagetable::Prot;
use crate::kernel::{GfpFlags, Kx};
use crate::mem::{DmaAddr, PhysAddr, Ptr};
use crate::oracle::{check_flushed, check_shared};
use crate::profile::Behaviour;

/// Positive error number.
pub type Errno = u32;
const EPERM: Errno = 1;
const EBUSY: Errno = 16;
const EINVAL: Errno = 22;
const ENOMEM: Errno = 12;

/// A user takes a group for itself. Before there was ownership, nobody asked.
///
/// Source: `drivers/iommu/iommu.c: iommu_group_claim_dma_owner()`, v6.1, v6.12.
///
/// # Errors
/// A driver uses the group for the DMA API.
pub async fn iommu_group_claim_dma_owner(kx: &Kx, group: Ptr<IommuGroup>) -> Result<(), Errno> {
    if !kx.k.has(Behaviour::DmaOwnership) {
        return Ok(());
    }
    let _frame = kx.enter("iommu_group_claim_dma_owner");
    lock(kx, group).await;
    let busy = with_group(kx, group, |object| object.owners.get() > 0).unwrap_or(true);
    if !busy {
        kx.changes(group, OWNER);
        with_group(kx, group, |object| {
            object.owners.set(1);
            object.owner.set(true);
        });
        check_shared(kx, group);
        // The blocking domain: no address goes through.
        kx.step(sim::Kind::Io, kx.memory_label()).await;
        for node in members(kx, group) {
            write_entry(kx, node.index, DeviceEntry::Blocked).await;
        }
        kx.store_ptr(group, IommuGroup::domain, Ptr::NULL).await;
    }
    unlock(kx, group);
    if busy { Err(EPERM) } else { Ok(()) }
}

/// The user gives it back; the default domain is attached again.
///
/// Source: `drivers/iommu/iommu.c: iommu_group_release_dma_owner()`, v6.1, v6.12.
pub async fn iommu_group_release_dma_owner(kx: &Kx, group: Ptr<IommuGroup>) {
    if !kx.k.has(Behaviour::DmaOwnership) {
        return;
    }
    let _frame = kx.enter("iommu_group_release_dma_owner");
    lock(kx, group).await;
    let default = kx.load(group, IommuGroup::default_domain).await;
    reattach(kx, group, default).await;
    kx.changes(group, OWNER);
    with_group(kx, group, |object| {
        object.owners.set(0);
        object.owner.set(false);
    });
    unlock(kx, group);
}

fn members(kx: &Kx, group: Ptr<IommuGroup>) -> Vec<std::rc::Rc<DeviceNode>> {
    let members = with_group(kx, group, |object| object.members.borrow().clone()).unwrap_or_default();
    members.into_iter().filter_map(|index| kx.k.node(index)).collect()
}

/// Source: `drivers/iommu/iommu.c: __iommu_group_set_domain()`, v6.12.
async fn reattach(kx: &Kx, group: Ptr<IommuGroup>, domain: Ptr<IommuDomain>) {
    assert_locked(kx, group);
    for node in members(kx, group) {
        if domain.is_null() {
            write_entry(kx, node.index, DeviceEntry::Blocked).await;
        } else {
            iommu_attach_device(kx, &node, domain).await;
        }
    }
    kx.store_ptr(group, IommuGroup::domain, domain).await;
}

/// A domain for a user (`IOMMU_DOMAIN_UNMANAGED`): translated, strict, and addresses are the user's business.
///
/// # Errors
/// There is no memory for it.
pub async fn user_domain_alloc(kx: &Kx) -> Result<Ptr<IommuDomain>, Errno> {
    let _frame = kx.enter("iommu_domain_alloc");
    iommu_domain_alloc(kx, DomainType::Dma, true).await.map_err(|_| ENOMEM)
}

/// A driver lets its device work in the address spaces of processes (PASID): the group gets an identity domain of the driver's
/// own, from which the device finds the tables of the processes.
///
/// Source: `drivers/iommu/amd/iommu_v2.c: amd_iommu_init_device()`, v5.15, v6.1. What `amd_iommu_free_device()` gives back
/// stays here.
///
/// # Errors
/// The device is behind no IOMMU, there is no memory, or the group is attached to another user's domain.
pub async fn amd_iommu_init_device(kx: &Kx, dev: Ptr<Device>) -> Result<(), Errno> {
    let _frame = kx.enter("amd_iommu_init_device");
    let group = kx.load(dev, Device::iommu_group).await;
    if group.is_null() {
        return Err(EINVAL);
    }
    let domain = iommu_domain_alloc(kx, DomainType::Identity, false).await.map_err(|_| ENOMEM)?;
    let attached = iommu_attach_group(kx, domain, group).await;
    if attached.is_err() {
        iommu_domain_free(kx, domain).await;
    }
    attached
}

/// Frees it. What is attached to it still is cut off, where the driver keeps a list of that.
///
/// Source: `drivers/iommu/iommu.c: iommu_domain_free()`, `drivers/iommu/intel/iommu.c: domain_exit()`,
/// `drivers/iommu/amd/iommu.c: cleanup_domain()`, v5.15, v6.1.
pub async fn user_domain_free(kx: &Kx, domain: Ptr<IommuDomain>) {
    let devices = kx.k.scenario.machine.devices.len();
    for index in 0..devices {
        if kx.k.iommu.entry(index) == DeviceEntry::Domain(domain) {
            kx.step(sim::Kind::Io, kx.memory_label()).await;
            write_entry(kx, index, DeviceEntry::Blocked).await;
        }
    }
    iommu_domain_free(kx, domain).await;
}

/// Attaches all devices of a group to a domain, one after the other.
///
/// With `group-reattached-on-failure` they all go back to the group's old domain if one cannot be attached; without it those
/// that came before it stay where they are, and the group's own record says nothing of it.
///
/// Source: `drivers/iommu/iommu.c: iommu_attach_group()`, `__iommu_attach_group()`, v5.15, v6.1.
///
/// # Errors
/// The group is attached to another user's domain, or the driver refuses one of its devices.
pub async fn iommu_attach_group(
    kx: &Kx,
    domain: Ptr<IommuDomain>,
    group: Ptr<IommuGroup>,
) -> Result<(), Errno> {
    let _frame = kx.enter("iommu_attach_group");
    lock(kx, group).await;
    let result = attach_all(kx, domain, group).await;
    unlock(kx, group);
    result
}

async fn attach_all(kx: &Kx, domain: Ptr<IommuDomain>, group: Ptr<IommuGroup>) -> Result<(), Errno> {
    assert_locked(kx, group);
    let old = kx.load(group, IommuGroup::domain).await;
    let default = kx.load(group, IommuGroup::default_domain).await;
    if !old.is_null() && old != default {
        return Err(EBUSY);
    }
    for node in members(kx, group) {
        if let Err(error) = attach_one(kx, &node, domain).await {
            if kx.k.has(Behaviour::GroupReattachedOnFailure) {
                reattach(kx, group, old).await;
            }
            return Err(error);
        }
    }
    kx.store_ptr(group, IommuGroup::domain, domain).await;
    Ok(())
}

/// Source: `drivers/iommu/intel/iommu.c: intel_iommu_attach_device()`, v5.15, v6.1.
async fn attach_one(kx: &Kx, node: &DeviceNode, domain: Ptr<IommuDomain>) -> Result<(), Errno> {
    let _frame = kx.enter("iommu_group_do_attach_device");
    if node.spec(&kx.k).rmrr && kx.k.iommu.registered.get() == Some(IommuDriver::Intel) {
        kx.log(|| {
            format!("{}: Device is ineligible for IOMMU domain attach due to platform RMRR requirement.  Contact your platform vendor.", node.bdf)
        });
        return Err(EPERM);
    }
    iommu_attach_device(kx, node, domain).await;
    Ok(())
}

/// Detaches a group from a user's domain: it goes back to its default domain.
///
/// Source: `drivers/iommu/iommu.c: iommu_detach_group()`, v5.15, v6.1.
pub async fn iommu_detach_group(kx: &Kx, group: Ptr<IommuGroup>) {
    let _frame = kx.enter("iommu_detach_group");
    lock(kx, group).await;
    let to = if kx.k.has(Behaviour::DmaOwnership) {
        Ptr::NULL
    } else {
        kx.load(group, IommuGroup::default_domain).await
    };
    reattach(kx, group, to).await;
    unlock(kx, group);
}

/// Translates a range of a user's domain (`iommu_map`).
pub async fn user_map(kx: &Kx, domain: Ptr<IommuDomain>, addr: DmaAddr, phys: PhysAddr, size: u64) -> bool {
    let _frame = kx.enter("iommu_map");
    if smmu::is_smmu(kx) {
        return smmu::map(kx, domain, addr, phys, size, Prot::READ_WRITE, GfpFlags::KERNEL).await;
    }
    kx.step(sim::Kind::Write, kx.label(domain.id, 29)).await;
    let object = kx.k.mem.object(domain);
    let Ok(object) = object else { return false };
    let prot = Prot { read: true, write: true };
    let mapped = object
        .cookie
        .borrow_mut()
        .as_mut()
        .map(|cookie| cookie.table.map(addr, phys, size, prot, &mut || table_page(kx)));
    matches!(mapped, Some(Ok(_)))
}

/// Takes it back, and waits until the hardware has forgotten it (`iommu_unmap`).
pub async fn user_unmap(kx: &Kx, domain: Ptr<IommuDomain>, addr: DmaAddr, size: u64) {
    let _frame = kx.enter("iommu_unmap");
    if smmu::is_smmu(kx) {
        smmu::unmap(kx, domain, addr, size, false).await;
        check_flushed(kx, domain, addr, size);
        return;
    }
    kx.step(sim::Kind::Write, kx.label(domain.id, 29)).await;
    let object = kx.k.mem.object(domain);
    let Ok(object) = object else { return };
    let freed = object.cookie.borrow_mut().as_mut().map(|cookie| cookie.table.unmap(addr, size).freed);
    super::flush::iotlb_flush_range(kx, domain, addr, size).await;
    check_flushed(kx, domain, addr, size);
    for page in freed.into_iter().flatten() {
        free_table_page(kx, page.page);
    }
}
