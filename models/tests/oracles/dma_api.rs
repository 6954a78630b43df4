//! The rules of the DMA API.

use models::device::Device;
use models::dma::{Attrs, Ops, SgEntry, dma_map_page_attrs, dma_unmap_page_attrs, dma_unmap_sg_attrs};
use models::kernel::{GfpFlags, Symbol};
use models::mem::{DmaAddr, PhysAddr};
use models::oracle::{Before, MapKind, NewMapping};
use models::swiotlb::Direction;

use crate::support::{BOUNCING, DIRECT, Outcome, WORLD, World, on_booted};

const MAP: &str = r#"Map(name: "m", size: Fixed(4096), dir: FromDevice)"#;

#[test]
fn unmapping_twice() {
    let twice = r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), Unmap(name: "m"), Unmap(name: "m")"#;
    for world in [WORLD, DIRECT, BOUNCING] {
        let title = World { body: twice, ..world.clone() }.fires("dma-api-misuse");
        assert!(title.contains("has not allocated"), "{title}");
        let once = r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), Unmap(name: "m")"#;
        World { body: once, ..world }.is_silent();
    }
    // The IOMMU's code warns by itself.
    World { body: twice, ..WORLD }.fires("warn-on");
}

#[test]
fn unmapping_a_list_twice() {
    let once = r#"MapSg(name: "m", entries: Fixed(3), size: Fixed(4096), dir: ToDevice), UnmapSg(name: "m")"#;
    let twice = r#"MapSg(name: "m", entries: Fixed(3), size: Fixed(4096), dir: ToDevice), UnmapSg(name: "m"),
        UnmapSg(name: "m")"#;
    for world in [WORLD, DIRECT, BOUNCING] {
        World { body: twice, ..world.clone() }.fires("dma-api-misuse");
        World { body: once, ..world }.is_silent();
    }
}

#[test]
fn syncing_what_is_not_mapped() {
    let after =
        r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), Unmap(name: "m"), SyncForCpu(name: "m")"#;
    let before =
        r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), SyncForCpu(name: "m"), Unmap(name: "m")"#;
    let title = World { body: after, ..WORLD }.fires("dma-api-misuse");
    assert!(title.contains("tries to sync"), "{title}");
    World { body: before, ..WORLD }.is_silent();
}

#[test]
fn leaving_mappings_behind_at_unbind() {
    let unbind = r#"(name: "admin", start_ms: Fixed(500), body: [Unbind(bdf: "0000:01:00.0")])"#;
    let unplug = r#"(name: "admin", start_ms: Fixed(500), body: [Unplug(bdf: "0000:01:00.0")])"#;
    for processes in [unbind, unplug] {
        let left = World { probe: MAP, processes, ..WORLD };
        left.fires("leak-mapping");
        World { remove: r#"Unmap(name: "m")"#, ..left }.is_silent();
        let coherent = World { probe: r#"AllocCoherent(name: "c", size: Fixed(4096))"#, processes, ..WORLD };
        coherent.fires("leak-mapping");
        World { remove: r#"FreeCoherent(name: "c")"#, ..coherent }.is_silent();
    }
}

/// A driver that maps before the IOMMU is there, and unmaps after.
#[test]
fn a_path_that_changes_under_a_mapping() {
    let early = World {
        registers: "Subsys",
        probe: MAP,
        body: r#"Sleep(us: Fixed(4000000)), Unmap(name: "m")"#,
        ..WORLD
    };
    early.fires("dma-path-changed");
    World { registers: "Device", ..early.clone() }.is_silent();
    World { cmdline: "amd_iommu=off", ..early }.is_silent();
}

/// Maps a page and hands the caller what a driver has: the language cannot unmap anything else than what was mapped.
fn with_mapping<F: Future<Output = ()> + 'static>(
    unmap: impl FnOnce(models::kernel::Kx, models::mem::Ptr<Device>, DmaAddr) -> F + 'static,
) -> Outcome<()> {
    on_booted(&WORLD, |kx| async move {
        let dev = kx.k.node(0).expect("the disk").ptr.get();
        let (phys, _) = kx.alloc_pages("test", 1, GfpFlags::KERNEL).await.expect("pages");
        let dma = dma_map_page_attrs(&kx, dev, phys, 8192, Direction::FromDevice, Attrs::default()).await;
        unmap(kx, dev, dma.expect("a mapping")).await;
    })
}

#[test]
fn unmapping_with_other_arguments() {
    let attrs = Attrs::default();
    let right = with_mapping(move |kx, dev, dma| async move {
        dma_unmap_page_attrs(&kx, dev, dma, 8192, Direction::FromDevice, attrs).await;
    });
    assert_eq!(right.kinds(), [""; 0]);
    let size = with_mapping(move |kx, dev, dma| async move {
        dma_unmap_page_attrs(&kx, dev, dma, 4096, Direction::FromDevice, attrs).await;
    });
    let direction = with_mapping(move |kx, dev, dma| async move {
        dma_unmap_page_attrs(&kx, dev, dma, 8192, Direction::ToDevice, attrs).await;
    });
    let function = with_mapping(move |kx, dev, dma| async move {
        let entry = SgEntry { phys: PhysAddr(0), length: 8192, dma, dma_length: 8192, at: dma };
        dma_unmap_sg_attrs(&kx, dev, &[entry], 1, Direction::FromDevice, attrs).await;
    });
    for (outcome, what) in
        [(size, "different size"), (direction, "different direction"), (function, "wrong function")]
    {
        // A list has a number of entries, and a page has none.
        let found = if what == "wrong function" { 2 } else { 1 };
        assert_eq!(outcome.kinds(), ["dma-api-misuse"].repeat(found), "{what}");
        assert!(outcome.findings[0].title.contains(what), "{}", outcome.findings[0].title);
        assert_eq!(outcome.findings[0].discriminator, what);
    }
}

#[test]
fn operations_that_are_swapped_under_a_mapping() {
    let swapped = with_mapping(|kx, dev, dma| async move {
        assert_eq!(kx.peek(dev, Device::dma_ops), Some(Symbol::IommuDmaOps.addr()));
        kx.poke(dev, Device::dma_ops, 0);
        dma_unmap_page_attrs(&kx, dev, dma, 8192, Direction::FromDevice, Attrs::default()).await;
    });
    // The bus address and the translation are left behind: the direct path knows of neither.
    assert_eq!(swapped.kinds(), ["dma-path-changed", "lost-iova", "left-translation"]);
}

/// No path of the kernel hands out such an address; the oracle watches the paths.
#[test]
fn a_mapping_beyond_the_mask() {
    let given = |dma: u64| {
        on_booted(&DIRECT, move |kx| async move {
            let dev = kx.k.node(0).expect("the disk").ptr.get();
            kx.poke(dev, Device::dma_mask, 0xffff_ffff);
            let new = NewMapping {
                dma: DmaAddr(dma),
                size: 4096,
                // At the same place in its page.
                phys: PhysAddr(0x2000_0000 + dma % 4096),
                dir: Direction::ToDevice,
                kind: MapKind::Single,
                ops: Ops::Direct,
                given: true,
                entries: 0,
            };
            kx.k.ledger.mapped(&kx, dev, &new, &[(new.dma, new.phys, 4096)], &mut Before::default());
        })
    };
    assert_eq!(given(0x1_0000_0000).kinds(), ["dma-beyond-mask"]);
    assert!(given(0xffff_f001).kinds().contains(&"dma-beyond-mask"));
    assert_eq!(given(0xffff_f000).kinds(), [""; 0]);
}

#[test]
fn failed_mappings() {
    let big = r#"Map(name: "m", size: Fixed(1048576), dir: ToDevice, on_error: Skip), Unmap(name: "m")"#;
    let title = World { body: big, ..BOUNCING }.fires("mapping-error");
    assert!(title.contains("swiotlb buffer is full"), "{title}");
    let fits = r#"Map(name: "m", size: Fixed(262144), dir: ToDevice, on_error: Skip), Unmap(name: "m")"#;
    World { body: fits, ..BOUNCING }.is_silent();
    World { body: big, ..WORLD }.is_silent();
}
