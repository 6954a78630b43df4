//! Arm's SMMUs: their words for a refused access, the races for a table, and the walks that are cached.

use std::cell::RefCell;
use std::rc::Rc;

use models::device::Device;
use models::dma::{Attrs, dma_map_page_attrs, dma_unmap_page_attrs};
use models::iommu::core::{DeviceEntry, iommu_get_dma_domain};
use models::iommu::pagetable::{Entries, FreedPage};
use models::kernel::Kx;
use models::mem::{DmaAddr, PAGE_SIZE, PhysAddr, Ptr};
use models::oracle::{check_tables_forgotten, device_dma};
use models::swiotlb::Direction;
use sim::{Finding, SpawnSpec};

use crate::support::{WORLD, World, on_booted};

const STRICT: &str = "quiet iommu.strict=1";
const LAZY: &str = "quiet iommu.strict=0";

/// Two queues that map, transfer and unmap.
const V3: World = World {
    version: "6.12",
    cmdline: STRICT,
    iommu: "Smmu(v3: (command_ns: 700))",
    body: r#"Repeat(times: Fixed(3), body: [
        Map(name: "data", size: Fixed(12288), dir: FromDevice),
        DeviceWrite(name: "data"),
        Unmap(name: "data"),
    ])"#,
    ..WORLD
};
const V2: World = World { iommu: "Smmu()", ..V3 };
/// The same, and the driver does nothing.
const IDLE: World = World { body: "", ..V3 };

#[test]
fn each_kind_maps_and_unmaps_strictly_and_lazily() {
    for version in ["6.1", "6.12"] {
        for cmdline in [STRICT, LAZY] {
            for iommu in ["Smmu()", "Smmu(v3: ())", "Smmu(v3: (command_ns: 700, range_invalidation: true))"] {
                let world = World { version, cmdline, iommu, ..V3 };
                world.is_silent();
                assert_eq!(world.enters("arm_smmu_cmdq_issue_cmdlist"), iommu.contains("v3"), "{iommu}");
                let at_once = cmdline == STRICT;
                assert_eq!(world.enters("arm_smmu_iotlb_sync"), at_once && iommu.contains("v3"), "{cmdline}");
            }
        }
    }
    assert!(V3.enters("arm_smmu_write_entry") && !V2.enters("arm_smmu_write_entry"));
}

#[test]
fn a_guest_takes_a_group_and_gives_it_back() {
    let guest = r#"(name: "qemu", body: [
        VfioAttach(bdf: "0000:02:00.0"),
        VfioMap(iova: 0x170000, pages: 32),
        VfioDma(bdf: "0000:02:00.0", iova: 0x170000, pages: 32),
        VfioUnmap(iova: 0x17f000, pages: 3),
        VfioDetach,
    ])"#;
    for version in ["6.1", "6.12"] {
        for iommu in ["Smmu()", "Smmu(v3: (command_ns: 300))"] {
            World { version, iommu, processes: guest, body: "", ..V3 }.is_silent();
        }
    }
}

async fn disk(kx: &Kx) -> Ptr<Device> {
    // The SMMU and then the disk get their drivers.
    kx.sleep(100_000_000).await;
    kx.k.node(0).expect("the disk").ptr.get()
}

/// What was found, without the races of a context that comes from nowhere with what the driver's probe did.
fn titles(findings: &[Finding]) -> Vec<&str> {
    let ours = findings.iter().filter(|finding| finding.kind != "data-race");
    ours.map(|finding| finding.title.as_str()).collect()
}

async fn mapped(kx: &Kx, dev: Ptr<Device>, phys: u64, size: u64) -> DmaAddr {
    let dir = Direction::Bidirectional;
    dma_map_page_attrs(kx, dev, PhysAddr(phys), size, dir, Attrs::default()).await.expect("room")
}

/// A refused access of the device of this number: the finding's words.
fn refused(world: &World, device: usize) -> String {
    let outcome = on_booted(world, move |kx| async move {
        disk(&kx).await;
        let node = kx.k.node(device).expect("a device");
        device_dma(&kx, &node, DmaAddr(0x1234_5000), 8, true, 1).await
    });
    assert_eq!(outcome.result, Some(false));
    let found = outcome.findings.iter().find(|finding| finding.kind == "iommu-fault");
    found.expect("a finding").title.clone()
}

#[test]
fn each_kind_tells_a_refused_access_in_its_words() {
    let v3 = refused(&V3, 0);
    assert!(v3.starts_with("arm-smmu-v3 arm-smmu-v3.0.auto: event 0x10 received: a DMA write of"), "{v3}");
    assert!(v3.ends_with("(at 0x12345000)"), "{v3}");
    let v2 = refused(&V2, 0);
    assert!(
        v2.starts_with("arm-smmu arm-smmu.0.auto: Unhandled context fault: fsr=0x402, iova=0x12345000"),
        "{v2}"
    );
    // Nothing was ever attached for the device without a driver: its entry refuses everything, and nobody is told.
    let silent = refused(&V3, 1);
    assert!(
        silent.starts_with("a DMA write of 0000:02:00.0 is refused") && silent.contains("no event"),
        "{silent}"
    );
}

#[test]
fn the_event_is_printed_with_its_record() {
    let late = World {
        body: r#"Map(name: "data", size: Fixed(4096), dir: FromDevice),
            Submit(name: "data", dma: Write, latency_us: Fixed(500), irq: []),
            Unmap(name: "data"), Sleep(us: Fixed(1000))"#,
        ..V3
    };
    late.fires("iommu-fault");
    let run = late.recorded();
    let lines: Vec<_> =
        run.log().iter().map(|line| line.text.clone()).filter(|l| l.contains("v3.0.auto: \t")).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(
        lines[0].ends_with("\t0x0000010000000010") && lines[1].ends_with("\t0x0000020000000000"),
        "{lines:?}"
    );
    assert!(run.log().iter().any(|line| line.text.ends_with("ias 48-bit, oas 48-bit (features 0x00000307)")));
}

#[test]
fn a_narrow_one_gives_narrow_addresses() {
    let narrow = World { iommu: "Smmu(address_bits: 36, v3: ())", cmdline: "quiet iommu.forcedac=1", ..V3 };
    let outcome = on_booted(&narrow, |kx| async move {
        let dev = disk(&kx).await;
        mapped(&kx, dev, 0x4000_0000, PAGE_SIZE).await.0
    });
    let dma = outcome.result.expect("it came back");
    assert!((1 << 32..1 << 36).contains(&dma), "{dma:#x}");
}

/// Two CPUs map the first pages of a domain at one time: both find that tables are missing.
#[test]
fn of_two_tables_for_one_entry_one_is_freed_and_none_is_lost() {
    for world in [IDLE, World { iommu: V2.iommu, ..IDLE }] {
        let outcome = on_booted(&world, |kx| async move {
            let dev = disk(&kx).await;
            let got = Rc::new(RefCell::new(Vec::new()));
            for cpu in 0..3_u8 {
                let (k, got) = (Rc::clone(&kx.k), Rc::clone(&got));
                kx.spawn(SpawnSpec::task("racer", cpu), move |cx| async move {
                    let kx = Kx::new(cx, k);
                    let dma = mapped(&kx, dev, 0x4000_0000 + u64::from(cpu) * PAGE_SIZE, PAGE_SIZE).await;
                    got.borrow_mut().push(dma);
                });
            }
            kx.sleep(1_000_000).await;
            let node = kx.k.node(0).expect("the disk");
            let got = got.take();
            let mut all = got.len() == 3;
            for dma in &got {
                all &= device_dma(&kx, &node, *dma, 8, false, 1).await;
            }
            for dma in got {
                let (dir, attrs) = (Direction::Bidirectional, Attrs::default());
                dma_unmap_page_attrs(&kx, dev, dma, PAGE_SIZE, dir, attrs).await;
            }
            all
        });
        assert_eq!(outcome.result, Some(true));
        assert_eq!(titles(&outcome.findings), Vec::<&str>::new());
    }
}

#[test]
fn a_table_is_freed_after_its_walks_are_forgotten() {
    const SIZE: u64 = 2 << 20;
    for world in [
        IDLE,
        World { cmdline: LAZY, ..IDLE },
        World { iommu: V2.iommu, ..IDLE },
        World { iommu: "Smmu(v3: (range_invalidation: true))", ..IDLE },
    ] {
        let outcome = on_booted(&world, |kx| async move {
            let dev = disk(&kx).await;
            let node = kx.k.node(0).expect("the disk");
            // Memory that is not aligned as its addresses are: 512 pages and a table, unmapped as one.
            let dma = mapped(&kx, dev, 0x4000_1000, SIZE).await;
            assert_eq!(dma.0 % SIZE, 0);
            assert!(device_dma(&kx, &node, dma, 8, false, 1).await);
            let domain = iommu_get_dma_domain(&kx, dev).await;
            let table = kx.k.mem.object(domain).ok().and_then(|object| {
                object.cookie.borrow().as_ref().and_then(|cookie| cookie.table.lowest_table(dma))
            });
            let (dir, attrs) = (Direction::Bidirectional, Attrs::default());
            dma_unmap_page_attrs(&kx, dev, dma, SIZE, dir, attrs).await;
            let freed = FreedPage { page: table.expect("a table"), level: 1, entries: Entries::default() };
            check_tables_forgotten(&kx, domain, &[freed]);
        });
        assert!(outcome.result.is_some());
        assert_eq!(titles(&outcome.findings), Vec::<&str>::new());
    }
}

#[test]
fn a_table_that_is_freed_under_a_cached_walk_is_found() {
    let freed_after = |access: bool| {
        let outcome = on_booted(&IDLE, move |kx| async move {
            let dev = disk(&kx).await;
            let node = kx.k.node(0).expect("the disk");
            let dma = mapped(&kx, dev, 0x4000_1000, PAGE_SIZE).await;
            let domain = iommu_get_dma_domain(&kx, dev).await;
            let object = kx.k.mem.object(domain).expect("a domain");
            let table = object.cookie.borrow().as_ref().and_then(|cookie| cookie.table.lowest_table(dma));
            if access {
                assert!(device_dma(&kx, &node, dma, 8, false, 1).await);
            }
            let freed = FreedPage { page: table.expect("a table"), level: 1, entries: Entries::default() };
            check_tables_forgotten(&kx, domain, &[freed]);
            let (dir, attrs) = (Direction::Bidirectional, Attrs::default());
            dma_unmap_page_attrs(&kx, dev, dma, PAGE_SIZE, dir, attrs).await;
        });
        titles(&outcome.findings).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(freed_after(false), Vec::<String>::new(), "before an access nothing is cached");
    let found = freed_after(true);
    assert!(found.len() == 1 && found[0].contains("the page of a translation table"), "{found:?}");
}

/// What the hardware makes of a device's entries while they are written, seen from the device.
#[test]
fn a_device_is_attached_by_its_tables() {
    for version in ["6.1", "6.12"] {
        let world = World { version, ..V3 };
        let outcome = on_booted(&world, |kx| async move {
            disk(&kx).await;
            (kx.k.iommu.entry(0), kx.k.iommu.entry(1))
        });
        let (disk, spare) = outcome.result.expect("it came back");
        assert!(matches!(disk, DeviceEntry::Domain(_)), "{version}: {disk:?}");
        assert_eq!(spare, DeviceEntry::Blocked, "{version}");
    }
    let pass = World { cmdline: "quiet iommu=pt", ..V3 };
    let outcome = on_booted(&pass, |kx| async move {
        disk(&kx).await;
        kx.k.iommu.entry(0)
    });
    assert_eq!(outcome.result, Some(DeviceEntry::Identity));
}
