//! Probing.

use std::rc::Rc;

use sim::SpawnSpec;
use sim::choices::Stream;

use super::deferred::{Probing, driver_deferred_probe_del, driver_deferred_probe_trigger};
use super::links::{
    device_links_check_suppliers, device_links_driver_bound, device_links_no_driver, device_pm_move_to_tail,
    pm_runtime_get_suppliers,
};
use super::power::Stage;
use super::ranges::{device_unbind_cleanup, of_dma_configure};
use super::{Device, DeviceNode};
use crate::driver::{self, Instance};
use crate::iommu::core::{
    ComeAgain, Refused, dma_configure, iommu_device_unuse_default_domain, iommu_device_use_default_domain,
    iommu_unit_bound, iommu_unit_probe,
};
use crate::kernel::Kx;
use crate::profile::Behaviour;
use crate::scenario::intern;
use crate::swiotlb::kernel::rmem_swiotlb_device_init;

/// `-EPROBE_DEFER`.
pub(super) const EPROBE_DEFER: u32 = 517;

/// `-EBUSY`.
const EBUSY: u32 = 16;

/// A device whose IOMMU does not come is tried again so often, which is for as long as `deferred_probe_timeout` (10 s).
const DEFERRALS: u32 = 2_000;

/// Offers a device to all drivers.
///
/// Source: `drivers/base/dd.c: __device_attach()`, v5.13.
pub async fn device_attach(kx: &Kx, node: &Rc<DeviceNode>) {
    let _frame = kx.enter("__device_attach");
    let wanted = node.spec(&kx.k).driver.as_deref();
    kx.k.klist.pass(kx.cx());
    let known: Vec<usize> = kx.k.drivers.borrow().iter().map(|driver| driver.index).collect();
    for index in known {
        if wanted == Some(kx.k.scenario.drivers[index].name.as_str()) {
            driver_probe_device(kx, node, index).await;
        }
    }
}

/// Binds a driver to a device, under the device's lock.
///
/// Source: `drivers/base/dd.c: driver_probe_device()`, `really_probe()`, v5.13.
pub async fn driver_probe_device(kx: &Kx, node: &Rc<DeviceNode>, index: usize) {
    node.lock.lock(kx.cx()).await;
    if node.bound.get().is_some() || !node.present.get() {
        node.lock.unlock(kx.cx());
        return;
    }
    if !node.ready.get() && kx.k.has(Behaviour::ProbeWhenReady) {
        // device_add will offer it to all drivers when it is ready.
        kx.note(|| format!("{} is not ready to be probed", node.bdf));
        node.lock.unlock(kx.cx());
        return;
    }
    let probing = Probing::begin(kx);
    if kx.k.power.is_probing_blocked() {
        // The machine goes to sleep or down.
        kx.note(|| format!("{}: force probe deferral", node.bdf));
        node.lock.unlock(kx.cx());
        defer_probe(kx, &probing, node, index).await;
        return;
    }
    let defer = kx.k.draws.probe_defer;
    if defer > 0 && !node.deferred.get() && kx.chance(Stream::Injection, "probe deferred", defer) {
        kx.injected(|| format!("the probe of {} is deferred", node.bdf));
        node.deferred.set(true);
        node.lock.unlock(kx.cx());
        defer_probe(kx, &probing, node, index).await;
        return;
    }
    trample(kx, node);
    pm_runtime_get_suppliers(kx, node).await;
    let _frame = kx.enter("really_probe");
    node.lock.assert_held(kx.cx());
    if device_links_check_suppliers(kx, node).await.is_err() {
        node.lock.unlock(kx.cx());
        defer_probe(kx, &probing, node, index).await;
        return;
    }
    if rmem_swiotlb_device_init(kx, node).await.is_err() {
        kx.log(|| format!("{}: cannot set up its restricted DMA pool", node.bdf));
    }
    of_dma_configure(kx, node).await;
    kx.store(node.ptr.get(), Device::driver, 1 + index as u64).await;
    let configured = match dma_configure(kx, node).await {
        Ok(()) => iommu_device_use_default_domain(kx, node).await,
        Err(ComeAgain) => Err(Refused::ComeAgain),
    };
    if let Err(refused) = configured {
        device_links_no_driver(kx, node).await;
        device_unbind_cleanup(kx, node).await;
        kx.store(node.ptr.get(), Device::driver, 0).await;
        node.lock.unlock(kx.cx());
        if refused == Refused::Busy {
            failed(kx, node, index, EBUSY);
            return;
        }
        node.deferrals.set(node.deferrals.get() + 1);
        if node.deferrals.get() < DEFERRALS {
            defer_probe(kx, &probing, node, index).await;
        } else {
            kx.log(|| format!("{}: deferred probe pending", node.bdf));
        }
        return;
    }
    let instance = Instance::new(kx, node, index);
    *node.instance.borrow_mut() = Some(Rc::clone(&instance));
    let result = match driver::probe(kx, &instance).await {
        Ok(()) => iommu_unit_probe(kx, node).await.map_err(|ComeAgain| EPROBE_DEFER),
        failed => failed,
    };
    match result {
        Ok(()) => {
            node.bound.set(Some(index));
            node.deferred.set(false);
            kx.log(|| format!("{} {}: bound", kx.k.scenario.drivers[index].name, node.bdf));
            driver::start_workload(kx, &instance);
            driver_bound(kx, node).await;
            node.lock.unlock(kx.cx());
        }
        Err(errno) => {
            driver::undo(kx, &instance).await;
            *node.instance.borrow_mut() = None;
            iommu_device_unuse_default_domain(kx, node).await;
            device_links_no_driver(kx, node).await;
            device_unbind_cleanup(kx, node).await;
            kx.store(node.ptr.get(), Device::driver, 0).await;
            node.lock.unlock(kx.cx());
            if errno == EPROBE_DEFER && (kx.k.links.in_use() || !node.deferred.get()) {
                node.deferred.set(true);
                defer_probe(kx, &probing, node, index).await;
            } else {
                failed(kx, node, index, errno);
            }
        }
    }
}

fn failed(kx: &Kx, node: &DeviceNode, index: usize, errno: u32) {
    kx.log(|| {
        let driver = &kx.k.scenario.drivers[index].name;
        format!("{driver}: probe of {} failed with error -{errno}", node.bdf)
    });
}

/// A device has its driver: others may have waited for that.
///
/// Source: `drivers/base/dd.c: driver_bound()`, v6.1, v6.12.
async fn driver_bound(kx: &Kx, node: &Rc<DeviceNode>) {
    iommu_unit_bound(kx, node).await;
    device_links_driver_bound(kx, node).await;
    driver_deferred_probe_del(kx, node).await;
    driver_deferred_probe_trigger(kx).await;
}

/// Puts a device on the list of those to be probed again. Where links say what devices wait for, that is when another one has
/// got its driver; elsewhere it is after a while.
///
/// Source: `drivers/base/dd.c: driver_deferred_probe_add()`, `deferred_probe_work_func()`, v5.13.
async fn defer_probe(kx: &Kx, probing: &Probing<'_>, node: &Rc<DeviceNode>, index: usize) {
    if kx.k.links.in_use() {
        probing.defer(node).await;
        return;
    }
    if kx.k.power.stage() != Stage::Up {
        return;
    }
    let name = intern(&format!("kworker/0:deferred {}", node.bdf)).unwrap_or("kworker");
    let k = Rc::clone(&kx.k);
    let node = Rc::clone(node);
    kx.spawn(SpawnSpec::task(name, 0), move |cx| async move {
        let kx = Kx::new(cx, k);
        let _frame = kx.enter("deferred_probe_work_func");
        // Triggered by the next device that binds; a few milliseconds later at most.
        kx.sleep(5_000_000).await;
        device_pm_move_to_tail(&kx, &node);
        driver_probe_device(&kx, &node, index).await;
    });
}

/// The hypothesis that somebody else's stray write hits `struct device`: overwrites fields, as the scenario allows.
fn trample(kx: &Kx, node: &DeviceNode) {
    let per_mille = kx.k.draws.trample;
    let Some(spec) = &kx.k.scenario.inject.trample else { return };
    if per_mille == 0 || spec.device.as_deref().is_some_and(|bdf| bdf != node.bdf) || spec.fields.is_empty() {
        return;
    }
    if !kx.chance(Stream::Injection, "device trampled", per_mille) {
        return;
    }
    let which = kx.choose(Stream::Injection, "trampled field", spec.fields.len() as u64);
    let name = &spec.fields[usize::try_from(which).unwrap_or(0)];
    let value = crate::oracle::junk_word(kx);
    let Some(offset) = crate::oracle::field_offset::<Device>(name) else { return };
    let Some(base) = node.ptr.get().phys() else { return };
    kx.injected(|| format!("{}: struct device.{name} overwritten with {value:#x}", node.bdf));
    kx.raw_write(crate::mem::PhysAddr(base.0 + offset), &value.to_le_bytes());
}
