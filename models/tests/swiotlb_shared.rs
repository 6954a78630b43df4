//! The allocator for threads against the one without: the same calls in the same order give the same slots; and on
//! real threads nothing is lost.

use std::sync::Arc;
use std::thread;

use models::mem::PhysAddr;
use models::swiotlb::literal::Release;
use models::swiotlb::{
    Asker, BounceRules, Device, DmaLimits, DmaPages, GrowingPools, MapRequest, PoolSize, PoolsSetup,
    SearchRules, SharedPools, StdThreads, ZONE_DMA32_LIMIT, Zone,
};
use proptest::prelude::*;

/// Blocks that only move upwards; `left` more can be had.
#[derive(Clone, Debug, Default)]
struct Pages {
    next: u64,
    left: u32,
    out: i64,
}

impl DmaPages for Pages {
    fn alloc_pages(&mut self, _zone: Zone, order: u32) -> Option<PhysAddr> {
        self.left = self.left.checked_sub(1)?;
        let bytes = 4096_u64 << order;
        let block = self.next.next_multiple_of(bytes);
        self.next = block + bytes;
        self.out += 1;
        Some(PhysAddr(0x1000_0000 + block))
    }

    fn free_pages(&mut self, _block: PhysAddr, _order: u32) {
        self.out -= 1;
    }
}

const START: PhysAddr = PhysAddr(0x400_0000);

fn setup(size: PoolSize) -> PoolsSetup {
    PoolsSetup {
        search: SearchRules::v6_12(),
        start: START,
        size,
        phys_limit: ZONE_DMA32_LIMIT,
        devices: 2,
        max_pools: 64,
        counts_usage: true,
    }
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Map {
        device: u32,
        cpu: u32,
        addr: u64,
        size: u64,
        min_align_mask: u32,
    },
    /// The n-th of what is mapped.
    Unmap(usize),
    Worker,
}

fn call() -> impl Strategy<Value = Call> {
    let map =
        (0..2_u32, 0..8_u32, 0..0x10_0000_u64, 1..0x4_1000_u64, prop::sample::select(vec![0, 0xfff, 0x7ff]));
    prop_oneof![
        6 => map.prop_map(|(device, cpu, addr, size, min_align_mask)| {
            Call::Map { device, cpu, addr, size, min_align_mask }
        }),
        4 => (0..64_usize).prop_map(Call::Unmap),
        1 => Just(Call::Worker),
    ]
}

fn limits(min_align_mask: u32) -> DmaLimits {
    DmaLimits { min_align_mask, ..DmaLimits::default() }
}

proptest! {
    #[test]
    fn threads_change_nothing(
        calls in prop::collection::vec(call(), 1..80),
        nareas in prop::sample::select(vec![1_u32, 2, 4]),
        left in 0..40_u32,
    ) {
        let size = PoolSize { nslabs: 1024, nareas };
        let mut pages = Pages { left, ..Pages::default() };
        let shared = SharedPools::<StdThreads, _>::new(setup(size), pages.clone()).unwrap();
        let mut plain =
            GrowingPools::new(SearchRules::v6_12(), BounceRules::v6_9_rc4(), START, size, ZONE_DMA32_LIMIT);
        let mut live = Vec::new();
        for call in calls {
            match call {
                Call::Map { device, cpu, addr, size, min_align_mask } => {
                    let asker = Asker {
                        device: Device(device),
                        cpu,
                        limits: limits(min_align_mask),
                        phys_limit: ZONE_DMA32_LIMIT,
                    };
                    let request = MapRequest::plain(PhysAddr(0x7000_0000 + addr), size);
                    let found = shared.map(&asker, &request);
                    prop_assert_eq!(found, plain.map(&asker, &request, &mut pages));
                    if let Ok(found) = found {
                        let at = found.mapping.tlb_addr;
                        prop_assert_eq!(shared.find_pool(asker.device, at), Some((found.pool, found.transient)));
                        live.push((asker, at));
                    }
                }
                Call::Unmap(nth) if !live.is_empty() => {
                    let (asker, at) = live.swap_remove(nth % live.len());
                    let released = shared.unmap(asker.device, asker.limits, at);
                    prop_assert_eq!(released, plain.unmap(asker.device, asker.limits, at, &mut pages));
                    shared.reclaim();
                }
                Call::Unmap(_) => {}
                Call::Worker => {
                    prop_assert_eq!(shared.run_worker(), plain.run_worker(&mut pages));
                }
            }
            prop_assert_eq!(shared.usage(), plain.usage());
            prop_assert_eq!(shared.transient_nslabs(), plain.transient_nslabs());
            prop_assert_eq!(shared.is_queued(), plain.is_queued());
            prop_assert_eq!(shared.with_pages(|pages| pages.out), pages.out);
        }
        let pools: Vec<_> = plain.pools().iter().map(|pool| (pool.start(), pool.size())).collect();
        prop_assert_eq!(shared.pools(), pools);
    }
}

#[test]
fn four_threads_lose_nothing() {
    let pages = Pages { left: u32::MAX, ..Pages::default() };
    let size = PoolSize { nslabs: 256, nareas: 2 };
    let pools = Arc::new(SharedPools::<StdThreads, _>::new(setup(size), pages).unwrap());
    let threads: Vec<_> = (0..4)
        .map(|cpu| {
            let pools = Arc::clone(&pools);
            thread::spawn(move || {
                let limits = DmaLimits::default();
                let asker = Asker { device: Device(cpu % 2), cpu, limits, phys_limit: ZONE_DMA32_LIMIT };
                for round in 0..2_000_u64 {
                    let sizes = [0x4_0000, 0x1_0000, 0x800].map(|size| size - (round & 0xff));
                    let held =
                        sizes.map(|size| pools.map(&asker, &MapRequest::plain(PhysAddr(0x7000_0000), size)));
                    for mapping in held.into_iter().flatten() {
                        let at = mapping.mapping.tlb_addr;
                        assert!(matches!(pools.unmap(asker.device, limits, at), Some(Release::Done { .. })));
                    }
                    if round % 64 == 0 {
                        pools.reclaim();
                        if pools.pools().len() < 3 {
                            pools.run_worker();
                        }
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    pools.reclaim();
    assert_eq!((pools.used(), pools.usage().total_used, pools.transient_nslabs()), (0, 0, 0));
    let grown = i64::try_from(pools.pools().len()).unwrap() - 1;
    assert_eq!(pools.with_pages(|pages| pages.out), grown);
}

#[test]
fn what_cannot_be_shared_is_refused() {
    let refused = |nslabs, nareas| {
        SharedPools::<StdThreads, _>::new(setup(PoolSize { nslabs, nareas }), Pages::default())
    };
    assert!(refused(0, 1).is_err());
    assert!(refused(128, 0).is_err());
    assert!(refused(192, 2).is_err());
    assert!(refused(384, 1).is_ok());
    assert!(refused(384, 3).is_err(), "half of it would be 192");
    // A device that does not exist.
    let pools = refused(128, 1).unwrap();
    let asker = Asker { device: Device(2), cpu: 0, limits: DmaLimits::default(), phys_limit: u64::MAX };
    assert!(pools.map(&asker, &MapRequest::plain(PhysAddr(0), 1)).is_err());
    assert!(pools.find_pool(Device(2), START).is_none());
}
