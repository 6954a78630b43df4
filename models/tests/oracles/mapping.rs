//! What a mapping function promises: permissions, segments, slots while there are some, and what the pools behind it keep.

use models::device::Device;
use models::dma::atomic_pool::{dma_alloc_from_pool, dma_free_from_pool};
use models::dma::{Attrs, Ops, dma_map_page_attrs, dma_unmap_page_attrs};
use models::kernel::Kx;
use models::mem::{DmaAddr, PAGE_SIZE, PhysAddr, Ptr};
use models::oracle::{
    Before, MapKind, NewMapping, check_iova, check_refused_mapping, check_refused_slots, check_unpublished,
    slots_seen,
};
use models::swiotlb::kernel::{
    PoolPtr, default_pool, dma_limits, swiotlb_tbl_map_single, swiotlb_unmap_if_bounced,
};
use models::swiotlb::{Direction, DmaLimits, MapRequest, PoolSize, Request};

use crate::support::{BOUNCING, DIRECT, Outcome, WORLD, World, on_booted};

const STRICT: World = World { version: "6.12", cmdline: "iommu.strict=1", ..WORLD };
/// 512 slots in one area, and a kernel whose pools grow.
const GROWING: World = World {
    version: "6.12",
    config: r#""CONFIG_SWIOTLB_DYNAMIC=y""#,
    cmdline: "amd_iommu=off swiotlb=512,1",
    ..DIRECT
};
const BUFFER: PhysAddr = PhysAddr(0x20_0000);

fn disk(kx: &Kx) -> Ptr<Device> {
    kx.k.node(0).expect("the disk").ptr.get()
}

fn titles<R>(outcome: &Outcome<R>) -> Vec<(&'static str, String)> {
    outcome.findings.iter().map(|finding| (finding.kind, finding.title.clone())).collect()
}

#[test]
fn a_translation_that_allows_more_or_less_than_its_mapping() {
    let path = |claimed: Direction| {
        on_booted(&STRICT, move |kx| async move {
            let (dev, dir, attrs) = (disk(&kx), Direction::ToDevice, Attrs::default());
            let dma = dma_map_page_attrs(&kx, dev, BUFFER, PAGE_SIZE, dir, attrs).await.expect("an address");
            let attrs = attrs.with_skip_cpu_sync();
            let left = kx.k.ledger.leaving(&kx, dev, dma);
            kx.k.ledger.unmapped(&kx, dev, left, attrs);
            let (kind, ops) = (MapKind::Single, Ops::Iommu);
            let new = NewMapping {
                dma,
                size: PAGE_SIZE,
                phys: BUFFER,
                dir: claimed,
                kind,
                ops,
                given: true,
                entries: 0,
            };
            kx.k.ledger.mapped(&kx, dev, &new, &[(dma, BUFFER, PAGE_SIZE)], &mut Before::default());
            dma_unmap_page_attrs(&kx, dev, dma, PAGE_SIZE, claimed, attrs).await;
        })
    };
    let more = path(Direction::FromDevice);
    assert_eq!(more.kinds(), ["wrong-permission"]);
    assert!(more.findings[0].title.contains("allows more (read: true, write: false)"), "{:?}", titles(&more));
    let less = path(Direction::Bidirectional);
    assert!(less.findings[0].title.contains("does not allow that"), "{:?}", titles(&less));
    assert!(path(Direction::ToDevice).findings.is_empty());
}

/// A segment of several entries, each a page, as if a list had been joined.
fn segment(start: u64, pages: u64) -> Vec<(&'static str, String)> {
    let outcome = on_booted(&STRICT, move |kx| async move {
        let dev = disk(&kx);
        let (kind, ops, dir) = (MapKind::Scatter, Ops::Iommu, Direction::ToDevice);
        let (dma, size) = (DmaAddr(start), pages * PAGE_SIZE);
        let new = NewMapping { dma, size, phys: BUFFER, dir, kind, ops, given: true, entries: 40 };
        let entry = |page: u64| {
            (dma.wrapping_add(page * PAGE_SIZE), BUFFER.wrapping_add(2 * page * PAGE_SIZE), PAGE_SIZE)
        };
        let pieces: Vec<_> = (0..pages).map(entry).collect();
        kx.k.ledger.mapped(&kx, dev, &new, &pieces, &mut Before::default());
        let left = kx.k.ledger.leaving(&kx, dev, dma);
        kx.k.ledger.unmapped(&kx, dev, left, Attrs::default().with_skip_cpu_sync());
    });
    titles(&outcome)
}

#[test]
fn a_segment_that_the_device_does_not_take() {
    let long = segment(0xffe0_0000, 17);
    assert_eq!(long[0].0, "bad-segment");
    assert!(long[0].1.contains("17 entries were joined to 69632 bytes"), "{long:?}");
    let across = segment(0xffff_f000, 2);
    assert!(across[0].1.contains("lie across a boundary of 0xffffffff"), "{across:?}");
    assert!(segment(0xffe0_0000, 16).is_empty());
}

#[test]
fn slots_that_are_refused_although_there_are_some() {
    let path = |full: bool| {
        on_booted(
            &World { cmdline: "amd_iommu=off swiotlb=512,1", version: "6.12", ..DIRECT },
            move |kx| async move {
                let (dev, mem) = (disk(&kx), default_pool(&kx));
                let limits = dma_limits(&kx, dev).await;
                let mut taken = 0;
                while full && taken < 1000 {
                    let request = MapRequest::plain(BUFFER, 256 << 10);
                    let attrs = Attrs { no_warn: true, ..Attrs::default() };
                    if swiotlb_tbl_map_single(&kx, dev, &request, Direction::ToDevice, attrs).await.is_none()
                    {
                        break;
                    }
                    taken += 1;
                }
                let request = Request { orig_addr: BUFFER, alloc_size: 4096, alloc_align_mask: 0 };
                let seen = slots_seen(&kx, mem);
                check_refused_slots(&kx, dev, mem, limits, &request, seen);
                check_refused_mapping(&kx, dev, mem, limits, &MapRequest::plain(BUFFER, 4096), seen);
            },
        )
    };
    let found = titles(&path(false));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|(kind, _)| *kind == "refused-with-room"));
    assert!(found[0].1.contains("there is room for them at"), "{found:?}");
    assert!(
        found[1].1.contains("is refused by an empty pool, and 262144 is said to be possible"),
        "{found:?}"
    );
    // Those that took everything did so past the ledger, which is all that is found.
    assert_eq!(path(true).kinds(), ["slots-lost"]);
}

/// A pool of one segment, of which the device's boundary leaves parts: what fits into none of them is refused.
#[test]
fn an_empty_pool_may_refuse_what_the_boundary_leaves_no_room_for() {
    let refused = |size: u64, above: u64| {
        let world = World { cmdline: "amd_iommu=off swiotlb=128,1", version: "6.12", ..DIRECT };
        let outcome = on_booted(&world, move |kx| async move {
            let (dev, mem) = (disk(&kx), default_pool(&kx));
            let start = PoolPtr::First(mem).with(&kx, |pool| pool.slot_addr(0)).expect("a pool");
            // The boundary lies so far above the start of the pool; what is left of it is behind.
            let mask = (1 << start.wrapping_add(above).0.trailing_zeros()) - 1;
            let limits = DmaLimits { min_align_mask: 0, seg_boundary_mask: mask };
            check_refused_mapping(
                &kx,
                dev,
                mem,
                limits,
                &MapRequest::plain(BUFFER, size),
                slots_seen(&kx, mem),
            );
            mask
        });
        (outcome.result.expect("it ends"), titles(&outcome).len())
    };
    // Nowhere near: the pool is aligned to no more than a page.
    let (mask, found) = refused(256 << 10, 128 << 10);
    assert!(mask >= 0xfff, "{mask:#x}");
    assert_eq!(found, 0, "{mask:#x}");
    let (mask, found) = refused(4096, 128 << 10);
    assert_eq!(found, 1, "{mask:#x}");
}

#[test]
fn a_slot_that_is_nobodys_beside_one_that_is_somebodys() {
    let path = |lost: bool| {
        on_booted(
            &World { cmdline: "amd_iommu=off swiotlb=force", version: "6.12", ..BOUNCING },
            move |kx| async move {
                let (dev, dir, attrs) = (disk(&kx), Direction::ToDevice, Attrs::default());
                let _kept = dma_map_page_attrs(&kx, dev, BUFFER, 512, dir, attrs).await;
                if lost {
                    swiotlb_tbl_map_single(&kx, dev, &MapRequest::plain(BUFFER, 6000), dir, attrs).await;
                }
            },
        )
    };
    let lost = path(true);
    assert_eq!(lost.kinds(), ["slots-lost"]);
    assert!(lost.findings[0].title.contains("3 slots are in use"), "{:?}", titles(&lost));
    assert!(path(false).findings.is_empty());
}

/// Takes more than the pool has, so that one is made for the last mapping.
async fn overfill(kx: &Kx) -> Vec<PhysAddr> {
    let mut all = Vec::new();
    for nth in 0..5 {
        let request = MapRequest::plain(BUFFER.wrapping_add(nth << 20), 256 << 10);
        let dir = Direction::ToDevice;
        all.extend(swiotlb_tbl_map_single(kx, disk(kx), &request, dir, Attrs::default()).await);
    }
    all
}

/// Gives back what `overfill` took.
async fn give_back(kx: &Kx, all: Vec<PhysAddr>) {
    for at in all {
        let (size, dir) = (256 << 10, Direction::ToDevice);
        swiotlb_unmap_if_bounced(kx, disk(kx), at, size, dir, Attrs::default()).await;
    }
}

#[test]
fn a_pool_that_is_freed_while_it_can_be_found() {
    let path = |early: bool| {
        on_booted(&GROWING, move |kx| async move {
            let all = overfill(&kx).await;
            let dev = kx.k.mem.borrow().heap.get(disk(&kx)).expect("a device");
            let own = dev.io_tlb.transient_pools();
            let Some(PoolPtr::Added(pool)) = own.first().copied() else { panic!("a pool for one mapping") };
            if early {
                check_unpublished(&kx, pool);
            }
            give_back(&kx, all).await;
            if early {
                check_unpublished(&kx, pool);
            }
        })
    };
    let found = titles(&path(true));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].1.contains("it is still on a list") && found[1].1.contains("no grace period"),
        "{found:?}"
    );
    assert!(path(false).findings.is_empty());
}

#[test]
fn pools_that_are_too_high_or_not_counted() {
    let path = |moved: u64, slots: u32| {
        on_booted(&GROWING, move |kx| async move {
            let all = overfill(&kx).await;
            give_back(&kx, all).await;
            // The worker adds a pool for everybody.
            kx.sleep(50_000_000).await;
            let mem = kx.k.mem.borrow().heap.get(default_pool(&kx)).expect("the allocator");
            let pools = mem.growth.get().expect("pools grow").pools();
            assert!(matches!(pools[0], PoolPtr::Added(_)), "{pools:?}");
            pools[0].with(&kx, |pool| {
                let PoolSize { nslabs, nareas } = pool.size();
                let start = pool.start().wrapping_add(moved);
                pool.reset(start, PoolSize { nslabs: nslabs - slots, nareas });
            });
        })
    };
    assert_eq!(path(8 << 30, 0).kinds(), ["pool-too-high"]);
    assert_eq!(path(0, 128).kinds(), ["slots-inconsistent"]);
    assert!(path(0, 0).findings.is_empty());
}

#[test]
fn pages_for_atomic_requests_that_nobody_has() {
    let path = |kept: bool| {
        on_booted(&World { machine: "mem_encrypt: Sev,", ..GROWING }, move |kx| async move {
            let pages = dma_alloc_from_pool(&kx, Some(disk(&kx)), 8192).await.expect("two pages");
            if !kept {
                assert!(dma_free_from_pool(&kx, pages, 8192).await);
            }
        })
    };
    let kept = path(true);
    assert_eq!(kept.kinds(), ["memory-leak"]);
    assert!(
        kept.findings[0].title.contains("2 pages of the pools of atomic allocations"),
        "{:?}",
        titles(&kept)
    );
    assert!(path(false).findings.is_empty());
}

#[test]
fn a_bus_address_that_is_an_interrupt() {
    use models::iommu::iova::IovaPfn;
    let path = |at: u64| {
        on_booted(&STRICT, move |kx| async move {
            check_iova(&kx, Ok(DmaAddr(at)), IovaPfn(1), 0xffff_ffff, 2 * PAGE_SIZE);
        })
    };
    let inside = path(0xfeef_f000);
    assert_eq!(inside.kinds(), ["iova-out-of-range"]);
    assert!(inside.findings[0].title.contains("in the window of interrupt messages"));
    assert!(path(0xfef0_0000).findings.is_empty());
}
