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
