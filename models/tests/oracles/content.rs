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
