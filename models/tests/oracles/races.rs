//! Data races on fields of kernel objects, and on what a lock protects beside them.

use std::rc::Rc;

use models::device::{Device, DeviceDmaParameters};
use models::kernel::Kx;
use models::mem::Ptr;
use sim::SpawnSpec;
use sim::sync::Completion;

use crate::support::{DIRECT, Outcome, WORLD, on_booted};

/// What a second task does while the first one does nothing, or the other way round.
#[derive(Clone, Copy)]
enum Way {
    Plain,
    Once,
    Racy,
    UnderTheLock,
    AfterBeingTold,
}

fn disk(kx: &Kx) -> Ptr<Device> {
    kx.k.node(0).expect("the disk").ptr.get()
}

/// One task writes a field of the disk, another one reads it later: never at one time, so that nothing goes wrong.
fn write_and_read(written: Way, read: Way, value: u64) -> Outcome<()> {
    on_booted(&DIRECT, move |kx| async move {
        let told = Rc::new(Completion::new(kx.cx(), "told"));
        let (k, tell) = (Rc::clone(&kx.k), Rc::clone(&told));
        kx.spawn(SpawnSpec::task("writer", 1), move |cx| async move {
            let kx = Kx::new(cx, k);
            let _frame = kx.enter("writes");
            let node = kx.k.node(0).expect("the disk");
            let (dev, field) = (disk(&kx), Device::coherent_dma_mask);
            match written {
                Way::UnderTheLock => {
                    node.lock.lock(kx.cx()).await;
                    kx.store(dev, field, value).await;
                    node.lock.unlock(kx.cx());
                }
                Way::Once => kx.store_once(dev, field, value).await,
                Way::Racy => kx.store_racy(dev, field, value, "a test").await,
                Way::Plain | Way::AfterBeingTold => kx.store(dev, field, value).await,
            }
            tell.complete(kx.cx()).await;
        });
        let k = Rc::clone(&kx.k);
        kx.spawn(SpawnSpec::task("reader", 2), move |cx| async move {
            let kx = Kx::new(cx, k);
            let _frame = kx.enter("reads");
            kx.sleep(1_000_000).await;
            let node = kx.k.node(0).expect("the disk");
            let (dev, field) = (disk(&kx), Device::coherent_dma_mask);
            match read {
                Way::UnderTheLock => {
                    node.lock.lock(kx.cx()).await;
                    kx.load(dev, field).await;
                    node.lock.unlock(kx.cx());
                }
                Way::AfterBeingTold => {
                    told.wait(kx.cx()).await;
                    kx.load(dev, field).await;
                }
                Way::Once => _ = kx.load_once(dev, field).await,
                Way::Racy => _ = kx.load_racy(dev, field, "a test").await,
                Way::Plain => _ = kx.load(dev, field).await,
            }
        });
    })
}

#[test]
fn a_field_that_two_contexts_access_without_order() {
    const NEW: u64 = 0x0fff_ffff;
    for (written, read) in [
        (Way::Plain, Way::Plain),
        (Way::Plain, Way::Once),
        (Way::Once, Way::Plain),
        // A lock that only one of the two takes orders nothing.
        (Way::UnderTheLock, Way::Plain),
        (Way::Plain, Way::UnderTheLock),
    ] {
        let found = write_and_read(written, read, NEW);
        assert_eq!(found.kinds(), ["data-race"]);
        let race = &found.findings[0];
        assert!(race.title.starts_with("BUG: data race on struct device.coherent_dma_mask in writes ("));
        let headings: Vec<_> = race.details.iter().map(|(heading, _)| heading.as_str()).collect();
        assert_eq!(headings[..3], ["this access", "unordered with", "object"]);
        assert!(race.details[1].1.contains(&"  writes".to_owned()), "{:?}", race.details[1]);
    }
    for (written, read) in [
        (Way::UnderTheLock, Way::UnderTheLock),
        (Way::Plain, Way::AfterBeingTold),
        (Way::Once, Way::Once),
        (Way::Racy, Way::Plain),
        (Way::Plain, Way::Racy),
    ] {
        assert!(write_and_read(written, read, NEW).findings.is_empty());
    }
    // The value that it has already.
    assert!(write_and_read(Way::Plain, Way::Plain, 0xffff_ffff).findings.is_empty());
}

/// A structure is freed: after those who used it, or only later than they did.
#[test]
fn a_structure_that_is_freed_without_being_ordered_after_its_users() {
    let path = |waits: bool| {
        on_booted(&DIRECT, move |kx| async move {
            let made = kx.kzalloc(16, Rc::new(DeviceDmaParameters::default())).await.expect("memory");
            let done = Rc::new(Completion::new(kx.cx(), "done"));
            let (k, tell) = (Rc::clone(&kx.k), Rc::clone(&done));
            kx.spawn(SpawnSpec::task("user", 1), move |cx| async move {
                let kx = Kx::new(cx, k);
                let _frame = kx.enter("uses");
                kx.load_once(made, DeviceDmaParameters::min_align_mask).await;
                tell.complete(kx.cx()).await;
            });
            kx.sleep(1_000_000).await;
            if waits {
                done.wait(kx.cx()).await;
            }
            kx.kfree(made.phys().expect("an address"), made.id).await;
        })
    };
    let found = path(false);
    assert_eq!(found.kinds(), ["data-race"]);
    assert!(found.findings[0].title.contains("in uses (marked read) / "), "{}", found.findings[0].title);
    assert!(path(true).findings.is_empty());
}

/// Who uses a group is kept beside its fields, under the lock of the group.
#[test]
fn a_group_is_taken_and_given_back_by_tasks_that_only_its_lock_orders() {
    let taken = on_booted(&crate::support::World { version: "6.12", ..WORLD }, |kx| async move {
        for cpu in [1, 2] {
            let k = Rc::clone(&kx.k);
            kx.spawn(SpawnSpec::task("user", cpu), move |cx| async move {
                let kx = Kx::new(cx, k);
                let group = kx.k.node(1).expect("the spare device").group.get();
                if models::iommu::core::iommu_group_claim_dma_owner(&kx, group).await.is_ok() {
                    models::iommu::core::iommu_group_release_dma_owner(&kx, group).await;
                }
            });
        }
    });
    assert!(taken.findings.is_empty(), "{:#?}", taken.findings);
}
