//! Wait queues.

use std::cell::Cell;

use super::SyncClock;
use crate::probe::{self, Op};
use crate::{CtxSet, Cx, ObjId};

/// A wait queue (`wait_queue_head_t`). Test the condition, then wait, in a loop: between a test that failed and the
/// wait that follows nobody else runs, as the kernel's `prepare_to_wait` sees to.
#[derive(Debug)]
pub struct WaitQueue {
    obj: ObjId,
    waiters: Cell<u64>,
    clock: SyncClock,
}

impl WaitQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(cx: &Cx, name: &'static str) -> Self {
        Self { obj: cx.sim.object(name), waiters: Cell::new(0), clock: SyncClock::default() }
    }

    /// Waits for the next wake-up.
    pub async fn wait(&self, cx: &Cx) {
        cx.might_sleep();
        probe::touch(self.obj, Op::Write);
        self.waiters.set(self.waiters.get() | cx.id.bit());
        cx.sim.full_barrier(cx.id);
        cx.block_on(self.obj, false).await;
        cx.sim.full_barrier(cx.id);
        probe::touch(self.obj, Op::Write);
        self.waiters.set(self.waiters.get() & !cx.id.bit());
        self.see(cx);
    }

    /// What was done before a wake-up is seen by one who found its condition fulfilled without waiting.
    pub fn see(&self, cx: &Cx) {
        probe::touch(self.obj, Op::Read);
        cx.sim.acquire(cx.id, &self.clock);
    }

    /// Wakes all who wait (`wake_up_all`).
    pub fn wake_all(&self, cx: &Cx) {
        if cx.sim.stopped() {
            return;
        }
        probe::touch(self.obj, Op::Write);
        cx.sim.release_shared(cx.id, &self.clock);
        for waiter in CtxSet(self.waiters.replace(0)).iter() {
            cx.sim.wake_from(waiter, self.obj);
        }
    }
}
