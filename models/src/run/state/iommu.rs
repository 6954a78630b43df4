//! The IOMMU: groups, domains, their I/O virtual addresses and what the hardware has cached.

use super::MappingState;
use super::devices::domain_number;
use crate::iommu::core::{Cookie, DeviceEntry, DomainType, IommuDomain, IommuDriver, IommuGroup};
use crate::iommu::dma::FlushQueue;
use crate::iommu::iova::{Cpu, IOVA_RANGE_CACHE_MAX_SIZE, IovaDomain, IovaPfn};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PAGE_SHIFT, PAGE_SIZE, PhysAddr, Ptr};

/// The subsystem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IommuState {
    /// The driver that has registered.
    pub driver: Option<IommuDriver>,
    /// Groups, by number.
    pub groups: Vec<GroupState>,
    /// Domains that a group or a device uses, by number.
    pub domains: Vec<DomainState>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// Its number.
    pub id: u32,
    /// Type of its default domain, as in sysfs; empty before there is one.
    pub type_: &'static str,
    /// Its devices.
    pub devices: Vec<&'static str>,
    /// Numbers of its default domain and of the one in use.
    pub default_domain: Option<u16>,
    /// The same.
    pub domain: Option<u16>,
}

/// A domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainState {
    /// Its number.
    pub id: u16,
    /// Its type, as in sysfs; empty if it is none that is known.
    pub type_: &'static str,
    /// Devices whose addresses the hardware translates by it.
    pub attached: Vec<&'static str>,
    /// Ranges of I/O virtual addresses that are taken, lowest first.
    pub iovas: Vec<IovaState>,
    /// Its flush queues, one for each CPU; none in strict mode.
    pub queues: Vec<QueueState>,
    /// Translations that the hardware has cached.
    pub tlb: Vec<CachedPage>,
}

/// A range of I/O virtual addresses that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IovaState {
    /// First address.
    pub start: DmaAddr,
    /// Bytes.
    pub size: u64,
    /// What for.
    pub what: IovaUse,
}

/// What a range of I/O virtual addresses is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IovaUse {
    /// A mapping: its number among those of the state.
    Mapping(usize),
    /// It is unmapped, and waits in the flush queue of a CPU.
    Queued(usize),
    /// It is free, and kept in a cache of freed ranges.
    Cached,
    /// No mapping leads there and it waits nowhere: reserved, or on its way.
    Other,
}

/// The flush queue of one CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueState {
    /// The CPU.
    pub cpu: usize,
    /// Entries, oldest first: address, bytes, whether a flush has covered it.
    pub entries: Vec<(DmaAddr, u64, bool)>,
}

/// A translation that the hardware has cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedPage {
    /// The device's address.
    pub iova: DmaAddr,
    /// Where the hardware leads it.
    pub phys: PhysAddr,
    /// Where the tables lead it now: `None` if nowhere. A difference is a stale entry.
    pub table: Option<PhysAddr>,
}

pub(super) fn state(kx: &Kx, mappings: &[MappingState]) -> IommuState {
    let nodes = kx.k.devices.borrow().clone();
    let name = |index: usize| nodes.iter().find(|node| node.index == index).map_or("", |node| node.bdf);
    let mut domains: Vec<Ptr<IommuDomain>> = Vec::new();
    let mut note = |domain: Option<Ptr<IommuDomain>>| {
        if let Some(domain) = domain.filter(|domain| !domain.is_null() && !domains.contains(domain)) {
            domains.push(domain);
        }
    };
    let mut groups = Vec::new();
    for group in kx.k.iommu.groups.borrow().iter() {
        let Ok(object) = kx.k.mem.borrow().heap.get(*group) else { continue };
        let (default, now) = (object.default_domain.get(), object.domain.get());
        note(Some(default));
        note(Some(now));
        let mut devices: Vec<&'static str> =
            object.members.borrow().iter().map(|index| name(*index)).collect();
        devices.sort_unstable();
        groups.push(GroupState {
            id: object.id.get(),
            type_: type_of(kx, default),
            devices,
            default_domain: domain_number(kx, default),
            domain: domain_number(kx, now),
        });
    }
    groups.sort_by_key(|group| group.id);
    for node in &nodes {
        note(match kx.k.iommu.entry(node.index) {
            DeviceEntry::Domain(domain) => Some(domain),
            DeviceEntry::Off
            | DeviceEntry::Blocked
            | DeviceEntry::Identity
            | DeviceEntry::Copied
            | DeviceEntry::Misread
            | DeviceEntry::BadStream
            | DeviceEntry::BadContext => None,
        });
    }
    let mut list: Vec<DomainState> = domains
        .iter()
        .filter_map(|domain| {
            let attached = |entry| entry == DeviceEntry::Domain(*domain);
            let devices: Vec<usize> = nodes
                .iter()
                .filter(|node| attached(kx.k.iommu.entry(node.index)) || uses(kx, node.group.get(), *domain))
                .map(|node| node.index)
                .collect();
            let attached: Vec<&'static str> = nodes
                .iter()
                .filter(|node| attached(kx.k.iommu.entry(node.index)))
                .map(|node| node.bdf)
                .collect();
            one(kx, *domain, &devices, attached, mappings)
        })
        .collect();
    list.sort_by_key(|domain| domain.id);
    IommuState { driver: kx.k.iommu.registered.get(), groups, domains: list }
}

/// Whether a group's devices use a domain for the DMA API.
fn uses(kx: &Kx, group: Ptr<IommuGroup>, domain: Ptr<IommuDomain>) -> bool {
    kx.peek(group, IommuGroup::default_domain) == Some(domain)
}

fn type_of(kx: &Kx, domain: Ptr<IommuDomain>) -> &'static str {
    kx.peek(domain, IommuDomain::type_).and_then(DomainType::of).map_or("", DomainType::sysfs)
}

fn one(
    kx: &Kx,
    domain: Ptr<IommuDomain>,
    devices: &[usize],
    attached: Vec<&'static str>,
    mappings: &[MappingState],
) -> Option<DomainState> {
    let object = kx.k.mem.borrow().heap.get(domain).ok()?;
    let cookie = object.cookie.borrow();
    let cookie = cookie.as_ref();
    let queues = cookie.and_then(|cookie| cookie.fq.as_ref()).map(queues).unwrap_or_default();
    Some(DomainState {
        id: object.id.get(),
        type_: type_of(kx, domain),
        attached,
        iovas: cookie.map(|cookie| iovas(kx, cookie, devices, &queues, mappings)).unwrap_or_default(),
        queues,
        tlb: cookie.map(cached_pages).unwrap_or_default(),
    })
}

fn queues(fq: &FlushQueue) -> Vec<QueueState> {
    let rings = fq.rings();
    let entries = |cpu| {
        let waiting = rings.entries(cpu);
        let bytes =
            waiting.map(|(entry, flushed)| (entry.pfn.0 << PAGE_SHIFT, entry.pages << PAGE_SHIFT, flushed));
        bytes.map(|(start, size, flushed)| (DmaAddr(start), size, flushed)).collect()
    };
    (0..rings.cpus()).map(|cpu| QueueState { cpu, entries: entries(cpu) }).collect()
}

fn iovas(
    kx: &Kx,
    cookie: &Cookie,
    devices: &[usize],
    queues: &[QueueState],
    mappings: &[MappingState],
) -> Vec<IovaState> {
    let cached = cached_pfns(kx, &cookie.iovad);
    let queued = |start: DmaAddr| {
        let waits = |queue: &&QueueState| queue.entries.iter().any(|(at, ..)| *at == start);
        queues.iter().find(waits).map(|queue| queue.cpu)
    };
    let mapped = |start: DmaAddr, size: u64| {
        mappings.iter().position(|state| {
            let mapping = &state.mapping;
            let inside = mapping.dma.0.checked_sub(start.0).is_some_and(|skipped| skipped < size);
            inside && devices.contains(&mapping.device)
        })
    };
    cookie
        .iovad
        .ranges()
        .map(|range| {
            let start = DmaAddr(range.lo.0 << PAGE_SHIFT);
            let size = (range.hi.0 - range.lo.0 + 1) << PAGE_SHIFT;
            let what = if let Some(at) = mapped(start, size) {
                IovaUse::Mapping(at)
            } else if let Some(cpu) = queued(start) {
                IovaUse::Queued(cpu)
            } else if cached.binary_search(&range.lo).is_ok() {
                IovaUse::Cached
            } else {
                IovaUse::Other
            };
            IovaState { start, size, what }
        })
        .collect()
}

/// The ranges in all caches, sorted.
fn cached_pfns(kx: &Kx, iovad: &IovaDomain) -> Vec<IovaPfn> {
    let mut all = Vec::new();
    for class in 0..IOVA_RANGE_CACHE_MAX_SIZE {
        let view = iovad.rcache(class);
        for cpu in (0..u32::from(kx.k.cpus())).map(Cpu) {
            all.extend_from_slice(view.loaded(cpu));
            all.extend_from_slice(view.prev(cpu));
        }
        view.depot().for_each(|magazine| all.extend_from_slice(magazine));
    }
    all.sort_unstable();
    all
}

fn cached_pages(cookie: &Cookie) -> Vec<CachedPage> {
    let page = |entry: &crate::iommu::core::TlbEntry| {
        let iova = DmaAddr(entry.page << PAGE_SHIFT);
        let table = cookie.table.lookup(iova).map(|leaf| leaf.phys.wrapping_add(iova.0 - leaf.iova.0));
        CachedPage { iova, phys: PhysAddr(entry.frame * PAGE_SIZE), table }
    };
    let mut pages: Vec<CachedPage> = cookie.iotlb.iter().map(page).collect();
    pages.sort_by_key(|page| page.iova);
    pages
}
