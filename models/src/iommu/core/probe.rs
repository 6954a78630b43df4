//! Devices meet the IOMMU driver: when it registers, and when they appear later.

use std::rc::Rc;

use sim::sync::Mutex;

use super::firmware::{NotProbed, ask_driver};
use super::group::{
    alloc_default_domain, attach_to_group, iommu_group_get_for_dev, iommu_setup_default_domain, lock,
    probe_alloc_default_domain, unlock, with_group,
};
use super::objects::{OWNER, PROBE_LOCK};
use super::release::iommu_release_device;
use super::state::write_entry;
use super::{Cookie, DeviceEntry, DomainType, IommuDomain, IommuDriver, IommuGroup, iommu_get_dma_domain};
use crate::device::{Device, DeviceNode};
use crate::iommu::iova::IovaPfn;
use crate::kernel::{Kx, Symbol};
use crate::mem::{PAGE_SHIFT, Ptr};
use crate::oracle::{check_refused, check_shared};
use crate::profile::Behaviour;

/// From now on no device in the IOMMU's scope reaches memory until it is attached to a domain.
pub(super) fn block_all(kx: &Kx) {
    for (index, device) in kx.k.scenario.machine.devices.iter().enumerate() {
        if !device.outside_iommu {
            kx.k.iommu.set_entry(index, DeviceEntry::Blocked);
        }
    }
}

/// An IOMMU driver registers with the bus: all devices so far are grouped, then each group that the walk found without a
/// default domain gets one and its devices are attached.
///
/// Source: `drivers/iommu/iommu.c: bus_set_iommu()`, `bus_iommu_probe()`, v5.13; `iommu_device_register()`, v6.1, v6.12.
///
/// # Errors
/// A device's IOMMU is not ready yet; the registration is undone.
pub async fn bus_set_iommu(kx: &Kx, driver: IommuDriver) -> Result<(), ComeAgain> {
    let walks = kx.k.has(Behaviour::IommuRegisterWalksBuses);
    let _frame = kx.enter(if walks { "iommu_device_register" } else { "bus_set_iommu" });
    kx.k.iommu.registered.set(Some(driver));
    let _walk = kx.enter("bus_iommu_probe");
    let one_setup = kx.k.has(Behaviour::OneDefaultDomainSetup);
    let nodes: Vec<Rc<DeviceNode>> = kx.k.devices.borrow().iter().cloned().collect();
    let mut group_list: Vec<Ptr<IommuGroup>> = Vec::new();
    for node in &nodes {
        let outside = node.spec(&kx.k).outside_iommu;
        if outside || !node.present.get() || !node.group.get().is_null() {
            continue;
        }
        let _probe = kx.k.has(Behaviour::IommuProbeLock).then(|| kx.enter("probe_iommu_group"));
        probe_lock(kx).await;
        let probed = if one_setup {
            probe_and_attach(kx, node, true).await
        } else {
            find_group(kx, node).await.map(|_| ())
        };
        let group = node.group.get();
        let has_none = kx.peek(group, IommuGroup::default_domain).is_some_and(Ptr::is_null);
        if probed.is_ok() && has_none && !group_list.contains(&group) {
            group_list.push(group);
        }
        probe_unlock(kx);
        // The walk has held a reference to the device until here (`bus_for_each_dev`).
        node.references.release(kx.cx());
        if probed == Err(NotProbed::Defer) {
            return Err(ComeAgain);
        }
    }
    for group in group_list {
        lock(kx, group).await;
        let members = with_group(kx, group, |object| object.members.borrow().clone()).unwrap_or_default();
        let members: Vec<_> = members.into_iter().filter_map(|index| kx.k.node(index)).collect();
        if one_setup {
            // Another prober may have given it one since.
            let default = kx.load(group, IommuGroup::default_domain).await;
            if default.is_null() && iommu_setup_default_domain(kx, group).await.is_ok() {
                set_ops_by_core(kx, &members).await;
            }
        } else if probe_alloc_default_domain(kx, group).await.is_ok() {
            for node in &members {
                attach_to_group(kx, group, node).await;
            }
        }
        unlock(kx, group);
        finalize_all(kx, &members).await;
    }
    Ok(())
}

/// Before one routine did it all: a device's group, once the IOMMU's driver has said that it knows the device.
async fn find_group(kx: &Kx, node: &Rc<DeviceNode>) -> Result<Ptr<IommuGroup>, NotProbed> {
    ask_driver(kx, node).await?;
    iommu_group_get_for_dev(kx, node).await.map_err(|_| NotProbed::Failed)
}

/// Whether a group was claimed by a user, who may have attached it to no domain yet, or no more: then its devices have the
/// blocking domain, which is nobody's object here.
fn is_claimed(kx: &Kx, group: Ptr<IommuGroup>) -> bool {
    with_group(kx, group, |object| object.owner.get()).unwrap_or(false)
}

/// A device appears while an IOMMU driver is registered.
///
/// Source: `drivers/iommu/iommu.c: iommu_bus_notifier()`, v5.13, v6.1, v6.12.
pub async fn iommu_bus_notifier_add(kx: &Kx, node: &Rc<DeviceNode>) {
    if kx.k.iommu.registered.get().is_some() && !node.spec(&kx.k).outside_iommu {
        let _ = iommu_probe_device(kx, node).await;
    }
}

/// The core takes charge of one device.
///
/// Source: `drivers/iommu/iommu.c: iommu_probe_device()`, v5.13, v6.1, v6.12.
pub(super) async fn iommu_probe_device(kx: &Kx, node: &Rc<DeviceNode>) -> Result<(), NotProbed> {
    let _frame = kx.enter("iommu_probe_device");
    if kx.k.has(Behaviour::OneDefaultDomainSetup) {
        probe_lock(kx).await;
        let probed = probe_and_attach(kx, node, false).await;
        probe_unlock(kx);
        if probed.is_ok() {
            finalize_all(kx, std::slice::from_ref(node)).await;
        }
        return probed;
    }
    probe_lock(kx).await;
    let group = find_group(kx, node).await;
    probe_unlock(kx);
    let group = group?;
    // Since bus_iommu_probe asks all members and this one only itself, the order decides about the type.
    let only = kx.k.has(Behaviour::IommuRegisterWalksBuses).then_some(&**node);
    if kx.k.has(Behaviour::DefaultDomainUnderLock) {
        lock(kx, group).await;
        // What joins a group that somebody has claimed is attached to nothing.
        if alloc_default_domain(kx, group, only).await.is_ok() && !is_claimed(kx, group) {
            attach_to_group(kx, group, node).await;
        }
        unlock(kx, group);
    } else if alloc_default_domain(kx, group, only).await.is_ok() {
        lock(kx, group).await;
        attach_to_group(kx, group, node).await;
        unlock(kx, group);
    }
    probe_finalize(kx, node).await;
    Ok(())
}

/// Probes a device and, in a group that has a domain or is to get one now, attaches it. The caller holds
/// `iommu_probe_device_lock`.
///
/// Source: `drivers/iommu/iommu.c: __iommu_probe_device()`, v6.12.
async fn probe_and_attach(kx: &Kx, node: &Rc<DeviceNode>, in_walk: bool) -> Result<(), NotProbed> {
    let _frame = kx.enter("__iommu_probe_device");
    if !node.group.get().is_null() {
        return Ok(());
    }
    let group = find_group(kx, node).await?;
    lock(kx, group).await;
    let domain = kx.load(group, IommuGroup::domain).await;
    let mut result = Ok(());
    if !domain.is_null() {
        attach_to_group(kx, group, node).await;
    } else if is_claimed(kx, group) {
        kx.step(sim::Kind::Io, kx.memory_label()).await;
        write_entry(kx, node.index, DeviceEntry::Blocked).await;
    } else if !in_walk {
        result = iommu_setup_default_domain(kx, group).await.map_err(|_| NotProbed::Failed);
    }
    let default = kx.load(group, IommuGroup::default_domain).await;
    if !default.is_null() && result.is_ok() {
        set_ops_by_core(kx, std::slice::from_ref(node)).await;
    }
    unlock(kx, group);
    if result.is_err() {
        iommu_release_device(kx, node).await;
    }
    result
}

/// Takes `iommu_probe_device_lock`, where there is one.
pub(super) async fn probe_lock(kx: &Kx) {
    if kx.k.has(Behaviour::IommuProbeLock) {
        let mutex = kx.k.iommu.probe_lock.get_or_init(|| Mutex::new(kx.cx(), PROBE_LOCK));
        mutex.lock(kx.cx()).await;
    }
}

/// Gives it back.
pub(super) fn probe_unlock(kx: &Kx) {
    if let Some(mutex) = kx.k.iommu.probe_lock.get() {
        mutex.unlock(kx.cx());
    }
}

/// Where the core does it: the operations of devices that have their domain. The caller holds `group->mutex`.
async fn set_ops_by_core(kx: &Kx, nodes: &[Rc<DeviceNode>]) {
    if !kx.k.has(Behaviour::DmaOpsSetByCore) {
        return;
    }
    for node in nodes {
        let _frame = kx.enter("iommu_setup_dma_ops");
        node.dac.set(false);
        setup_dma_ops(kx, node).await;
    }
}

async fn finalize_all(kx: &Kx, nodes: &[Rc<DeviceNode>]) {
    if kx.k.has(Behaviour::DmaOpsSetByCore) {
        // Neither AMD's driver nor Intel's has anything left to do in probe_finalize that matters here.
        return;
    }
    for node in nodes {
        probe_finalize(kx, node).await;
    }
}

/// The driver chooses the device's DMA operations by the type of its domain.
///
/// Source: `drivers/iommu/amd/iommu.c: amd_iommu_probe_finalize()`, `drivers/iommu/intel/iommu.c:
/// intel_iommu_probe_finalize()`, v5.13, v6.1.
async fn probe_finalize(kx: &Kx, node: &DeviceNode) {
    let _frame = kx.enter(match kx.k.iommu.registered.get() {
        Some(IommuDriver::Intel) => "intel_iommu_probe_finalize",
        Some(IommuDriver::Virtio) => "viommu_probe_finalize",
        Some(IommuDriver::Smmu) => "arm_smmu_probe_finalize",
        Some(IommuDriver::Amd) | None => "amd_iommu_probe_finalize",
    });
    setup_dma_ops(kx, node).await;
}

/// What counts is the domain that the group has now. Where a user has claimed the group it is the user's, or the one that
/// blocks: no address of its devices is translated for the DMA API, and nobody comes back to that when the user gives it up.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_setup_dma_ops()`, v5.13, v6.1, v6.12.
async fn setup_dma_ops(kx: &Kx, node: &DeviceNode) {
    let dev = node.ptr.get();
    let domain = iommu_get_dma_domain(kx, dev).await;
    let type_ =
        if domain.is_null() { None } else { DomainType::of(kx.load(domain, IommuDomain::type_).await) };
    let in_use = !is_claimed(kx, node.group.get());
    let translated = in_use && type_.is_some_and(DomainType::is_dma);
    if translated {
        init_dma_domain(kx, node);
    }
    if kx.k.has(Behaviour::DmaIommuFlag) {
        kx.store(dev, Device::dma_iommu, translated).await;
        return;
    }
    let ops = if translated { Symbol::IommuDmaOps.addr() } else { 0 };
    let why = "bus_iommu_probe finalises outside the group's lock, and devices may be in use (docs/findings-open.md)";
    kx.store_racy(dev, Device::dma_ops, ops, why).await;
}

/// The addresses of the domain that the device is attached to are set up, if they are not yet.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_dma_init_domain()`, v5.13, v6.1, v6.12.
fn init_dma_domain(kx: &Kx, node: &DeviceNode) {
    let domain = kx.peek(node.group.get(), IommuGroup::domain).unwrap_or_default();
    if let Ok(object) = kx.k.mem.object(domain)
        && let Some(cookie) = object.cookie.borrow_mut().as_mut()
        && !cookie.initialised
    {
        reserve_pci_windows(kx, cookie);
        cookie.initialised = true;
    }
}

/// What the host bridge answers itself never gets to memory.
///
/// Source: `drivers/iommu/dma-iommu.c: iova_reserve_pci_windows()`, v5.13, v6.1, v6.12.
fn reserve_pci_windows(kx: &Kx, cookie: &mut Cookie) {
    for window in &kx.k.scenario.machine.bridge_windows {
        let last = window.start.saturating_add(window.size.saturating_sub(1));
        let (lo, hi) = (IovaPfn(window.start >> PAGE_SHIFT), IovaPfn(last >> PAGE_SHIFT));
        cookie.reserve_iova(lo, hi);
    }
}

/// A driver that is about to bind takes the device's group for the DMA API.
///
/// Source: `drivers/pci/pci-driver.c: pci_dma_configure()`, `drivers/iommu/iommu.c: iommu_device_use_default_domain()`,
/// v6.1, v6.12.
///
/// # Errors
/// The group has no default domain yet, or is somebody else's.
pub async fn iommu_device_use_default_domain(kx: &Kx, node: &DeviceNode) -> Result<(), Refused> {
    if !kx.k.has(Behaviour::DmaOwnership) {
        return Ok(());
    }
    let _frame = kx.enter("pci_dma_configure");
    let _inner = kx.enter("iommu_device_use_default_domain");
    let group = kx.load(node.ptr.get(), Device::iommu_group).await;
    if group.is_null() {
        return Ok(());
    }
    lock(kx, group).await;
    let default = kx.load(group, IommuGroup::default_domain).await;
    let result = if default.is_null() && kx.k.has(Behaviour::DeferWithoutDomain) {
        Err(Refused::ComeAgain)
    } else if is_taken(kx, group, default).await {
        let claimed = with_group(kx, group, |object| object.owner.get()).unwrap_or(true);
        check_refused(kx, node, claimed);
        Err(Refused::Busy)
    } else {
        kx.changes(group, OWNER);
        with_group(kx, group, |object| object.owners.set(object.owners.get() + 1));
        node.owns_dma.set(true);
        check_shared(kx, group);
        Ok(())
    };
    unlock(kx, group);
    result
}

/// Whether a group that has users belongs to somebody else than the DMA API: it was claimed, or is attached to a domain of
/// somebody's own. With `identity-counts-as-default` one identity domain is as good as another.
///
/// Source: `drivers/iommu/iommu.c: iommu_is_default_domain()`, v6.1.
async fn is_taken(kx: &Kx, group: Ptr<IommuGroup>, default: Ptr<IommuDomain>) -> bool {
    kx.looks_at(group, OWNER);
    let used = with_group(kx, group, |object| (object.owners.get() > 0).then(|| object.owner.get()));
    let Some(claimed) = used.flatten() else { return false };
    let domain = kx.load(group, IommuGroup::domain).await;
    if claimed || domain == default {
        return claimed;
    }
    let identity =
        |domain| kx.peek(domain, IommuDomain::type_).and_then(DomainType::of) == Some(DomainType::Identity);
    !(kx.k.has(Behaviour::IdentityCountsAsDefault) && identity(domain) && identity(default))
}

/// Why a driver cannot have its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not yet (`-EPROBE_DEFER`).
    ComeAgain,
    /// Its group is somebody else's (`-EBUSY`).
    Busy,
}

/// `-EPROBE_DEFER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComeAgain;

/// The driver gives the group up.
///
/// Source: `drivers/pci/pci-driver.c: pci_dma_cleanup()`, `drivers/iommu/iommu.c: iommu_device_unuse_default_domain()`,
/// v6.1, v6.12.
pub async fn iommu_device_unuse_default_domain(kx: &Kx, node: &DeviceNode) {
    if !node.owns_dma.replace(false) {
        return;
    }
    let _frame = kx.enter("iommu_device_unuse_default_domain");
    let group = kx.load(node.ptr.get(), Device::iommu_group).await;
    if group.is_null() {
        return;
    }
    lock(kx, group).await;
    kx.changes(group, OWNER);
    with_group(kx, group, |object| object.owners.set(object.owners.get().saturating_sub(1)));
    unlock(kx, group);
}

/// Type of a device's default domain, for facts.
#[must_use]
pub fn domain_type_of(kx: &Kx, node: &DeviceNode) -> &'static str {
    let domain = kx.peek(node.group.get(), IommuGroup::default_domain);
    let type_ = domain.and_then(|domain| kx.peek(domain, IommuDomain::type_)).and_then(DomainType::of);
    type_.map_or("", DomainType::sysfs)
}
