//! Pools that grow: the code paths against the pure model, and what each fix is for.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;

use models::device::{Device, DeviceDmaParameters};
use models::dma::Attrs;
use models::kernel::{GfpFlags, Kx};
use models::mem::{PAGE_SIZE, PhysAddr, PhysRange, Ptr};
use models::scenario::{Overrides, load};
use models::swiotlb::kernel::{
    Growth, PoolPtr, default_pool, dma_limits, find_pool, swiotlb_debugfs, swiotlb_tbl_map_single,
    swiotlb_unmap_if_bounced,
};
use models::swiotlb::{
    self, Asker, BounceRules, Direction, DmaPages, GrowingPools, MapError, MapRequest, Pool, PoolSize,
    SearchRules, Zone,
};

use crate::support::{DIRECT, World, campaign, on_booted};

/// 512 slots in one area, and a kernel whose pools grow.
const GROWING: World = World {
    version: "6.12",
    config: r#""CONFIG_SWIOTLB_DYNAMIC=y""#,
    cmdline: "amd_iommu=off swiotlb=512,1",
    ..DIRECT
};

fn disk(kx: &Kx) -> Ptr<Device> {
    kx.k.node(0).expect("the disk").ptr.get()
}

fn growth(kx: &Kx) -> Rc<Growth> {
    let mem = kx.k.mem.borrow().heap.get(default_pool(kx)).expect("the allocator");
    Rc::clone(mem.growth.get().expect("pools grow"))
}

fn own_pools(kx: &Kx) -> Rc<[PoolPtr]> {
    kx.k.mem.borrow().heap.get(disk(kx)).expect("a device").io_tlb.transient_pools()
}

fn keep_low_bits(kx: &Kx, mask: u32) {
    let parms = kx.peek(disk(kx), Device::dma_parms).expect("a device");
    kx.poke(parms, DeviceDmaParameters::min_align_mask, mask);
}

async fn map(kx: &Kx, orig: u64, size: u64) -> Option<PhysAddr> {
    let request = MapRequest::plain(PhysAddr(orig), size);
    let attrs = Attrs { no_warn: true, ..Attrs::default() };
    swiotlb_tbl_map_single(kx, disk(kx), &request, Direction::ToDevice, attrs).await
}

async fn unmap(kx: &Kx, addr: PhysAddr, size: u64) {
    swiotlb_unmap_if_bounced(kx, disk(kx), addr, size, Direction::ToDevice, Attrs::default()).await;
}

/// Gives the pure model the memory that the code path got.
#[derive(Default)]
struct Given(VecDeque<PhysAddr>);

impl DmaPages for Given {
    fn alloc_pages(&mut self, _: Zone, _: u32) -> Option<PhysAddr> {
        self.0.pop_front()
    }

    fn free_pages(&mut self, _: PhysAddr, _: u32) {}
}

/// What there is to compare of a pool.
type Picture = (u64, PoolSize, u64, Vec<u32>, Vec<u32>);

fn picture(pool: &Pool) -> Picture {
    let lists = (0..pool.size().nslabs).map(|slot| pool.slots().list(slot)).collect();
    let cursors = pool.areas().iter().map(swiotlb::Area::index).collect();
    (pool.start().0, pool.size(), pool.used(), cursors, lists)
}

fn pictures(kx: &Kx, pools: &[PoolPtr]) -> Vec<Picture> {
    pools.iter().map(|pool| pool.with(kx, |pool| picture(pool)).expect("a living pool")).collect()
}

/// The code path and the pure model do the same operations; everything that can be told apart is compared.
struct Twins {
    pure: GrowingPools,
    given: Given,
    live: Vec<(PhysAddr, u64)>,
    transient_seen: usize,
    pools_seen: usize,
}

impl Twins {
    async fn map(&mut self, kx: &Kx, orig: u64, size: u64) {
        let before = own_pools(kx);
        let found = map(kx, orig, size).await;
        let after = own_pools(kx);
        if after.len() > before.len() {
            self.transient_seen += 1;
            self.given.0.extend(after[0].with(kx, |pool| pool.start()));
        }
        let limits = dma_limits(kx, disk(kx)).await;
        let asker =
            Asker { device: swiotlb::Device(0), cpu: u32::from(kx.cpu()), limits, phys_limit: u64::MAX };
        let request = MapRequest::plain(PhysAddr(orig), size);
        let pure = self.pure.map(&asker, &request, &mut self.given);
        match (found, pure) {
            (Some(addr), Ok(mapping)) => {
                assert_eq!(addr, mapping.mapping.tlb_addr, "{size} bytes at {orig:#x}");
                let holder = self.pure.find_pool(swiotlb::Device(0), addr).expect("it lies in a pool");
                let path = find_pool(kx, disk(kx), addr).await.expect("it lies in a pool");
                assert_eq!(path.with(kx, |pool| pool.start()), Some(holder.start()));
                self.live.push((addr, size));
            }
            (None, Err(MapError::Full)) => {}
            other => panic!("{size} bytes at {orig:#x}: {other:?}"),
        }
    }

    async fn unmap(&mut self, kx: &Kx, nth: usize) {
        let (addr, size) = self.live.swap_remove(nth);
        let limits = dma_limits(kx, disk(kx)).await;
        unmap(kx, addr, size).await;
        self.pure.unmap(swiotlb::Device(0), limits, addr, &mut self.given).expect("it was mapped");
    }

    /// The worker, if it is queued, has its turn; then both must be the same.
    async fn settle(&mut self, kx: &Kx) {
        kx.sleep(100_000).await;
        let growth = growth(kx);
        assert!(!growth.is_queued(), "the worker has run");
        let pools = growth.pools();
        if pools.len() > self.pools_seen {
            self.pools_seen = pools.len();
            self.given.0.extend(pools[0].with(kx, |pool| pool.start()));
        }
        let _ = self.pure.run_worker(&mut self.given);
        assert!(self.given.0.is_empty(), "the pure model took the same memory");
        let pure: Vec<_> = self.pure.pools().iter().map(picture).collect();
        assert_eq!(pictures(kx, &pools), pure);
        let pure: Vec<_> = self.pure.transient().map(|(_, pool)| picture(pool)).collect();
        assert_eq!(pictures(kx, &own_pools(kx)), pure);
        let debugfs = swiotlb_debugfs(kx).expect("an allocator");
        let usage = self.pure.usage();
        assert_eq!(debugfs.nslabs, self.pure.nslabs());
        assert_eq!((debugfs.used, debugfs.used_hiwater), (usage.total_used, Some(usage.used_hiwater)));
        assert_eq!(debugfs.transient_nslabs, Some(self.pure.transient_nslabs()));
    }
}

fn compared(world: &World, areas: u32, min_align: u32, seed: u64) -> (usize, usize) {
    let outcome = on_booted(world, move |kx| async move {
        keep_low_bits(&kx, min_align);
        let pool = kx.k.facts.borrow().pool.clone().expect("a pool");
        let nslabs = u32::try_from(pool.bytes >> swiotlb::IO_TLB_SHIFT).expect("a small pool");
        let size = PoolSize { nslabs, nareas: areas };
        let (search, bounce) = (SearchRules::v6_12(), BounceRules::v6_9_rc4());
        let mut twins = Twins {
            pure: GrowingPools::new(search, bounce, PhysAddr(pool.start), size, 0xffff_ffff),
            given: Given::default(),
            live: Vec::new(),
            transient_seen: 0,
            pools_seen: 1,
        };
        let mut state = seed;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..150 {
            let busy = twins.live.len() as u64;
            if busy == 0 || draw(3) > 0 {
                let size =
                    [1, 2048, 4096, 20_000, 131_072, 258_048, 300_000][usize::try_from(draw(7)).unwrap_or(0)];
                let orig = (5 << 30) + draw(1 << 24);
                twins.map(&kx, orig, size).await;
            } else {
                let nth = usize::try_from(draw(busy)).unwrap_or(0);
                twins.unmap(&kx, nth).await;
            }
            twins.settle(&kx).await;
        }
        while !twins.live.is_empty() {
            twins.unmap(&kx, 0).await;
        }
        twins.settle(&kx).await;
        assert!(own_pools(&kx).is_empty());
        (twins.transient_seen, twins.pools_seen)
    });
    assert_eq!(outcome.kinds(), Vec::<&str>::new());
    outcome.result.expect("it ends")
}

#[test]
fn code_paths_choose_what_the_pure_model_chooses() {
    let (mut transient, mut pools) = (0, 0);
    for seed in 0..3 {
        for mask in [0, 0xfff] {
            let (made, kept) = compared(&GROWING, 1, mask, seed);
            let many = World { cmdline: "amd_iommu=off swiotlb=1024,4", ..GROWING };
            let (more, others) = compared(&many, 4, mask, seed + 10);
            transient += made + more;
            pools = kept.max(others).max(pools);
        }
    }
    assert!(transient > 10 && pools > 2, "{transient} pools for one mapping, {pools} for everybody");
}

/// Fills the first pool but for two slots of each segment.
async fn fill(kx: &Kx) -> Vec<PhysAddr> {
    let mut held = Vec::new();
    for nth in 0..4 {
        held.extend(map(kx, (5 << 30) + nth * (1 << 20), 258_048).await);
    }
    held
}

/// A buffer with bit 11 set, in a pool of as many slots as it needs: the first slot does not fit.
fn odd_buffer(world: &World) -> (Vec<&'static str>, bool) {
    let outcome = on_booted(world, |kx| async move {
        keep_low_bits(&kx, 0xfff);
        let held = fill(&kx).await;
        let found = map(&kx, (6 << 30) + 0x800, 4096).await;
        if let Some(addr) = found {
            unmap(&kx, addr, 4096).await;
        }
        for addr in held {
            unmap(&kx, addr, 258_048).await;
        }
        found.is_some()
    });
    (outcome.kinds(), outcome.result.expect("it ends"))
}

#[test]
fn a_pool_for_one_mapping_is_not_left_at_its_end() {
    assert_eq!(odd_buffer(&GROWING), (Vec::new(), false), "there is no place, and the kernel says so");
    let older = World { flips: r#"revert: ["free-counters-clamped"],"#, ..GROWING };
    let (kinds, found) = odd_buffer(&older);
    assert!(found && kinds.contains(&"slots-outside-pool") && kinds.contains(&"out-of-bounds"), "{kinds:?}");
}

#[test]
fn a_kernel_without_the_option_does_not_grow() {
    for world in [
        World { config: "", ..GROWING },
        World { flips: r#"revert: ["growing-pools"],"#, ..GROWING },
        World { version: "6.1", ..GROWING },
    ] {
        let outcome = on_booted(&world, |kx| async move {
            let held = fill(&kx).await;
            let none = map(&kx, 6 << 30, 65_536).await.is_none();
            let debugfs = swiotlb_debugfs(&kx).expect("an allocator");
            for addr in held {
                unmap(&kx, addr, 258_048).await;
            }
            (none, debugfs.nslabs, debugfs.used, debugfs.transient_nslabs)
        });
        assert_eq!(outcome.result, Some((true, 512, 4 * 126, None)), "{}", world.version);
        assert_eq!(outcome.kinds(), Vec::<&str>::new());
    }
}

#[test]
fn the_worker_adds_a_pool_and_debugfs_counts_all() {
    let outcome = on_booted(&GROWING, |kx| async move {
        let held = fill(&kx).await;
        let found = map(&kx, 6 << 30, 65_536).await.expect("a pool of its own");
        let during = swiotlb_debugfs(&kx).expect("an allocator");
        kx.sleep(1_000_000).await;
        let later = swiotlb_debugfs(&kx).expect("an allocator");
        unmap(&kx, found, 65_536).await;
        for addr in held {
            unmap(&kx, addr, 258_048).await;
        }
        let end = swiotlb_debugfs(&kx).expect("an allocator");
        (during, later.nslabs, (end.used, end.used_hiwater, end.transient_nslabs))
    });
    assert_eq!(outcome.kinds(), Vec::<&str>::new());
    let (during, later, end) = outcome.result.expect("it ends");
    assert_eq!((during.used, during.transient_nslabs), (4 * 126 + 32, Some(32)));
    assert_eq!(later, 1024);
    assert_eq!(end, (0, Some(4 * 126 + 32), Some(0)));
}

/// A mapping on one CPU, its unmap on another, and nothing in between that orders them.
const HANDED_OVER: World = World {
    machine: "memory_order: Weak,",
    probe: "SetMask(bits: 32)",
    body: r#"Map(name: "rx", size: Fixed(2048), dir: FromDevice), Share(name: "rx")]),
        (name: "poll", cpu: Cpu(2), start_ms: Fixed(1),
         body: [Take(name: "rx", within_us: 3000), DeviceWrite(name: "rx"), Unmap(name: "rx")"#,
    ..GROWING
};

#[test]
fn a_device_uses_bounce_buffers_before_others_learn_of_one() {
    let careful = HANDED_OVER;
    assert!(careful.kinds(40).is_empty());
    let careless = World { flips: r#"revert: ["grown-pool-barriers"],"#, ..careful };
    let found = careless.kinds(40);
    assert!(found.contains_key("lost-write") && found.contains_key("slots-lost"), "{found:#?}");
    // On a machine that keeps stores in order nothing can happen.
    let ordered = World { machine: "", ..careless };
    assert!(ordered.kinds(40).is_empty());
}

#[test]
fn shared_pages_are_not_given_back() {
    let world = World { machine: "mem_encrypt: Sev,", ..GROWING };
    let outcome = on_booted(&world, |kx| async move {
        let (page, id) = kx.alloc_pages("test", 1, GfpFlags::KERNEL).await.expect("pages");
        kx.set_memory_decrypted(page, 2).await.expect("no injection here");
        kx.set_memory_encrypted(page, 2).await.expect("no injection here");
        kx.free_pages(page, 1, id).await;
    });
    assert_eq!(outcome.kinds(), Vec::<&str>::new());
    let outcome = on_booted(&world, |kx| async move {
        let (page, id) = kx.alloc_pages("test", 1, GfpFlags::KERNEL).await.expect("pages");
        kx.set_memory_decrypted(page.wrapping_add(PAGE_SIZE), 1).await.expect("no injection here");
        kx.free_pages(page, 1, id).await;
    });
    assert_eq!(outcome.kinds(), ["freed-while-shared"]);
}

#[test]
fn pages_of_a_new_pool_are_private_again_before_they_go_back() {
    // Splitting a large page finds no memory, now and then.
    let world = World {
        machine: "mem_encrypt: Sev,",
        inject: "alloc_fail: (per_mille: 300),",
        body: r#"Repeat(times: Fixed(6), body: [
            Map(name: "a", size: Fixed(258048), dir: ToDevice, on_error: Skip),
            Map(name: "b", size: Fixed(258048), dir: ToDevice, on_error: Skip),
            Map(name: "c", size: Fixed(258048), dir: ToDevice, on_error: Skip),
            Map(name: "d", size: Fixed(258048), dir: ToDevice, on_error: Skip),
            Map(name: "e", size: Fixed(65536), dir: ToDevice, on_error: Skip),
            Sleep(us: Fixed(500)),
            Unmap(name: "a"), Unmap(name: "b"), Unmap(name: "c"), Unmap(name: "d"), Unmap(name: "e")])"#,
        ..GROWING
    };
    let shared = |world: &World| world.kinds(30).contains_key("freed-while-shared");
    assert!(!shared(&world));
    assert!(shared(&World { flips: r#"revert: ["grown-pages-encrypted-again"],"#, ..world }));
}

#[test]
fn an_atomic_request_of_an_encrypted_guest_takes_shared_memory() {
    let world = World { machine: "mem_encrypt: Sev,", ..GROWING };
    assert!(world.logs("KiB GFP_KERNEL pool for atomic allocations"));
    let addresses = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&addresses);
    let outcome = on_booted(&world, |kx| async move {
        kx.poke(disk(&kx), Device::coherent_dma_mask, u64::MAX);
        let held = fill(&kx).await;
        let found = map(&kx, 6 << 30, 65_536).await.expect("a pool of its own");
        let pool = own_pools(&kx)[0].with(&kx, |pool| pool.start()).expect("a pool");
        seen.borrow_mut().push(kx.k.mem.borrow().heap.shadow().first_shared(PhysRange::new(pool, 4096)));
        unmap(&kx, found, 65_536).await;
        for addr in held {
            unmap(&kx, addr, 258_048).await;
        }
        kx.sleep(10_000_000).await;
        pool
    });
    assert_eq!(outcome.kinds(), Vec::<&str>::new());
    assert_eq!(*addresses.borrow(), [outcome.result]);
}

/// The three bugs of growing pools as anyone can run them, with fewer seeds than the files ask for.
#[test]
fn the_pairs_of_scenarios_hold() {
    let found = |slug: &str, file: &str, seeds: u64| {
        let path = format!("{}/../scenarios/bugs/{slug}/{file}.ron", env!("CARGO_MANIFEST_DIR"));
        let loaded = load(Path::new(&path)).unwrap_or_else(|error| panic!("{error}"));
        let scenario = loaded.resolve(&Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
        campaign(scenario, seeds)
    };
    let more = std::env::var("DMASIM_TEST_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    for (slug, kinds) in [
        ("transient-pool-slot-out-of-bounds", &["slots-outside-pool", "out-of-bounds"][..]),
        ("dyn-pool-not-visible-to-other-cpu", &["lost-write", "slots-lost"]),
        ("dyn-pool-pages-freed-while-shared", &["freed-while-shared"]),
    ] {
        let buggy = found(slug, "buggy", 60);
        assert!(kinds.iter().all(|kind| buggy.contains_key(kind)), "{slug}: {buggy:#?}");
        let fixed = found(slug, "fixed", more.unwrap_or(60));
        assert!(fixed.is_empty(), "{slug}: {fixed:#?}");
    }
}
