//! Workqueues: work items run by worker tasks.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;

use super::timer::Callback;
use super::{Cx, SpawnSpec, Timer};
use crate::sync::WaitQueue;
use crate::{Kind, Nanos, ObjId};

struct Inner {
    name: &'static str,
    obj: ObjId,
    callback: Callback,
    pending: Cell<bool>,
    running: Cell<u32>,
    done: WaitQueue,
}

/// A work item (`struct work_struct`). Queued again while it runs, it runs once more; queued while it is pending, it
/// is not queued twice.
#[derive(Clone)]
pub struct Work(Rc<Inner>);

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("name", &self.0.name).field("pending", &self.0.pending).finish()
    }
}

impl Work {
    /// A work item; `name` is that of the worker task which will run it.
    pub fn new<F: Future<Output = ()> + 'static>(
        cx: &Cx,
        name: &'static str,
        callback: impl Fn(Cx) -> F + 'static,
    ) -> Self {
        Self(Rc::new(Inner {
            name,
            obj: cx.sim.object(name),
            callback: Rc::new(move |cx| Box::pin(callback(cx))),
            pending: Cell::new(false),
            running: Cell::new(0),
            done: WaitQueue::new(cx, name),
        }))
    }

    /// Queues it on `cpu` (`queue_work_on`). Returns `false` if it was pending already.
    pub async fn queue(&self, cx: &Cx, cpu: u8) -> bool {
        cx.step(Kind::Signal, self.0.obj).await;
        self.queue_now(cx, cpu)
    }

    fn queue_now(&self, cx: &Cx, cpu: u8) -> bool {
        if self.0.pending.replace(true) {
            return false;
        }
        let inner = Rc::clone(&self.0);
        cx.spawn(SpawnSpec::task(inner.name, cpu), move |cx| async move {
            inner.pending.set(false);
            inner.running.set(inner.running.get() + 1);
            (inner.callback)(cx.clone()).await;
            inner.running.set(inner.running.get() - 1);
            inner.done.wake_all(&cx);
        });
        true
    }

    /// Waits until it neither runs nor is pending (`flush_work`).
    pub async fn flush(&self, cx: &Cx) {
        while self.0.pending.get() || self.0.running.get() > 0 {
            self.0.done.wait(cx).await;
        }
    }

    /// Whether it is queued and has not begun.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.0.pending.get()
    }
}

/// Work that is queued when a timer fires (`struct delayed_work`).
#[derive(Clone, Debug)]
pub struct DelayedWork {
    work: Work,
    timer: Timer,
}

impl DelayedWork {
    /// A delayed work item that runs on `cpu`.
    pub fn new<F: Future<Output = ()> + 'static>(
        cx: &Cx,
        name: &'static str,
        cpu: u8,
        callback: impl Fn(Cx) -> F + 'static,
    ) -> Self {
        let work = Work::new(cx, name, callback);
        let queued = work.clone();
        let timer = Timer::new(SpawnSpec::softirq(name, cpu), move |cx| {
            let queued = queued.clone();
            async move {
                queued.queue_now(&cx, cpu);
            }
        });
        Self { work, timer }
    }

    /// Queues it `delay` from now unless it is waiting already (`queue_delayed_work`).
    pub async fn queue(&self, cx: &Cx, delay: Nanos) -> bool {
        cx.step(Kind::Signal, self.work.0.obj).await;
        if self.timer.pending() || self.work.pending() {
            return false;
        }
        self.timer.modify(cx, cx.now() + delay);
        true
    }

    /// Moves it to `delay` from now (`mod_delayed_work`).
    pub async fn modify(&self, cx: &Cx, delay: Nanos) {
        cx.step(Kind::Signal, self.work.0.obj).await;
        self.timer.modify(cx, cx.now() + delay);
    }

    /// Disarms it and waits for a running one (`cancel_delayed_work_sync`).
    pub async fn cancel_sync(&self, cx: &Cx) {
        self.timer.cancel();
        self.work.flush(cx).await;
    }
}
