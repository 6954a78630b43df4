//! What 6.1 and 6.12 do otherwise than the kernels before them, each behaviour with and without.

use models::device::Device;
use models::dma::{Attrs, dma_map_page_attrs, dma_set_mask, dma_unmap_page_attrs};
use models::iommu::core::{IommuGroup, Refused, iommu_device_use_default_domain};
use models::kernel::GfpFlags;
use models::swiotlb::kernel::{find_pool, swiotlb_max_mapping_size};
use models::swiotlb::{Direction, DmaLimits};
use sim::trace::EventKind;

use crate::support::{DIRECT, WORLD, World, on_booted};

const V6_1: World = World { version: "6.1", ..WORLD };
const V6_12: World = World { version: "6.12", ..WORLD };

/// `flipped` differs from `world` in one behaviour, and that shows.
#[track_caller]
fn shows(world: &World, flipped: &'static str, look: impl Fn(&World) -> bool) {
    assert!(look(world), "{} as it is", world.version);
    assert!(!look(&World { flips: flipped, ..world.clone() }), "{} with {flipped}", world.version);
}

/// Whether one run remarks something that holds `middle` and ends so.
fn notes(world: &World, middle: &str, end: &str) -> bool {
    world.recorded().end.trace.events.iter().any(|event| match &event.kind {
        EventKind::Note(text) => text.contains(middle) && text.ends_with(end),
        _ => false,
    })
}

/// Two free pieces of forty slots in an area of 128, and a request of 60 from a device that keeps the low 12 bits.
const PIECES: &str = r#"
    Map(name: "a", size: Fixed(81920), dir: ToDevice),
    Map(name: "b", size: Fixed(8192), dir: ToDevice),
    Map(name: "c", size: Fixed(65536), dir: ToDevice),
    Unmap(name: "a"),
    Map(name: "d", offset: Fixed(0x800), size: Fixed(120000), dir: ToDevice),
    Unmap(name: "b"), Unmap(name: "c"),
"#;
const PROBE: &str = "SetMask(bits: 64), SetMinAlignMask(mask: 0xfff)";

#[test]
fn a_full_area_is_searched_for_ever_until_the_search_counts() {
    let full =
        |version, flips, cmdline| World { version, flips, cmdline, probe: PROBE, body: PIECES, ..WORLD };
    let areas = "amd_iommu=off swiotlb=128,1,force";
    let one = "amd_iommu=off swiotlb=128,force";
    for (version, cmdline) in [("5.13", one), ("5.15", one), ("6.1", areas)] {
        let title = full(version, "", cmdline).fires("livelock");
        assert!(title.contains("with interrupts off: disk: io"), "{version}: {title}");
    }
    full("6.12", r#"revert: ["counted-slot-search"],"#, areas).fires("livelock");
    for (version, flips) in [("6.12", ""), ("6.1", r#"apply: ["counted-slot-search"],"#)] {
        let title = full(version, flips, areas).fires("mapping-error");
        assert!(title.contains("swiotlb buffer is full"), "{version}: {title}");
    }
    // Without the bit that the slots lack the walk comes back to where it began, in every version.
    let even = r#"Map(name: "d", offset: Fixed(0), size: Fixed(120000), dir: ToDevice)"#;
    let body: &'static str = PIECES
        .replace("Map(name: \"d\", offset: Fixed(0x800), size: Fixed(120000), dir: ToDevice)", even)
        .leak();
    World { body, ..full("6.1", "", areas) }.fires("mapping-error");
}

#[test]
fn the_message_of_a_full_pool_tells_the_size_of_its_version() {
    let world = |version, flips| World {
        version,
        flips,
        cmdline: "amd_iommu=off swiotlb=128,1,force",
        probe: PROBE,
        body: r#"Map(name: "x", offset: Fixed(0x400), size: Fixed(262000), dir: ToDevice)"#,
        ..WORLD
    };
    // 6.12 counts the offset that the request has to keep.
    let text =
        "disk 0000:01:00.0: swiotlb buffer is full (sz: 263024 bytes), total 128 (slots), used 0 (slots)";
    shows(&world("6.12", ""), r#"revert: ["one-mapping-size"],"#, |world| world.logs(text));
    assert!(
        world("6.1", "").logs("swiotlb buffer is full (sz: 262000 bytes), total 128 (slots), used 0 (slots)")
    );
}

#[test]
fn areas_are_told_of_and_taken_in_the_order_of_the_cpus() {
    shows(&V6_1, r#"revert: ["swiotlb-areas"],"#, |world| world.logs("software IO TLB: area num 4."));
    assert!(!WORLD.logs("area num"));
    // An area of its own for each CPU: one quarter of the pool.
    let bounced = |cpu: u64| {
        let body: &'static str = r#"Map(name: "x", size: Fixed(4096), dir: ToDevice)"#;
        let world = World { cmdline: "amd_iommu=off swiotlb=1024,force", body, ..V6_12 };
        let outcome = on_booted(&world, move |kx| async move {
            let dev = kx.k.node(0).expect("the disk").ptr.get();
            kx.poke(dev, Device::dma_mask, u64::MAX);
            let (page, _) = kx.alloc_pages("test", 0, GfpFlags::KERNEL).await.expect("a page");
            let pool = kx.k.facts.borrow().pool.clone().expect("a pool");
            assert_eq!(u64::from(kx.cpu()), cpu);
            let dma = dma_map_page_attrs(&kx, dev, page, 4096, Direction::ToDevice, Attrs::default()).await;
            let dma = dma.expect("a mapping");
            dma_unmap_page_attrs(&kx, dev, dma, 4096, Direction::ToDevice, Attrs::default()).await;
            (dma.0 - pool.start) >> 11
        });
        outcome.result.expect("it returns")
    };
    assert!(bounced(0) < 256);
}

#[test]
fn forced_bouncing_does_not_hide_the_iommu_since_5_19() {
    let forced = World { cmdline: "swiotlb=force", ..V6_1 };
    shows(&forced, r#"revert: ["explicit-swiotlb-init"],"#, |world| {
        world.facts().iommu.starts_with("AMD-Vi")
    });
    assert_eq!(World { cmdline: "swiotlb=force", ..WORLD }.facts().iommu, "none");
    // And a translated device's mappings do not bounce.
    let body = r#"Map(name: "x", size: Fixed(4096), dir: ToDevice), Unmap(name: "x")"#;
    let facts = World { body, ..forced }.facts();
    assert_eq!((facts.devices[0].maps, facts.devices[0].bounced, facts.devices[0].path), (1, 0, "iommu-dma"));
}

#[test]
fn a_forced_pool_is_not_torn_down() {
    let world = World { cmdline: "mem=3G swiotlb=force", ..V6_1 };
    shows(&world, r#"revert: ["force-keeps-pool"],"#, |world| {
        let facts = world.facts();
        facts.pool.is_some() && facts.torn_down.is_none()
    });
}

#[test]
fn what_cannot_be_reached_bounces_only_if_there_is_a_pool() {
    let world = World {
        cmdline: "mem=3G amd_iommu=off",
        probe: "SetMask(bits: 24)",
        body: r#"Map(name: "x", size: Fixed(4096), dir: ToDevice)"#,
        ..V6_1
    };
    shows(&world, r#"revert: ["bounce-needs-pool"],"#, |world| world.logs("DMA addr 0x00000000b"));
    assert!(world.fires("mapping-error").contains("there is no bounce pool"));
    let tries = World { flips: r#"revert: ["bounce-needs-pool"],"#, ..world };
    assert!(tries.logs("Can not allocate SWIOTLB buffer earlier"));
}

#[test]
fn the_largest_mapping_leaves_room_for_the_offset() {
    let largest = |world: &World| {
        on_booted(world, |kx| async move {
            let limits = DmaLimits { min_align_mask: 0xfff, ..DmaLimits::default() };
            swiotlb_max_mapping_size(&kx, limits)
        })
        .result
        .expect("it returns")
    };
    assert_eq!(largest(&V6_1), 0x3f000);
    assert_eq!(largest(&World { flips: r#"revert: ["max-mapping-less-align"],"#, ..V6_1 }), 0x40000);
    assert_eq!(largest(&WORLD), 0x40000);
}

#[test]
fn a_pool_that_is_too_large_is_halved() {
    // 4 GiB below 4 GiB cannot be had.
    let world = World { cmdline: "amd_iommu=off swiotlb=2097152", ..V6_1 };
    shows(&world, r#"revert: ["pool-size-halved"],"#, |world| {
        world.facts().pool.is_some_and(|pool| pool.bytes == 2 << 30)
    });
    assert!(world.logs("SWIOTLB bounce buffer size adjusted 2097152 -> 1048576 slabs"));
    // 16384 areas of one segment each were asked for; half of them are left, or else each has half a segment.
    let areas = |world: &World| {
        on_booted(world, |kx| async move {
            let mem = kx.k.globals.io_tlb_default_mem.get();
            kx.k.mem.borrow().heap.get(mem).expect("the pool").areas.borrow().len()
        })
        .result
        .expect("the boot ends")
    };
    let many = World { cmdline: "amd_iommu=off swiotlb=2097152,16384", ..V6_12 };
    assert_eq!(areas(&many), 8192);
    assert_eq!(areas(&World { flips: r#"revert: ["areas-limited"],"#, ..many }), 16384);
}

#[test]
fn the_pool_is_found_once_and_under_the_name_of_its_version() {
    let world = World {
        cmdline: "amd_iommu=off swiotlb=force",
        body: r#"Map(name: "x", size: Fixed(4096), dir: FromDevice), SyncForCpu(name: "x"), Unmap(name: "x")"#,
        ..V6_12
    };
    shows(&world, r#"revert: ["pool-found-once"],"#, |world| world.enters("__swiotlb_tbl_unmap_single"));
    assert!(World { version: "6.1", ..world.clone() }.enters("swiotlb_tbl_unmap_single"));
    for version in ["6.1", "6.12"] {
        World { version, ..world.clone() }.is_silent();
    }
    let found = on_booted(&world, |kx| async move {
        let dev = kx.k.node(0).expect("the disk").ptr.get();
        let pool = kx.k.facts.borrow().pool.clone().expect("a pool");
        let at = |addr| models::mem::PhysAddr(addr);
        let inside = find_pool(&kx, dev, at(pool.start)).await.is_none();
        let behind = find_pool(&kx, dev, at(pool.start + pool.bytes)).await.is_none();
        (inside, behind)
    });
    assert_eq!(found.result, Some((false, true)));
}

#[test]
fn syncs_are_skipped_until_something_bounces() {
    // A sync of a mapping that was not bounced looks for its pool, or does not look at all.
    let skips = |world: &World| {
        on_booted(world, |kx| async move {
            let dev = kx.k.node(0).expect("the disk").ptr.get();
            dma_set_mask(&kx, dev, 64).await.expect("a mask");
            let before = kx.peek(dev, Device::dma_skip_sync);
            let (page, _) = kx.alloc_pages("test", 0, GfpFlags::KERNEL).await.expect("a page");
            let map = dma_map_page_attrs(&kx, dev, page, 4096, Direction::ToDevice, Attrs::default()).await;
            let dma = map.expect("a mapping");
            let after = kx.peek(dev, Device::dma_skip_sync);
            dma_unmap_page_attrs(&kx, dev, dma, 4096, Direction::ToDevice, Attrs::default()).await;
            (before, after)
        })
        .result
        .expect("it returns")
    };
    let direct = World { version: "6.12", ..DIRECT };
    assert_eq!(skips(&direct), (Some(true), Some(true)));
    assert_eq!(skips(&World { cmdline: "amd_iommu=off swiotlb=force", ..V6_12 }), (Some(true), Some(false)));
    let reverted = World { flips: r#"revert: ["dma-skip-sync"],"#, ..direct };
    assert_eq!(skips(&reverted), (Some(false), Some(false)));
}

#[test]
fn who_says_that_dma_iommu_serves_a_device() {
    let says = |world: &World| {
        on_booted(world, |kx| async move {
            let dev = kx.k.node(0).expect("the disk").ptr.get();
            (kx.peek(dev, Device::dma_iommu), kx.peek(dev, Device::dma_ops).map(|ops| ops != 0))
        })
        .result
        .expect("the boot ends")
    };
    assert_eq!(says(&V6_12), (Some(true), Some(false)));
    assert_eq!(says(&World { flips: r#"revert: ["dma-iommu-flag"],"#, ..V6_12 }), (Some(false), Some(true)));
    assert_eq!(says(&V6_1), (Some(false), Some(true)));
    assert_eq!(says(&World { version: "6.12", ..DIRECT }), (Some(false), Some(false)));
    shows(&V6_12, r#"revert: ["dma-ops-set-by-core"],"#, |world| world.enters("iommu_setup_dma_ops"));
    assert!(V6_1.enters("amd_iommu_probe_finalize"));
}

#[test]
fn the_core_probes_devices_as_its_version_does() {
    shows(&V6_1, r#"revert: ["iommu-register-walks-buses"],"#, |world| world.enters("iommu_device_register"));
    shows(&V6_1, r#"revert: ["iommu-probe-lock"],"#, |world| world.enters("probe_iommu_group"));
    shows(&V6_12, r#"revert: ["one-default-domain-setup"],"#, |world| {
        world.enters("__iommu_probe_device") && world.enters("iommu_setup_default_domain")
    });
    shows(&V6_1, r#"revert: ["dma-ownership"],"#, |world| world.enters("iommu_device_use_default_domain"));
    let plugged = r#"plugged: After(ms: 3000), unplugged: After(ms: 4000),"#;
    let body = r#"Map(name: "x", size: Fixed(4096), dir: FromDevice), Unmap(name: "x")"#;
    for version in ["6.1", "6.12"] {
        let late = World { version, device: plugged, body, ..WORLD };
        late.is_silent();
        assert_eq!(late.facts().iommu, "AMD-Vi, default domain translated");
    }
    World { version: "6.12", device: plugged, body, iommu: "Vtd()", cmdline: "intel_iommu=on", ..WORLD }
        .is_silent();
}

#[test]
fn scatterlists_go_through_the_wrapper_of_their_version() {
    let body = r#"MapSg(name: "x", entries: Fixed(3), size: Fixed(8192), offset: Fixed(100), dir: ToDevice),
        UnmapSg(name: "x")"#;
    let world = World { body, ..V6_1 };
    shows(&world, r#"revert: ["map-sg-wrapped"],"#, |world| world.enters("__dma_map_sg_attrs"));
    for version in ["5.15", "6.1", "6.12"] {
        for cmdline in ["quiet", "amd_iommu=off swiotlb=force"] {
            World { version, cmdline, ..world.clone() }.is_silent();
        }
    }
}

/// A device that is not trusted: partial pages bounce, aligned to the page since 5.16, and what is around is cleared.
#[test]
fn untrusted_devices_are_bounced_by_each_version() {
    let body = r#"Repeat(times: Fixed(4), body: [
        Map(name: "in", offset: Fixed(0xa34), size: Fixed(3000), dir: FromDevice),
        DeviceWrite(name: "in"), SyncForCpu(name: "in"), Unmap(name: "in"),
        Map(name: "out", offset: Fixed(0x834), size: Fixed(5000), dir: ToDevice),
        DeviceRead(name: "out"), Unmap(name: "out"),
    ])"#;
    // Up to 5.18 AMD's driver gives the pool up, and then such a device cannot map at all.
    let kept = r#"revert: ["amd-iommu-swiotlb-veto"],"#;
    for (version, flips) in [("5.15", kept), ("6.1", ""), ("6.12", "")] {
        for probe in ["SetMask(bits: 64)", PROBE] {
            let world = World { version, flips, body, probe, device: "untrusted: true,", ..WORLD };
            if version == "6.1" && probe == PROBE {
                // Slots that begin a page keep the offset in a slot only, and lose bit 11 (af133562d5af, 6.9).
                assert!(world.fires("dma-misaligned").contains("needs the bits 0xfff"));
            } else if version == "5.15" && probe == PROBE {
                // The size that is mapped is rounded up twice, and the page too many stays (2cbc61a1b166, 5.16).
                assert!(world.fires("left-translation").contains("no mapping has them"));
            } else {
                world.is_silent();
            }
            assert_eq!(world.facts().devices[0].bounced, 8, "{version}");
        }
    }
    let world = World { body, device: "untrusted: true,", ..V6_1 };
    shows(&world, r#"revert: ["alloc-align-mask"],"#, |world| !world.enters("__iommu_dma_map_swiotlb"));
    // 6.12 keeps the bit above the slot by a whole slot of padding.
    let world = World { body, probe: PROBE, device: "untrusted: true,", ..V6_12 };
    shows(&world, r#"revert: ["padding-slots"],"#, |world| notes(world, "of the pool, at", "a34"));
}

#[test]
fn coherent_memory_of_a_restricted_pool() {
    let world = |version, flips| World {
        version,
        flips,
        config: r#""CONFIG_DMA_RESTRICTED_POOL=y""#,
        cmdline: "amd_iommu=off",
        device: "restricted_pool: (start: 0x20000000, size: 0x400000),",
        body: r#"Map(name: "x", size: Fixed(2000), dir: ToDevice),
            AllocCoherent(name: "ring", size: Fixed(16384)), DeviceWrite(name: "ring"),
            FreeCoherent(name: "ring"), Unmap(name: "x")"#,
        ..WORLD
    };
    for version in ["5.15", "6.12"] {
        world(version, "").is_silent();
    }
    // One slot is taken: the next one begins no page, and its address is rounded down to one that is not free.
    let placed = |version, flips| {
        let notes = world(version, flips).recorded().end.trace;
        notes.events.iter().any(|event| match &event.kind {
            EventKind::Note(text) => text.starts_with("swiotlb: slots 8..16 of the pool for coherent"),
            _ => false,
        })
    };
    assert!(placed("6.12", "") && !placed("6.12", r#"revert: ["pool-alloc-page-aligned"],"#));
}

#[test]
fn a_request_goes_back_to_the_queue_until_it_can_be_mapped() {
    let world = |times: &'static str| World {
        cmdline: "amd_iommu=off swiotlb=512,1,force",
        body: String::from(
            r#"Repeat(times: Fixed(12), body: [
                Requeue(times: TIMES, delay_us: Fixed(500), body: [
                    Map(name: "first", size: Fixed(4096), dir: ToDevice),
                    Map(name: "x", size: Fixed(250000), dir: ToDevice),
                    Submit(name: "x", dma: Read, latency_us: Fixed(2000), irq: [Unmap(name: "x")]),
                    Unmap(name: "first"),
                ]),
            ]), WaitAll"#,
        )
        .replace("TIMES", times)
        .leak(),
        ..V6_12
    };
    world("100").is_silent();
    assert!(world("100").logs("swiotlb buffer is full"));
    let title = world("1").fires("mapping-error");
    assert!(title.contains("swiotlb buffer is full"), "{title}");
}

#[test]
fn addresses_above_4_gib_are_used_for_good_once_there_was_none_below() {
    // A gigabyte and four more: what is left below 4 GiB does not suffice.
    let body: &'static str = (0..5)
        .map(|nth| {
            format!(r#"MapSg(name: "m{nth}", entries: Fixed(255), size: Fixed(4194304), dir: FromDevice, on_error: Skip),"#)
        })
        .collect::<String>()
        .leak();
    let world = World { body, ..V6_12 };
    shows(&world, r#"revert: ["pci-sac-until-fail"],"#, |world| {
        world.logs("disk 0000:01:00.0: Using 64-bit DMA addresses")
    });
}

#[test]
fn a_driver_comes_again_while_its_group_has_no_domain() {
    let told = |world: &World| {
        on_booted(world, |kx| async move {
            let node = kx.k.node(0).expect("the disk");
            let as_it_is = iommu_device_use_default_domain(&kx, &node).await.err();
            kx.poke(node.group.get(), IommuGroup::default_domain, models::mem::Ptr::NULL);
            (as_it_is, iommu_device_use_default_domain(&kx, &node).await.err())
        })
        .result
        .expect("it returns")
    };
    assert_eq!(told(&V6_12), (None, Some(Refused::ComeAgain)));
    // Without the rule the domain that the group has is not the default one, which it has not.
    let reverted = World { flips: r#"revert: ["defer-without-domain"],"#, ..V6_12 };
    assert_eq!(told(&reverted), (None, Some(Refused::Busy)));
    assert_eq!(told(&V6_1), (None, Some(Refused::Busy)));
}

/// Locks that a late device's probe has taken before it makes a domain.
#[test]
fn a_late_device_gets_its_domain_under_the_groups_lock() {
    let locks = |flips| {
        let device = "plugged: After(ms: 3000),";
        let run = World { flips, device, ..V6_1 }.recorded();
        let events = run.end.trace.events.iter();
        let probe = events.skip_while(|event| !matches!(event.kind, EventKind::Enter("iommu_probe_device")));
        probe
            .take_while(|event| !matches!(event.kind, EventKind::Enter("__iommu_domain_alloc")))
            .filter(|event| matches!(&event.kind, EventKind::Step { label, .. } if label.kind == sim::Kind::Acquire))
            .count()
    };
    assert_eq!(locks(""), 2);
    assert_eq!(locks(r#"revert: ["default-domain-under-lock"],"#), 1);
    assert_eq!(locks(r#"revert: ["default-domain-under-lock", "iommu-probe-lock"],"#), 0);
}
