//! Devices: what the driver core and the DMA API keep of each.

use sim::Nanos;

use crate::device::{Device, DeviceNode};
use crate::iommu::core::{DeviceEntry, IommuDomain, IommuGroup, domain_type_of};
use crate::kernel::{Kx, Symbol};
use crate::mem::Ptr;
use crate::run::worker::pool_state;

/// What the hardware does with a device's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// No IOMMU is on.
    Off,
    /// Everything faults.
    Blocked,
    /// They go to memory as they are.
    Identity,
    /// They are translated by the domain of this number.
    Domain(u16),
    /// They are translated by a domain that was freed.
    FreedDomain,
    /// They are translated by a domain of the kernel before, which crashed.
    Copied,
    /// The same, copied in another format than the hardware reads: everything faults.
    Misread,
    /// An SMMUv3 finds no valid entry for it in its stream table: everything faults.
    BadStream,
    /// An SMMUv3 finds no valid context descriptor for it: everything faults.
    BadContext,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceState {
    /// Its address.
    pub bdf: &'static str,
    /// What it is.
    pub name: String,
    /// Address of its structure (kernel virtual).
    pub at: u64,
    /// Whether it is there.
    pub present: bool,
    /// The driver that is bound.
    pub driver: Option<String>,
    /// The driver whose probe or remove runs.
    pub probing: Option<String>,
    /// `*dma_mask`, `coherent_dma_mask`, `bus_dma_limit` (0 for none); nothing if the structure was freed.
    pub masks: Option<(u64, u64, u64)>,
    /// What `dma_ops` holds.
    pub ops: String,
    /// `dma_io_tlb_mem`: pointer and what it leads to; nothing where devices have no such pointer.
    pub pool: Option<(u64, &'static str)>,
    /// Since when it holds that, and who stored it.
    pub pool_since: Option<(Nanos, &'static str)>,
    /// Number of its group.
    pub group: Option<u32>,
    /// Type of the group's domain, as in sysfs; empty for none.
    pub domain: &'static str,
    /// What the hardware does with its addresses.
    pub translation: Translation,
    /// Mappings made, bounced, failed.
    pub counts: (u64, u64, u64),
}

pub(super) fn all(kx: &Kx) -> Vec<DeviceState> {
    let nodes = kx.k.devices.borrow().clone();
    let mut list: Vec<DeviceState> = nodes.iter().map(|node| one(kx, node)).collect();
    list.sort_by_key(|device| device.bdf);
    list
}

fn one(kx: &Kx, node: &DeviceNode) -> DeviceState {
    let dev = node.ptr.get();
    let driver = |index: usize| kx.k.scenario.drivers.get(index).map(|driver| driver.name.clone());
    let bound = node.bound.get().and_then(driver);
    let running = node.instance.borrow().as_ref().and_then(|instance| driver(instance.driver));
    let pool = kx.peek(dev, Device::dma_io_tlb_mem);
    let has_pointer = pool.map(|pool| (pool, pool_state(kx, pool))).filter(|(_, what)| *what != "no pointer");
    let since = kx.k.held_since(dev.id, Device::dma_io_tlb_mem.name).map(|site| (site.time_ns, site.func));
    let mask = |field| kx.peek(dev, field);
    DeviceState {
        bdf: node.bdf,
        name: node.spec(&kx.k).name.clone(),
        at: dev.addr,
        present: node.present.get(),
        probing: running.filter(|_| bound.is_none()),
        driver: bound,
        masks: mask(Device::dma_mask)
            .zip(mask(Device::coherent_dma_mask))
            .zip(mask(Device::bus_dma_limit))
            .map(|((streaming, coherent), limit)| (streaming, coherent, limit)),
        ops: ops(kx, dev),
        pool_since: since.filter(|_| has_pointer.is_some()),
        pool: has_pointer.map(|(pool, what)| (pool.addr, what)),
        group: kx.peek(node.group.get(), IommuGroup::id),
        domain: domain_type_of(kx, node),
        translation: translation(kx, node),
        counts: node.counts.get(),
    }
}

/// What `dma_ops` holds, in words.
fn ops(kx: &Kx, dev: Ptr<Device>) -> String {
    if kx.peek(dev, Device::dma_iommu) == Some(true) {
        return "dma_iommu = 1 (iommu-dma)".to_owned();
    }
    match kx.peek(dev, Device::dma_ops) {
        None => "the structure was freed".to_owned(),
        Some(0) => "NULL (dma-direct)".to_owned(),
        Some(ops) if ops == Symbol::IommuDmaOps.addr() => "iommu_dma_ops".to_owned(),
        Some(ops) => format!("{ops:#x}, which is no table of operations"),
    }
}

fn translation(kx: &Kx, node: &DeviceNode) -> Translation {
    match kx.k.iommu.entry(node.index) {
        DeviceEntry::Off => Translation::Off,
        DeviceEntry::Blocked => Translation::Blocked,
        DeviceEntry::Identity => Translation::Identity,
        DeviceEntry::Copied => Translation::Copied,
        DeviceEntry::Misread => Translation::Misread,
        DeviceEntry::BadStream => Translation::BadStream,
        DeviceEntry::BadContext => Translation::BadContext,
        DeviceEntry::Domain(domain) => {
            domain_number(kx, domain).map_or(Translation::FreedDomain, Translation::Domain)
        }
    }
}

/// The number of a domain that lives.
pub(super) fn domain_number(kx: &Kx, domain: Ptr<IommuDomain>) -> Option<u16> {
    kx.k.mem.borrow().heap.get_ref(domain).ok().map(|domain| domain.id.get())
}
