//! What arrives, and what pools say of themselves.

use models::dma::Attrs;
use models::mem::PhysAddr;
use models::swiotlb::kernel::{default_pool, swiotlb_tbl_map_single, swiotlb_tbl_unmap_single};
use models::swiotlb::{Direction, MapRequest};

use crate::support::{BOUNCING, DIRECT, WORLD, World, on_booted};

#[test]
fn a_write_that_is_lost() {
    let clobbered = r#"AllocBuffer(name: "b", size: Fixed(4096)), Map(name: "m", buffer: "b", dir: FromDevice),
        DeviceWrite(name: "m"), CpuWrite(name: "b"), Unmap(name: "m"), FreeBuffer(name: "b")"#;
    let synced = r#"AllocBuffer(name: "b", size: Fixed(4096)), Map(name: "m", buffer: "b", dir: FromDevice),
        DeviceWrite(name: "m"), SyncForCpu(name: "m"), CpuWrite(name: "b"), Unmap(name: "m"),
        FreeBuffer(name: "b")"#;
    for world in [WORLD, DIRECT] {
        World { body: clobbered, ..world.clone() }.fires("lost-write");
        World { body: synced, ..world }.is_silent();
    }
}

#[test]
fn a_sync_that_was_forgotten() {
    let forgotten = r#"AllocBuffer(name: "b", size: Fixed(4096), fill: Text),
        Map(name: "m", buffer: "b", dir: ToDevice), DeviceRead(name: "m"), CpuWrite(name: "b"),
        DeviceRead(name: "m"), Unmap(name: "m"), FreeBuffer(name: "b")"#;
    let synced = r#"AllocBuffer(name: "b", size: Fixed(4096), fill: Text),
        Map(name: "m", buffer: "b", dir: ToDevice), DeviceRead(name: "m"), CpuWrite(name: "b"),
        SyncForDevice(name: "m"), DeviceRead(name: "m"), Unmap(name: "m"), FreeBuffer(name: "b")"#;
    let title = World { body: forgotten, ..BOUNCING }.fires("wrong-data");
    assert!(title.contains("without a sync"), "{title}");
    World { body: synced, ..BOUNCING }.is_silent();
    // Without a bounce buffer nothing is lost on a coherent machine.
    World { body: forgotten, ..DIRECT }.is_silent();
}

#[test]
fn what_the_device_did_not_write() {
    let short = r#"Map(name: "a", size: Fixed(4096), dir: ToDevice), Unmap(name: "a"),
        Map(name: "m", size: Fixed(512), dir: FromDevice), DeviceWrite(name: "m", size: Fixed(64)), Unmap(name: "m")"#;
    let whole =
        r#"Map(name: "m", size: Fixed(512), dir: FromDevice), DeviceWrite(name: "m"), Unmap(name: "m")"#;
    let given_up = r#"Map(name: "m", size: Fixed(512), dir: FromDevice), Unmap(name: "m")"#;
    assert!(World { body: short, ..BOUNCING }.fires("foreign-data").contains("has not written"));
    World { body: short, flips: r#"apply: ["prefill-from-device"],"#, ..BOUNCING }.is_silent();
    World { body: short, ..DIRECT }.is_silent();
    World { body: whole, ..BOUNCING }.is_silent();
    World { body: given_up, ..BOUNCING }.is_silent();
}

#[test]
fn parts_of_a_mapping() {
    let parts = r#"SetMask(bits: 64),
        Map(name: "in", offset: Fixed(0x300), size: Fixed(10000), dir: FromDevice),
        DeviceWrite(name: "in", offset: Fixed(100), size: Fixed(5000)),
        SyncForCpu(name: "in", offset: Fixed(2000), size: Fixed(600)), CpuRead(name: "in"),
        DeviceWrite(name: "in", offset: Fixed(2100), size: Fixed(30)),
        SyncForDevice(name: "in", offset: Fixed(2000), size: Fixed(600)),
        SyncForCpu(name: "in", offset: Fixed(1000)), SyncForCpu(name: "in"), CpuWrite(name: "in"), Unmap(name: "in"),
        AllocBuffer(name: "b", size: Fixed(8192), fill: Text),
        Map(name: "both", buffer: "b", dir: Bidirectional),
        DeviceRead(name: "both", size: Fixed(4000)), DeviceWrite(name: "both", offset: Fixed(4000), size: Fixed(96)),
        SyncForCpu(name: "both", offset: Fixed(4000), size: Fixed(96)), CpuWrite(name: "b"),
        SyncForDevice(name: "both"), DeviceRead(name: "both"), Unmap(name: "both"), FreeBuffer(name: "b"),
        MapSg(name: "list", entries: Fixed(3), size: Fixed(4096), dir: FromDevice),
        DeviceWrite(name: "list", offset: Fixed(4000), size: Fixed(200)), SyncForCpu(name: "list"), UnmapSg(name: "list")"#;
    for version in ["6.1", "6.12"] {
        for cmdline in ["swiotlb=force", "quiet"] {
            let probe = "SetMask(bits: 64), SetMinAlignMask(mask: 0xfff)";
            // Up to 6.8 a sync from the first bytes of a later slot on is dropped.
            let flips = if version == "6.1" { r#"apply: ["sync-in-lead"],"# } else { "" };
            World { version, cmdline, iommu: "None", probe, flips, body: parts, ..DIRECT }.is_silent();
        }
    }
    // A read beyond what was synced finds the old bytes.
    let beyond = r#"AllocBuffer(name: "b", size: Fixed(4096), fill: Text),
        Map(name: "m", buffer: "b", dir: ToDevice), CpuWrite(name: "b"),
        SyncForDevice(name: "m", size: Fixed(1000)), DeviceRead(name: "m", size: Fixed(2000)), Unmap(name: "m"),
        FreeBuffer(name: "b")"#;
    World { body: beyond, ..BOUNCING }.fires("wrong-data");
    World { body: &beyond.replace("Fixed(2000)", "Fixed(1000)").leak()[..], ..BOUNCING }.is_silent();
}

/// Maps through the pool below the DMA API, where the language cannot go.
fn bounce(unmap: bool) -> Vec<&'static str> {
    on_booted(&BOUNCING, move |kx| async move {
        let dev = kx.k.node(0).expect("the disk").ptr.get();
        let (dir, attrs) = (Direction::ToDevice, Attrs::default());
        let slot =
            swiotlb_tbl_map_single(&kx, dev, &MapRequest::plain(PhysAddr(0x200_0000), 4096), dir, attrs)
                .await;
        let slot = slot.expect("room in the pool");
        if unmap {
            swiotlb_tbl_unmap_single(&kx, dev, slot, 4096, dir, attrs).await;
        }
    })
    .kinds()
}

#[test]
fn slots_that_nobody_has() {
    assert_eq!(bounce(false), ["slots-lost"]);
    assert_eq!(bounce(true), [""; 0]);
}

#[test]
fn a_pool_that_contradicts_itself() {
    let outcome = on_booted(&BOUNCING, |kx| async move {
        let mem = default_pool(&kx);
        let object = kx.k.mem.borrow().heap.get(mem).expect("the pool lives");
        object.used.set(object.used.get() + 1);
    });
    assert_eq!(outcome.kinds(), ["slots-inconsistent"]);
    assert_eq!(on_booted(&BOUNCING, |_| async {}).kinds(), [""; 0]);
}

#[test]
fn a_search_for_no_slots_at_all() {
    let search = |bytes: u64| {
        on_booted(&BOUNCING, move |kx| async move {
            let dev = kx.k.node(0).expect("the disk").ptr.get();
            let (dir, attrs) = (Direction::ToDevice, Attrs::default());
            let slot =
                swiotlb_tbl_map_single(&kx, dev, &MapRequest::plain(PhysAddr(0x200_0000), bytes), dir, attrs)
                    .await;
            swiotlb_tbl_unmap_single(&kx, dev, slot.expect("room"), bytes, dir, attrs).await;
        })
        .kinds()
    };
    assert_eq!(search(0)[0], "kernel-bug");
    assert_eq!(search(1), [""; 0]);
}

#[test]
fn forced_bouncing_without_a_pool() {
    // Wants 16 GiB below 4 GiB.
    let body = r#"Map(name: "m", size: Fixed(4096), dir: ToDevice, on_error: Skip), Unmap(name: "m")"#;
    let none = World { version: "5.13", cmdline: "swiotlb=8388608,force", body, ..WORLD };
    assert!(none.fires("panic").contains("Can not allocate SWIOTLB buffer"));
    World { version: "5.13", cmdline: "swiotlb=32768,force", body, ..WORLD }.is_silent();
}
