//! The delayed work that trims the depot of full magazines.

use std::fmt;
use std::rc::Rc;

use sim::DelayedWork;

use super::range::with_cookie;
use crate::iommu::core::IommuDomain;
use crate::iommu::iova::{DepotTrim, IOVA_RANGE_CACHE_MAX_SIZE};
use crate::kernel::Kx;
use crate::mem::Ptr;

/// Milliseconds between two looks at a depot. Source: `drivers/iommu/iova.c: IOVA_DEPOT_DELAY`, v6.12.
const IOVA_DEPOT_DELAY: u64 = 100;

/// The work items of a domain, one for each size class; made when they are first queued.
#[derive(Default)]
pub struct DepotWork([Option<DelayedWork>; IOVA_RANGE_CACHE_MAX_SIZE]);

impl fmt::Debug for DepotWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().flatten()).finish()
    }
}

/// Addresses were given back: where a magazine went to the depot, its work is queued unless it is already.
///
/// Source: `drivers/iommu/iova.c: __iova_rcache_insert()`, v6.12.
pub(super) async fn queue_depot_work(kx: &Kx, domain: Ptr<IommuDomain>) {
    let due = with_cookie(kx, domain, |cookie| cookie.iovad.depots_to_trim()).unwrap_or(0);
    for class in (0..IOVA_RANGE_CACHE_MAX_SIZE).filter(|class| due & 1 << class != 0) {
        queue(kx, domain, class).await;
    }
}

async fn queue(kx: &Kx, domain: Ptr<IommuDomain>, class: usize) {
    let work = with_cookie(kx, domain, |cookie| {
        cookie.depot.0[class].get_or_insert_with(|| new_work(kx, domain, class)).clone()
    });
    if let Some(work) = work {
        let now = kx.now();
        work.queue(kx.cx(), kx.k.timer_fires(now, IOVA_DEPOT_DELAY) - now).await;
    }
}

/// Source: `drivers/iommu/iova.c: iova_depot_work_func()`, v6.12.
fn new_work(kx: &Kx, domain: Ptr<IommuDomain>, class: usize) -> DelayedWork {
    let k = Rc::downgrade(&kx.k);
    DelayedWork::new(kx.cx(), "iova_depot_work", kx.cpu(), move |cx| {
        let k = k.upgrade();
        async move {
            let Some(k) = k else { return };
            let kx = Kx::new(cx, k);
            let _frame = kx.enter("iova_depot_work_func");
            kx.load_within(domain, IommuDomain::iova_cookie).await;
            let online = usize::from(kx.k.cpus());
            let trim =
                with_cookie(&kx, domain, |cookie| cookie.iovad.iova_depot_work_func(class, online).ok());
            if let Some(Some(DepotTrim::Freed { .. })) = trim {
                queue(&kx, domain, class).await;
            }
        }
    })
}

/// The caches go: none of their work runs any more.
///
/// Source: `drivers/iommu/iova.c: free_iova_rcaches()`, v6.12.
pub(crate) async fn cancel_depot_work(kx: &Kx, domain: Ptr<IommuDomain>) {
    // They stay where they are: one that runs queues itself again, and must not be made anew.
    let works = with_cookie(kx, domain, |cookie| cookie.depot.0.clone());
    for work in works.into_iter().flatten().flatten() {
        work.cancel_sync(kx.cx()).await;
    }
}
