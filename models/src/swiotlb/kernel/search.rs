//! The search under a lock, and the one that does not come to an end.

use sim::Draft;

use super::map::Found;
use super::object::PoolPtr;
use crate::kernel::Kx;
use crate::swiotlb::literal::Walk;
use crate::swiotlb::{Pool, Search, SearchPlan};

/// What the models keep beside the fields of a pool: its slots.
const SLOTS: u8 = 30;

/// Searches one area (all of the pool where there are none) and takes what it finds. The caller holds the lock.
///
/// A search that ends is part of the step that took the lock: nobody can change what it looks at. Where areas share
/// segments, their slots do have two locks, and finding and taking are two steps. A search that takes more
/// turns than there are slots is walked turn by turn, so that others go on meanwhile, and so that whoever watches
/// progress sees it.
///
/// Source: `kernel/dma/swiotlb.c: find_slots()`, v5.13; `swiotlb_do_find_slots()`, v6.1;
/// `swiotlb_search_pool_area()`, v6.12 (inlined into their callers).
pub(super) async fn search_area(kx: &Kx, pool: PoolPtr, area: u32, plan: &SearchPlan) -> Found {
    loop {
        let shared = pool.with(kx, |pool| pool.areas_share_segments()).unwrap_or(false);
        let look = |pool: &mut Pool| {
            if shared { pool.foresee_in_area(area, plan) } else { pool.search_area(area, plan) }
        };
        match pool.with(kx, look).unwrap_or(Search::Full) {
            Search::Found { slot, nslots } => {
                if shared {
                    // Whoever holds another area's lock can take these slots before they are marked.
                    kx.step(sim::Kind::Write, kx.label(pool.id(), SLOTS)).await;
                    pool.with(kx, |pool| pool.take_in(area, plan, slot));
                }
                check_inside(kx, pool, slot, nslots);
                return Found::Slots { slot, nslots };
            }
            Search::Full => return Found::Full,
            Search::Bug => return bug(kx).await,
            Search::Hang => {}
        }
        match walk(kx, pool, area, plan).await {
            Walk::Bug => return bug(kx).await,
            // The slots are other ones by now: what was found is taken by a search that ends.
            Walk::Found(_) => {}
            Walk::Full | Walk::Budget => return Found::Full,
        }
    }
}

/// Slots that a search gives must be slots of the pool: behind its end lies the memory of others.
fn check_inside(kx: &Kx, pool: PoolPtr, slot: u32, nslots: u32) {
    let nslabs = pool.with(kx, |pool| pool.size().nslabs).unwrap_or(0);
    let end = u64::from(slot) + u64::from(nslots);
    if end > u64::from(nslabs) {
        let title = format!(
            "swiotlb: slots {slot}..{end} were given of a pool that has {nslabs}: what lies behind is not its own"
        );
        kx.report(Draft::warning("slots-outside-pool", title), Vec::new);
    }
}

async fn walk(kx: &Kx, pool: PoolPtr, area: u32, plan: &SearchPlan) -> Walk {
    let walker = pool.with(kx, |pool| pool.walker(area, plan)).flatten();
    let Some(mut walker) = walker else { return Walk::Full };
    let label = kx.label(pool.id(), SLOTS);
    loop {
        kx.step(sim::Kind::Read, label).await;
        let turn = pool.with(kx, |pool| {
            walker.turn(|slot| Ok::<u32, std::convert::Infallible>(pool.slots().list(slot)))
        });
        match turn {
            None => return Walk::Full,
            Some(Ok(Some(end))) => return end,
            Some(Ok(None)) => {}
            Some(Err(never)) => match never {},
        }
    }
}

async fn bug(kx: &Kx) -> Found {
    let title = "kernel BUG at kernel/dma/swiotlb.c: BUG_ON in the slot search".to_owned();
    kx.report(Draft::fatal("kernel-bug", title).ending("BUG"), Vec::new);
    kx.spin_forever("the machine has stopped").await;
    Found::Full
}
