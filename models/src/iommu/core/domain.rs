//! Domains: their types, their making, and what a device is attached to.

use std::rc::Rc;

use super::copied::{is_attach_deferred, overwritten};
use super::objects::with_cookie;
use super::smmu::{WalkCache, address_bits, domain_goes, is_smmu};
use super::state::write_entry;
use super::{Cookie, DeviceEntry, IommuDomain, IommuDriver, IommuGroup};
use crate::device::{Device, DeviceNode};
use crate::iommu::dma::{DepotWork, FlushQueue, cancel_depot_work, free_flush_queue};
use crate::iommu::iova::{IovaDomain, IovaPfn, IovaRules};
use crate::iommu::pagetable::{ARM_PGSIZES, PageTable};
use crate::kernel::{GfpFlags, Kx, NoMemory};
use crate::mem::{PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, PhysAddr, Ptr};
use crate::oracle::check_detached;
use crate::profile::{Behaviour, Profile};
use crate::scenario::schema::{AddrRange, Iommu};

/// First and last page frame of the addresses that are interrupts and no memory, on x86.
const MSI_WINDOW: (IovaPfn, IovaPfn) = (IovaPfn(0xfee00), IovaPfn(0xfeeff));

/// The addresses of HyperTransport, of which AMD's driver says that they are reserved (`HT_RANGE_START`, `HT_RANGE_END`).
const HT_RANGE: (IovaPfn, IovaPfn) = (IovaPfn(0xfd0_0000), IovaPfn(0xfff_ffff));

/// Address bits of the tables that a VT-d unit walks: four levels.
const VTD_WIDTH: u32 = 48;

/// First and last page frame of the addresses that are interrupts and no memory. Behind an SMMU there are none: a write that is
/// an interrupt is translated like others, and software gives it an address (`IOMMU_RESV_SW_MSI`).
///
/// Source: `drivers/iommu/dma-iommu.c: iova_reserve_iommu_regions()`, v5.13 to v6.12.
#[must_use]
pub fn msi_window(kx: &Kx) -> Option<(IovaPfn, IovaPfn)> {
    (!is_smmu(kx)).then_some(MSI_WINDOW)
}

/// `IOMMU_DOMAIN_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainType {
    /// Addresses go through as they are.
    Identity,
    /// Translated, for the DMA API.
    Dma,
    /// The same with a flush queue as a type of its own (5.15).
    DmaFq,
}

impl DomainType {
    /// The kernel's number.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Identity => 4,
            Self::Dma => 3,
            Self::DmaFq => 11,
        }
    }

    /// The kernel's number, read back.
    #[must_use]
    pub const fn of(number: u32) -> Option<Self> {
        match number {
            4 => Some(Self::Identity),
            3 => Some(Self::Dma),
            11 => Some(Self::DmaFq),
            _ => None,
        }
    }

    /// Its name in the log (`iommu_domain_type_str`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "Passthrough",
            Self::Dma | Self::DmaFq => "Translated",
        }
    }

    /// Its name in sysfs.
    #[must_use]
    pub const fn sysfs(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Dma => "DMA",
            Self::DmaFq => "DMA-FQ",
        }
    }

    /// Whether the DMA API works on it.
    #[must_use]
    pub const fn is_dma(self) -> bool {
        matches!(self, Self::Dma | Self::DmaFq)
    }
}

/// Makes a domain.
///
/// Source: `drivers/iommu/iommu.c: __iommu_domain_alloc()`, `drivers/iommu/amd/iommu.c: amd_iommu_domain_alloc()`,
/// `drivers/iommu/dma-iommu.c: iommu_get_dma_cookie()`, `iommu_dma_init_domain()`, v5.13, v6.1,
/// v6.12.
///
/// # Errors
/// There is no memory for it.
pub(super) async fn iommu_domain_alloc(
    kx: &Kx,
    type_: DomainType,
    untrusted: bool,
) -> Result<Ptr<IommuDomain>, NoMemory> {
    let _frame = kx.enter("__iommu_domain_alloc");
    take_number(kx)?;
    let made = make_domain(kx, type_, untrusted).await;
    if made.is_err() {
        give_number_back(kx);
    }
    made
}

async fn make_domain(kx: &Kx, type_: DomainType, untrusted: bool) -> Result<Ptr<IommuDomain>, NoMemory> {
    let object = Rc::new(IommuDomain::default());
    let domain = kx.kzalloc(0x50, Rc::clone(&object)).await?;
    // The numbers of copied domains are taken.
    let copied = |id: &u16| {
        kx.k.scenario
            .machine
            .devices
            .iter()
            .any(|device| device.in_flight.is_some_and(|left| left.domain == *id))
    };
    let id = (kx.k.iommu.next_domain.get()..).find(|id| !copied(id)).unwrap_or(u16::MAX - 1);
    kx.k.iommu.next_domain.set(id + 1);
    object.id.set(id);
    object.type_.set(type_.number());
    object.pgsize_bitmap.set(page_sizes(kx));
    if type_.is_dma() {
        object.iova_cookie.set(1);
        let cookie = new_cookie(kx, type_, untrusted).await?;
        *object.cookie.borrow_mut() = Some(cookie);
    }
    Ok(domain)
}

/// What a paravirtual IOMMU says of the addresses that it translates.
pub(super) fn input_range(kx: &Kx) -> AddrRange {
    match kx.k.scenario.machine.iommu {
        Iommu::Virtio { input_range: Some(range), .. } => range,
        _ => AddrRange { start: 0, end: (1 << VTD_WIDTH) - 1 },
    }
}

/// Sizes of pages (`pgsize_bitmap`): a paravirtual IOMMU says so itself.
pub(super) fn page_sizes(kx: &Kx) -> u64 {
    match kx.k.scenario.machine.iommu {
        Iommu::Virtio { page_size_mask, .. } => page_size_mask.unwrap_or(PAGE_MASK),
        Iommu::Smmu { .. } => ARM_PGSIZES,
        _ => PAGE_SIZE,
    }
}

/// A paravirtual IOMMU takes a domain only if its smallest page is not larger than the kernel's, and it has a number left.
///
/// Source: `drivers/iommu/virtio-iommu.c: viommu_domain_finalise()`, v6.1, v6.12.
fn take_number(kx: &Kx) -> Result<(), NoMemory> {
    let domains = &kx.k.iommu.viommu_domains;
    if let Iommu::Virtio { domain_range, .. } = kx.k.scenario.machine.iommu {
        let granule = 1_u64.checked_shl(page_sizes(kx).trailing_zeros()).unwrap_or(0);
        if granule > PAGE_SIZE {
            kx.log(|| {
                format!(
                    "virtio_iommu virtio0: granule {granule:#x} larger than system page size {PAGE_SIZE:#x}"
                )
            });
            return Err(NoMemory);
        }
        if domain_range.is_some_and(|range| domains.get() > range.last.saturating_sub(range.first)) {
            kx.note(|| "the paravirtual IOMMU has no number left for a domain".to_owned());
            return Err(NoMemory);
        }
    }
    domains.set(domains.get() + 1);
    Ok(())
}

fn give_number_back(kx: &Kx) {
    let domains = &kx.k.iommu.viommu_domains;
    domains.set(domains.get().saturating_sub(1));
}

/// Frees a domain that no device is attached to any more: its queues, its table, its structure.
///
/// Source: `drivers/iommu/iommu.c: iommu_domain_free()`, `drivers/iommu/dma-iommu.c: iommu_put_dma_cookie()`, v5.15,
/// v6.1, v6.12.
pub(super) async fn iommu_domain_free(kx: &Kx, domain: Ptr<IommuDomain>) {
    let _frame = kx.enter("iommu_domain_free");
    check_detached(kx, domain);
    give_number_back(kx);
    {
        let _frame = kx.enter("iommu_put_dma_cookie");
        free_flush_queue(kx, domain).await;
        cancel_depot_work(kx, domain).await;
    }
    if is_smmu(kx) && with_cookie(kx, domain, |_| ()).is_some() {
        domain_goes(kx, domain).await;
    }
    let cookie = kx.k.mem.object(domain).ok().and_then(|object| object.cookie.borrow_mut().take());
    for page in cookie.into_iter().flat_map(|cookie| cookie.table.free_pgtable()) {
        free_table_page(kx, page.page);
    }
    if let Some(phys) = domain.phys() {
        kx.kfree(phys, domain.id).await;
    }
}

pub(super) async fn new_cookie(kx: &Kx, type_: DomainType, untrusted: bool) -> Result<Cookie, NoMemory> {
    let (root, _) = kx.alloc_pages("IOMMU page table", 0, GfpFlags::ZEROED).await?;
    let mut first = Some(root);
    let mut source = || first.take();
    let driver = kx.k.iommu.detected.get().or_else(|| kx.k.iommu.registered.get());
    let aperture_end = match driver {
        Some(IommuDriver::Virtio) => Some(input_range(kx).end),
        Some(IommuDriver::Intel) => Some((1 << VTD_WIDTH) - 1),
        Some(IommuDriver::Smmu) => Some((1 << address_bits(kx)) - 1),
        Some(IommuDriver::Amd) | None => None,
    };
    let aperture_start = if driver == Some(IommuDriver::Virtio) { input_range(kx).start } else { 0 };
    let table = match driver {
        Some(IommuDriver::Smmu) => PageTable::arm_lpae_s1(address_bits(kx), &mut source),
        // What a host keeps for a paravirtual one has the geometry of VT-d's.
        Some(IommuDriver::Intel | IommuDriver::Virtio) => {
            let width = u64::BITS - aperture_end.unwrap_or(0).leading_zeros();
            PageTable::vtd_second_level(width.saturating_sub(12).div_ceil(9).max(3), &mut source)
        }
        Some(IommuDriver::Amd) | None => PageTable::amd_v1(&mut source),
    };
    let rounds = kx.k.has(Behaviour::SuperpageRangeRounded);
    let table = table.map_err(|_| NoMemory)?.with_rounded_switch(rounds);
    let mut iovad = IovaDomain::init_iova_domain(
        iova_rules(kx.k.profile()),
        PAGE_SIZE,
        IovaPfn((aperture_start >> PAGE_SHIFT).max(1)),
    )
    .map_err(|_| NoMemory)?;
    iovad.iova_domain_init_rcaches();
    let lazy = match type_ {
        DomainType::DmaFq => true,
        // An untrusted device must not reach memory after its unmap (`dev_is_untrusted`).
        DomainType::Dma => {
            !untrusted && !kx.k.has(Behaviour::DmaFqDomainType) && !kx.k.globals.iommu_dma_strict.get()
        }
        DomainType::Identity => false,
    };
    let fq = lazy.then(|| FlushQueue::new(usize::from(kx.k.cpus())));
    let mut cookie = Cookie {
        iovad,
        reserved: Vec::new(),
        initialised: false,
        table,
        aperture_end,
        fq,
        depot: DepotWork::default(),
        iotlb: Vec::new(),
        iotlb_next: 0,
        walks: WalkCache::default(),
    };
    if let Some((first, last)) = msi_window(kx) {
        cookie.reserve_iova(first, last);
    }
    if driver == Some(IommuDriver::Amd) {
        cookie.reserve_iova(HT_RANGE.0, HT_RANGE.1);
    }
    for region in &kx.k.scenario.machine.iommu_reserved {
        let last = region.start.saturating_add(region.size.saturating_sub(1));
        cookie.reserve_iova(IovaPfn(region.start >> PAGE_SHIFT), IovaPfn(last >> PAGE_SHIFT));
    }
    Ok(cookie)
}

/// How this kernel allocates I/O virtual addresses.
fn iova_rules(profile: &Profile) -> IovaRules {
    let (old, new) = (IovaRules::v5_13(), IovaRules::v6_12());
    let pick = |behaviour| if profile.has(behaviour) { new } else { old };
    IovaRules {
        magazine_size: pick(Behaviour::IovaMagazine127).magazine_size,
        depot: pick(Behaviour::IovaDepotUnlimited).depot,
        flushes_depot: profile.has(Behaviour::IovaDepotFreedOnFailure),
        max32_reset: pick(Behaviour::IovaHintReset).max32_reset,
        retry_from: pick(Behaviour::IovaSecondPassBounded).retry_from,
        fast_rounds_size: pick(Behaviour::IovaFastRounds).fast_rounds_size,
    }
}

/// The domain of a device that serves the DMA API; NULL if it has none.
///
/// Source: `drivers/iommu/iommu.c: iommu_get_dma_domain()`, v5.13.
pub async fn iommu_get_dma_domain(kx: &Kx, dev: Ptr<Device>) -> Ptr<IommuDomain> {
    let group = kx.load(dev, Device::iommu_group).await;
    if group.is_null() {
        return Ptr::NULL;
    }
    kx.load(group, IommuGroup::default_domain).await
}

/// Points the hardware's entry of a device at a domain.
///
/// Source: `drivers/iommu/amd/iommu.c: amd_iommu_attach_device()`, v5.13.
pub(super) async fn iommu_attach_device(kx: &Kx, node: &DeviceNode, domain: Ptr<IommuDomain>) {
    let _frame = kx.enter("__iommu_attach_device");
    let type_ = DomainType::of(kx.load(domain, IommuDomain::type_).await);
    kx.step(sim::Kind::Io, kx.memory_label()).await;
    let entry = match type_ {
        // Without pass-through in the hardware, identity is a table like any other.
        Some(DomainType::Identity) => {
            kx.k.iommu.si_domain.get().map_or(DeviceEntry::Identity, DeviceEntry::Domain)
        }
        Some(DomainType::Dma | DomainType::DmaFq) => DeviceEntry::Domain(domain),
        None => DeviceEntry::Blocked,
    };
    let deferred = is_attach_deferred(kx, node);
    write_entry(kx, node.index, entry).await;
    if deferred {
        overwritten(kx, node).await;
    }
}

/// A page for a page table, without a step: the caller's step covers it.
pub(crate) fn table_page(kx: &Kx) -> Option<PhysAddr> {
    page_of(kx, "IOMMU page table")
}

/// A page for something that the hardware of an IOMMU reads, without a step.
pub(super) fn page_of(kx: &Kx, what: &'static str) -> Option<PhysAddr> {
    let site = kx.site();
    let context = crate::mem::SlabContext { cpu: u32::from(kx.cpu()), ..Default::default() };
    let mut mem = kx.k.mem.borrow_mut();
    let page = mem.alloc_pages(0, context, site).ok().flatten()?;
    let range = crate::mem::PhysRange::new(page, PAGE_SIZE);
    let _ = mem.heap.alloc_buffer(what, range, site);
    let _ = mem.heap.write_at(page, PAGE_SIZE, crate::mem::Source::Zero, 0);
    Some(page)
}

/// Gives a page of a page table back.
pub(crate) fn free_table_page(kx: &Kx, page: PhysAddr) {
    let site = kx.site();
    let mut mem = kx.k.mem.borrow_mut();
    let id = mem.heap.shadow().object_at(page);
    if mem.heap.free_object(id, site).is_ok() {
        let _ = mem.free_pages(page, 0, u32::from(kx.cpu()), site);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Version as V;

    #[test]
    fn each_version_allocates_by_its_rules() {
        let rules = |version| iova_rules(&Profile::of_version(version));
        assert_eq!(rules(V::V5_15), IovaRules::v5_13());
        assert_eq!(rules(V::V6_1), IovaRules::v6_1());
        assert_eq!(rules(V::V6_12), IovaRules::v6_12());
        for behaviour in [
            Behaviour::IovaMagazine127,
            Behaviour::IovaDepotUnlimited,
            Behaviour::IovaDepotFreedOnFailure,
            Behaviour::IovaHintReset,
            Behaviour::IovaSecondPassBounded,
            Behaviour::IovaFastRounds,
        ] {
            let none: &[&str] = &[];
            let flipped = Profile::new("6.12", none, &[behaviour.name()], none).expect("a profile");
            assert_ne!(iova_rules(&flipped), rules(V::V6_12), "{behaviour}");
        }
    }
}
