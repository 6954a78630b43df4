//! What a kernel that crashed has left: its IOMMU is on, and its devices are at work until their drivers reset them.
//!
//! The kernel that was started to save its memory (kdump) copies the entries of the devices, so that they do no harm, and
//! attaches each device to a domain of its own when a driver maps something for the first time.

use std::rc::Rc;

use sim::cell::RefCell;
use sim::choices::Stream;
use sim::{Kind, SpawnSpec};

use super::domain::iommu_attach_device;
use super::probe::block_all;
use super::{DeviceEntry, DmaTarget, IommuDomain, IommuDriver, device_access};
use crate::boot::cmdline::words;
use crate::device::{Device, DeviceNode};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, PhysAddr, Ptr, Source};
use crate::oracle::dma_refused;
use crate::profile::Behaviour;
use crate::scenario::schema::{InFlight, Iommu};

/// A translation that the hardware cached while a device was attached to a domain of the kernel before.
#[derive(Clone, Copy, Debug)]
struct Cached {
    device: usize,
    /// Number of the domain, by which translations are invalidated.
    domain: u16,
    page: u64,
    frame: u64,
}

/// Translations of the kernel before in the hardware's cache.
///
/// The cache is looked up by device and address, whatever domain the device's entry names meanwhile, and invalidated by
/// domain: AMD's specification wants a domain's translations to be invalidated when a device's entry stops naming it.
#[derive(Debug, Default)]
pub(super) struct CopiedTlb(RefCell<Vec<Cached>>);

impl CopiedTlb {
    /// Where a page of a device leads, if that is in the cache.
    pub(super) fn lookup(&self, device: usize, addr: DmaAddr) -> Option<PhysAddr> {
        let page = addr.0 >> PAGE_SHIFT;
        let cached = self.0.borrow();
        let hit = cached.iter().find(|entry| entry.device == device && entry.page == page)?;
        Some(PhysAddr(hit.frame << PAGE_SHIFT | addr.0 & !PAGE_MASK))
    }

    fn flush(&self, domain: u16) {
        self.0.borrow_mut().retain(|entry| entry.domain != domain);
    }
}

/// Whether this kernel was started to save the memory of one that crashed.
///
/// Source: `include/linux/crash_dump.h: is_kdump_kernel()`, v5.13, v6.12.
pub(super) fn is_kdump_kernel(kx: &Kx) -> bool {
    words(&kx.k.scenario.cmdline).any(|(name, _)| name == "elfcorehdr")
}

/// The entry that the hardware has for a device when the kernel starts.
pub(super) fn entry_at_boot(left: Option<&InFlight>) -> DeviceEntry {
    if left.is_some() { DeviceEntry::Copied } else { DeviceEntry::Off }
}

/// The IOMMU's driver finds translation enabled: it copies the entries of the kernel before, or starts afresh.
///
/// Before `scalable-tables-copied` VT-d's driver copied tables of the scalable mode as if they were legacy ones.
///
/// Source: `drivers/iommu/amd/init.c: early_enable_iommus(), copy_device_table()`, v5.13, v6.12;
/// `drivers/iommu/intel/iommu.c: init_dmars(), copy_translation_tables()`, v5.13, v6.1.
pub(super) async fn take_over(kx: &Kx, driver: IommuDriver) {
    let devices = &kx.k.scenario.machine.devices;
    let copies = is_kdump_kernel(kx);
    let misread = matches!(kx.k.scenario.machine.iommu, Iommu::Vtd { scalable: true, .. })
        && !kx.k.has(Behaviour::ScalableTablesCopied);
    block_all(kx);
    if devices.iter().all(|device| device.in_flight.is_none()) {
        return;
    }
    kx.step(Kind::Io, kx.memory_label()).await;
    for (index, _) in devices.iter().enumerate().filter(|(_, device)| device.in_flight.is_some()) {
        if copies {
            kx.k.iommu.set_entry(index, if misread { DeviceEntry::Misread } else { DeviceEntry::Copied });
        }
    }
    if copies {
        kx.log(|| match driver {
            IommuDriver::Intel => "DMAR: Copied translation tables from previous kernel for dmar0".to_owned(),
            _ => "AMD-Vi: Copied DEV table from previous kernel.".to_owned(),
        });
    }
    for (index, device) in devices.iter().enumerate() {
        if let (Some(left), Some(node)) = (device.in_flight, kx.k.node(index)) {
            spawn_in_flight(kx, node, left);
        }
    }
}

/// A device that nobody has told to stop.
fn spawn_in_flight(kx: &Kx, node: Rc<DeviceNode>, left: InFlight) {
    let k = Rc::clone(&kx.k);
    let name = crate::scenario::intern(&format!("{} (in flight)", node.bdf)).unwrap_or("in flight");
    kx.spawn(SpawnSpec::device(name).daemon(), move |cx| async move {
        let kx = Kx::new(cx, k);
        // A driver begins with a reset.
        while node.present.get() && node.instance.borrow().is_none() {
            kx.step(Kind::Io, kx.memory_label()).await;
            let page = kx.choose(Stream::Workload, "page of DMA in flight", (left.size / PAGE_SIZE).max(1));
            let at = DmaAddr(left.iova.wrapping_add(page * PAGE_SIZE));
            match device_access(&kx, &node, at, true) {
                DmaTarget::Memory(phys) => {
                    let source = Source::Data { tag: kx.k.next_tag() };
                    let _ = kx.k.mem.borrow_mut().heap.write_at(phys, PAGE_SIZE, source, 0);
                }
                DmaTarget::Fault(why) => dma_refused(&kx, &node, at, true, why),
            }
            kx.delay(left.every_us * 1_000).await;
        }
    });
}

/// The hardware walks the copied tables: they are those of the kernel before.
pub(super) fn translate_copied(kx: &Kx, node: &DeviceNode, addr: DmaAddr) -> DmaTarget {
    if let Some(known) = kx.k.iommu.copied_tlb.lookup(node.index, addr) {
        return DmaTarget::Memory(known);
    }
    let Some(left) = node.spec(&kx.k).in_flight else { return DmaTarget::Fault("no translation allows it") };
    let Some(offset) = addr.0.checked_sub(left.iova).filter(|offset| *offset < left.size) else {
        return DmaTarget::Fault("no translation allows it");
    };
    let phys = PhysAddr(left.phys.wrapping_add(offset));
    kx.k.iommu.copied_tlb.0.borrow_mut().push(Cached {
        device: node.index,
        domain: left.domain,
        page: addr.0 >> PAGE_SHIFT,
        frame: phys.0 >> PAGE_SHIFT,
    });
    DmaTarget::Memory(phys)
}

/// Whether a device keeps its copied entry until a driver maps something for it.
///
/// Source: `drivers/iommu/amd/iommu.c: amd_iommu_is_attach_deferred()`, `drivers/iommu/intel/iommu.c:
/// intel_iommu_is_attach_deferred()`, v5.13, v6.1.
pub(super) fn is_attach_deferred(kx: &Kx, node: &DeviceNode) -> bool {
    matches!(kx.k.iommu.entry(node.index), DeviceEntry::Copied | DeviceEntry::Misread)
}

/// A driver maps something: a device whose attaching was put off is attached.
///
/// Source: `drivers/iommu/dma-iommu.c: iommu_dma_deferred_attach()`, v5.13; `drivers/iommu/iommu.c:
/// iommu_deferred_attach()`, v6.1, v6.12.
pub async fn iommu_deferred_attach(kx: &Kx, dev: Ptr<Device>, domain: Ptr<IommuDomain>) {
    if let Some(node) = kx.k.node_of(dev)
        && is_attach_deferred(kx, &node)
    {
        let _frame = kx.enter("iommu_deferred_attach");
        iommu_attach_device(kx, &node, domain).await;
    }
}

/// A device's entry stops naming a domain of the kernel before. VT-d's driver drops that domain's translations; AMD's does
/// since `overwritten-domain-flushed`.
///
/// Source: `drivers/iommu/amd/iommu.c: set_dte_entry()`, `drivers/iommu/intel/iommu.c: domain_context_mapping_one()`,
/// v5.13, v6.1.
pub(super) async fn overwritten(kx: &Kx, node: &DeviceNode) {
    let amd = kx.k.iommu.registered.get() == Some(IommuDriver::Amd);
    if amd && !kx.k.has(Behaviour::OverwrittenDomainFlushed) {
        return;
    }
    if let Some(left) = node.spec(&kx.k).in_flight {
        let _frame = kx.enter(if amd { "amd_iommu_flush_tlb_domid" } else { "iommu_flush_iotlb" });
        kx.step(Kind::Io, kx.memory_label()).await;
        kx.k.iommu.copied_tlb.flush(left.domain);
    }
}
