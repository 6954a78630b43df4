//! Objects in simulated memory: alive, freed, reused, trampled.

use std::rc::Rc;

use models::mem::{
    Access, Fault, Heap, JunkClass, Kobject, LockWord, PAGE_OFFSET, PageOwner, PhysAddr, PhysRange, Ptr,
    ShadowError, Site, Source,
};
use models::swiotlb::IoTlbMem;

const AT: PhysAddr = PhysAddr(0x1_5653_f000);
/// Descriptor and slots of a 64 MiB pool.
const SIZE: u64 = 0xc_1000;

const INIT: Site = Site { func: "swiotlb_init", ctx: 1, time_ns: 10, step: 1 };
const EXIT: Site = Site { func: "swiotlb_exit", ctx: 1, time_ns: 2_360_000_000, step: 9 };

fn pool() -> (Heap, Ptr<IoTlbMem>) {
    let mut heap = Heap::new(3, 0);
    let mem = Rc::new(IoTlbMem::default());
    mem.start.set(PhysAddr(0xbb00_0000));
    mem.end.set(PhysAddr(0xbf00_0000));
    mem.nslabs.set(32768);
    let ptr = heap.alloc_object(AT, SIZE, INIT, mem).unwrap();
    (heap, ptr)
}

#[test]
fn the_pool_descriptor_has_the_layout_of_june_2021() {
    let layout = IoTlbMem::layout(0);
    assert_eq!(layout.offsets, [0x00, 0x08, 0x10, 0x18, 0x20, 0x24, 0x28, 0x30, 0x31, 0x32]);
    assert_eq!((IoTlbMem::TYPE_NAME, layout.size), ("struct io_tlb_mem", 0x38));
    let names: Vec<_> = IoTlbMem::FIELDS.iter().map(|field| field.name).collect();
    assert_eq!(names[5..9], ["lock", "debugfs", "late_alloc", "force_bounce"]);
    assert_eq!((IoTlbMem::force_bounce.index, IoTlbMem::force_bounce.size), (8, 1));
    let mem = IoTlbMem::default();
    mem.nslabs.set(0x8000);
    mem.force_bounce.set(true);
    let mut bytes = [0xee; 0x38];
    mem.encode(layout, &mut bytes);
    assert_eq!((bytes[0x11], bytes[0x31], bytes[0x33], bytes[0x37]), (0x80, 1, 0xee, 0xee));
}

#[test]
fn a_living_object_is_read_and_written_in_place() {
    let (mut heap, ptr) = pool();
    assert_eq!(heap.load(ptr, IoTlbMem::nslabs), Access::Live(32768));
    assert_eq!(heap.store(ptr, IoTlbMem::index, 5), Access::Live(()));
    assert_eq!(heap.get(ptr).unwrap().index.get(), 5);
    assert_eq!(heap.raw_read(PhysAddr(AT.0 + 0x20), 8), 5, "encoded on demand, the lock is free");
    assert_eq!(heap.adopt::<IoTlbMem>(AT.virt()), Some(ptr));
    assert_eq!(heap.adopt::<IoTlbMem>(AT.virt() + 8), None);
}

#[test]
fn a_freed_object_shows_its_old_bytes_and_then_those_of_the_next_owner() {
    let (mut heap, ptr) = pool();
    assert_eq!(heap.free_object(ptr.id, EXIT), Ok(PhysRange::new(AT, SIZE)));
    let stale = heap.load(ptr, IoTlbMem::end);
    assert_eq!(stale.value(), Some(PhysAddr(0xbf00_0000)));
    let dangling = stale.dangling().unwrap();
    assert_eq!((dangling.fault, dangling.id), (Fault::Freed, ptr.id));
    let record = heap.record(dangling.id).unwrap();
    assert_eq!((record.alloc, record.free), (INIT, Some(EXIT)));
    assert_eq!(heap.free_object(ptr.id, EXIT), Err(ShadowError::DoubleFree { id: ptr.id }));

    // Reused for text: the condition under which the machine of July 2021 crashed.
    let text = Source::Junk { class: JunkClass::Text, seed: 1, owner: 8 };
    heap.write_at(AT, 4096, text, 0).unwrap();
    assert_eq!(heap.load(ptr, IoTlbMem::force_bounce).value(), Some(true));
    let lock = heap.load(ptr, IoTlbMem::lock).value().unwrap();
    assert!(lock.0.to_le_bytes().iter().all(|&byte| byte == b'\n' || (32..127).contains(&byte)), "{lock:?}");

    // The page is live again, as somebody else's object, and the pointer still means the dead one.
    let id = heap.alloc_buffer("page cache", PhysRange::new(AT, 4096), INIT).unwrap();
    assert_eq!(heap.shadow().object_at(AT), id);
    assert_eq!(heap.load(ptr, IoTlbMem::start).dangling().unwrap().fault, Fault::Freed);
    let former: Vec<_> = heap.shadow().objects().former_at(AT).map(|(id, _)| id).collect();
    assert_eq!(former, [ptr.id]);
}

#[test]
fn a_stale_store_tramples_the_object_that_lives_there_now() {
    let (mut heap, ptr) = pool();
    heap.free_object(ptr.id, EXIT).unwrap();
    let mem = Rc::new(IoTlbMem::default());
    let next = heap.alloc_object(AT, 0x38, INIT, Rc::clone(&mem)).unwrap();
    mem.debugfs.set(Ptr::new(PAGE_OFFSET + 0x5000, 77));
    assert!(matches!(heap.store(ptr, IoTlbMem::used, 0x1234), Access::Stale((), _)));
    assert_eq!(heap.load(next, IoTlbMem::used), Access::Live(0x1234));
    // Half of the lock word, as the queued spinlock's exchange of its tail.
    assert_eq!(heap.raw_write(PhysAddr(AT.0 + 0x26), &[0, 0xc]), Ok(next.id));
    assert_eq!(mem.lock.get(), LockWord(0x0c00_0000));
    // A pointer written over with itself keeps its identity; another one has none.
    heap.copy(AT, AT, 0x38).unwrap();
    heap.raw_write(PhysAddr(AT.0 + 0x28), &(PAGE_OFFSET + 0x5000).to_le_bytes()).unwrap();
    assert_eq!(mem.debugfs.get().id, 77);
    heap.raw_write(PhysAddr(AT.0 + 0x28), &[9]).unwrap();
    assert_eq!(mem.debugfs.get(), Ptr::wild(PAGE_OFFSET + 0x5009));
}

#[test]
fn bad_pointers_say_why() {
    let (mut heap, ptr) = pool();
    let fault = |access: Access<u64>| access.dangling().map(|dangling| dangling.fault);
    assert!(
        matches!(heap.load(Ptr::<IoTlbMem>::NULL, IoTlbMem::used), Access::Oops(d) if d.fault == Fault::Null)
    );
    assert!(
        matches!(heap.load(Ptr::<IoTlbMem>::wild(0x3a_8290), IoTlbMem::used), Access::Oops(d) if d.fault == Fault::Wild)
    );
    assert_eq!(fault(heap.load(Ptr::<IoTlbMem>::wild(AT.virt()), IoTlbMem::nslabs)), Some(Fault::Wild));
    mem::kobject! {
        /// Something else.
        struct Other = "struct other" {
            /// A word.
            word: u64 = 0,
        }
        beside {
            /// Of the model alone.
            names: std::cell::RefCell<Vec<u32>>
        }
        size 8;
    }
    let other = heap.alloc_object(PhysAddr(0x9000), 8, INIT, Rc::new(Other::default())).unwrap();
    heap.get(other).unwrap().names.borrow_mut().push(1);
    assert_eq!(heap.get(other).unwrap().word.get(), 0);
    assert_eq!(heap.get(Ptr::<IoTlbMem>::new(other.addr, other.id)).unwrap_err().fault, Fault::WrongType);
    assert!(heap.get(ptr).is_ok());
}

#[test]
fn a_copy_of_a_living_object_is_a_snapshot() {
    let (mut heap, ptr) = pool();
    heap.copy(PhysAddr(0x4000), AT, 0x38).unwrap();
    heap.store(ptr, IoTlbMem::nslabs, 1);
    assert_eq!(heap.raw_read(PhysAddr(0x4010), 8), 32768);
}

#[test]
fn the_shadow_knows_pages_parts_and_slabs() {
    let mut heap = Heap::new(0, 0);
    let shadow = heap.shadow_mut();
    shadow.set_owner(PhysRange::new(PhysAddr(0), 16 << 30), PageOwner::Free { site: 0 }).unwrap();
    let slab = shadow.set_slab(PhysRange::new(PhysAddr(0x8000), 0x2000), 192).unwrap();
    let a = heap.alloc_buffer("a", PhysRange::new(PhysAddr(0x8000 + 192 * 21), 180), INIT).unwrap();
    let b = heap.alloc_buffer("b", PhysRange::new(PhysAddr(0x20), 0x20), INIT).unwrap();
    let c = heap.alloc_buffer("c", PhysRange::new(PhysAddr(0x40), 0x3000), INIT).unwrap();
    let shadow = heap.shadow();
    assert_eq!(shadow.page_owner(PhysAddr(0x9fff)), PageOwner::Slab { slab });
    assert_eq!(shadow.page_owner(PhysAddr(8 << 30)), PageOwner::Free { site: 0 });
    assert_eq!(shadow.page_owner(PhysAddr(16 << 30)), PageOwner::Unknown);
    // Slot 21 spans the border of the two pages; behind its 180 bytes nobody lives.
    let at = |offset: u64| shadow.object_at(PhysAddr(0x8000 + 192 * 21 + offset));
    assert_eq!([at(0), at(100), at(179), at(180), at(192)], [a, a, a, 0, 0]);
    let at = |addr: u64| shadow.object_at(PhysAddr(addr));
    assert_eq!(
        [at(0x1f), at(0x20), at(0x3f), at(0x40), at(0x2000), at(0x303f), at(0x3040)],
        [0, b, b, c, c, c, 0]
    );
    let mut met = Vec::new();
    shadow.for_each_object(PhysRange::new(PhysAddr(0x30), 0xa000), |id, _| met.push(id));
    assert_eq!(met, [b, c, a]);
    let overlap = PhysRange::new(PhysAddr(0x1000), 8);
    assert_eq!(heap.alloc_buffer("d", overlap, INIT), Err(ShadowError::Overlap { existing: c }));
    heap.free_object(c, EXIT).unwrap();
    assert_eq!(heap.shadow().object_at(PhysAddr(0x1000)), 0);
    assert_eq!(heap.shadow().object_at(PhysAddr(0x20)), b);
    assert!(
        heap.shadow_mut().clear_slab(PhysRange::new(PhysAddr(0x8000), 0x2000), PageOwner::Unknown).is_err()
    );
    assert_eq!(heap.shadow().objects().live().count(), 2);
}
