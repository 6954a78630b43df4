//! What the modelled kernels decide at boot, against what the real ones do.

use models::boot::boot;
use models::device::Device;
use models::dma::dma_capable;
use models::kernel::{GfpFlags, Memory};
use models::mem::{DmaAddr, ObjectRecord, PhysAddr};
use models::scenario::Overrides;

use crate::support::{BOUNCING, DIRECT, WORLD, World, on_booted, run_path, shipped};

/// 32768 slots of 24 bytes behind a header of 0x38, in whole pages.
const DESCRIPTOR: u64 = 193 * 4096;

/// Everything that was ever allocated.
fn records(mem: &Memory) -> impl Iterator<Item = &ObjectRecord> {
    (1..).map_while(|id| mem.heap.record(id))
}

#[test]
fn the_pool_of_the_report() {
    let outcome = run_path(shipped("hp-4300g.ron", &Overrides::default()), false, |kx| async move {
        boot(&kx).await;
        let pool = kx.k.facts.borrow().pool.clone().expect("a pool");
        let mem = kx.k.mem.borrow();
        let descriptor = PhysAddr::from_virt(pool.descriptor).expect("in the direct map");
        let record = records(&mem).find(|record| record.range.start == descriptor).expect("an object");
        let offsets = kx.k.globals.per_cpu_offset.borrow().clone();
        (pool.clone(), record.range.size(), offsets)
    });
    let (pool, descriptor, offsets) = outcome.result.expect("the boot goes on");
    // 64 MiB from the top of RAM below 4 GiB, which ends at 0xbcffffff with a small piece that is too short.
    assert_eq!(pool.bytes, 64 << 20);
    assert!(pool.start % 4096 == 0 && pool.start + pool.bytes == 0xb9ae_d000, "{:#x}", pool.start);
    assert_eq!(descriptor, DESCRIPTOR);
    assert!(pool.descriptor % 4096 == 0 && pool.descriptor > PhysAddr(4 << 30).virt());
    assert_eq!(offsets.len(), 8);
    assert!(offsets.windows(2).all(|pair| pair[1] - pair[0] == 0x4_0000), "{offsets:x?}");
    assert!(offsets.iter().all(|offset| *offset >= PhysAddr(4 << 30).virt()));
}

/// `pci_iommu_alloc`: who wants a pool, and why.
#[test]
fn when_there_is_a_pool() {
    for (world, pool) in [
        (WORLD, true),
        (World { cmdline: "swiotlb=force", ..WORLD }, true),
        (World { cmdline: "swiotlb=noforce", ..WORLD }, false),
        (World { cmdline: "iommu=off", ..WORLD }, false),
        (World { cmdline: "iommu=soft", ..WORLD }, true),
        (World { cmdline: "amd_iommu=off", ..WORLD }, true),
        (World { cmdline: "mem=3G", ..WORLD }, false),
        (World { cmdline: "mem=3G swiotlb=force", ..WORLD }, true),
        (World { cmdline: "mem=3G", machine: "mem_encrypt: Sme,", ..WORLD }, true),
    ] {
        let facts = world.facts();
        assert_eq!(facts.pool.is_some(), pool, "`{}`: {}", world.cmdline, facts.pool_reason);
    }
    // Forced bouncing ends the search: no IOMMU is looked for.
    assert_eq!(World { cmdline: "swiotlb=force", ..WORLD }.facts().iommu, "none");
    assert!(WORLD.facts().iommu.starts_with("AMD-Vi"));
    assert_eq!(World { cmdline: "swiotlb=131072", ..DIRECT }.facts().pool.expect("a pool").bytes, 256 << 20);
}

/// Who gives the pool up, and what is freed then.
#[test]
fn what_is_freed_when_the_pool_goes() {
    let torn_down = |world: &World| world.facts().torn_down.is_some();
    for (cmdline, gone) in
        [("quiet", true), ("iommu=pt", false), ("amd_iommu=off", false), ("swiotlb=force", false)]
    {
        assert_eq!(torn_down(&World { cmdline, ..WORLD }), gone, "{cmdline}");
    }
    assert!(!torn_down(&World { machine: "mem_encrypt: Sme,", ..WORLD }));
    assert!(!torn_down(&World { iommu: "Vtd(snoop: true)", cmdline: "intel_iommu=on", ..WORLD }));

    // (descriptor or slot table, bounce buffer) of each kernel: freed or not.
    for (version, buffer) in [("5.13", false), ("5.14", false), ("next-2021-06", false), ("5.15", true)] {
        let outcome = on_booted(&World { version, ..WORLD }, |kx| async move {
            let mem = kx.k.mem.borrow();
            let freed = |name: &str| {
                let record = records(&mem).find(|record| record.type_name == name);
                record.map(|record| (!record.alive, record.range.size()))
            };
            (freed("struct io_tlb_mem"), freed("swiotlb slot table"), freed("swiotlb bounce buffer"))
        });
        let (descriptor, table, bounce) = outcome.result.expect("the boot ends");
        if version == "5.15" {
            // A static descriptor, with its slots apart: 192 pages.
            assert_eq!((descriptor, table), (Some((false, 0x40)), Some((true, 192 * 4096))), "{version}");
        } else {
            assert_eq!((descriptor, table), (Some((true, DESCRIPTOR)), None), "{version}");
        }
        assert_eq!(bounce, Some((buffer, 64 << 20)), "{version}");
    }
}

/// The default domain of a group.
#[test]
fn default_domains() {
    let domain = |world: World| {
        let facts = World { version: "5.13", ..world }.facts();
        (facts.devices[0].domain, facts.devices[1].domain)
    };
    const V2: &str = "caps: [Ats, Pri, Pasid]";
    assert_eq!(domain(WORLD), ("DMA", "DMA"));
    assert_eq!(domain(World { device: V2, ..WORLD }), ("identity", "DMA"));
    assert_eq!(domain(World { device: "caps: [Ats, Pri]", ..WORLD }), ("DMA", "DMA"));
    assert_eq!(domain(World { device: V2, iommu: "AmdVi(ppr: true, gt: false)", ..WORLD }), ("DMA", "DMA"));
    assert_eq!(domain(World { device: V2, cmdline: "amd_iommu=force_isolation", ..WORLD }), ("DMA", "DMA"));
    assert_eq!(domain(World { cmdline: "iommu=pt", ..WORLD }), ("identity", "identity"));
    assert_eq!(domain(World { device: V2, machine: "mem_encrypt: Sme,", ..WORLD }), ("DMA", "DMA"));
    assert_eq!(
        domain(World { device: "untrusted: true", cmdline: "iommu=pt", ..WORLD }),
        ("DMA", "identity")
    );
    let intel = World { iommu: "Vtd(snoop: true)", cmdline: "intel_iommu=on", device: V2, ..WORLD };
    assert_eq!(domain(intel.clone()), ("DMA", "DMA"));
    assert_eq!(
        domain(World { cmdline: "intel_iommu=on iommu=pt", ..intel.clone() }),
        ("identity", "identity")
    );
    assert_eq!(domain(World { cmdline: "intel_iommu=off", ..intel }), ("", ""));
    // From 5.15 on a lazy domain is a type of its own.
    assert_eq!(WORLD.facts().devices[0].domain, "DMA-FQ");
    assert_eq!(World { cmdline: "iommu.strict=1", ..WORLD }.facts().devices[0].domain, "DMA");
}

#[test]
fn what_a_device_can_address() {
    let capable = |mask: u64, limit: u64, addr: u64, size: u64| {
        let outcome = on_booted(&DIRECT, move |kx| async move {
            let dev = kx.k.node(0).expect("the disk").ptr.get();
            kx.poke(dev, Device::dma_mask, mask);
            kx.poke(dev, Device::bus_dma_limit, limit);
            dma_capable(&kx, dev, DmaAddr(addr), size).await
        });
        outcome.result.expect("it returns")
    };
    let low = 0xffff_ffff;
    assert!(capable(low, 0, 0xffff_f000, 4096));
    assert!(!capable(low, 0, 0xffff_f001, 4096));
    assert!(!capable(low, 0, 1 << 32, 1));
    assert!(capable(u64::MAX, 0, 1 << 40, 4096));
    assert!(!capable(u64::MAX, low, 1 << 32, 1));
    assert!(capable(u64::MAX, low, low, 1));
    assert!(!capable(0, 0, 0, 1), "a device without a mask reaches nothing");
}

/// A 32-bit device and a buffer above 4 GiB: bounced, or refused where there is no pool.
#[test]
fn buffers_out_of_reach() {
    let body = r#"Map(name: "m", size: Fixed(4096), dir: FromDevice, on_error: Skip), DeviceWrite(name: "m"),
        Unmap(name: "m")"#;
    let narrow = World { probe: "SetMask(bits: 32)", body, ..DIRECT };
    narrow.is_silent();
    assert_eq!(narrow.facts().devices[0].bounced, 1);
    assert_eq!(World { probe: "SetMask(bits: 64)", ..narrow.clone() }.facts().devices[0].bounced, 0);
    assert_eq!(World { body, ..BOUNCING }.facts().devices[0].bounced, 1);
    let refused = World { cmdline: "amd_iommu=off swiotlb=noforce", ..narrow };
    assert!(refused.fires("mapping-error").contains("bouncing is switched off"));
    let outcome = on_booted(&refused, |kx| async move {
        kx.alloc_pages("test", 0, GfpFlags::KERNEL).await.expect("a page").0.0 >= 1 << 32
    });
    assert_eq!(outcome.result, Some(true), "pages come from the top");
}
