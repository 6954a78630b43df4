//! Kernels without the bug say nothing, whatever their options and whatever is done to their devices.

use models::scenario::Overrides;

use crate::support::{BOUNCING, DIRECT, WORLD, World, campaign, shipped};

const OPTIONS: [&str; 10] = [
    "",
    "iommu=pt",
    "swiotlb=force",
    "swiotlb=noforce",
    "amd_iommu=off",
    "iommu=off",
    "intel_iommu=on",
    "intel_iommu=on iommu=pt",
    "iommu.strict=1",
    "mem=3G swiotlb=force iommu.strict=1",
];

#[test]
fn shipped_machines_on_sound_kernels() {
    for file in ["hp-4300g.ron", "laptop.ron"] {
        for options in OPTIONS {
            for (version, apply) in [
                ("5.13", None),
                ("5.14", None),
                ("5.15", None),
                ("next-2021-06", Some("static-default-pool")),
            ] {
                let overrides = Overrides {
                    append: Some(options.to_owned()),
                    version: Some(version.to_owned()),
                    apply: apply.into_iter().map(str::to_owned).collect(),
                    ..Overrides::default()
                };
                let mut found = campaign(shipped(file, &overrides), 8);
                if file == "laptop.ron" && options.contains("swiotlb=force") {
                    // Its graphics driver maps more at once than a bounce can serve: as the real one.
                    found.remove("mapping-error");
                }
                assert!(found.is_empty(), "{file} {version} `{options}`: {found:#?}");
            }
        }
    }
}

/// Work of every sort: pages and slab, lists, coherent memory, requests that complete in interrupts.
const BUSY: &str = r#"
    Repeat(times: Uniform(4, 10), body: [
        Map(name: "m", size: OneOf([512, 4096, 9000]), dir: FromDevice, on_error: Skip),
        Submit(name: "m", dma: Write, latency_us: Uniform(20, 3000), irq: [Unmap(name: "m")]),
        Maybe(percent: 50, body: [WaitAll]),
        MapSg(name: "s", entries: Uniform(1, 5), size: OneOf([100, 4096, 8192]), dir: Bidirectional, on_error: Skip),
        DeviceWrite(name: "s"), DeviceRead(name: "s"),
        UnmapSg(name: "s"),
        AllocCoherent(name: "c", size: Uniform(100, 9000)),
        DeviceWrite(name: "c"),
        FreeCoherent(name: "c"),
        AllocBuffer(name: "b", size: Uniform(10, 3000), from: Slab, fill: Text),
        Map(name: "t", buffer: "b", dir: ToDevice, on_error: Skip),
        Submit(name: "t", dma: Read, latency_us: Uniform(1, 900)),
        WaitAll,
        CpuWrite(name: "b"), SyncForDevice(name: "t"), DeviceRead(name: "t"),
        Unmap(name: "t"),
        FreeBuffer(name: "b"),
        Sleep(us: Uniform(1, 20000)),
    ])"#;

const PROBE: &str = r#"SetMask(bits: 64), AllocCoherent(name: "ring", size: Fixed(4096)),
    AllocBuffer(name: "rx", size: Fixed(4096)), Map(name: "rxm", buffer: "rx", dir: FromDevice),
    Submit(name: "rxm", dma: Write, latency_us: Uniform(1, 90000))"#;

const REMOVE: &str = r#"WaitAll, Unmap(name: "rxm"), FreeBuffer(name: "rx"), FreeCoherent(name: "ring")"#;

const TROUBLE: &str = r#"
    delay: (max_us: 300, percent: 5), alloc_fail: (per_mille: 100), probe_defer: (percent: 50),
    hot_unplug: (devices: 2, percent: 60), memory_pressure: (percent: 20), spurious_irq: (percent: 30),
    late_irq: (max_us: 900, percent: 40),"#;

const PROCESSES: &str = r#"
    (name: "admin", start_ms: Uniform(1, 300), body: [
        Unbind(bdf: "0000:01:00.0"), Sleep(us: Uniform(1, 90000)), Bind(bdf: "0000:01:00.0", driver: "disk"),
    ]),
    (name: "plug", start_ms: Uniform(1, 300), body: [
        Unplug(bdf: "0000:01:00.0"), Sleep(us: Uniform(1, 90000)), Plug(bdf: "0000:01:00.0"),
    ])"#;

/// Up to 5.16 the flush queue's timer may still read what is freed with its domain, which is found.
const TIMER_DELETED: &str = r#"apply: ["flush-timer-deleted-sync"],"#;

#[test]
fn devices_that_come_and_go_under_load() {
    for world in [WORLD, DIRECT, BOUNCING] {
        for version in ["5.13", "5.15"] {
            for cmdline in [world.cmdline, "iommu.strict=1", "mem=3G", "iommu=pt"] {
                let flips = TIMER_DELETED;
                let busy = World {
                    body: BUSY,
                    probe: PROBE,
                    remove: REMOVE,
                    version,
                    flips,
                    cmdline,
                    ..world.clone()
                };
                for (processes, inject) in [("", ""), (PROCESSES, ""), ("", TROUBLE), (PROCESSES, TROUBLE)] {
                    let found = World { processes, inject, ..busy.clone() }.kinds(12);
                    assert!(found.is_empty(), "{version} `{cmdline}` {processes} {inject}: {found:#?}");
                }
            }
        }
    }
}

#[test]
fn devices_with_demands() {
    let restricted = r#"restricted_pool: (start: 0x20000000, size: 0x400000)"#;
    let restricted_config = r#""CONFIG_DMA_RESTRICTED_POOL=y""#;
    for device in ["untrusted: true", "dma_bits: 32", "bus_dma_limit: 0xffffffff", restricted] {
        // A driver asks for no more bits than its device drives.
        let probe =
            if device == "dma_bits: 32" { PROBE.replace("bits: 64", "bits: 32") } else { PROBE.to_owned() };
        let probe: &'static str = probe.leak();
        for cmdline in ["quiet", "amd_iommu=off", "swiotlb=force"] {
            for version in ["5.13", "5.15", "next-2021-06"] {
                // With the IOMMU the pool is given up, and both need it: see below.
                if cmdline == "quiet" && (version == "next-2021-06" || device == "untrusted: true") {
                    continue;
                }
                let world = World {
                    body: BUSY,
                    probe,
                    remove: REMOVE,
                    device,
                    cmdline,
                    version,
                    flips: TIMER_DELETED,
                    config: restricted_config,
                    processes: PROCESSES,
                    inject: TROUBLE,
                    ..WORLD
                };
                let found = world.kinds(12);
                assert!(found.is_empty(), "{version} `{cmdline}` {device}: {found:#?}");
            }
        }
    }
}

#[test]
fn a_restricted_pool_is_used() {
    let world = World {
        body: r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), DeviceWrite(name: "m"), Unmap(name: "m")"#,
        device: r#"restricted_pool: (start: 0x20000000, size: 0x400000)"#,
        config: r#""CONFIG_DMA_RESTRICTED_POOL=y""#,
        ..DIRECT
    };
    world.is_silent();
    let facts = world.facts();
    assert_eq!((facts.devices[0].pool, facts.devices[0].bounced), ("restricted pool", 1));
    let facts = World { config: "", ..world }.facts();
    assert_eq!((facts.devices[0].pool, facts.devices[0].bounced), ("default pool", 0));
}

/// Partial pages of an untrusted device are bounced also behind an IOMMU, whose AMD driver gave the pool up: what the
/// real kernels did until that driver stopped doing so (5.19).
#[test]
fn an_untrusted_device_without_a_pool() {
    let body = r#"Map(name: "m", size: Fixed(512), dir: FromDevice, on_error: Skip), Unmap(name: "m")"#;
    let untrusted = World { body, device: "untrusted: true", ..WORLD };
    World { version: "5.13", ..untrusted.clone() }.fires("panic");
    untrusted.fires("mapping-error");
    for world in [
        World { device: "", ..untrusted.clone() },
        World { cmdline: "iommu=pt", ..untrusted.clone() },
        World { iommu: "Vtd(snoop: true)", cmdline: "intel_iommu=on", ..untrusted },
    ] {
        world.is_silent();
        World { version: "5.13", ..world }.is_silent();
    }
}
