//! Lazy invalidation: addresses wait in per-CPU queues until the IOTLB was flushed.
//!
//! Source: `drivers/iommu/iova.c: queue_iova()`, `fq_ring_free()`, `fq_flush_timeout()`, v5.13.

use sim::cell::Cell;
use std::rc::Rc;

use sim::sync::Order;
use sim::{SpawnSpec, Timer};

use super::depot::queue_depot_work;
use super::range::with_cookie;
use super::rings::{FqRings, IOVA_FQ_TIMEOUT};
use crate::iommu::core::{IommuDomain, iotlb_flush_domain};
use crate::iommu::iova::{Cpu, IovaPfn, Plenty};
use crate::kernel::Kx;
use crate::mem::{DmaAddr, PAGE_SHIFT, Ptr};
use crate::oracle::{check_armed, check_flush_counted, check_flushed};
use crate::profile::Behaviour;

/// The queues of one domain, and their timer.
#[derive(Debug)]
pub struct FlushQueue {
    rings: FqRings,
    timer: Option<Timer>,
    handler: Rc<Handler>,
}

/// Where the timer's function is.
#[derive(Debug, Default)]
struct Handler {
    /// It has begun, and not ended.
    runs: Cell<bool>,
    /// The timer was deleted: if it has fired, its function has not begun.
    deleted: Cell<bool>,
    /// What the function did before it ended, for those who wait for that.
    ended: Order,
    /// The queue goes with its domain: what waits in it is given back without a flush of its own.
    going: Cell<bool>,
}

impl FlushQueue {
    /// Empty queues for so many CPUs.
    #[must_use]
    pub fn new(cpus: usize) -> Self {
        Self { rings: FqRings::new(cpus), timer: None, handler: Rc::default() }
    }

    /// First page frames of the ranges that wait for a timer that is to fire; what waits without one waits for ever.
    #[must_use]
    pub fn waiting(&self) -> Vec<u64> {
        if self.fires() { self.rings.waiting() } else { Vec::new() }
    }

    /// Whether the timer is armed.
    #[must_use]
    pub fn fires(&self) -> bool {
        self.timer.as_ref().is_some_and(Timer::pending)
    }

    /// Whether it goes, with its domain.
    #[must_use]
    pub fn is_going(&self) -> bool {
        self.handler.going.get()
    }

    /// What waits, by CPU.
    #[must_use]
    pub const fn rings(&self) -> &FqRings {
        &self.rings
    }

    /// Entries that wait on all CPUs.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.rings.pending()
    }
}

/// Puts a range into the queue of this CPU; a full one is flushed first.
pub(super) async fn queue_iova(kx: &Kx, domain: Ptr<IommuDomain>, addr: DmaAddr, size: u64) {
    let cpu = usize::from(kx.cpu());
    kx.step(sim::Kind::Atomic, kx.label(domain.id, 27)).await;
    release(kx, domain, cpu);
    let full = with_cookie(kx, domain, |cookie| cookie.fq.as_ref().is_some_and(|fq| fq.rings.is_full(cpu)));
    if full == Some(true) {
        flush(kx, domain).await;
        release(kx, domain, cpu);
    }
    let arm = with_cookie(kx, domain, |cookie| {
        let fq = cookie.fq.as_mut()?;
        fq.rings.add(cpu, IovaPfn(addr.0 >> PAGE_SHIFT), size >> PAGE_SHIFT)
    });
    count_pending(kx, domain);
    if arm.flatten() == Some(true) {
        arm_timer(kx, domain);
    }
    queue_depot_work(kx, domain).await;
}

/// A recorded run tells how many ranges wait.
fn count_pending(kx: &Kx, domain: Ptr<IommuDomain>) {
    if !kx.sim().recording() {
        return;
    }
    let Ok(object) = kx.k.mem.borrow().heap.get(domain) else { return };
    let id = object.id.get();
    let pending = with_cookie(kx, domain, |cookie| cookie.fq.as_ref().map(FlushQueue::pending));
    if let Some(pending) = pending.flatten() {
        kx.counter_of(|| (format!("pending flush queue entries of domain {id}"), pending as u64));
    }
}

/// Gives the flushed ranges of one CPU's ring back to the allocator (`fq_ring_free`).
fn release(kx: &Kx, domain: Ptr<IommuDomain>, cpu: usize) {
    let own = Cpu(u32::from(kx.cpu()));
    let flushed = with_cookie(kx, domain, |cookie| cookie.fq.as_mut().map(|fq| fq.rings.take_flushed(cpu)));
    let flushed = flushed.flatten().unwrap_or_default();
    if !flushed.is_empty() {
        count_pending(kx, domain);
    }
    for entry in flushed {
        check_flushed(kx, domain, DmaAddr(entry.pfn.0 << PAGE_SHIFT), entry.pages << PAGE_SHIFT);
        with_cookie(kx, domain, |cookie| {
            let _ = cookie.iovad.free_iova_fast(own, entry.pfn, entry.pages, &mut Plenty);
        });
    }
}

/// Flushes the whole domain (`iova_domain_flush`).
async fn flush(kx: &Kx, domain: Ptr<IommuDomain>) {
    with_cookie(kx, domain, |cookie| {
        if let Some(fq) = cookie.fq.as_mut() {
            fq.rings.start_flush();
        }
    });
    iotlb_flush_domain(kx, domain).await;
    finish(kx, domain);
}

/// Counts a flush as done.
fn finish(kx: &Kx, domain: Ptr<IommuDomain>) {
    with_cookie(kx, domain, |cookie| {
        if let Some(fq) = cookie.fq.as_mut() {
            fq.rings.finish_flush();
        }
    });
    check_flush_counted(kx, domain);
}

/// The queues of a domain that goes: their timer is deleted, and what waits in them is given back.
///
/// Source: `drivers/iommu/iova.c: free_iova_flush_queue()`, `fq_destroy_all_entries()`, v5.13; `drivers/iommu/dma-iommu.c:
/// iommu_dma_free_fq()`, v6.1, v6.12.
pub(crate) async fn free_flush_queue(kx: &Kx, domain: Ptr<IommuDomain>) {
    let parts = with_cookie(kx, domain, |cookie| {
        cookie.fq.as_ref().map(|fq| (fq.timer.clone(), Rc::clone(&fq.handler)))
    });
    let Some((timer, handler)) = parts.flatten() else { return };
    let _frame = kx.enter("free_iova_flush_queue");
    handler.going.set(true);
    kx.step(sim::Kind::Atomic, kx.label(domain.id, 27)).await;
    if let Some(timer) = timer {
        timer.cancel();
    }
    if kx.k.has(Behaviour::FlushTimerDeletedSync) {
        handler.deleted.set(true);
        while handler.runs.get() {
            kx.delay(1_000).await;
        }
        handler.ended.acquire(kx.cx());
    }
}

fn arm_timer(kx: &Kx, domain: Ptr<IommuDomain>) {
    let expires = kx.k.timer_fires(kx.now(), IOVA_FQ_TIMEOUT);
    let timer = with_cookie(kx, domain, |cookie| {
        let fq = cookie.fq.as_mut()?;
        let FlushQueue { timer, handler, .. } = fq;
        Some(timer.get_or_insert_with(|| new_timer(kx, domain, handler)).clone())
    });
    if let Some(timer) = timer.flatten() {
        timer.modify(kx.cx(), expires);
    }
}

fn new_timer(kx: &Kx, domain: Ptr<IommuDomain>, handler: &Rc<Handler>) -> Timer {
    let k = Rc::downgrade(&kx.k);
    let handler = Rc::clone(handler);
    Timer::new(SpawnSpec::softirq("fq_timer", kx.cpu()), move |cx| {
        let (k, handler) = (k.upgrade(), Rc::clone(&handler));
        async move {
            let Some(k) = k else { return };
            let kx = Kx::new(cx, k);
            if handler.deleted.get() {
                return;
            }
            let _frame = kx.enter("fq_flush_timeout");
            handler.runs.set(true);
            kx.load_within(domain, IommuDomain::iova_cookie).await;
            with_cookie(&kx, domain, |cookie| {
                if let Some(fq) = cookie.fq.as_mut() {
                    fq.rings.disarm();
                }
            });
            flush(&kx, domain).await;
            for cpu in 0..usize::from(kx.k.cpus()) {
                kx.load_within(domain, IommuDomain::iova_cookie).await;
                release(&kx, domain, cpu);
            }
            check_armed(&kx, domain);
            queue_depot_work(&kx, domain).await;
            handler.ended.release(kx.cx());
            handler.runs.set(false);
        }
    })
}
