//! What a paravirtual IOMMU says of itself: which addresses it translates, how many domains, in pages of which size.

use models::device::Device;
use models::dma::{Attrs, dma_map_page_attrs};
use models::iommu::core::user_domain_alloc;
use models::mem::{PAGE_SIZE, PhysAddr, Ptr};
use models::swiotlb::Direction;

use crate::support::{WORLD, World, on_booted};

const PLAIN: World = World { version: "6.12", cmdline: "quiet", iommu: "Virtio()", ..WORLD };

/// Addresses of two mappings, and whether there is room for another domain.
fn mapped(world: &World) -> (Vec<u64>, bool) {
    let outcome = on_booted(world, |kx| async move {
        // The IOMMU and then the disk get their drivers.
        kx.sleep(100_000_000).await;
        let dev: Ptr<Device> = kx.k.node(0).expect("the disk").ptr.get();
        let mut found = Vec::new();
        for nth in 0..2 {
            let phys = PhysAddr(0x4000_0000 + nth * PAGE_SIZE);
            let (dir, attrs) = (Direction::ToDevice, Attrs::default());
            let dma = dma_map_page_attrs(&kx, dev, phys, PAGE_SIZE, dir, attrs).await;
            found.push(dma.map_or(u64::MAX, |dma| dma.0));
        }
        (found, user_domain_alloc(&kx).await.is_ok())
    });
    outcome.result.expect("it came back")
}

#[test]
fn addresses_come_from_the_input_range() {
    let (plain, room) = mapped(&PLAIN);
    assert!(plain.iter().all(|dma| (0xff00_0000..1 << 32).contains(dma)) && room, "{plain:x?}");
    let narrow = World { iommu: "Virtio(input_range: (start: 0x10000000, end: 0x1fffffff))", ..PLAIN };
    let (found, _) = mapped(&narrow);
    assert_eq!(found, [0x1fff_f000, 0x1fff_e000]);
    // One page, and nothing below it.
    let one = World { iommu: "Virtio(input_range: (start: 0x10000000, end: 0x10000fff))", ..PLAIN };
    assert_eq!(mapped(&one).0, [0x1000_0000, u64::MAX]);
    let reserved = World { machine: "iommu_reserved: [(start: 0x1ffff000, size: 0x1000)],", ..narrow };
    assert_eq!(mapped(&reserved).0, [0x1fff_e000, 0x1fff_d000]);
}

#[test]
fn an_iommu_has_room_for_so_many_domains() {
    let one = World { iommu: "Virtio(domain_range: (first: 7, last: 7))", ..PLAIN };
    let (found, room) = mapped(&one);
    assert!(!room && found[0] > 0xff00_0000, "{found:x?}");
    let two = World { iommu: "Virtio(domain_range: (first: 7, last: 8))", ..PLAIN };
    assert!(mapped(&two).1);
}

#[test]
fn pages_that_are_too_large_are_refused() {
    let large = World { iommu: "Virtio(page_size_mask: 0xffffffffffff0000)", ..PLAIN };
    assert!(large.logs("granule 0x10000 larger than system page size 0x1000"));
    let (found, _) = mapped(&large);
    assert_eq!(found[0], 0x4000_0000, "the device reaches memory as it is");
    let some = World { iommu: "Virtio(page_size_mask: 0x201000)", ..PLAIN };
    assert!(some.logs("page mask: 0x201000") && some.logs("input address: 48 bits"));
    assert!(mapped(&some).0[0] > 0xff00_0000);
}
