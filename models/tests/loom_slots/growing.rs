//! Pools that come and go: a pool is seen whole or not at all, a live mapping always has its pool, and nobody looks at
//! a pool that was freed.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread::spawn;
use models::mem::PhysAddr;
use models::swiotlb::literal::Release;
use models::swiotlb::{
    Asker, Device, DmaLimits, DmaPages, MapError, MapRequest, PoolMapping, PoolSize, PoolsSetup, SearchRules,
    SharedPools, Zone,
};

use crate::explore::{holds, is_caught};
use crate::platform::{Loom, NoGracePeriod, RELAXED_PUBLICATION, SOUND, WITHOUT_MB, WITHOUT_RMB, Waits};

const SLOT: u64 = 2048;
/// All slots of a pool.
const ALL: u64 = 128;

/// Blocks that were given out; an address is never given out twice.
#[derive(Default)]
struct Pages {
    given: u64,
    out: Vec<(PhysAddr, u32)>,
}

impl DmaPages for Pages {
    fn alloc_pages(&mut self, _zone: Zone, order: u32) -> Option<PhysAddr> {
        self.given += 1;
        let block = PhysAddr(0x1000_0000 + self.given * 0x10_0000);
        self.out.push((block, order));
        Some(block)
    }

    fn free_pages(&mut self, block: PhysAddr, order: u32) {
        let at = self.out.iter().position(|&out| out == (block, order)).expect("block freed twice");
        self.out.remove(at);
    }
}

type Sound = Loom<SOUND, Waits>;
/// Where nothing is freed: the lock of the readers would order more than the kernel does.
type Bare<const MISSING: u8> = Loom<MISSING, NoGracePeriod>;
type Pools<P> = Arc<SharedPools<P, Pages>>;

fn pools<P: models::swiotlb::Platform>(counts_usage: bool) -> Pools<P> {
    let setup = PoolsSetup {
        search: SearchRules::v6_12(),
        start: PhysAddr(0x400_0000),
        size: PoolSize { nslabs: 128, nareas: 1 },
        phys_limit: u64::MAX,
        devices: 3,
        max_pools: 5,
        counts_usage,
    };
    Arc::new(SharedPools::new(setup, Pages::default()).unwrap())
}

fn map<P: models::swiotlb::Platform>(
    pools: &Pools<P>,
    device: u32,
    slots: u64,
) -> Result<PoolMapping, MapError> {
    let asker =
        Asker { device: Device(device), cpu: 0, limits: DmaLimits::default(), phys_limit: 0xffff_ffff };
    pools.map(&asker, &MapRequest::plain(PhysAddr(0x7000_0000), slots * SLOT))
}

fn unmap<P: models::swiotlb::Platform>(pools: &Pools<P>, device: u32, mapping: &PoolMapping) {
    let release = pools.unmap(Device(device), DmaLimits::default(), mapping.mapping.tlb_addr);
    let Some(Release::Done { nslots, .. }) = release else {
        panic!("no pool for a live mapping: {release:?}")
    };
    assert_eq!(nslots, i64::from(mapping.mapping.nslots), "slots given back");
}

/// All mappings were given back.
fn check_end<P: models::swiotlb::Platform>(pools: &Pools<P>) {
    pools.reclaim();
    assert_eq!(pools.used(), 0, "slots in use at the end");
    assert_eq!((pools.usage().total_used, pools.transient_nslabs()), (0, 0), "slots counted at the end");
    let grown = pools.pools().len() - 1;
    assert_eq!(pools.with_pages(|pages| pages.out.len()), grown, "blocks in use at the end");
}

/// The first pool is full; a worker adds another, a driver maps a buffer in it, or in one of its own, and passes the
/// address to another CPU, which asks whose it is.
fn address_passed_on<const MISSING: u8>() {
    let pools = pools::<Bare<MISSING>>(false);
    let all = map(&pools, 0, ALL).unwrap();
    pools.queue_worker();
    let passed = Arc::new(AtomicU64::new(0));
    let worker = {
        let pools = Arc::clone(&pools);
        spawn(move || pools.run_worker())
    };
    let driver = {
        let (pools, passed) = (Arc::clone(&pools), Arc::clone(&passed));
        spawn(move || {
            let mapping = map(&pools, 1, 1).unwrap();
            passed.store(mapping.mapping.tlb_addr.0, Ordering::Relaxed);
            mapping
        })
    };
    let addr = passed.load(Ordering::Relaxed);
    if addr != 0 {
        assert!(pools.find_pool(Device(1), PhysAddr(addr)).is_some(), "no pool for a live mapping");
    }
    worker.join().unwrap();
    let mapping = driver.join().unwrap();
    unmap(&pools, 1, &mapping);
    unmap(&pools, 0, &all);
    check_end(&pools);
}

/// Two drivers map in a pool that a worker is adding.
fn pool_added<const MISSING: u8>() {
    let pools = pools::<Bare<MISSING>>(false);
    let all = map(&pools, 0, ALL).unwrap();
    pools.queue_worker();
    let drivers: Vec<_> = [1, 2]
        .map(|device| {
            let pools = Arc::clone(&pools);
            spawn(move || map(&pools, device, 1).unwrap())
        })
        .into();
    pools.run_worker();
    let held: Vec<PoolMapping> = drivers.into_iter().map(|driver| driver.join().unwrap()).collect();
    assert_ne!(held[0].mapping.tlb_addr, held[1].mapping.tlb_addr, "slot in two mappings");
    for (device, mapping) in (1..).zip(&held) {
        unmap(&pools, device, mapping);
    }
    unmap(&pools, 0, &all);
    check_end(&pools);
}

/// A device has two pools of its own. One is retired and freed while another CPU looks for the other.
fn retired_while_looked_for<R: models::swiotlb::ReadSections + Send + Sync + 'static>() {
    let pools = pools::<Loom<SOUND, R>>(false);
    let all = map(&pools, 0, ALL).unwrap();
    let (kept, retired) = (map(&pools, 1, 1).unwrap(), map(&pools, 1, 2).unwrap());
    let reader = {
        let pools = Arc::clone(&pools);
        spawn(move || {
            let found = pools.find_pool(Device(1), kept.mapping.tlb_addr);
            assert_eq!(found, Some((kept.pool, true)), "no pool for a live mapping");
        })
    };
    let driver = {
        let pools = Arc::clone(&pools);
        spawn(move || {
            unmap(&pools, 1, &retired);
            pools.reclaim();
            // The descriptor is used again, by another device.
            map(&pools, 2, 3).unwrap()
        })
    };
    reader.join().unwrap();
    let reused = driver.join().unwrap();
    unmap(&pools, 1, &kept);
    unmap(&pools, 2, &reused);
    unmap(&pools, 0, &all);
    check_end(&pools);
}

/// A pool is added, a transient one is retired, and a driver maps and unmaps, all at once, and counted.
fn grows_and_retires<R: models::swiotlb::ReadSections + Send + Sync + 'static>() {
    let pools = pools::<Loom<SOUND, R>>(true);
    let all = map(&pools, 0, ALL).unwrap();
    let (kept, retired) = (map(&pools, 1, 1).unwrap(), map(&pools, 1, 2).unwrap());
    assert!(retired.transient && pools.is_queued());
    let driver = {
        let pools = Arc::clone(&pools);
        spawn(move || {
            let mapping = map(&pools, 1, 1).unwrap();
            unmap(&pools, 1, &kept);
            mapping
        })
    };
    let retiring = {
        let pools = Arc::clone(&pools);
        spawn(move || {
            unmap(&pools, 1, &retired);
            pools.reclaim();
        })
    };
    pools.run_worker();
    let mapping = driver.join().unwrap();
    retiring.join().unwrap();
    unmap(&pools, 1, &mapping);
    unmap(&pools, 0, &all);
    assert!(pools.usage().used_hiwater >= ALL + 3, "slots at the mark");
    check_end(&pools);
}

#[test]
fn address_passed_on_3_threads_bound_3() {
    holds("address_passed_on_3_threads_bound_3", Some(3), address_passed_on::<SOUND>);
}

#[test]
fn address_passed_on_3_threads_bound_3_without_mb_is_caught() {
    is_caught("no smp_mb()", Some(3), "no pool for a live mapping", address_passed_on::<WITHOUT_MB>);
}

#[test]
fn address_passed_on_3_threads_bound_3_without_rmb_is_caught() {
    is_caught("no smp_rmb()", Some(3), "no pool for a live mapping", address_passed_on::<WITHOUT_RMB>);
}

#[test]
fn pool_added_3_threads_bound_3() {
    holds("pool_added_3_threads_bound_3", Some(3), pool_added::<SOUND>);
}

#[test]
fn pool_added_3_threads_bound_3_with_relaxed_publication_is_caught() {
    is_caught("relaxed publication", Some(3), "before it was published", pool_added::<RELAXED_PUBLICATION>);
}

#[test]
fn retired_while_looked_for_2_threads_bound_3() {
    holds("retired_while_looked_for_2_threads_bound_3", Some(3), retired_while_looked_for::<Waits>);
}

#[test]
fn retired_while_looked_for_2_threads_bound_3_without_grace_period_is_caught() {
    is_caught("no grace period", Some(3), "pool", retired_while_looked_for::<NoGracePeriod>);
}

#[test]
fn grows_and_retires_3_threads_bound_2() {
    holds("grows_and_retires_3_threads_bound_2", Some(2), grows_and_retires::<Waits>);
}

#[test]
fn grows_and_retires_3_threads_bound_2_without_grace_period_is_caught() {
    is_caught("no grace period", Some(3), "after it was retired", grows_and_retires::<NoGracePeriod>);
}

/// What the checks at the end rely on.
#[test]
fn a_pool_that_is_not_given_back_is_noticed() {
    is_caught("leak", None, "at the end", || {
        let pools = pools::<Sound>(false);
        let other = {
            let pools = Arc::clone(&pools);
            spawn(move || map(&pools, 0, 1).unwrap())
        };
        let mapping = map(&pools, 1, 1).unwrap();
        other.join().unwrap();
        if mapping.mapping.slot == 1 {
            check_end(&pools);
        }
    });
}
