//! The search under a lock, and the one that does not come to an end.

use std::rc::Rc;

use sim::Draft;

use super::map::Found;
use super::object::IoTlbMem;
use crate::kernel::Kx;
use crate::mem::Ptr;
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
pub(super) async fn search_area(
    kx: &Kx,
    mem: Ptr<IoTlbMem>,
    object: &Rc<IoTlbMem>,
    area: u32,
    plan: &SearchPlan,
) -> Found {
    loop {
        let shared = object.pool.borrow().as_ref().is_some_and(Pool::areas_share_segments);
        let found = match object.pool.borrow_mut().as_mut() {
            None => Search::Full,
            Some(pool) if shared => pool.foresee_in_area(area, plan),
            Some(pool) => pool.search_area(area, plan),
        };
        match found {
            Search::Found { slot, nslots } if shared => {
                // Whoever holds another area's lock can take these slots before they are marked.
                kx.step(sim::Kind::Write, kx.label(mem.id, SLOTS)).await;
                if let Some(pool) = object.pool.borrow_mut().as_mut() {
                    pool.take_in(area, plan, slot);
                }
                return Found::Slots { slot, nslots };
            }
            Search::Found { slot, nslots } => return Found::Slots { slot, nslots },
            Search::Full => return Found::Full,
            Search::Bug => return bug(kx).await,
            Search::Hang => {}
        }
        match walk(kx, mem, object, area, plan).await {
            Walk::Bug => return bug(kx).await,
            // The slots are other ones by now: what was found is taken by a search that ends.
            Walk::Found(_) => {}
            Walk::Full | Walk::Budget => return Found::Full,
        }
    }
}

async fn walk(kx: &Kx, mem: Ptr<IoTlbMem>, object: &Rc<IoTlbMem>, area: u32, plan: &SearchPlan) -> Walk {
    let walker = object.pool.borrow().as_ref().and_then(|pool| pool.walker(area, plan));
    let Some(mut walker) = walker else { return Walk::Full };
    let label = kx.label(mem.id, SLOTS);
    loop {
        kx.step(sim::Kind::Read, label).await;
        let pool = object.pool.borrow();
        let Some(pool) = pool.as_ref() else { return Walk::Full };
        match walker.turn(|slot| Ok::<u32, std::convert::Infallible>(pool.slots().list(slot))) {
            Ok(Some(end)) => return end,
            Ok(None) => {}
            Err(never) => match never {},
        }
    }
}

async fn bug(kx: &Kx) -> Found {
    let title = "kernel BUG at kernel/dma/swiotlb.c: BUG_ON in the slot search".to_owned();
    kx.report(Draft::fatal("kernel-bug", title).ending("BUG"), Vec::new);
    kx.spin_forever("the machine has stopped").await;
    Found::Full
}
