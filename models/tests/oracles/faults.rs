//! Pointers that lead nowhere, or to something else.

use models::device::Device;
use models::dma::{Attrs, dma_map_page_attrs};
use models::kernel::{GfpFlags, Kx, Symbol};
use models::mem::{PhysAddr, Ptr};
use models::swiotlb::Direction;
use models::swiotlb::kernel::default_pool;

use crate::support::{BOUNCING, Outcome, WORLD, World, on_booted};

const NEXT: World = World { version: "next-2021-06", cmdline: "swiotlb=force", ..WORLD };

/// Maps a page for the disk after something was done to its structure.
fn map_after(world: &World, tamper: impl FnOnce(&Kx, Ptr<Device>) -> Ptr<Device> + 'static) -> Outcome<()> {
    on_booted(world, |kx| async move {
        let dev = tamper(&kx, kx.k.node(0).expect("the disk").ptr.get());
        let (dir, attrs) = (Direction::ToDevice, Attrs::default());
        let (page, _) = kx.alloc_pages("test", 0, GfpFlags::KERNEL).await.expect("a page");
        if let Some(dma) = dma_map_page_attrs(&kx, dev, page, 4096, dir, attrs).await {
            models::dma::dma_unmap_page_attrs(&kx, dev, dma, 4096, dir, attrs).await;
        }
    })
}

#[test]
fn sound_pointers_are_silent() {
    for world in [NEXT, WORLD, BOUNCING] {
        assert_eq!(map_after(&world, |_, dev| dev).kinds(), [""; 0]);
    }
}

#[test]
fn operations_that_are_none() {
    let with_ops = |ops: u64| {
        map_after(&WORLD, move |kx, dev| {
            kx.poke(dev, Device::dma_ops, ops);
            dev
        })
    };
    for (ops, kind) in [
        (0x10, "null-pointer"),
        (0x10_0000, "page-fault"),
        (0xffff_f000_0000_0000, "page-fault"),
        (0x6174_6164_6174_6164, "general-protection-fault"),
        // Mapped: what lies there is jumped to.
        (PhysAddr(0x2000).virt(), "null-pointer"),
    ] {
        let outcome = with_ops(ops);
        assert!(outcome.result.is_none(), "{ops:#x} ends the run");
        assert_eq!(outcome.kinds()[0], kind, "{ops:#x}");
    }
    assert_eq!(with_ops(Symbol::IommuDmaOps.addr()).kinds(), [""; 0]);
}

#[test]
fn a_pool_pointer_that_is_none() {
    let with_pool = |addr: u64| {
        map_after(&NEXT, move |kx, dev| {
            kx.poke(dev, Device::dma_io_tlb_mem, Ptr::wild(addr));
            dev
        })
    };
    assert_eq!(with_pool(PhysAddr(0x2000).virt()).kinds()[0], "wild-pointer");
    assert_eq!(with_pool(0xffff_c900_0000_0000).kinds(), ["wild-pointer", "page-fault"]);
    assert_eq!(with_pool(0x7461_7461_7461_7461).kinds(), ["wild-pointer", "general-protection-fault"]);
    let sound = map_after(&NEXT, |kx, dev| {
        kx.poke(dev, Device::dma_io_tlb_mem, default_pool(kx));
        dev
    });
    assert_eq!(sound.kinds(), [""; 0]);
}

#[test]
fn an_object_that_is_no_device() {
    let outcome = map_after(&WORLD, |kx, dev| {
        let parms = kx.peek(dev, Device::dma_parms).expect("parameters");
        Ptr::new(parms.addr, parms.id)
    });
    assert_eq!(outcome.kinds()[0], "wrong-object");
    let wrong = World {
        body: r#"AllocObject(name: "o", type_name: "struct other", size: 1024),
            Map(name: "m", size: Fixed(4096), dir: ToDevice, device: Object("o"), on_error: Skip)"#,
        ..WORLD
    };
    wrong.fires("wrong-object");
    assert_eq!(map_after(&WORLD, |_, _| Ptr::NULL).kinds()[0], "null-pointer");
}

/// A descriptor of zeroes looks like a pool that is free and has no slots.
#[test]
fn a_pool_that_is_full_of_nothing() {
    let outcome = map_after(&NEXT, |kx, dev| {
        let page = PhysAddr(0x3000);
        kx.raw_write(page, &[0; 64]);
        // Only the byte that forces bouncing is set.
        kx.raw_write(PhysAddr(page.0 + 0x31), &[1]);
        kx.poke(dev, Device::dma_io_tlb_mem, Ptr::wild(page.virt()));
        dev
    });
    let kinds = outcome.kinds();
    assert!(kinds.contains(&"bogus-full"), "{kinds:?}");
    assert!(outcome.result.is_some(), "the mapping fails, and the kernel goes on");
}
