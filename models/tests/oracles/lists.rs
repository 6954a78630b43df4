//! Groups, boot memory and pages: what lists and counters promise, and who may have what at one time.

use models::device::Device;
use models::iommu::core::{DeviceEntry, IommuGroup, iommu_get_dma_domain};
use models::kernel::{GfpFlags, Kx, Phase};
use models::mem::{PAGE_SIZE, PhysAddr, PhysRange, Ptr};
use models::memblock::Owner;
use models::oracle::{check_detached, check_shared};

use crate::support::{DIRECT, Outcome, WORLD, World, on_bare, on_booted};

/// With ownership of groups.
const OWNED: World = World { version: "6.12", ..WORLD };

fn group_of(kx: &Kx, index: usize) -> Ptr<IommuGroup> {
    kx.k.node(index).expect("a device").group.get()
}

/// What is found at the end when something was done to the disk's group.
fn after(harm: impl FnOnce(&Kx, &IommuGroup) + 'static) -> Vec<&'static str> {
    on_booted(&OWNED, move |kx| async move {
        let object = kx.k.mem.object(group_of(&kx, 0)).expect("a group");
        harm(&kx, &object);
    })
    .kinds()
}

#[test]
fn groups_devices_and_entries_that_agree() {
    assert!(after(|_, _| {}).is_empty());
}

#[test]
fn a_group_that_lists_another_groups_device() {
    assert_eq!(after(|_, group| group.members.borrow_mut().push(1)), ["group-inconsistent"]);
}

#[test]
fn a_group_that_forgets_its_device() {
    // Nobody uses it, it seems, and it does not know its device.
    let found = after(|_, group| group.members.borrow_mut().clear());
    assert_eq!(found, ["group-inconsistent"; 3]);
}

#[test]
fn a_group_that_miscounts_its_users() {
    assert_eq!(after(|_, group| group.owners.set(5)), ["group-inconsistent"]);
}

#[test]
fn a_group_without_a_device_is_lost() {
    let path = |listed: bool| {
        on_booted(&OWNED, move |kx| async move {
            let group = std::rc::Rc::new(IommuGroup::default());
            let group = kx.kzalloc(0x140, group).await.expect("memory");
            if listed {
                kx.k.iommu.groups.borrow_mut().push(group);
            } else {
                kx.kfree(group.phys().expect("an address"), group.id).await;
            }
        })
    };
    let mut found = path(true).kinds();
    found.sort_unstable();
    assert_eq!(found, ["group-inconsistent", "memory-leak"]);
    assert!(path(false).findings.is_empty());
}

#[test]
fn a_device_that_has_gone_and_reaches_memory() {
    let path = |blocked: bool| {
        on_booted(&OWNED, move |kx| async move {
            let node = kx.k.node(1).expect("the spare device");
            let entry = kx.k.iommu.entry(1);
            models::device::pci_stop_and_remove(&kx, &node).await;
            if !blocked {
                assert!(matches!(entry, DeviceEntry::Domain(_)), "{entry:?}");
                kx.k.iommu.set_entry(1, DeviceEntry::Identity);
            }
        })
    };
    assert_eq!(path(false).kinds(), ["group-inconsistent"]);
    assert!(path(true).findings.is_empty());
}

#[test]
fn a_domain_that_is_freed_under_a_device() {
    let path = |attached: bool| {
        on_booted(&OWNED, move |kx| async move {
            let dev: Ptr<Device> = kx.k.node(1).expect("the spare device").ptr.get();
            let domain = iommu_get_dma_domain(&kx, dev).await;
            if !attached {
                kx.k.iommu.set_entry(1, DeviceEntry::Blocked);
            }
            check_detached(&kx, domain);
        })
    };
    assert_eq!(path(true).kinds(), ["domain-in-use"]);
    assert!(path(false).findings.is_empty());
}

#[test]
fn a_group_that_a_user_and_a_driver_have() {
    let path = |claimed: bool| {
        on_booted(&OWNED, move |kx| async move {
            let group = group_of(&kx, 0);
            let owner = kx.k.mem.object(group).expect("a group");
            owner.owner.set(claimed);
            check_shared(&kx, group);
            owner.owner.set(false);
        })
    };
    assert_eq!(path(true).kinds(), ["group-with-two-users"]);
    assert!(path(false).findings.is_empty());
}

const HELD: PhysRange = PhysRange { start: PhysAddr(0x40_0000), end: PhysAddr(0x40_2000) };

/// What is found at the hand-over when something was done to memblock's lists.
fn handed_over(harm: impl AsyncFnOnce(&Kx) + 'static) -> Outcome<()> {
    on_bare(&DIRECT, move |kx| async move {
        kx.k.mem.borrow_mut().memblock.add(PhysAddr(0x10_0000), 0x100_0000).expect("room");
        kx.memblock_reserve_for("somebody", HELD);
        harm(&kx).await;
        kx.hand_over(PhysAddr(0x110_0000));
    })
}

#[test]
fn a_reservation_that_is_lost() {
    let lost = handed_over(async |kx| {
        kx.k.mem.borrow_mut().memblock.free(PhysAddr(0x40_1000), PAGE_SIZE).expect("it is reserved");
    });
    assert_eq!(lost.kinds(), ["overlapping-owners"]);
    assert!(lost.findings[0].title.contains("never given back"), "{}", lost.findings[0].title);
    assert!(handed_over(async |_| {}).findings.is_empty());
}

#[test]
fn boot_memory_that_is_given_back_and_stays() {
    let kept = handed_over(async |kx| {
        kx.memblock_free(HELD.start, HELD.size()).await;
        let (at, owner) = (PhysAddr(0x40_1000), Owner::new("nobody", 0));
        kx.k.mem.borrow_mut().memblock.reserve(at, PAGE_SIZE, owner).expect("room");
    });
    assert_eq!(kept.kinds(), ["lost-memory"]);
    let freed = handed_over(async |kx| kx.memblock_free(HELD.start, HELD.size()).await);
    assert!(freed.findings.is_empty());
}

#[test]
fn memory_of_two_owners_that_is_freed_late_in_one_piece() {
    let path = |pages: u64| {
        on_bare(&DIRECT, move |kx| async move {
            kx.k.mem.borrow_mut().memblock.add(PhysAddr(0x10_0000), 0x100_0000).expect("room");
            kx.memblock_reserve_for("somebody", HELD);
            kx.memblock_reserve_for("another", PhysRange::new(HELD.end, PAGE_SIZE));
            kx.hand_over(PhysAddr(0x110_0000));
            kx.k.globals.phase.set(Phase::PageAllocator);
            kx.memblock_free_late(HELD.start, pages * PAGE_SIZE).await;
        })
    };
    assert_eq!(path(3).kinds(), ["bad-free"]);
    // Less than was reserved is legal.
    assert!(path(2).findings.is_empty() && path(1).findings.is_empty());
}

/// From 5.14 on `swiotlb_exit` kept the bounce buffer itself, until ad6c00283163: nothing here knows of it.
#[test]
fn boot_memory_of_the_core_that_is_kept() {
    let config = r#""CONFIG_DEBUG_KMEMLEAK=y""#;
    let title = World { version: "5.14", config, ..WORLD }.fires("memory-leak");
    assert!(title.contains("swiotlb bounce buffer"), "{title}");
    World { version: "5.14", ..WORLD }.is_silent();
    World { version: "5.15", config, ..WORLD }.is_silent();
    World { version: "6.12", config, ..WORLD }.is_silent();
}

#[test]
fn a_page_of_the_slab_allocator_that_is_freed_as_a_page() {
    let path = |slab: bool| {
        on_booted(&DIRECT, move |kx| async move {
            let (page, id) = if slab {
                let (at, id) = kx.kmalloc("object", 64, GfpFlags::KERNEL).await.expect("memory");
                (PhysAddr(at.0 - at.page_offset()), id)
            } else {
                kx.alloc_pages("page", 0, GfpFlags::KERNEL).await.expect("memory")
            };
            kx.free_pages(page, 0, id).await;
        })
    };
    let freed = path(true);
    assert!(freed.kinds().contains(&"allocator-inconsistent"), "{:?}", freed.kinds());
    assert!(path(false).findings.is_empty());
}
