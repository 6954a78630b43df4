//! Where bounced mappings lead, and what lies beside them.

use crate::support::{BOUNCING, WORLD, World};

const RESTRICTED: World = World {
    version: "6.12",
    config: r#""CONFIG_DMA_RESTRICTED_POOL=y""#,
    iommu: "None",
    device: "restricted_pool: (start: 0xa0000000, size: 0x1000000)",
    ..WORLD
};

const UNTRUSTED: World = World {
    version: "6.12",
    device: "untrusted: true",
    probe: "SetMask(bits: 64), SetMinAlignMask(mask: 0xfff)",
    ..WORLD
};

#[test]
fn coherent_memory_over_a_slot() {
    let body = r#"Map(name: "frame", size: Fixed(1000), dir: ToDevice),
        AllocCoherent(name: "ring", size: Fixed(4096)), DeviceRead(name: "frame"),
        Unmap(name: "frame"), FreeCoherent(name: "ring")"#;
    let broken = World { flips: r#"revert: ["separate-align-masks"],"#, body, ..RESTRICTED };
    assert!(broken.fires("overlapping-mappings").contains("over 1000 bytes"));
    // What the frame's slot held is gone, too.
    broken.fires("wrong-data");
    World { body, ..RESTRICTED }.is_silent();
}

#[test]
fn one_buffer_may_be_mapped_twice() {
    let twice = r#"AllocBuffer(name: "b", size: Fixed(4096)), Map(name: "m", buffer: "b", dir: ToDevice),
        Map(name: "n", buffer: "b", dir: ToDevice), Unmap(name: "m"), Unmap(name: "n"), FreeBuffer(name: "b")"#;
    for world in [World { iommu: "None", ..WORLD }, BOUNCING] {
        World { body: twice, ..world }.is_silent();
    }
}

#[test]
fn an_offset_that_is_lost() {
    let body = r#"Map(name: "m", offset: Fixed(0x200), size: Fixed(4096), dir: FromDevice), DeviceWrite(name: "m"),
        Unmap(name: "m")"#;
    let probe = "SetMask(bits: 64), SetMinAlignMask(mask: 0xfff)";
    let kept = World { version: "5.13", probe, body, ..BOUNCING };
    let lost = World { flips: r#"revert: ["min-align-mask"],"#, ..kept.clone() };
    assert!(lost.fires("dma-misaligned").contains("needs the bits 0xfff"));
    kept.is_silent();
    // Who does not ask for it gets any slot.
    World { flips: r#"revert: ["min-align-mask"],"#, body, ..BOUNCING }.is_silent();
}

#[test]
fn a_page_that_begins_in_the_middle_of_one() {
    let body = r#"Map(name: "s", size: Fixed(512), dir: ToDevice), Map(name: "m", size: Fixed(8192), dir: ToDevice),
        DeviceRead(name: "m"), Unmap(name: "m"), Unmap(name: "s")"#;
    let aligned = World { version: "6.12", iommu: "None", body, ..BOUNCING };
    let broken = World { flips: r#"revert: ["large-maps-page-aligned"],"#, ..aligned.clone() };
    assert!(broken.fires("dma-misaligned").contains("in the middle of one"));
    aligned.is_silent();
}

#[test]
fn what_an_untrusted_device_can_read() {
    // The second mapping comes to the slots of the first, and begins further on in the page.
    let body = r#"Repeat(times: Fixed(40), body: [
            Map(name: "a", offset: Fixed(0), size: Fixed(3072), dir: ToDevice), DeviceRead(name: "a"), Unmap(name: "a"),
        ]),
        Repeat(times: Fixed(40), body: [
            Map(name: "b", offset: Fixed(0x200), size: Fixed(512), dir: ToDevice), DeviceRead(name: "b"),
            Unmap(name: "b"),
        ])"#;
    // A pool of one segment for each CPU, so that the slots come round.
    let closed = World { cmdline: "swiotlb=512", body, ..UNTRUSTED };
    let open = World { flips: r#"revert: ["padding-zeroed-around"],"#, ..closed.clone() };
    assert!(open.fires("exposed-data").contains("in front of"));
    closed.is_silent();
    World { device: "", flips: r#"revert: ["padding-zeroed-around"],"#, ..closed }.is_silent();
}

#[test]
fn a_lock_that_nobody_initialised() {
    // Wants 16 GiB below 4 GiB.
    let body = r#"Map(name: "m", size: Fixed(4096), dir: ToDevice, on_error: Skip, attrs: [NoWarn]), Unmap(name: "m")"#;
    let none =
        World { cmdline: "swiotlb=8388608,force", iommu: "None", probe: "SetMask(bits: 32)", body, ..WORLD };
    assert!(none.fires("uninitialised-lock").contains("spinlock bad magic"));
    World { flips: r#"apply: ["map-without-pool-errors"],"#, ..none.clone() }.is_silent();
    World { cmdline: "swiotlb=32768,force", ..none }.is_silent();
}

#[test]
fn areas_that_were_never_made() {
    // 6.1 asks for slots three times before it comes to that.
    let flips = r#"revert: ["map-without-pool-errors", "bounce-needs-pool", "pool-size-halved"],"#;
    let body = r#"Map(name: "m", size: Fixed(4096), dir: ToDevice, on_error: Skip, attrs: [NoWarn]), Unmap(name: "m")"#;
    let none = World {
        version: "6.1",
        flips,
        cmdline: "swiotlb=8388608",
        iommu: "None",
        probe: "SetMask(bits: 32)",
        body,
        ..WORLD
    };
    assert!(none.fires("kernel-bug").contains("area_index >= mem->nareas"));
    World { flips: r#"revert: ["bounce-needs-pool", "pool-size-halved"],"#, ..none }.is_silent();
}

#[test]
fn a_failure_that_the_driver_provides_for() {
    let body = r#"Map(name: "m", size: Fixed(4096), dir: ToDevice, on_error: Skip, attrs: [NoWarn]), Unmap(name: "m")"#;
    let loud = r#"Map(name: "m", size: Fixed(4096), dir: ToDevice, on_error: Skip), Unmap(name: "m")"#;
    let none = World {
        version: "6.12",
        cmdline: "swiotlb=noforce",
        iommu: "None",
        probe: "SetMask(bits: 32)",
        ..WORLD
    };
    World { body: loud, ..none.clone() }.fires("mapping-error");
    World { body, ..none }.is_silent();
}

#[test]
fn memory_that_the_host_cannot_read() {
    let body = r#"Map(name: "m", size: Fixed(4096), dir: ToDevice), DeviceRead(name: "m"), Unmap(name: "m"),
        AllocCoherent(name: "c", size: Fixed(4096)), DeviceWrite(name: "c"), FreeCoherent(name: "c")"#;
    let guest = World {
        version: "next-2021-06",
        cmdline: "",
        iommu: "None",
        machine: "mem_encrypt: Pv,",
        body,
        ..WORLD
    };
    assert!(guest.fires("private-memory").contains("not shared with the host"));
    World { flips: r#"apply: ["force-before-pool"],"#, ..guest.clone() }.is_silent();
    for version in ["5.13", "5.15", "6.1", "6.12"] {
        for machine in ["mem_encrypt: Pv,", "mem_encrypt: Pef,", "mem_encrypt: Sev,"] {
            World { version, machine, ..guest.clone() }.is_silent();
        }
    }
    World { machine: "", ..guest }.is_silent();
}

#[test]
fn encrypted_guests_have_a_pool_of_a_part_of_their_memory() {
    for version in ["5.13", "5.15", "6.1", "6.12"] {
        let guest = World { version, cmdline: "", iommu: "None", machine: "mem_encrypt: Sev,", ..WORLD };
        assert!(guest.logs("software IO TLB: SWIOTLB bounce buffer size adjusted to 491MB"), "{version}");
        // With areas the number of slots is a power of two.
        let bytes = if version.starts_with('6') { 512 << 20 } else { 515_375_104 };
        assert_eq!(guest.facts().pool.map(|pool| pool.bytes), Some(bytes), "{version}");
        let told = World { cmdline: "swiotlb=65536", ..guest.clone() };
        assert!(!told.logs("size adjusted to"), "{version}");
        assert_eq!(told.facts().pool.map(|pool| pool.bytes), Some(128 << 20), "{version}");
        assert!(!World { machine: "", ..guest }.logs("size adjusted to"), "{version}");
    }
}

#[test]
fn masks_are_supported_that_reach_the_lowest_zone() {
    let binds = |world: &World, probe| {
        let facts = World { probe, ..world.clone() }.facts();
        facts.devices.iter().any(|device| device.bdf == "0000:01:00.0" && device.driver.is_some())
    };
    for version in ["5.13", "6.1", "6.12"] {
        let direct = World { version, iommu: "None", ..WORLD };
        assert!(binds(&direct, "SetMask(bits: 24)") && !binds(&direct, "SetMask(bits: 23)"), "{version}");
        assert!(binds(&World { version, ..WORLD }, "SetMask(bits: 20)"), "{version}: behind an IOMMU");
    }
}
