//! IOMMUs that the firmware names, and devices that it says are behind them: `struct dev_iommu`, `struct iommu_fwspec`, and
//! the IOMMU driver's own probe.

use std::rc::Rc;

use sim::SpawnSpec;

use super::domain::{input_range, page_sizes};
use super::probe::{bus_set_iommu, iommu_probe_device, probe_lock, probe_unlock};
use super::unit::{link_to_unit, unit_device};
use super::{ComeAgain, DevIommu, DeviceEntry, Instances, IommuDriver, IommuFwspec, smmu};
use crate::device::{Device, DeviceNode};
use crate::kernel::Kx;
use crate::mem::Ptr;
use crate::profile::Behaviour;
use crate::scenario::schema::Iommu;

/// One millisecond.
const MS: u64 = 1_000_000;

/// Why the core does not take charge of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotProbed {
    /// `-ENODEV`: no IOMMU's business.
    NoDevice,
    /// `-EPROBE_DEFER`.
    Defer,
    /// `-ENOMEM`, or a conflict.
    Failed,
}

/// Which driver the machine's firmware names IOMMUs for, and when they are probed.
pub(super) fn named(iommu: Iommu) -> Option<(IommuDriver, [Option<u64>; 2])> {
    match iommu {
        Iommu::Virtio { first_ms, second_ms, .. } => Some((IommuDriver::Virtio, [Some(first_ms), second_ms])),
        Iommu::Smmu { first_ms, second_ms, .. } => Some((IommuDriver::Smmu, [Some(first_ms), second_ms])),
        Iommu::None | Iommu::AmdVi { .. } | Iommu::Vtd { .. } => None,
    }
}

/// User space loads the IOMMUs' drivers.
pub fn load_iommu_modules(kx: &Kx) {
    let Some((driver, instances)) = named(kx.k.scenario.machine.iommu) else { return };
    let v3 = smmu::v3(kx).is_some();
    for (number, after) in instances.into_iter().enumerate() {
        let Some(after) = after else { continue };
        if unit_device(kx, number).is_some() {
            // The driver core finds it.
            continue;
        }
        let name = match (driver, number) {
            (IommuDriver::Smmu, 0) if v3 => "modprobe arm_smmu_v3",
            (IommuDriver::Smmu, 0) => "modprobe arm_smmu",
            (IommuDriver::Smmu, _) if v3 => "kworker/u16:probe arm-smmu-v3.1",
            (IommuDriver::Smmu, _) => "kworker/u16:probe arm-smmu.1",
            (_, 0) => "modprobe virtio_iommu",
            (..) => "kworker/u16:probe virtio1",
        };
        let k = Rc::clone(&kx.k);
        let cpu = u8::try_from(number).unwrap_or(0) % kx.k.cpus().max(1);
        kx.spawn(SpawnSpec::task(name, cpu), move |cx| async move {
            let kx = Kx::new(cx, k);
            kx.sleep(after * MS).await;
            while probe_iommu(&kx, driver, number).await.is_err() {
                // Deferred; tried again with the next device that binds.
                kx.sleep(5 * MS).await;
            }
        });
    }
}

/// An IOMMU's driver binds to it: it registers with the core, which walks the buses, and only then is it among the devices
/// of its driver.
///
/// Source: `drivers/base/dd.c: really_probe()`, `driver_bound()`, `drivers/iommu/virtio-iommu.c: viommu_probe()`,
/// `drivers/iommu/arm/arm-smmu/arm-smmu.c: arm_smmu_device_probe()`, v5.15, v6.1, v6.12.
async fn probe_iommu(kx: &Kx, driver: IommuDriver, number: usize) -> Result<(), ComeAgain> {
    let _frame = kx.enter("really_probe");
    probe_instance(kx, driver, number).await?;
    let _bound = kx.enter("driver_bound");
    instance_bound(kx, number).await;
    Ok(())
}

/// The IOMMU driver's own probe.
///
/// # Errors
/// One of the devices behind it has to be asked again; nothing is registered.
pub(super) async fn probe_instance(kx: &Kx, driver: IommuDriver, number: usize) -> Result<(), ComeAgain> {
    let bit = 1_u32 << number;
    let smmu = driver == IommuDriver::Smmu;
    let _frame = kx.enter(if smmu { "arm_smmu_device_probe" } else { "viommu_probe" });
    if smmu::v3(kx).is_some() {
        // It is turned on before it registers.
        kx.log(|| {
            let name = smmu::log_name(kx, u32::try_from(number).unwrap_or(0));
            format!(
                "{name}: ias {0}-bit, oas 48-bit (features {1:#010x})",
                smmu::address_bits(kx),
                smmu::features(kx)
            )
        });
        smmu::enable(kx, number).await;
    }
    kx.step(sim::Kind::Signal, kx.memory_label()).await;
    change(kx, |instances| instances.registered |= bit);
    if bus_set_iommu(kx, driver).await.is_err() {
        change(kx, |instances| instances.registered &= !bit);
        return Err(ComeAgain);
    }
    if !smmu {
        let bits = u64::BITS - input_range(kx).end.leading_zeros();
        kx.log(|| format!("virtio_iommu virtio{number}: input address: {bits} bits"));
        kx.log(|| format!("virtio_iommu virtio{number}: page mask: {:#x}", page_sizes(kx)));
    }
    if smmu && smmu::v3(kx).is_none() {
        // arm_smmu_device_reset: what belongs to no domain is refused (`disable_bypass`).
        kx.step(sim::Kind::Io, kx.memory_label()).await;
        for (index, device) in kx.k.scenario.machine.devices.iter().enumerate() {
            let behind = device.iommu_instance as usize == number && device.is_iommu.is_none();
            if behind && kx.k.iommu.entry(index) == DeviceEntry::Off {
                kx.k.iommu.set_entry(index, DeviceEntry::Blocked);
            }
        }
    }
    Ok(())
}

/// It is among the devices of its driver (`klist_devices`).
pub(super) async fn instance_bound(kx: &Kx, number: usize) {
    kx.step(sim::Kind::Signal, kx.memory_label()).await;
    change(kx, |instances| instances.bound |= 1_u32 << number);
}

pub(super) fn change(kx: &Kx, f: impl FnOnce(&mut Instances)) {
    let mut instances = kx.k.iommu.instances.get();
    f(&mut instances);
    kx.k.iommu.instances.set(instances);
}

fn bit_of(kx: &Kx, node: &DeviceNode) -> u32 {
    1_u32.checked_shl(node.spec(&kx.k).iommu_instance).unwrap_or(0)
}

/// `dev->iommu ? dev->iommu->fwspec : NULL`: two loads next to one another.
async fn dev_iommu_fwspec_get(kx: &Kx, dev: Ptr<Device>) -> Ptr<IommuFwspec> {
    let param = kx.load(dev, Device::iommu).await;
    if param.is_null() { Ptr::NULL } else { kx.load_within(param, DevIommu::fwspec).await }
}

/// Source: `drivers/iommu/iommu.c: dev_iommu_get()`, v5.15, v6.1, v6.12.
async fn dev_iommu_get(kx: &Kx, dev: Ptr<Device>) -> Result<Ptr<DevIommu>, NotProbed> {
    let param = kx.load(dev, Device::iommu).await;
    if !param.is_null() {
        return Ok(param);
    }
    let _frame = kx.enter("dev_iommu_get");
    let param = kx.kzalloc(0x48, Rc::new(DevIommu::default())).await.map_err(|_| NotProbed::Failed)?;
    kx.store_ptr(dev, Device::iommu, param).await;
    Ok(param)
}

/// Source: `drivers/iommu/iommu.c: dev_iommu_free()`, v5.15, v6.1, v6.12.
pub(super) async fn dev_iommu_free(kx: &Kx, dev: Ptr<Device>) {
    let _frame = kx.enter("dev_iommu_free");
    let param = kx.load(dev, Device::iommu).await;
    let Some(phys) = param.phys() else { return };
    let first = kx.k.has(Behaviour::DevIommuClearedFirst);
    if first {
        kx.store_ptr(dev, Device::iommu, Ptr::NULL).await;
    }
    let fwspec = kx.load(param, DevIommu::fwspec).await;
    if let Some(phys) = fwspec.phys() {
        kx.kfree(phys, fwspec.id).await;
        if !first {
            // iommu_fwspec_free clears the pointer.
            kx.store_ptr(param, DevIommu::fwspec, Ptr::NULL).await;
        }
    }
    kx.kfree(phys, param.id).await;
    if !first {
        kx.store_ptr(dev, Device::iommu, Ptr::NULL).await;
    }
}

/// Notes behind which IOMMU a device is.
///
/// Source: `drivers/iommu/iommu.c: iommu_fwspec_init()`, v5.15, v6.1, v6.12.
async fn iommu_fwspec_init(kx: &Kx, node: &DeviceNode) -> Result<(), NotProbed> {
    let _frame = kx.enter("iommu_fwspec_init");
    kx.step(sim::Kind::Read, kx.memory_label()).await;
    if kx.k.iommu.instances.get().registered & bit_of(kx, node) == 0 {
        return Err(NotProbed::Defer);
    }
    let dev = node.ptr.get();
    dev_iommu_get(kx, dev).await?;
    let fwspec = kx.kzalloc(0x20, Rc::new(IommuFwspec::default())).await.map_err(|_| NotProbed::Failed)?;
    kx.poke(fwspec, IommuFwspec::num_ids, 1);
    // dev_iommu_fwspec_set: dev->iommu->fwspec = fwspec.
    let param = kx.load(dev, Device::iommu).await;
    if param.is_null() {
        kx.page_fault(0x28, "write").await;
        return Err(NotProbed::Failed);
    }
    kx.store_ptr(param, DevIommu::fwspec, fwspec).await;
    Ok(())
}

/// A driver is about to bind: does an IOMMU stand before its device, and is it there yet?
///
/// Source: `drivers/acpi/scan.c: acpi_iommu_configure_id()`, `drivers/acpi/viot.c: viot_iommu_configure()`, v5.15, v6.1,
/// v6.12; `drivers/iommu/of_iommu.c: of_iommu_configure()`, v6.1, v6.12.
///
/// # Errors
/// Its driver has not registered, or not been bound.
pub async fn dma_configure(kx: &Kx, node: &Rc<DeviceNode>) -> Result<(), ComeAgain> {
    let Some((driver, _)) = named(kx.k.scenario.machine.iommu) else { return Ok(()) };
    // The firmware names the devices behind an IOMMU; others are none of its business.
    if node.spec(&kx.k).outside_iommu {
        return Ok(());
    }
    let _frame = kx.enter("pci_dma_configure");
    let by_tree = driver == IommuDriver::Smmu;
    let _inner = kx.enter(if by_tree { "of_iommu_configure" } else { "acpi_iommu_configure_id" });
    let dev = node.ptr.get();
    let serialised = kx.k.has(Behaviour::FwspecUnderProbeLock);
    if serialised {
        probe_lock(kx).await;
    }
    let known = !dev_iommu_fwspec_get(kx, dev).await.is_null();
    let named = if known { Ok(()) } else { iommu_fwspec_init(kx, node).await };
    if serialised {
        probe_unlock(kx);
    }
    if known {
        return Ok(());
    }
    if let Err(error) = named {
        return if error == NotProbed::Defer { Err(ComeAgain) } else { Ok(()) };
    }
    // The IOMMU's driver may have missed the device; the call is repeated on its behalf. v6.1 looks first whether the device
    // has a group; v6.12 does so under the lock alone.
    let why = "device_iommu_mapped() in acpi_iommu_configure_id(): a hint, iommu_probe_device() decides";
    if !kx.k.has(Behaviour::OneDefaultDomainSetup)
        && !kx.load_racy(dev, Device::iommu_group, why).await.is_null()
    {
        return Ok(());
    }
    match iommu_probe_device(kx, node).await {
        Err(NotProbed::Defer) => Err(ComeAgain),
        Ok(()) | Err(NotProbed::NoDevice | NotProbed::Failed) => Ok(()),
    }
}

/// What comes before a device's group is looked for, with an IOMMU that the firmware names: the core's own structure, and the
/// question to the IOMMU's driver.
///
/// Source: `drivers/iommu/iommu.c: __iommu_probe_device()`, v5.15, v6.1; `iommu_init_device()`, v6.12;
/// `drivers/iommu/virtio-iommu.c: viommu_probe_device()`, `drivers/iommu/arm/arm-smmu/arm-smmu.c:
/// arm_smmu_probe_device()`.
pub(super) async fn ask_driver(kx: &Kx, node: &DeviceNode) -> Result<(), NotProbed> {
    let Some(driver) = kx.k.iommu.registered.get().filter(|driver| driver.by_firmware()) else {
        return Ok(());
    };
    let dev = node.ptr.get();
    if kx.k.has(Behaviour::IommuOpsFromFwspec) && dev_iommu_fwspec_get(kx, dev).await.is_null() {
        return Err(NotProbed::NoDevice);
    }
    dev_iommu_get(kx, dev).await?;
    let answer = probe_device(kx, node, driver).await;
    if answer.is_err() {
        dev_iommu_free(kx, dev).await;
    }
    answer
}

/// The IOMMU driver's `probe_device`: it looks its instance up among the devices that are bound to it.
async fn probe_device(kx: &Kx, node: &DeviceNode, driver: IommuDriver) -> Result<(), NotProbed> {
    let smmu = driver == IommuDriver::Smmu;
    let v3 = smmu::v3(kx).is_some();
    let _frame = kx.enter(if smmu { "arm_smmu_probe_device" } else { "viommu_probe_device" });
    if dev_iommu_fwspec_get(kx, node.ptr.get()).await.is_null() {
        return Err(NotProbed::NoDevice);
    }
    kx.step(sim::Kind::Read, kx.memory_label()).await;
    if kx.k.iommu.instances.get().bound & bit_of(kx, node) != 0 {
        if smmu && !v3 {
            link_to_unit(kx, node).await;
        }
        return Ok(());
    }
    if !smmu || v3 {
        return Err(NotProbed::NoDevice);
    }
    if kx.k.has(Behaviour::SmmuProbeDefers) {
        kx.log(|| format!("pci {}: smmu dev has not bound yet", node.bdf));
        return Err(NotProbed::Defer);
    }
    // smmu->streamid_mask of a NULL pointer.
    kx.page_fault(0x54, "read").await;
    Err(NotProbed::Failed)
}
