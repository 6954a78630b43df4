//! Bus addresses and the cache of translations: each check where it speaks, and one change of the kernel away where it
//! does not.

use models::device::Device;
use models::dma::{Attrs, Ops, dma_map_page_attrs};
use models::iommu::core::{
    IommuGroup, iommu_get_dma_domain, iommu_group_claim_dma_owner, iommu_group_release_dma_owner,
};
use models::kernel::GfpFlags;
use models::mem::{PAGE_SIZE, Ptr};
use models::oracle::{Before, MapKind, NewMapping, check_flushed, device_dma};
use models::swiotlb::Direction;

use crate::support::{WORLD, World, on_booted};

/// VT-d, and a disk behind a bridge that carries 22 address bits and asks for all of them at once.
const NARROW: World = World {
    version: "6.1",
    cmdline: "quiet intel_iommu=on",
    iommu: "Vtd()",
    device: "bus_dma_limit: Some(0x3fffff)",
    probe: r#"AllocCoherent(name: "ring", size: Fixed(4194304))"#,
    ..WORLD
};

#[test]
fn an_address_below_the_domain_is_found() {
    NARROW.is_silent();
    let wraps = World { flips: r#"revert: ["iova-second-pass-bounded"],"#, ..NARROW };
    let title = wraps.fires("iova-out-of-range");
    assert!(title.contains("page frames 0x0-0x3ff, below its first page frame"), "{title}");
}

/// A guest takes pages that begin at an odd place from a device.
const GUEST: World = World {
    version: "5.15",
    cmdline: "quiet intel_iommu=on",
    iommu: "Vtd()",
    processes: r#"(name: "qemu", body: [
        VfioAttach(bdf: "0000:02:00.0"),
        VfioMap(iova: 0x170000, pages: 32),
        VfioDma(bdf: "0000:02:00.0", iova: 0x170000, pages: 32),
        VfioUnmap(iova: 0x17f000, pages: 3),
        VfioDetach,
    ])"#,
    ..WORLD
};

#[test]
fn a_translation_that_outlives_its_flush_is_found() {
    World { flips: r#"apply: ["flush-mask-covers-range"],"#, ..GUEST }.is_silent();
    GUEST.fires("stale-iotlb");
}

/// Two CPUs map and unmap behind an AMD IOMMU that takes time for its commands, in strict mode.
const QUEUED: World = World {
    version: "6.12",
    cmdline: "quiet iommu.strict=1",
    iommu: "AmdVi(command_ns: 1000)",
    body: r#"Repeat(times: Fixed(3), body: [
        Map(name: "data", size: Fixed(4096), dir: FromDevice),
        DeviceWrite(name: "data"),
        Unmap(name: "data"),
    ])"#,
    ..WORLD
};

#[test]
fn an_unmap_waits_for_the_queue() {
    QUEUED.is_silent();
    assert!(QUEUED.enters("iommu_completion_wait"));
    let at_once = World { iommu: "AmdVi()", ..QUEUED };
    at_once.is_silent();
    assert!(
        !at_once.enters("iommu_completion_wait"),
        "the queue is not modelled where commands take no time"
    );
}

/// An emulated AMD IOMMU, which is told of each range in pieces.
const EMULATED: World = World {
    version: "6.1",
    iommu: "AmdVi(np_cache: true)",
    body: r#"Map(name: "m", size: Fixed(4096), dir: ToDevice), DeviceRead(name: "m"), Unmap(name: "m"),
        Map(name: "n", offset: Fixed(512), size: Fixed(20000), dir: ToDevice), Unmap(name: "n")"#,
    ..WORLD
};

#[test]
fn a_translation_that_is_dropped_twice_is_found() {
    EMULATED.is_silent();
    let short = World { flips: r#"revert: ["flush-size-with-end"],"#, ..EMULATED };
    let title = short.fires("redundant-flush");
    assert!(title.starts_with("12 commands for one range"), "{title}");
    // A real one is told once, and rounds up.
    World { iommu: "AmdVi()", ..short }.is_silent();
}

#[test]
fn an_identity_map_that_ends_behind_memory_is_found() {
    let identity = World {
        version: "6.1",
        cmdline: "quiet intel_iommu=on iommu=pt",
        iommu: "Vtd(pass_through: false)",
        body: r#"Map(name: "m", size: Fixed(4096), dir: ToDevice), DeviceRead(name: "m"), Unmap(name: "m")"#,
        ..WORLD
    };
    identity.is_silent();
    let far = World { flips: r#"revert: ["identity-ends-with-memory"],"#, ..identity };
    let title = far.fires("maps-no-memory");
    assert!(title.contains("there is no memory at 0xa0000"), "{title}");
    // The hardware passes addresses through: there is no map.
    World { iommu: "Vtd()", ..far }.is_silent();
}

/// A kernel that was started by a crash, and a disk that is still at work for the one before.
const CRASHED: World = World {
    version: "5.13",
    cmdline: "quiet elfcorehdr=0x1000000",
    iommu: "AmdVi()",
    device: "in_flight: (domain: 7, iova: 0xfffc0000, phys: 0x300000000, size: 0x40000, every_us: 200)",
    probe: r#"SetMask(bits: 64), AllocCoherent(name: "ring", size: Fixed(4096))"#,
    body: r#"DeviceRead(name: "ring"), Map(name: "m", size: Fixed(4096), dir: ToDevice), DeviceRead(name: "m"),
        Unmap(name: "m")"#,
    remove: r#"FreeCoherent(name: "ring")"#,
    ..WORLD
};

#[test]
fn a_translation_of_the_kernel_before_is_found() {
    CRASHED.is_silent();
    let kept = World { flips: r#"revert: ["overwritten-domain-flushed"],"#, ..CRASHED };
    assert!(kept.fires("stale-translation").contains("a stale translation"));
    // VT-d's driver has always dropped them.
    World { iommu: "Vtd()", cmdline: "quiet elfcorehdr=0x1000000 intel_iommu=on", ..kept }.is_silent();
}

#[test]
fn dma_in_flight_needs_copied_tables() {
    let afresh = World { cmdline: "quiet", ..CRASHED };
    // Before its driver has a domain for it, or after: what the crashed kernel mapped is mapped no more.
    assert!(afresh.fires("iommu-fault").contains("is refused"));
    let cmdline = "quiet elfcorehdr=0x1000000 intel_iommu=on";
    let scalable = World { version: "6.1", iommu: "Vtd(scalable: true)", cmdline, ..CRASHED };
    scalable.is_silent();
    let misread = World { flips: r#"revert: ["scalable-tables-copied"],"#, ..scalable };
    assert!(misread.fires("iommu-fault").contains("has another format"));
}

/// A device that does not snoop caches takes coherent memory under a lock, until the pool is empty.
#[test]
fn a_page_that_the_pool_did_not_give_is_found() {
    let emptied = World {
        version: "6.12",
        config: r#""CONFIG_DMA_DIRECT_REMAP=y""#,
        device: "non_coherent: true",
        body: r#"Lock(name: "l", irqsave: true, body: [
            AllocCoherent(name: "a", size: Fixed(4194304)), AllocCoherent(name: "b", size: Fixed(4194304)),
            AllocCoherent(name: "c", size: Fixed(4194304)), AllocCoherent(name: "d", size: Fixed(4194304)),
        ])"#,
        ..WORLD
    };
    emptied.is_silent();
    let judged = World { flips: r#"revert: ["pool-page-tested"],"#, ..emptied };
    let found = judged.kinds(40);
    assert!(found["maps-no-memory"].1.contains("there is no memory at 0x5800000000000"), "{found:?}");
}

/// A large page translates many pages of the device, and the cache holds each by itself.
#[test]
fn a_cached_part_of_a_large_page_is_stale_when_the_page_is_gone() {
    let cached = |gone: bool| {
        on_booted(
            &World { version: "6.12", cmdline: "quiet iommu.strict=1", ..WORLD },
            move |kx| async move {
                let node = kx.k.node(0).expect("the disk");
                let (dev, size): (Ptr<Device>, _) = (node.ptr.get(), 64 * PAGE_SIZE);
                let (buffer, _) = kx.alloc_pages("test", 6, GfpFlags::KERNEL).await.expect("64 pages");
                let (dir, attrs) = (Direction::FromDevice, Attrs::default());
                let dma = dma_map_page_attrs(&kx, dev, buffer, size, dir, attrs).await.expect("a mapping");
                let domain = iommu_get_dma_domain(&kx, dev).await;
                let object = kx.k.mem.borrow().heap.get(domain).expect("the domain lives");
                let large = object.cookie.borrow().as_ref().and_then(|cookie| cookie.table.lookup(dma));
                assert_eq!(large.map(|leaf| leaf.size), Some(size));
                assert!(device_dma(&kx, &node, dma.wrapping_add(5 * PAGE_SIZE), 512, true, 7).await);
                if gone {
                    let _ = object.cookie.borrow_mut().as_mut().map(|cookie| cookie.table.unmap(dma, size));
                }
                check_flushed(&kx, domain, dma, size);
            },
        )
    };
    assert_eq!(cached(false).kinds(), [""; 0]);
    assert_eq!(cached(true).kinds(), ["stale-iotlb"]);
}

/// The address of an untrusted device's mapping is another's when its unmap is done, and that one's own unmap has come half
/// of the way.
#[test]
fn what_is_cached_of_an_address_is_its_next_owners() {
    let untrusted = World { version: "6.12", device: "untrusted: true,", ..WORLD };
    let ends = |both: bool| {
        on_booted(&untrusted, move |kx| async move {
            let node = kx.k.node(0).expect("the disk");
            let dev: Ptr<Device> = node.ptr.get();
            let (page, _) = kx.alloc_pages("test", 0, GfpFlags::KERNEL).await.expect("a page");
            let (dir, attrs) = (Direction::ToDevice, Attrs::default());
            let dma = dma_map_page_attrs(&kx, dev, page, PAGE_SIZE, dir, attrs).await.expect("a mapping");
            assert!(device_dma(&kx, &node, dma, 512, false, 0).await);
            let first = kx.k.ledger.leaving(&kx, dev, dma);
            let (kind, ops, given) = (MapKind::Single, Ops::Iommu, false);
            let new = NewMapping { dma, size: PAGE_SIZE, phys: page, dir, kind, ops, given, entries: 0 };
            kx.k.ledger.mapped(&kx, dev, &new, &[(dma, page, PAGE_SIZE)], &mut Before::default());
            let second = kx.k.ledger.leaving(&kx, dev, dma);
            let domain = iommu_get_dma_domain(&kx, dev).await;
            let object = kx.k.mem.borrow().heap.get(domain).expect("the domain lives");
            let _ = object.cookie.borrow_mut().as_mut().map(|cookie| cookie.table.unmap(dma, PAGE_SIZE));
            kx.k.ledger.unmapped(&kx, dev, first, attrs);
            if both {
                // It says that it is done, and is not.
                kx.k.ledger.unmapped(&kx, dev, second, attrs);
            }
        })
    };
    assert_eq!(ends(false).kinds(), [""; 0]);
    assert_eq!(ends(true).kinds()[0], "stale-iotlb");
}

/// Two devices share a group. One is plugged in while a virtual machine has the other, and gets its driver afterwards.
const JOINING: World = World {
    version: "6.12",
    device: "plugged: After(ms: 2000),",
    spare: "isolation: 1,",
    processes: r#"(name: "qemu", body: [
        VfioAttach(bdf: "0000:02:00.0"),
        VfioMap(iova: 0x100000, pages: 2),
        Sleep(us: Fixed(500000)),
        VfioUnmap(iova: 0x100000, pages: 2),
        VfioDetach,
        Bind(bdf: "0000:01:00.0", driver: "disk"),
    ])"#,
    body: r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), DeviceWrite(name: "m"), Unmap(name: "m")"#,
    ..WORLD
};

#[test]
fn a_device_that_joins_a_group_while_a_virtual_machine_has_it_is_served_without_translation() {
    for version in ["6.1", "6.12"] {
        let joining = World { version, ..JOINING };
        let found = joining.kinds(6);
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["iommu-fault"], "{found:#?}");
        assert!(found["iommu-fault"].1.contains("no translation allows it"), "{found:#?}");
        // Before the virtual machine starts, or in a group of its own.
        World { device: "", ..joining.clone() }.is_silent();
        World { spare: "isolation: 2,", ..joining }.is_silent();
    }
}

/// The user of a group has claimed it, and has attached it to no domain yet.
#[test]
fn a_device_that_joins_a_claimed_group_changes_nothing_for_it() {
    for version in ["6.1", "6.12"] {
        let joining = World { version, device: "plugged: After(ms: 4000),", processes: "", ..JOINING };
        let outcome = on_booted(&joining, |kx| async move {
            let group = kx.k.node(1).expect("the spare device").group.get();
            let domain = kx.peek(group, IommuGroup::default_domain);
            iommu_group_claim_dma_owner(&kx, group).await.expect("nobody has it");
            kx.sleep(6_000_000_000).await;
            let joined = kx.k.node(0).expect("the disk").group.get() == group;
            let kept = kx.peek(group, IommuGroup::default_domain) == domain;
            iommu_group_release_dma_owner(&kx, group).await;
            (joined, kept)
        });
        assert_eq!(outcome.result, Some((true, true)));
        assert_eq!(outcome.kinds(), [""; 0]);
    }
}
