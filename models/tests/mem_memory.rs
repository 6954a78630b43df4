//! The boot of July 2021 by hand: the pool descriptor is freed late, its pages are used by others, and a stale
//! pointer decides whether to bounce.

use std::rc::Rc;

use models::mem::{
    Access, Fault, JunkClass, Memory, MemoryError, PageOwner, PcpLimits, PhysAddr, PhysRange, Placement, Ptr,
    Site, SlabContext, SlabError, Source,
};
use models::swiotlb::IoTlbMem;

const RAM: PhysRange = PhysRange { start: PhysAddr(0), end: PhysAddr(6 << 30) };
const POOL: PhysRange = PhysRange { start: PhysAddr(0x1_5653_f000), end: PhysAddr(0x1_5660_0000) };

const fn site(func: &'static str) -> Site {
    Site { func, ctx: 0, time_ns: 0, step: 0 }
}

fn boot(memory: &mut Memory) -> Ptr<IoTlbMem> {
    memory.heap.shadow_mut().set_owner(RAM, PageOwner::Memblock).unwrap();
    let mem = Rc::new(IoTlbMem::default());
    mem.nslabs.set(32768);
    let ptr = memory.heap.alloc_object(POOL.start, POOL.size(), site("swiotlb_init"), mem).unwrap();
    for (start, end) in [(0x1000, 0x9_f000), (0x10_0000, POOL.start.0), (POOL.end.0, RAM.end.0)] {
        let range = PhysRange { start: PhysAddr(start), end: PhysAddr(end) };
        memory.free_boot_range(range, Placement::Tail).unwrap();
    }
    memory.set_pcp_limits(PcpLimits::USUAL);
    ptr
}

#[test]
fn the_stale_pool_pointer_of_2021() {
    let mut memory = Memory::new(&[RAM], 2, 1, 0);
    for round in 0..2 {
        let ptr = boot(&mut memory);
        assert_eq!(memory.heap.load(ptr, IoTlbMem::force_bounce), Access::Live(false));
        memory.heap.free_object(ptr.id, site("swiotlb_exit")).unwrap();
        memory.free_late(POOL, Placement::Tail, site("swiotlb_exit")).unwrap();
        let PageOwner::Free { site: number } = memory.heap.shadow().page_owner(POOL.start) else { panic!() };
        assert_eq!(memory.site(number).unwrap().func, "swiotlb_exit");

        // The first unmap after it: a use after free on every boot, and harmless.
        let read = memory.heap.load(ptr, IoTlbMem::nslabs);
        assert_eq!((read.value(), read.dangling().unwrap().fault), (Some(32768), Fault::Freed));

        // Somebody takes pages until this one is among them, and fills it with text.
        let mut reused = false;
        while !reused {
            let page = memory.alloc_pages(0, SlabContext::default(), site("page cache")).unwrap().unwrap();
            let text = Source::Junk { class: JunkClass::Text, seed: 1, owner: 2 };
            memory.heap.write_at(page, 4096, text, 0).unwrap();
            reused = page == POOL.start;
        }
        let read = memory.heap.load(ptr, IoTlbMem::force_bounce);
        assert_eq!(
            (read.value(), read.dangling().unwrap().fault),
            (Some(true), Fault::Freed),
            "round {round}"
        );
        assert!(memory.heap.load(ptr, IoTlbMem::lock).value().unwrap().0 > 0xffff, "a queue's tail");
        memory.reset(1, 0);
    }
}

#[test]
fn slab_objects_come_and_go_with_their_owners() {
    let mut memory = Memory::new(&[RAM], 2, 1, 0);
    boot(&mut memory);
    let context = SlabContext::default();
    let ptr = memory.kmalloc_object(0x38, context, site("a"), Rc::new(IoTlbMem::default())).unwrap();
    let at = ptr.phys().unwrap();
    assert!(matches!(memory.heap.shadow().page_owner(at), PageOwner::Slab { .. }));
    assert_eq!(memory.heap.load(ptr, IoTlbMem::used), Access::Live(0));
    memory.kfree(at, 0, site("b")).unwrap();
    let again = memory.kfree(at, 0, site("c"));
    assert_eq!(again, Err(MemoryError::Slab(SlabError::DoubleFree { addr: at })));
    let (next, id) = memory.kmalloc("buffer", 64, context, site("d")).unwrap();
    assert_eq!((next, memory.heap.shadow().object_at(at)), (at, id), "reused at once");
    let read = memory.heap.load(ptr, IoTlbMem::used);
    assert_eq!(read.dangling().unwrap().fault, Fault::Freed, "and the old pointer is stale all the same");

    let buffers: Vec<_> =
        (0..400).map(|_| memory.kmalloc("many", 2000, context, site("e")).unwrap().0).collect();
    let (large, _) = memory.kmalloc("large", 100_000, context, site("f")).unwrap();
    assert!(matches!(memory.heap.shadow().page_owner(large), PageOwner::Pages { order: 5, .. }));
    for addr in buffers {
        memory.kfree(addr, 0, site("g")).unwrap();
    }
    memory.kfree(large, 0, site("h")).unwrap();
    assert!(matches!(memory.heap.shadow().page_owner(large), PageOwner::Free { .. }));
    let cache = memory.create_cache("io_tlb_mem", 0x38, 64);
    let named =
        memory.cache_alloc_object(cache, 0x38, context, site("i"), Rc::new(IoTlbMem::default())).unwrap();
    assert!(named.addr.is_multiple_of(64) && memory.heap.get(named).is_ok());
    memory.kfree(named.phys().unwrap(), 1, site("j")).unwrap();
    assert_eq!(memory.heap.shadow().objects().live().count(), 2, "the pool and one buffer");
}
