//! Who owns memory.

use models::kernel::Phase;
use models::mem::PhysAddr;
use models::scenario::Overrides;

use crate::support::{BOUNCING, WORLD, World, campaign, on_bare, on_booted, shipped};

#[test]
fn freeing_twice() {
    for from in ["Pages", "Slab"] {
        let text = |tail: &str| -> &'static str {
            Box::leak(
                format!(
                    r#"AllocBuffer(name: "b", size: Fixed(512), from: {from}), FreeBuffer(name: "b"){tail}"#
                )
                .into_boxed_str(),
            )
        };
        World { body: text(r#", FreeBuffer(name: "b")"#), ..WORLD }.fires("double-free");
        World { body: text(""), ..WORLD }.is_silent();
    }
}

#[test]
fn a_buffer_that_is_used_after_it_was_freed() {
    for access in ["CpuWrite", "CpuRead"] {
        let text = |first: &str, then: &str| -> &'static str {
            Box::leak(
                format!(r#"AllocBuffer(name: "b", size: Fixed(512)), {first}(name: "b"), {then}(name: "b")"#)
                    .into_boxed_str(),
            )
        };
        let title = World { body: text("FreeBuffer", access), ..WORLD }.fires("use-after-free");
        assert!(title.contains(&access["Cpu".len()..]), "{title}");
        World { body: text(access, "FreeBuffer"), ..WORLD }.is_silent();
    }
}

/// The pool's descriptor: freed by the IOMMU's driver, or not at all.
#[test]
fn a_pool_that_is_used_after_it_was_freed() {
    let body = r#"Map(name: "m", size: Fixed(4096), dir: FromDevice), Unmap(name: "m")"#;
    let freed = World { version: "next-2021-06", body, ..WORLD };
    assert!(freed.fires("use-after-free").contains("KASAN"));
    for cmdline in ["iommu=pt", "swiotlb=force", "amd_iommu=off", "mem=3G"] {
        World { cmdline, ..freed.clone() }.is_silent();
    }
    for version in ["5.13", "5.14", "5.15"] {
        World { version, ..freed.clone() }.is_silent();
    }
    World { iommu: "None", ..freed.clone() }.is_silent();
    World { machine: "mem_encrypt: Sme,", ..freed }.is_silent();
}

#[test]
fn boot_memory_that_is_freed_at_the_wrong_time() {
    let early = on_bare(&WORLD, |kx| async move {
        kx.memblock_free_late(PhysAddr(0x10_0000), 4096).await;
    });
    assert_eq!(early.kinds(), ["free-at-wrong-time"]);
    let late = |twice: bool| {
        on_booted(&BOUNCING, move |kx| async move {
            assert!(kx.k.globals.phase.get() > Phase::PageAllocator);
            let range = kx.k.facts.borrow().pool.clone().expect("a pool");
            kx.memblock_free_late(PhysAddr(range.descriptor_page()), 4096).await;
            if twice {
                kx.memblock_free_late(PhysAddr(range.descriptor_page()), 4096).await;
            }
        })
        .kinds()
    };
    assert_eq!(late(false), [""; 0]);
    assert_eq!(late(true), ["double-free"]);
}

trait DescriptorPage {
    fn descriptor_page(&self) -> u64;
}

impl DescriptorPage for models::run::PoolFacts {
    /// A page that memblock has reserved and nobody here needs: the last of the bounce buffer.
    fn descriptor_page(&self) -> u64 {
        self.start + self.bytes - 4096
    }
}

/// What a dangling pool pointer does with other people's memory. Which of it happens depends on what they wrote.
#[test]
fn what_follows_from_a_descriptor_that_is_none() {
    let found = campaign(shipped("hp-4300g.ron", &Overrides::default()), 250);
    for kind in ["use-after-free", "wild-write", "page-fault", "general-protection-fault", "hard-lockup"] {
        assert!(found.contains_key(kind), "{kind} in {:?}", found.keys());
    }
    assert_eq!(found["use-after-free"].0, 250);
    let fixed = Overrides { apply: vec!["static-default-pool".to_owned()], ..Overrides::default() };
    let found = campaign(shipped("hp-4300g.ron", &fixed), 100);
    assert!(found.is_empty(), "{found:?}");
}

/// An object is lost with the last pointer to it.
#[test]
fn an_object_that_nothing_points_at() {
    let unbind = r#"(name: "admin", start_ms: Fixed(500), body: [
        Unbind(bdf: "0000:01:00.0"), Bind(bdf: "0000:01:00.0", driver: "disk"),
    ])"#;
    let world = World { device: "dma_range: (start: 0, size: 0x100000000),", processes: unbind, ..WORLD };
    let title = world.fires("memory-leak");
    assert!(title.contains("struct bus_dma_region"), "{title}");
    World { flips: r#"apply: ["range-map-freed-at-unbind"],"#, ..world.clone() }.is_silent();
    // The map goes with the device.
    let unplug = r#"(name: "admin", start_ms: Fixed(500), body: [Unplug(bdf: "0000:01:00.0")])"#;
    World { processes: unplug, ..world.clone() }.is_silent();
    World { device: "", ..world }.is_silent();
}

/// A confidential guest, and a driver that brings its rings up and down.
const GUEST: World = World {
    version: "6.12",
    cmdline: "",
    iommu: "None",
    machine: "mem_encrypt: Sev,",
    probe: "SetMask(bits: 64), SetCoherentMask(bits: 64)",
    body: r#"Repeat(times: Fixed(20), body: [
            AllocCoherent(name: "ring", size: Fixed(32768)), DeviceWrite(name: "ring"), FreeCoherent(name: "ring"),
        ])"#,
    ..WORLD
};

#[test]
fn coherent_memory_that_the_host_still_reads() {
    let hard = World { inject: "alloc_fail: (per_mille: 100),", ..GUEST };
    GUEST.is_silent();
    hard.is_silent();
    let given = World { flips: r#"revert: ["leak-pages-not-decrypted"],"#, ..hard.clone() }.kinds(100);
    assert!(given["freed-while-shared"].1.contains("dma_direct_alloc"), "{given:?}");
    let back = World { flips: r#"revert: ["leak-pages-not-encrypted"],"#, ..hard }.kinds(100);
    assert!(back["freed-while-shared"].1.contains("dma_direct_free"), "{back:?}");
    World { flips: r#"revert: ["leak-pages-not-decrypted", "leak-pages-not-encrypted"],"#, ..GUEST }
        .is_silent();
}

#[test]
fn coherent_memory_that_was_never_shared() {
    let body = r#"Lock(name: "l", irqsave: true, body: [AllocCoherent(name: "ring", size: Fixed(4096))]),
        DeviceRead(name: "ring"), FreeCoherent(name: "ring")"#;
    let remapped = World { config: r#""CONFIG_DMA_DIRECT_REMAP=y""#, body, ..GUEST };
    remapped.is_silent();
    let private = World { flips: r#"revert: ["pool-pages-decrypted"],"#, ..remapped };
    assert!(private.fires("private-memory").contains("not shared with the host"));
    World { config: "", ..private }.is_silent();
}
