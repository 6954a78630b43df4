//! What the hardware of an SMMUv3 reads from memory about each device, what it has cached of that, and how the driver changes
//! it.
//!
//! A device's stream table entry says whether its accesses are refused, go through, or are translated; then it leads to a
//! context descriptor, and that to a page table. `DeviceEntry` is what follows from it all at this moment: from what is
//! cached, or else from what lies in memory.

use std::collections::BTreeMap;

use sim::Kind;
use sim::cell::{Cell, RefCell};

use super::cmdq::{Command, issue_cmdlist};
use super::entry::{
    Change, Ste, Table, WORDS, Words, abort_ste, bypass_ste, change_first_word_last, change_in_place,
    context_descriptor, read_cd, read_ste, translating_ste,
};
use super::{address_bits, v3};
use crate::iommu::core::domain::{free_table_page, page_of};
use crate::iommu::core::objects::with_cookie;
use crate::iommu::core::{DeviceEntry, IommuDomain};
use crate::kernel::Kx;
use crate::mem::{PhysAddr, Ptr};
use crate::profile::Behaviour;

/// What the allocator's record calls a page of context descriptors.
const CONTEXTS: &str = "context descriptor table";

/// One device.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// Its entry of the stream table.
    ste: Words,
    /// What the hardware has read of it.
    cached: Option<Words>,
    /// What the hardware has read of its context descriptor, and where that lies.
    context: Option<(PhysAddr, Words)>,
    /// The device's own context descriptors (`master->cd_table`, since 6.7).
    table: Option<PhysAddr>,
    /// It is attached to a domain (`master->domain`, up to 6.8).
    attached: bool,
}

/// The stream tables, the context descriptors, and what the hardware has cached of both.
#[derive(Debug, Default)]
pub(in super::super) struct Streams {
    /// By device number; `None` while its SMMU is off.
    streams: RefCell<Vec<Option<Stream>>>,
    /// Context descriptors by address. There is one in each table: no device here works in the address spaces of processes.
    contexts: RefCell<BTreeMap<PhysAddr, Words>>,
    /// The domains, by the page of their root table.
    roots: RefCell<BTreeMap<PhysAddr, Ptr<IommuDomain>>>,
    /// A domain's context descriptors, by the same (up to 6.6).
    of_domains: RefCell<BTreeMap<PhysAddr, PhysAddr>>,
    any: Cell<bool>,
}

fn streams(kx: &Kx) -> &Streams {
    &kx.k.iommu.streams
}

fn smmu_of(kx: &Kx, device: usize) -> usize {
    kx.k.scenario.machine.devices.get(device).map_or(0, |device| device.iommu_instance as usize)
}

fn stream(kx: &Kx, device: usize) -> Option<Stream> {
    streams(kx).streams.borrow().get(device).copied().flatten()
}

fn change_stream(kx: &Kx, device: usize, change: impl FnOnce(&mut Stream)) {
    if let Some(Some(stream)) = streams(kx).streams.borrow_mut().get_mut(device) {
        change(stream);
    }
    refresh(kx, device);
}

/// Whether a device's accesses go by the tables of an SMMUv3 that is on.
pub(in super::super) fn is_live(kx: &Kx, device: usize) -> bool {
    streams(kx).any.get() && stream(kx, device).is_some()
}

/// What follows from a device's entries.
fn effective(kx: &Kx, stream: &Stream) -> DeviceEntry {
    match read_ste(stream.cached.unwrap_or(stream.ste)) {
        Ste::Invalid => DeviceEntry::BadStream,
        Ste::Abort => DeviceEntry::Blocked,
        Ste::Bypass => DeviceEntry::Identity,
        Ste::Translate(table) => {
            let cached = stream.context.filter(|(at, _)| *at == table).map(|(_, words)| words);
            let words = cached.or_else(|| streams(kx).contexts.borrow().get(&table).copied());
            let root = words.and_then(read_cd);
            let domain = root.and_then(|root| streams(kx).roots.borrow().get(&root).copied());
            domain.map_or(DeviceEntry::BadContext, DeviceEntry::Domain)
        }
    }
}

fn refresh(kx: &Kx, device: usize) {
    if let Some(stream) = stream(kx, device) {
        kx.k.iommu.set_entry(device, effective(kx, &stream));
    }
}

/// The hardware has to know what becomes of an access: it reads the device's entries, and keeps them.
pub(in super::super) fn reads_configuration(kx: &Kx, device: usize) {
    if streams(kx).any.get() {
        prefetch(kx, device);
    }
}

/// `CMD_PREFETCH_CONFIG`.
pub(super) fn prefetch(kx: &Kx, device: usize) {
    change_stream(kx, device, |stream| {
        let ste = *stream.cached.get_or_insert(stream.ste);
        if let Ste::Translate(table) = read_ste(ste)
            && stream.context.is_none_or(|(at, _)| at != table)
        {
            stream.context = streams(kx).contexts.borrow().get(&table).map(|words| (table, *words));
        }
    });
}

/// `CMD_CFGI_STE`: what was read by way of the entry goes with it.
pub(super) fn forget_stream(kx: &Kx, device: usize) {
    change_stream(kx, device, |stream| (stream.cached, stream.context) = (None, None));
}

/// `CMD_CFGI_CD`.
pub(super) fn forget_context(kx: &Kx, device: usize) {
    change_stream(kx, device, |stream| stream.context = None);
}

/// `CMD_CFGI_ALL`.
pub(super) fn forget_streams(kx: &Kx, smmu: usize) {
    let devices = kx.k.scenario.machine.devices.len();
    for device in (0..devices).filter(|device| smmu_of(kx, *device) == smmu) {
        forget_stream(kx, device);
    }
}

/// The SMMU is turned on: its stream table refuses all devices. Whatever it may have cached is forgotten first.
///
/// Source: `drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c: arm_smmu_init_strtab()`, `arm_smmu_device_reset()`, v6.1, v6.12.
pub(in super::super) async fn enable(kx: &Kx, smmu: usize) {
    let _frame = kx.enter("arm_smmu_device_reset");
    issue_cmdlist(kx, smmu, &[Command::CfgiAll], true).await;
    issue_cmdlist(kx, smmu, &[Command::TlbiAll], true).await;
    // ARM_SMMU_CR0: SMMUEN.
    kx.step(Kind::Io, kx.memory_label()).await;
    let devices = &kx.k.scenario.machine.devices;
    streams(kx).streams.borrow_mut().resize(devices.len(), None);
    for (device, spec) in devices.iter().enumerate() {
        let behind = smmu_of(kx, device) == smmu && spec.is_iommu.is_none() && !spec.outside_iommu;
        if behind {
            streams(kx).streams.borrow_mut()[device] = Some(Stream { ste: abort_ste(), ..Stream::default() });
            refresh(kx, device);
        }
    }
    streams(kx).any.set(true);
}

/// The SMMU of a device was turned off: addresses go to memory as they are.
pub(in super::super) fn switched_off(kx: &Kx, device: usize) {
    if let Some(stream) = streams(kx).streams.borrow_mut().get_mut(device) {
        *stream = None;
    }
}

/// Makes a device's accesses go by `entry`.
///
/// Since `smmu-entries-in-place` a device has its own context descriptors, which are written when it comes to another domain,
/// and its entry goes from one state to another at once. Before, the descriptors were a domain's, and a device that was
/// attached was refused everything until it was attached anew.
///
/// Source: `drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c: arm_smmu_attach_dev()`, `arm_smmu_attach_dev_identity()`,
/// `arm_smmu_attach_dev_blocked()`, v6.12; `arm_smmu_attach_dev()`, `arm_smmu_detach_dev()`, v6.1.
pub(in super::super) async fn install(kx: &Kx, device: usize, entry: DeviceEntry) {
    let _frame = kx.enter("arm_smmu_install_ste_for_dev");
    let Some(before) = stream(kx, device) else { return };
    if kx.k.has(Behaviour::SmmuEntriesInPlace) {
        match entry {
            DeviceEntry::Domain(domain) => {
                let Some((root, words)) = translation_of(kx, domain) else { return };
                let Some(table) = before.table.or_else(|| page_of(kx, CONTEXTS)) else { return };
                change_stream(kx, device, |stream| stream.table = Some(table));
                take_on(kx, domain, root, device);
                write_context(kx, Some(device), table, words).await;
                write_stream(kx, device, translating_ste(table)).await;
            }
            _ => {
                let refused = entry != DeviceEntry::Identity;
                let target = if refused { abort_ste() } else { bypass_ste() };
                write_stream(kx, device, target).await;
                if let Some(table) = before.table {
                    // arm_smmu_clear_cd
                    write_context(kx, Some(device), table, [0; WORDS]).await;
                }
            }
        }
        return;
    }
    if before.attached {
        let _frame = kx.enter("arm_smmu_detach_dev");
        change_stream(kx, device, |stream| stream.attached = false);
        write_stream(kx, device, abort_ste()).await;
    }
    let target = match entry {
        DeviceEntry::Domain(domain) => {
            let Some((root, words)) = translation_of(kx, domain) else { return };
            take_on(kx, domain, root, device);
            let known = streams(kx).of_domains.borrow().get(&root).copied();
            let table = match known {
                Some(table) => table,
                None => {
                    let Some(table) = page_of(kx, CONTEXTS) else { return };
                    streams(kx).of_domains.borrow_mut().insert(root, table);
                    write_context(kx, None, table, words).await;
                    table
                }
            };
            translating_ste(table)
        }
        DeviceEntry::Identity => bypass_ste(),
        _ => return,
    };
    change_stream(kx, device, |stream| stream.attached = true);
    write_stream(kx, device, target).await;
}

/// The page of a domain's root table, and the descriptor that names it.
fn translation_of(kx: &Kx, domain: Ptr<IommuDomain>) -> Option<(PhysAddr, Words)> {
    let asid = kx.k.mem.object(domain).ok()?.id.get();
    let root = with_cookie(kx, domain, |cookie| cookie.table.root())??;
    Some((root, context_descriptor(asid, root, address_bits(kx))))
}

/// The first device of a domain decides behind which SMMU it is (`smmu_domain->smmu`).
fn take_on(kx: &Kx, domain: Ptr<IommuDomain>, root: PhysAddr, device: usize) {
    if streams(kx).roots.borrow_mut().insert(root, domain).is_none()
        && let Ok(object) = kx.k.mem.object(domain)
    {
        object.smmu.set(smmu_of(kx, device));
    }
}

/// Source: `arm_smmu_write_ste()`, v6.12; `arm_smmu_write_strtab_ent()`, v6.1.
async fn write_stream(kx: &Kx, device: usize, target: Words) {
    let _frame = kx.enter("arm_smmu_write_entry");
    let Some(now) = stream(kx, device) else { return };
    let smmu = smmu_of(kx, device);
    let changes = if kx.k.has(Behaviour::SmmuEntriesInPlace) {
        change_in_place(Table::Stream, now.ste, target)
    } else {
        change_first_word_last(Table::Stream, target)
    };
    for change in changes {
        match change {
            Change::Write(word, value) => {
                kx.step(Kind::Write, kx.memory_label()).await;
                change_stream(kx, device, |stream| stream.ste[word] = value);
            }
            Change::Sync => issue_cmdlist(kx, smmu, &[Command::CfgiSte(device)], true).await,
        }
    }
    issue_cmdlist(kx, smmu, &[Command::PrefetchCfg(device)], false).await;
}

/// Writes a context descriptor; `device` is the one whose it is. A domain's that no device is attached to yet is nobody's.
///
/// Source: `arm_smmu_write_cd_entry()`, v6.12; `arm_smmu_write_ctx_desc()`, v6.1.
async fn write_context(kx: &Kx, device: Option<usize>, table: PhysAddr, target: Words) {
    let _frame = kx.enter("arm_smmu_write_cd_entry");
    let current = streams(kx).contexts.borrow().get(&table).copied().unwrap_or_default();
    let changes = match device {
        Some(_) => change_in_place(Table::Context, current, target),
        None => change_first_word_last(Table::Context, target),
    };
    let smmu = device.map_or(0, |device| smmu_of(kx, device));
    for change in changes {
        match change {
            Change::Write(word, value) => {
                kx.step(Kind::Write, kx.memory_label()).await;
                streams(kx).contexts.borrow_mut().entry(table).or_default()[word] = value;
                if let Some(device) = device {
                    refresh(kx, device);
                }
            }
            Change::Sync => {
                let command = device.map(Command::CfgiCd);
                issue_cmdlist(kx, smmu, command.as_slice(), true).await;
            }
        }
    }
}

/// A device leaves: its own context descriptors go. Source: `arm_smmu_release_device()`, v6.12.
pub(in super::super) fn released(kx: &Kx, device: usize) {
    let Some(table) = stream(kx, device).and_then(|stream| stream.table) else { return };
    change_stream(kx, device, |stream| stream.table = None);
    streams(kx).contexts.borrow_mut().remove(&table);
    free_table_page(kx, table);
}

/// A domain goes, that no device is attached to: all its translations are forgotten, and then its descriptors go.
///
/// Source: `drivers/iommu/io-pgtable.c: free_io_pgtable_ops()`, `arm_smmu_domain_free()`, v6.1, v6.12.
pub(in super::super) async fn domain_goes(kx: &Kx, domain: Ptr<IommuDomain>) {
    super::tlb_inv_context(kx, domain).await;
    if v3(kx).is_none() {
        return;
    }
    let root = with_cookie(kx, domain, |cookie| cookie.table.root()).flatten();
    let Some(root) = root else { return };
    streams(kx).roots.borrow_mut().remove(&root);
    let table = streams(kx).of_domains.borrow_mut().remove(&root);
    if let Some(table) = table {
        streams(kx).contexts.borrow_mut().remove(&table);
        free_table_page(kx, table);
    }
}
