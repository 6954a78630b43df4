//! What a device may reach.

use models::device::Device;
use models::dma::{Attrs, dma_map_page_attrs};
use models::iommu::core::iommu_get_dma_domain;
use models::iommu::pagetable::Prot;
use models::kernel::GfpFlags;
use models::mem::{DmaAddr, PAGE_SIZE, PhysAddr, Ptr, Source};
use models::oracle::{Before, device_dma};
use models::swiotlb::Direction;

use crate::support::{BOUNCING, DIRECT, WORLD, World, on_booted};

#[test]
fn memory_that_was_never_given() {
    let sibling = r#"Map(name: "m", size: Fixed(4096), dir: FromDevice, device: Sibling("0000:02:00.0")),
        DeviceWrite(name: "m"), Unmap(name: "m")"#;
    let own =
        r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), DeviceWrite(name: "m"), Unmap(name: "m")"#;
    for world in [WORLD, DIRECT, BOUNCING] {
        let title = World { body: sibling, ..world.clone() }.fires("dma-outside-mapping");
        assert!(!title.contains("unmapped in"), "{title}");
        World { body: own, ..world }.is_silent();
    }
}

#[test]
fn memory_that_was_taken_back() {
    let after = r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), DeviceWrite(name: "m"), Unmap(name: "m"),
        DeviceWrite(name: "m")"#;
    for world in [WORLD, DIRECT, BOUNCING] {
        let title = World { body: after, ..world }.fires("dma-outside-mapping");
        assert!(title.contains("it was unmapped in"), "{title}");
    }
    // A strict IOMMU refuses it; a lazy one still holds the translation.
    let strict = World { cmdline: "iommu.strict=1", body: after, ..WORLD };
    assert!(strict.fires("iommu-fault").contains("IO_PAGE_FAULT"));
    let lazy = World { body: after, ..WORLD }.kinds(8);
    assert!(!lazy.contains_key("iommu-fault"), "{lazy:?}");
}

#[test]
fn a_request_that_outlives_its_mapping() {
    let early = r#"Map(name: "m", size: Fixed(4096), dir: FromDevice),
        Submit(name: "m", dma: Write, latency_us: Fixed(500)), Unmap(name: "m"), WaitAll"#;
    let late = r#"Map(name: "m", size: Fixed(4096), dir: FromDevice),
        Submit(name: "m", dma: Write, latency_us: Fixed(500)), WaitAll, Unmap(name: "m")"#;
    World { body: early, ..WORLD }.fires("dma-outside-mapping");
    World { body: late, ..WORLD }.is_silent();
    // Several requests in flight, each with its own meaning of the name.
    let pipelined = r#"Repeat(times: Fixed(5), body: [Map(name: "m", size: Fixed(4096), dir: FromDevice),
        Submit(name: "m", dma: Write, latency_us: Uniform(50, 500), irq: [Unmap(name: "m")])]), WaitAll"#;
    for world in [WORLD, DIRECT, BOUNCING] {
        World { body: pipelined, ..world }.is_silent();
    }
}

#[test]
fn the_wrong_direction() {
    let against =
        r#"Map(name: "m", size: Fixed(4096), dir: ToDevice), DeviceWrite(name: "m"), Unmap(name: "m")"#;
    let along =
        r#"Map(name: "m", size: Fixed(4096), dir: ToDevice), DeviceRead(name: "m"), Unmap(name: "m")"#;
    let both = r#"Map(name: "m", size: Fixed(4096), dir: Bidirectional), DeviceRead(name: "m"),
        DeviceWrite(name: "m"), DeviceRead(name: "m"), Unmap(name: "m")"#;
    for world in [WORLD, DIRECT, BOUNCING] {
        World { body: against, ..world.clone() }.fires("dma-wrong-direction");
        World { body: along, ..world.clone() }.is_silent();
        World { body: both, ..world }.is_silent();
    }
    World { body: against, ..WORLD }.fires("iommu-fault");
}

#[test]
fn a_buffer_that_was_freed_under_its_mapping() {
    let early = r#"AllocBuffer(name: "b", size: Fixed(4096)), Map(name: "m", buffer: "b", dir: FromDevice),
        FreeBuffer(name: "b"), DeviceWrite(name: "m"), Unmap(name: "m")"#;
    let late = r#"AllocBuffer(name: "b", size: Fixed(4096)), Map(name: "m", buffer: "b", dir: FromDevice),
        DeviceWrite(name: "m"), Unmap(name: "m"), FreeBuffer(name: "b")"#;
    for world in [WORLD, DIRECT] {
        World { body: early, ..world.clone() }.fires("dma-use-after-free");
        World { body: late, ..world }.is_silent();
    }
}

#[test]
fn a_device_that_writes_over_an_object() {
    let write_at = |offset: u64| {
        on_booted(&DIRECT, move |kx| async move {
            let node = kx.k.node(0).expect("the disk");
            let other = kx.k.node(1).expect("the spare device").ptr.get();
            let (page, _) = kx.alloc_pages("test", 0, GfpFlags::KERNEL).await.expect("a page");
            let target = if offset == 0 { other.phys().expect("in the direct map") } else { page };
            device_dma(&kx, &node, DmaAddr(target.0), 64, true, 7).await;
        })
    };
    assert_eq!(write_at(0).kinds(), ["dma-outside-mapping", "dma-corrupts-object"]);
    assert_eq!(write_at(1).kinds(), ["dma-outside-mapping"]);
}

/// A kernel that reuses an address before the hardware has forgotten it; the modelled ones do not.
#[test]
fn an_address_that_is_used_again_too_early() {
    let reuse = |flush: bool| {
        on_booted(&WORLD, move |kx| async move {
            let node = kx.k.node(0).expect("the disk");
            let dev: Ptr<Device> = node.ptr.get();
            let (first, _) = kx.alloc_pages("test", 0, GfpFlags::KERNEL).await.expect("a page");
            let (second, _) = kx.alloc_pages("test", 0, GfpFlags::KERNEL).await.expect("a page");
            let (dir, attrs) = (Direction::FromDevice, Attrs::default());
            let dma = dma_map_page_attrs(&kx, dev, first, PAGE_SIZE, dir, attrs).await.expect("a mapping");
            assert!(device_dma(&kx, &node, dma, 512, true, 7).await);
            // Unmapped and mapped again elsewhere behind the back of dma-iommu.
            let domain = iommu_get_dma_domain(&kx, dev).await;
            let object = kx.k.mem.borrow().heap.get(domain).expect("the domain lives");
            {
                let mut cookie = object.cookie.borrow_mut();
                let cookie = cookie.as_mut().expect("a translated domain");
                let _ = cookie.table.unmap(dma, PAGE_SIZE);
                let prot = Prot { read: false, write: true };
                let _ =
                    cookie.table.map(dma, second, PAGE_SIZE, prot, &mut || None).expect("its table is there");
                if flush {
                    cookie.iotlb.clear();
                }
            }
            let piece: PhysAddr = second;
            let left = kx.k.ledger.leaving(&kx, dev, dma);
            kx.k.ledger.unmapped(&kx, dev, left, attrs.with_skip_cpu_sync());
            let new = models::oracle::NewMapping {
                dma,
                size: PAGE_SIZE,
                phys: piece,
                dir,
                kind: models::oracle::MapKind::Single,
                ops: models::dma::Ops::Iommu,
                given: true,
                entries: 0,
            };
            kx.k.ledger.mapped(&kx, dev, &new, &[(dma, piece, PAGE_SIZE)], &mut Before::default());
            device_dma(&kx, &node, dma, 512, true, 8).await;
        })
    };
    assert_eq!(reuse(false).kinds(), ["stale-translation"]);
    assert_eq!(reuse(true).kinds(), [""; 0]);
}

/// Three mappings have one address one after the other: the unmaps of two are on their way when the last one comes and goes.
#[test]
fn each_unmap_takes_away_its_own_mapping() {
    let ends = |lost: bool| {
        on_booted(&WORLD, move |kx| async move {
            let node = kx.k.node(0).expect("the disk");
            let dev: Ptr<Device> = node.ptr.get();
            let (dir, attrs) = (Direction::FromDevice, Attrs::default());
            let (first, _) = kx.alloc_pages("test", 0, GfpFlags::KERNEL).await.expect("a page");
            let dma = dma_map_page_attrs(&kx, dev, first, PAGE_SIZE, dir, attrs).await.expect("a mapping");
            let domain = iommu_get_dma_domain(&kx, dev).await;
            let object = kx.k.mem.borrow().heap.get(domain).expect("the domain lives");
            let mut leaving = vec![(kx.k.ledger.leaving(&kx, dev, dma), first)];
            for tag in 1..3 {
                let (page, _) = kx.alloc_pages("test", 0, GfpFlags::KERNEL).await.expect("a page");
                {
                    let mut cookie = object.cookie.borrow_mut();
                    let cookie = cookie.as_mut().expect("a translated domain");
                    let _ = cookie.table.unmap(dma, PAGE_SIZE);
                    let prot = Prot { read: false, write: true };
                    let _ = cookie
                        .table
                        .map(dma, page, PAGE_SIZE, prot, &mut || None)
                        .expect("its table is there");
                    cookie.iotlb.clear();
                }
                let (kind, ops) = (models::oracle::MapKind::Single, models::dma::Ops::Iommu);
                let new = models::oracle::NewMapping {
                    dma,
                    size: PAGE_SIZE,
                    phys: page,
                    dir,
                    kind,
                    ops,
                    given: true,
                    entries: 0,
                };
                kx.k.ledger.mapped(&kx, dev, &new, &[(dma, page, PAGE_SIZE)], &mut Before::default());
                assert!(device_dma(&kx, &node, dma, 512, true, tag).await);
                leaving.push((kx.k.ledger.leaving(&kx, dev, dma), page));
            }
            let trample = |page: PhysAddr| {
                let _ = kx.k.mem.borrow_mut().heap.write_at(page, 512, Source::Data { tag: 9 }, 0);
            };
            // The last that came is the first that is done; who had it goes on to use its buffer.
            for (id, page) in leaving.into_iter().rev() {
                if lost {
                    trample(page);
                }
                kx.k.ledger.unmapped(&kx, dev, id, attrs);
                trample(page);
            }
        })
    };
    // What was done behind the back of dma-iommu leaves its mark at the end of the run.
    let lost = |lost| ends(lost).kinds().contains(&"lost-write");
    assert!(!lost(false));
    assert!(lost(true));
}
