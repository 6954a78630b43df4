//! Completions.

use std::cell::Cell;

use super::WaitQueue;
use crate::{Cx, Kind, ObjId};

/// A completion (`struct completion`).
#[derive(Debug)]
pub struct Completion {
    obj: ObjId,
    done: Cell<u32>,
    queue: WaitQueue,
}

impl Completion {
    /// A completion of nothing yet (`init_completion`).
    #[must_use]
    pub fn new(cx: &Cx, name: &'static str) -> Self {
        Self { obj: cx.sim.object(name), done: Cell::new(0), queue: WaitQueue::new(cx, name) }
    }

    /// Waits until it was completed once more than it was waited for (`wait_for_completion`).
    pub async fn wait(&self, cx: &Cx) {
        cx.might_sleep();
        cx.step(Kind::Wait, self.obj).await;
        loop {
            match self.done.get() {
                0 => {
                    self.queue.wait(cx).await;
                    cx.step_now(Kind::Wait, self.obj).await;
                }
                u32::MAX => return self.queue.see(cx),
                done => {
                    self.done.set(done - 1);
                    return self.queue.see(cx);
                }
            }
        }
    }

    /// Completes it for one who waits (`complete`).
    pub async fn complete(&self, cx: &Cx) {
        cx.step(Kind::Signal, self.obj).await;
        self.done.set(self.done.get().saturating_add(1));
        self.queue.wake_all(cx);
    }

    /// Completes it for ever (`complete_all`).
    pub async fn complete_all(&self, cx: &Cx) {
        cx.step(Kind::Signal, self.obj).await;
        self.done.set(u32::MAX);
        self.queue.wake_all(cx);
    }
}
