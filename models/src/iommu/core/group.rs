//! Groups.

use std::rc::Rc;

use sim::sync::Mutex;

use super::copied::is_attach_deferred;
use super::domain::{iommu_attach_device, iommu_domain_alloc};
use super::objects::GROUP_LOCK;
use super::{DomainType, IommuDomain, IommuGroup};
use crate::device::{Device, DeviceNode};
use crate::kernel::{Kx, NoMemory};
use crate::mem::Ptr;
use crate::profile::Behaviour;

/// The group of a device: that of the devices it is not isolated from, or a new one.
///
/// Source: `drivers/iommu/iommu.c: iommu_group_get_for_dev()`, `pci_device_group()`, `iommu_group_add_device()`,
/// v5.13.
///
/// # Errors
/// There is no memory for it.
pub(super) async fn iommu_group_get_for_dev(
    kx: &Kx,
    node: &Rc<DeviceNode>,
) -> Result<Ptr<IommuGroup>, NoMemory> {
    let _frame = kx.enter(if kx.k.has(Behaviour::OneDefaultDomainSetup) {
        "iommu_init_device"
    } else {
        "iommu_group_get_for_dev"
    });
    if !node.group.get().is_null() {
        return Ok(node.group.get());
    }
    let isolation = node.spec(&kx.k).isolation;
    let known = kx.k.iommu.groups.borrow().iter().copied().find(|group| {
        let mem = kx.k.mem.borrow();
        isolation.is_some() && mem.heap.get_ref(*group).is_ok_and(|group| group.isolation.get() == isolation)
    });
    let group = match known {
        Some(group) => group,
        None => {
            let object = Rc::new(IommuGroup::default());
            let group = kx.kzalloc(0x140, Rc::clone(&object)).await?;
            let _ = object.mutex.set(Mutex::new(kx.cx(), GROUP_LOCK));
            object.isolation.set(isolation);
            let mut groups = kx.k.iommu.groups.borrow_mut();
            // The lowest number that is free (`ida_alloc`).
            let taken = |id: &u32| groups.iter().any(|group| kx.peek(*group, IommuGroup::id) == Some(*id));
            let id = (0..).find(|id| !taken(id)).unwrap_or(u32::MAX);
            object.id.set(id);
            groups.push(group);
            group
        }
    };
    let id = kx.peek(group, IommuGroup::id).unwrap_or(0);
    kx.store_ptr(node.ptr.get(), Device::iommu_group, group).await;
    // iommu_group_add_device: the list of the group's devices comes after the pointer, and has group->mutex of its own.
    pass(kx, group);
    with_group(kx, group, |object| {
        let mut members = object.members.borrow_mut();
        members.push(node.index);
        if members.len() > 1 {
            object.was_shared.set(true);
        }
    });
    node.group.set(group);
    // User space sees the link to the group, and the group's file later on.
    node.announced.release(kx.cx());
    kx.log(|| format!("pci {}: Adding to iommu group {id}", node.bdf));
    Ok(group)
}

/// Does something with a living group.
pub(super) fn with_group<R>(kx: &Kx, group: Ptr<IommuGroup>, f: impl FnOnce(&IommuGroup) -> R) -> Option<R> {
    let object = kx.k.mem.object(group).ok()?;
    Some(f(&object))
}

/// The walk over the bus gives a group its default domain.
///
/// Source: `drivers/iommu/iommu.c: probe_alloc_default_domain()`, v5.13, v6.1.
///
/// # Errors
/// There is no memory for it.
pub(super) async fn probe_alloc_default_domain(
    kx: &Kx,
    group: Ptr<IommuGroup>,
) -> Result<Ptr<IommuDomain>, NoMemory> {
    let existing = kx.load(group, IommuGroup::default_domain).await;
    if !existing.is_null() && kx.k.has(Behaviour::DefaultDomainKept) {
        return Ok(existing);
    }
    let type_ = group_type(kx, group);
    new_default_domain(kx, group, type_).await
}

/// A device that appears later gives its group a default domain, unless it has one.
///
/// Source: `drivers/iommu/iommu.c: iommu_alloc_default_domain()`, v5.13, v6.1.
///
/// # Errors
/// There is no memory for it.
pub(super) async fn alloc_default_domain(
    kx: &Kx,
    group: Ptr<IommuGroup>,
    only: Option<&DeviceNode>,
) -> Result<Ptr<IommuDomain>, NoMemory> {
    let existing = kx.load(group, IommuGroup::default_domain).await;
    if !existing.is_null() {
        return Ok(existing);
    }
    // Nobody else is asked.
    let type_ = match only {
        Some(node) => device_type(kx, node).unwrap_or_else(|| default_type(kx)),
        None => group_type(kx, group),
    };
    new_default_domain(kx, group, type_).await
}

/// Source: `drivers/iommu/iommu.c: iommu_group_alloc_default_domain()`, v5.13, v6.1.
async fn new_default_domain(
    kx: &Kx,
    group: Ptr<IommuGroup>,
    type_: DomainType,
) -> Result<Ptr<IommuDomain>, NoMemory> {
    let members = with_group(kx, group, |object| object.members.borrow().clone()).unwrap_or_default();
    let untrusted =
        members.iter().filter_map(|index| kx.k.node(*index)).any(|node| node.spec(&kx.k).untrusted);
    let domain = iommu_domain_alloc(kx, type_, untrusted).await?;
    kx.store_ptr(group, IommuGroup::default_domain, domain).await;
    // A domain that is in use stays in use. (One peek: the step that follows is the store itself.)
    if kx.peek(group, IommuGroup::domain).is_none_or(Ptr::is_null) {
        kx.store_ptr(group, IommuGroup::domain, domain).await;
    }
    Ok(domain)
}

/// The global default, in this kernel's types.
pub(super) fn default_type(kx: &Kx) -> DomainType {
    let globals = &kx.k.globals;
    if globals.default_passthrough.get() {
        DomainType::Identity
    } else if kx.k.has(Behaviour::DmaFqDomainType) && !globals.iommu_dma_strict.get() {
        DomainType::DmaFq
    } else {
        DomainType::Dma
    }
}

/// What the members of a group want: identity wins where two differ. An untrusted member must have a translated domain;
/// if another wants identity, there is none for the group.
///
/// Source: `drivers/iommu/iommu.c: iommu_get_default_domain_type()`, `iommu_get_def_domain_type()`, v6.12.
fn combined_type(kx: &Kx, group: Ptr<IommuGroup>) -> Option<DomainType> {
    let members = with_group(kx, group, |object| object.members.borrow().clone()).unwrap_or_default();
    let mut driver: Option<DomainType> = None;
    let mut untrusted = None;
    for node in members.into_iter().filter_map(|index| kx.k.node(index)) {
        if let Some(wanted) = driver_type(kx, &node) {
            let conflict = driver.is_some_and(|other| other != wanted);
            if conflict {
                kx.log(|| {
                    format!("pci {}: IOMMU driver error, requesting conflicting def_domain_type", node.bdf)
                });
            }
            if !conflict || wanted == DomainType::Identity {
                driver = Some(wanted);
            }
        }
        if node.spec(&kx.k).untrusted {
            untrusted = Some(node.bdf);
        }
    }
    let Some(untrusted) = untrusted else { return Some(driver.unwrap_or_else(|| default_type(kx))) };
    if driver == Some(DomainType::Identity) {
        let id = kx.peek(group, IommuGroup::id).unwrap_or(0);
        kx.log(|| {
            format!("pci {untrusted}: Device is not trusted, but driver is overriding group {id} to Passthrough, refusing to probe.")
        });
        return None;
    }
    Some(DomainType::Dma)
}

/// Makes a group's default domain and attaches all members. The caller holds `group->mutex`.
///
/// Source: `drivers/iommu/iommu.c: iommu_setup_default_domain()`, v6.12.
///
/// # Errors
/// There is no memory for it, or no type that all members can have.
pub(super) async fn iommu_setup_default_domain(kx: &Kx, group: Ptr<IommuGroup>) -> Result<(), NoMemory> {
    let _frame = kx.enter("iommu_setup_default_domain");
    assert_locked(kx, group);
    let type_ = combined_type(kx, group).ok_or(NoMemory)?;
    let domain = iommu_domain_alloc(kx, type_, type_ == DomainType::Dma).await?;
    kx.store_ptr(group, IommuGroup::default_domain, domain).await;
    let members = with_group(kx, group, |object| object.members.borrow().clone()).unwrap_or_default();
    for node in members.into_iter().filter_map(|index| kx.k.node(index)) {
        if !is_attach_deferred(kx, &node) {
            iommu_attach_device(kx, &node, domain).await;
        }
    }
    kx.store_ptr(group, IommuGroup::domain, domain).await;
    Ok(())
}

/// What the members of a group want; two that differ cancel each other out.
///
/// Source: `drivers/iommu/iommu.c: iommu_get_def_domain_type()`, `probe_get_default_domain_type()`, v5.13.
fn group_type(kx: &Kx, group: Ptr<IommuGroup>) -> DomainType {
    let members = with_group(kx, group, |object| object.members.borrow().clone()).unwrap_or_default();
    let mut wanted: Option<DomainType> = None;
    for index in members {
        let Some(node) = kx.k.node(index) else { continue };
        let Some(type_) = device_type(kx, &node) else { continue };
        if wanted.is_some_and(|wanted| wanted != type_) {
            kx.log(|| {
                format!("pci {}: Device needs domain type {}, but others in the same iommu group require another - using default", node.bdf, type_.name())
            });
            return default_type(kx);
        }
        wanted = Some(type_);
    }
    wanted.unwrap_or_else(|| default_type(kx))
}

fn device_type(kx: &Kx, node: &DeviceNode) -> Option<DomainType> {
    if node.spec(&kx.k).untrusted {
        return Some(DomainType::Dma);
    }
    driver_type(kx, node)
}

/// What the IOMMU driver wants for a device.
fn driver_type(kx: &Kx, node: &DeviceNode) -> Option<DomainType> {
    match kx.k.iommu.registered.get()? {
        super::IommuDriver::Amd => super::amd::amd_iommu_def_domain_type(kx, node),
        super::IommuDriver::Intel | super::IommuDriver::Virtio | super::IommuDriver::Smmu => None,
    }
}

/// Attaches a device to its group's domain.
pub(super) async fn attach_to_group(kx: &Kx, group: Ptr<IommuGroup>, node: &DeviceNode) {
    assert_locked(kx, group);
    let domain = kx.load(group, IommuGroup::domain).await;
    if !domain.is_null() && !is_attach_deferred(kx, node) {
        iommu_attach_device(kx, node, domain).await;
    }
}

/// Takes `group->mutex`.
pub(super) async fn lock(kx: &Kx, group: Ptr<IommuGroup>) {
    let object = kx.k.mem.object(group);
    if let Ok(object) = object
        && let Some(mutex) = object.mutex.get()
    {
        mutex.lock(kx.cx()).await;
    }
}

/// A step that stands for a section under `group->mutex`.
pub(super) fn pass(kx: &Kx, group: Ptr<IommuGroup>) {
    with_group(kx, group, |object| {
        if let Some(mutex) = object.mutex.get()
            && !mutex.held_by(kx.cx())
        {
            mutex.pass(kx.cx());
        }
    });
}

/// Gives it back.
pub(super) fn unlock(kx: &Kx, group: Ptr<IommuGroup>) {
    let object = kx.k.mem.object(group);
    if let Ok(object) = object
        && let Some(mutex) = object.mutex.get()
    {
        mutex.unlock(kx.cx());
    }
}

/// Who changes what a group's devices are attached to holds its lock (`lockdep_assert_held(&group->mutex)`).
///
/// Source: `drivers/iommu/iommu.c: iommu_setup_default_domain()`, `__iommu_group_set_domain_internal()`, v6.12.
pub(super) fn assert_locked(kx: &Kx, group: Ptr<IommuGroup>) {
    if let Ok(object) = kx.k.mem.object(group)
        && let Some(mutex) = object.mutex.get()
    {
        mutex.assert_held(kx.cx());
    }
}
