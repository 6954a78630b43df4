//! What is looked at when everything has settled, and what allocators and the hardware promise: memory and addresses that
//! are nobody's, or two's.

use std::rc::Rc;

use models::device::{Device, DeviceDmaParameters};
use models::dma::{Attrs, Ops, dma_alloc_attrs, dma_free_attrs};
use models::iommu::core::{IommuDomain, IommuGroup, iommu_get_dma_domain};
use models::iommu::dma::{iommu_dma_map_page, iommu_dma_unmap_page};
use models::iommu::iova::{Cpu, IovaPfn, Plenty};
use models::kernel::{GfpFlags, Kx};
use models::mem::{DmaAddr, Gfp, PAGE_SHIFT, PAGE_SIZE, Pfn, PhysAddr, Ptr, Source};
use models::oracle::{Before, MapKind, NewMapping, check_cleared, check_high_water, device_dma};
use models::scenario::{E820Entry, E820Kind};
use models::swiotlb::{Direction, Usage};

use crate::support::{BOUNCING, DIRECT, Outcome, WORLD, World, on_booted, run_path};

/// Strict, so that what is given back is given back at once.
const STRICT: World = World { cmdline: "iommu.strict=1", ..WORLD };

fn disk(kx: &Kx) -> Ptr<Device> {
    kx.k.node(0).expect("the disk").ptr.get()
}

#[test]
fn bus_addresses_and_translations_that_no_mapping_has() {
    let path = |undone: bool| {
        on_booted(&STRICT, move |kx| async move {
            let (dev, at) = (disk(&kx), PhysAddr(0x20_0000));
            let dir = Direction::ToDevice;
            // Past the ledger, so that nobody knows of it.
            let addr = iommu_dma_map_page(&kx, dev, at, PAGE_SIZE, dir, Attrs::default()).await;
            if undone {
                let addr = addr.expect("an address");
                iommu_dma_unmap_page(&kx, dev, addr, PAGE_SIZE, dir, Attrs::default()).await;
            }
        })
    };
    assert_eq!(path(false).kinds(), ["lost-iova", "left-translation"]);
    assert!(path(true).findings.is_empty());
}

#[test]
fn a_bus_address_that_is_given_back_twice() {
    let path = |times: usize| {
        on_booted(&STRICT, move |kx| async move {
            let dev = disk(&kx);
            let dir = Direction::ToDevice;
            let addr =
                iommu_dma_map_page(&kx, dev, PhysAddr(0x20_0000), PAGE_SIZE, dir, Attrs::default()).await;
            let addr = addr.expect("an address");
            iommu_dma_unmap_page(&kx, dev, addr, PAGE_SIZE, dir, Attrs::default()).await;
            let domain: Ptr<IommuDomain> = iommu_get_dma_domain(&kx, dev).await;
            let object = kx.k.mem.borrow().heap.get(domain).expect("a domain");
            let mut cookie = object.cookie.borrow_mut();
            let iovad = &mut cookie.as_mut().expect("translations").iovad;
            for _ in 1..times {
                let pfn = IovaPfn(addr.0 >> PAGE_SHIFT);
                iovad.free_iova_fast(Cpu(0), pfn, 1, &mut Plenty).expect("caches");
            }
        })
    };
    assert_eq!(path(2).kinds(), ["double-free"]);
    assert!(path(1).findings.is_empty());
}

#[test]
fn two_mappings_at_one_bus_address() {
    let path = |second: u64| {
        on_booted(&STRICT, move |kx| async move {
            let dev = disk(&kx);
            let dir = Direction::ToDevice;
            let addr =
                iommu_dma_map_page(&kx, dev, PhysAddr(0x20_0000), PAGE_SIZE, dir, Attrs::default()).await;
            let addr = addr.expect("an address");
            for dma in [addr, DmaAddr(addr.0 + second)] {
                let phys = PhysAddr(0x20_0000 + dma.0 - addr.0);
                let (kind, ops) = (MapKind::Single, Ops::Iommu);
                let new = NewMapping { dma, size: 64, phys, dir, kind, ops, given: true, entries: 0 };
                kx.k.ledger.mapped(&kx, dev, &new, &[(dma, phys, 64)], &mut Before::default());
            }
        })
    };
    assert_eq!(path(32).kinds(), ["overlapping-mappings"]);
    assert!(path(64).findings.is_empty());
}

#[test]
fn a_structure_that_nothing_leads_to() {
    let path = |freed: bool| {
        on_booted(&DIRECT, move |kx| async move {
            let made = kx.kzalloc(16, Rc::new(DeviceDmaParameters::default())).await.expect("memory");
            if freed {
                kx.kfree(made.phys().expect("an address"), made.id).await;
            }
        })
    };
    let lost = path(false);
    assert_eq!(lost.kinds(), ["memory-leak"]);
    assert!(lost.findings[0].title.contains("nothing that lives leads to it"), "{}", lost.findings[0].title);
    assert!(path(true).findings.is_empty());
}

#[test]
fn memory_of_the_core_that_nothing_describes() {
    let path = |what: &'static str| {
        on_booted(&DIRECT, move |kx| async move {
            kx.alloc_pages(what, 0, GfpFlags::KERNEL).await.expect("a page");
        })
    };
    assert_eq!(path("IOMMU page table").kinds(), ["memory-leak"]);
    // Of memory of drivers the core knows nothing.
    assert!(path("driver buffer").findings.is_empty());
}

#[test]
fn pages_that_are_given_out_twice() {
    let path = |with_object: bool| {
        on_booted(&DIRECT, move |kx| async move {
            let (page, id) = kx.alloc_pages("somebody's", 0, GfpFlags::KERNEL).await.expect("a page");
            if with_object {
                kx.free_pages(page, 0, id).await;
            } else {
                // The allocator has it back, and who had it does not know.
                let (cpu, site) = (u32::from(kx.cpu()), kx.site());
                kx.k.mem.borrow_mut().free_pages(page, 0, cpu, site).expect("it was taken");
            }
            kx.alloc_pages("another's", 0, GfpFlags::KERNEL).await.expect("a page");
        })
    };
    let twice = path(false);
    assert_eq!(twice.kinds(), ["overlapping-owners"]);
    assert!(twice.findings[0].title.contains("another's"), "{}", twice.findings[0].title);
    assert!(path(true).findings.is_empty());
}

/// A piece of the memory map that is no memory, and that memblock is told of all the same.
#[test]
fn pages_that_are_no_memory() {
    let path = |told: bool| {
        let mut scenario = DIRECT.resolve();
        scenario.machine.e820.push(E820Entry {
            start: 0xc000_0000,
            end: 0xc000_ffff,
            kind: E820Kind::Reserved,
        });
        run_path(scenario, false, move |kx| async move {
            let mut mem = kx.k.mem.borrow_mut();
            mem.memblock.add(PhysAddr(0x10_0000), 0xbff0_0000).expect("room");
            if told {
                mem.memblock.add(PhysAddr(0xc000_0000), 0x1_0000).expect("room");
            }
            drop(mem);
            kx.hand_over(Pfn(0x10_0000).phys());
        })
    };
    let wrong: Outcome<()> = path(true);
    assert_eq!(wrong.kinds(), ["overlapping-owners"]);
    assert!(path(false).findings.is_empty());
}

#[test]
fn coherent_memory_that_is_not_cleared() {
    let path = |source: Source| {
        on_booted(&DIRECT, move |kx| async move {
            let dev = disk(&kx);
            let coherent = dma_alloc_attrs(&kx, dev, 4096).await.expect("memory");
            let _ = kx.k.mem.borrow_mut().heap.write_at(coherent.phys, 64, source, 0);
            check_cleared(&kx, dev, coherent.phys, 4096);
            dma_free_attrs(&kx, dev, &coherent).await;
        })
    };
    assert_eq!(path(Source::Data { tag: 7 }).kinds(), ["not-cleared"]);
    assert!(path(Source::Zero).findings.is_empty());
}

#[test]
fn a_high_water_mark_below_the_water() {
    let path = |used_hiwater: u64| {
        on_booted(&DIRECT, move |kx| async move {
            check_high_water(&kx, Usage { total_used: 5, used_hiwater });
        })
    };
    assert_eq!(path(4).kinds(), ["slots-inconsistent"]);
    assert!(path(5).findings.is_empty());
}

/// Slots that the host cannot read: the device would take encrypted bytes for data.
#[test]
fn slots_that_are_not_shared() {
    let path = |shared: bool| {
        let world = World { machine: "mem_encrypt: Sme,", iommu: "None", ..BOUNCING };
        on_booted(&world, move |kx| async move {
            let dev = disk(&kx);
            let node = kx.k.node(0).expect("the disk");
            let (page, id) = kx
                .alloc_pages("data", 0, GfpFlags { zone: Gfp::Dma32, ..GfpFlags::KERNEL })
                .await
                .expect("a page");
            let (dir, attrs) = (Direction::FromDevice, Attrs::default());
            let dma = models::dma::dma_map_page_attrs(&kx, dev, page, PAGE_SIZE, dir, attrs).await;
            let dma = dma.expect("a mapping");
            if !shared {
                kx.mark_shared(models::mem::PhysRange::new(PhysAddr(dma.0), PAGE_SIZE), false);
            }
            device_dma(&kx, &node, dma, PAGE_SIZE, true, 1).await;
            models::dma::dma_unmap_page_attrs(&kx, dev, dma, PAGE_SIZE, dir, attrs).await;
            kx.free_pages(page, 0, id).await;
        })
    };
    assert_eq!(path(false).kinds(), ["private-memory"]);
    assert!(path(true).findings.is_empty());
}

/// While a virtual machine has a group, no driver of the DMA API gets one of its devices.
#[test]
fn a_group_that_another_user_has() {
    let path = |claimed: bool| {
        let world = World { version: "6.12", ..WORLD };
        on_booted(&world, move |kx| async move {
            let node = kx.k.node(1).expect("the spare device");
            let group: Ptr<IommuGroup> = node.group.get();
            if claimed {
                models::iommu::core::iommu_group_claim_dma_owner(&kx, group).await.expect("it is free");
            }
            models::iommu::core::iommu_device_use_default_domain(&kx, &node).await
        })
    };
    assert_eq!(path(true).result, Some(Err(models::iommu::core::Refused::Busy)));
    assert_eq!(path(false).result, Some(Ok(())));
}
