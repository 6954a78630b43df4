//! Bus addresses and the cache of translations: each check where it speaks, and one change of the kernel away where it
//! does not.

use crate::support::{WORLD, World};

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
