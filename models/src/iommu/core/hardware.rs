//! The hardware's side: where a device's access ends up.

use super::copied::translate_copied;
use super::objects::TlbEntry;
use super::recorded::{cached_translation, forgot_translation};
use super::smmu::{event_lines, reads_configuration};
use super::{DeviceEntry, IommuDomain, IommuDriver};
use crate::device::DeviceNode;
use crate::iommu::pagetable::{Access, Format, Leaf};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, PhysAddr, Ptr};

/// Translations that the hardware caches for one domain, at most.
const IOTLB_ENTRIES: usize = 64;

/// Where one page of an access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmaTarget {
    /// To memory.
    Memory(PhysAddr),
    /// Nowhere: the IOMMU refuses it. The text says why.
    Fault(&'static str),
}

/// Translates an access of a device to the page at `addr`.
pub fn device_access(kx: &Kx, node: &DeviceNode, addr: DmaAddr, write: bool) -> DmaTarget {
    reads_configuration(kx, node.index);
    match kx.k.iommu.entry(node.index) {
        DeviceEntry::Off | DeviceEntry::Identity => DmaTarget::Memory(PhysAddr(addr.0 & !(1 << 47))),
        DeviceEntry::Blocked => DmaTarget::Fault("the device is attached to no domain"),
        DeviceEntry::Copied => translate_copied(kx, node, addr),
        DeviceEntry::BadStream => DmaTarget::Fault("its stream table entry is not valid"),
        DeviceEntry::BadContext => DmaTarget::Fault("its context descriptor is not valid"),
        DeviceEntry::Misread => DmaTarget::Fault("its copied entry has another format"),
        DeviceEntry::Domain(domain) => match kx.k.iommu.copied_tlb.lookup(node.index, addr) {
            Some(stale) => DmaTarget::Memory(stale),
            None => translate(kx, node, domain, addr, write),
        },
    }
}

fn translate(kx: &Kx, node: &DeviceNode, domain: Ptr<IommuDomain>, addr: DmaAddr, write: bool) -> DmaTarget {
    let Ok(object) = kx.k.mem.object(domain) else {
        return DmaTarget::Fault("the domain's structure has been freed");
    };
    let id = object.id.get();
    let mut cookie = object.cookie.borrow_mut();
    let Some(cookie) = cookie.as_mut() else { return DmaTarget::Fault("the domain translates nothing") };
    let page = addr.0 >> PAGE_SHIFT;
    let offset = addr.0 & !PAGE_MASK;
    let known = cookie.iotlb.iter().position(|entry| entry.page == page);
    if let Some(entry) = known.map(|at| cookie.iotlb[at])
        && (if write { entry.writable } else { entry.readable })
    {
        return DmaTarget::Memory(PhysAddr(entry.frame << PAGE_SHIFT | offset));
    }
    let access = if write { Access::Write } else { Access::Read };
    let phys = if cookie.table.format() == Format::ArmLpaeS1 {
        cookie.walks.translate(kx, &cookie.table, addr, access)
    } else {
        cookie.table.translate(addr, access).ok()
    };
    match phys {
        Some(phys) => {
            let fresh = TlbEntry { page, frame: phys.0 >> PAGE_SHIFT, readable: !write, writable: write };
            match known {
                // What is cached of the page so far allows less.
                Some(at) if cookie.iotlb[at].frame == fresh.frame => {
                    cookie.iotlb[at].readable |= fresh.readable;
                    cookie.iotlb[at].writable |= fresh.writable;
                }
                Some(at) => {
                    cookie.iotlb[at] = fresh;
                    cached_translation(kx, node, id, fresh);
                }
                None if cookie.iotlb.len() < IOTLB_ENTRIES => {
                    cookie.iotlb.push(fresh);
                    cached_translation(kx, node, id, fresh);
                }
                None => {
                    cookie.iotlb_next %= IOTLB_ENTRIES;
                    let old = std::mem::replace(&mut cookie.iotlb[cookie.iotlb_next], fresh);
                    cookie.iotlb_next += 1;
                    forgot_translation(kx, id, old.page);
                    cached_translation(kx, node, id, fresh);
                }
            }
            DmaTarget::Memory(phys)
        }
        None => DmaTarget::Fault("no translation allows it"),
    }
}

/// Where a device's address leads by its page table, without the cache and without an access.
#[must_use]
pub(crate) fn peek_translation(kx: &Kx, node: &DeviceNode, addr: DmaAddr) -> Option<(Leaf, Format)> {
    let DeviceEntry::Domain(domain) = kx.k.iommu.entry(node.index) else { return None };
    let object = kx.k.mem.object(domain).ok()?;
    let cookie = object.cookie.borrow();
    let table = &cookie.as_ref()?.table;
    Some((table.lookup(addr)?, table.format()))
}

/// The lines that the driver prints for a refused access; none where the hardware does not tell it.
#[must_use]
pub fn fault_lines(kx: &Kx, node: &DeviceNode, addr: DmaAddr, write: bool) -> Vec<String> {
    let line = match kx.k.iommu.registered.get().or_else(|| kx.k.iommu.detected.get()) {
        Some(IommuDriver::Intel) => format!(
            "DMAR: [{}] Request device [{}] fault addr {:#x} [fault reason 06] PTE access is not set",
            if write { "DMA Write" } else { "DMA Read" },
            &node.bdf[5..],
            addr.0 & !(PAGE_SIZE - 1)
        ),
        Some(IommuDriver::Virtio) => format!(
            "virtio_iommu virtio0: page fault from EP {} at {:#x} [{}]",
            node.index,
            addr.0,
            if write { "W" } else { "R" }
        ),
        Some(IommuDriver::Smmu) => return event_lines(kx, node, addr, write),
        Some(IommuDriver::Amd) | None => format!(
            "AMD-Vi: Event logged [IO_PAGE_FAULT device={} domain=0x0000 address={:#x} flags={:#06x}]",
            &node.bdf[5..],
            addr.0,
            if write { 0x20 } else { 0 }
        ),
    };
    vec![line]
}
