//! The delayed work that trims the depot of the address caches: when it runs, how far it goes, and that it is gone before
//! its domain is.

use models::device::{Device, DeviceNode, pci_stop_and_remove};
use models::dma::{Attrs, dma_map_page_attrs, dma_unmap_page_attrs};
use models::iommu::core::IommuGroup;
use models::kernel::Kx;
use models::mem::{DmaAddr, PAGE_SIZE, PhysAddr, Ptr};
use models::swiotlb::Direction;
use std::rc::Rc;

use crate::support::{WORLD, World, on_booted};

/// Addresses are given back at once, and the depot has no bound.
const STRICT: World = World { version: "6.12", cmdline: "iommu.strict=1", ..WORLD };
/// Page frames of a magazine.
const MAGAZINE: u64 = 127;
/// CPUs of the machine: a depot keeps a magazine for each.
const CPUS: usize = 4;
/// Nanoseconds between two looks at a depot, and a jiffy.
const DELAY: u64 = 100_000_000;
const JIFFY: u64 = 4_000_000;

fn node(kx: &Kx) -> Rc<DeviceNode> {
    kx.k.node(0).expect("the disk")
}

async fn map(kx: &Kx, dev: Ptr<Device>, nth: u64) -> DmaAddr {
    let phys = PhysAddr(0x4000_0000 + nth * PAGE_SIZE);
    let (dir, attrs) = (Direction::ToDevice, Attrs::default());
    dma_map_page_attrs(kx, dev, phys, PAGE_SIZE, dir, attrs).await.expect("an address")
}

/// Maps and unmaps so many pages that `magazines` go to the depot: the CPU keeps a full one, and one with one address.
async fn fill_depot(kx: &Kx, magazines: usize) {
    let dev = node(kx).ptr.get();
    let mut mapped = Vec::new();
    // A magazine goes when the next address finds both full.
    for nth in 0..(magazines as u64 + 1) * MAGAZINE + 1 {
        mapped.push(map(kx, dev, nth).await);
    }
    for dma in mapped {
        dma_unmap_page_attrs(kx, dev, dma, PAGE_SIZE, Direction::ToDevice, Attrs::default()).await;
    }
}

/// Magazines in the depot of single pages, and ranges that the domain's tree holds.
fn depot(kx: &Kx) -> (usize, usize) {
    let domain = kx.peek(node(kx).group.get(), IommuGroup::default_domain).expect("a group");
    let object = kx.k.mem.object(domain).expect("a domain");
    let cookie = object.cookie.borrow();
    let iovad = &cookie.as_ref().expect("it translates").iovad;
    (iovad.rcache(0).depot_size(), iovad.range_count())
}

#[test]
fn a_depot_is_trimmed_to_a_magazine_for_each_cpu_one_after_the_other() {
    let outcome = on_booted(&STRICT, |kx| async move {
        fill_depot(&kx, CPUS + 2).await;
        let mut sizes = vec![depot(&kx)];
        for _ in 0..4 {
            kx.sleep(DELAY + 2 * JIFFY).await;
            sizes.push(depot(&kx));
        }
        sizes
    });
    assert_eq!(outcome.kinds(), Vec::<&str>::new());
    let seen = outcome.result.expect("it came back");
    let sizes: Vec<usize> = seen.iter().map(|(size, _)| *size).collect();
    assert_eq!(sizes, [CPUS + 2, CPUS + 1, CPUS, CPUS, CPUS]);
    // What was in a magazine is free again.
    assert_eq!(seen[0].1 - seen[4].1, 2 * usize::try_from(MAGAZINE).expect("small"));
}

#[test]
fn nothing_is_trimmed_before_its_time_or_where_it_is_needed() {
    let outcome = on_booted(&STRICT, |kx| async move {
        fill_depot(&kx, CPUS + 1).await;
        kx.sleep(DELAY / 2).await;
        let early = depot(&kx).0;
        // Somebody takes the newest magazine back out before the work comes.
        let dev = node(&kx).ptr.get();
        for nth in 0..=2 * MAGAZINE {
            map(&kx, dev, nth).await;
        }
        let taken = depot(&kx).0;
        kx.sleep(2 * DELAY).await;
        (early, taken, depot(&kx).0)
    });
    // Those mappings stay: nobody unbinds the disk.
    assert_eq!(outcome.result, Some((CPUS + 1, CPUS, CPUS)));
}

#[test]
fn kernels_with_a_bounded_depot_trim_nothing() {
    let old = World { version: "6.1", ..STRICT };
    let outcome = on_booted(&old, |kx| async move {
        fill_depot(&kx, CPUS + 2).await;
        let before = depot(&kx);
        kx.sleep(4 * DELAY).await;
        (before, depot(&kx))
    });
    let (before, after) = outcome.result.expect("it came back");
    assert_eq!(before, after);
}

/// The disk goes while the work waits for its time, or while it runs; how much longer the machine goes on.
fn removed_after(wait: u64) -> (Vec<&'static str>, Option<bool>) {
    let outcome = on_booted(&STRICT, move |kx| async move {
        fill_depot(&kx, CPUS + 3).await;
        kx.sleep(wait).await;
        let disk = node(&kx);
        pci_stop_and_remove(&kx, &disk).await;
        let gone = kx.k.node(0).is_none();
        kx.sleep(5 * DELAY).await;
        gone
    });
    (outcome.kinds(), outcome.result)
}

#[test]
fn the_work_is_cancelled_before_its_domain_goes() {
    // Before its time, at about its time, and when it has queued itself again.
    for wait in [0, DELAY / 2, DELAY - JIFFY, DELAY, DELAY + JIFFY, DELAY + DELAY / 2] {
        assert_eq!(removed_after(wait), (Vec::new(), Some(true)), "after {wait} ns");
    }
}
