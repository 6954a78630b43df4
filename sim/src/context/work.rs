//! Workqueues: work items run by worker tasks.

use std::cell::Cell;
use std::cmp::Ordering;
use std::fmt;
use std::future::Future;
use std::rc::Rc;

use super::timer::Callback;
use super::{Cx, SpawnSpec, Timer};
use crate::probe::{self, Op};
use crate::sync::{SyncClock, WaitQueue};
use crate::{Draft, Kind, Nanos, ObjId};

struct Inner {
    name: &'static str,
    obj: ObjId,
    callback: Callback,
    pending: Cell<bool>,
    /// Counts up whenever it becomes pending, and when that is cancelled; an older ticket is void.
    ticket: Cell<u64>,
    running: Cell<bool>,
    /// How often it was queued, pending or not, and how many of these the last run has come after.
    asked: Cell<u64>,
    seen: Cell<u64>,
    /// The ticket that runs or ran last.
    served: Cell<u64>,
    done: WaitQueue,
    /// What was done before it was queued, also when it was pending already, and in its earlier runs.
    clock: SyncClock,
}

impl Inner {
    /// Who queues an item may rely on it that its function begins afterwards: if it was queued since it began last, it is
    /// to run again.
    fn check_asked(&self, cx: &Cx) {
        if self.asked.get() > self.seen.get() && !self.pending.get() {
            let title =
                format!("the work item {} was queued while it ran, and does not run again", self.name);
            cx.report(Draft::warning("lost-work", title).object(self.name), Vec::new);
        }
    }

    /// Who has cancelled or flushed an item may free what its function uses.
    fn check_idle(&self, cx: &Cx, why: &'static str) {
        if self.running.get() {
            let title = format!("the work item {} still runs, and {why} has returned", self.name);
            cx.report(
                Draft::warning("work-still-runs", title).object(self.name).discriminator(why),
                Vec::new,
            );
        }
    }
}

/// A work item (`struct work_struct`). Queued again while it runs, it runs once more after that; queued while it is
/// pending, it is not queued twice. It never runs twice at one time.
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
            ticket: Cell::new(0),
            running: Cell::new(false),
            asked: Cell::new(0),
            seen: Cell::new(0),
            served: Cell::new(0),
            done: WaitQueue::new(cx, name),
            clock: SyncClock::default(),
        }))
    }

    /// Queues it on `cpu` (`queue_work_on`). Returns `false` if it was pending already.
    pub async fn queue(&self, cx: &Cx, cpu: u8) -> bool {
        cx.step(Kind::Signal, self.0.obj).await;
        let Some(ticket) = self.claim(cx) else { return false };
        self.start(cx, cpu, ticket);
        true
    }

    /// Makes it pending. `None` if it was.
    fn claim(&self, cx: &Cx) -> Option<u64> {
        cx.sim.release_shared(cx.id, &self.0.clock);
        self.0.asked.set(self.0.asked.get() + 1);
        if self.0.pending.replace(true) {
            return None;
        }
        self.0.ticket.set(self.0.ticket.get() + 1);
        Some(self.0.ticket.get())
    }

    /// Takes a pending one back. Returns whether it was pending.
    fn withdraw(&self) -> bool {
        let was = self.0.pending.replace(false);
        if was {
            self.0.ticket.set(self.0.ticket.get() + 1);
            self.0.seen.set(self.0.asked.get());
        }
        was
    }

    /// Gives it to a worker.
    fn start(&self, cx: &Cx, cpu: u8, ticket: u64) {
        let inner = Rc::clone(&self.0);
        let worker = cx.spawn(SpawnSpec::task(inner.name, cpu), move |cx| async move {
            probe::touch(inner.obj, Op::Write);
            while inner.running.get() {
                inner.done.wait(&cx).await;
                probe::touch(inner.obj, Op::Write);
            }
            if inner.ticket.get() != ticket {
                return;
            }
            inner.pending.set(false);
            inner.running.set(true);
            inner.seen.set(inner.asked.get());
            inner.served.set(ticket);
            cx.sim.acquire(cx.id, &inner.clock);
            (inner.callback)(cx.clone()).await;
            cx.sim.release_shared(cx.id, &inner.clock);
            probe::touch(inner.obj, Op::Write);
            inner.running.set(false);
            inner.done.wake_all(&cx);
            inner.check_asked(&cx);
        });
        if let Some(worker) = worker {
            cx.sim.is_background(worker);
        }
    }

    /// Waits until what is pending or running now has ended (`flush_work`). If it is queued again meanwhile, that is
    /// not waited for.
    pub async fn flush(&self, cx: &Cx) {
        cx.step(Kind::Wait, self.0.obj).await;
        let mine = if self.0.pending.get() { self.0.ticket.get() } else { self.0.served.get() };
        let inner = &self.0;
        let over = || match inner.served.get().cmp(&mine) {
            Ordering::Less => inner.ticket.get() != mine,
            Ordering::Equal => !inner.running.get(),
            Ordering::Greater => true,
        };
        while !over() {
            inner.done.wait(cx).await;
            probe::touch(inner.obj, Op::Write);
        }
        cx.sim.acquire(cx.id, &inner.clock);
    }

    /// Takes it back if it is pending, and waits for a running one (`cancel_work_sync`). Returns whether it was
    /// pending.
    pub async fn cancel_sync(&self, cx: &Cx) -> bool {
        cx.step(Kind::Wait, self.0.obj).await;
        let mut was = self.withdraw();
        while self.0.running.get() {
            self.0.done.wait(cx).await;
            probe::touch(self.0.obj, Op::Write);
            // It may have queued itself again.
            was |= self.withdraw();
        }
        self.0.done.wake_all(cx);
        cx.sim.acquire(cx.id, &self.0.clock);
        self.0.check_idle(cx, "cancel_work_sync");
        was
    }

    /// Whether it is queued, or waits for its delay to be over, and has not begun.
    #[must_use]
    pub fn pending(&self) -> bool {
        probe::touch(self.0.obj, Op::Read);
        self.0.pending.get()
    }
}

/// Work that is queued when a timer fires (`struct delayed_work`).
#[derive(Clone, Debug)]
pub struct DelayedWork {
    work: Work,
    timer: Timer,
    /// For which queueing the timer is armed.
    ticket: Rc<Cell<u64>>,
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
        let (queued, valid) = (work.clone(), Rc::new(Cell::new(0)));
        let ticket = Rc::clone(&valid);
        let timer = Timer::new(SpawnSpec::softirq(name, cpu), move |cx| {
            let (queued, ticket) = (queued.clone(), ticket.get());
            async move {
                probe::touch(queued.0.obj, Op::Write);
                if queued.0.ticket.get() == ticket {
                    queued.start(&cx, cpu, ticket);
                }
            }
        });
        Self { work, timer, ticket: valid }
    }

    /// Queues it `delay` from now unless it is pending already (`queue_delayed_work`).
    pub async fn queue(&self, cx: &Cx, delay: Nanos) -> bool {
        cx.step(Kind::Signal, self.work.0.obj).await;
        match self.work.claim(cx) {
            Some(ticket) => {
                self.arm(cx, ticket, delay);
                true
            }
            None => false,
        }
    }

    /// Moves it to `delay` from now, or queues it (`mod_delayed_work`). Returns whether it was pending.
    pub async fn modify(&self, cx: &Cx, delay: Nanos) -> bool {
        cx.step(Kind::Signal, self.work.0.obj).await;
        let was = self.work.withdraw();
        if let Some(ticket) = self.work.claim(cx) {
            self.arm(cx, ticket, delay);
        }
        was
    }

    fn arm(&self, cx: &Cx, ticket: u64, delay: Nanos) {
        self.ticket.set(ticket);
        self.timer.modify(cx, cx.now().saturating_add(delay));
    }

    /// Takes it back if it is pending and waits for a running one (`cancel_delayed_work_sync`). Returns whether it was
    /// pending.
    pub async fn cancel_sync(&self, cx: &Cx) -> bool {
        self.timer.cancel();
        let was = self.work.cancel_sync(cx).await;
        self.timer.cancel();
        was
    }

    /// Waits until a running one has ended, or one that is pending after its delay (`flush_delayed_work` without
    /// cutting the delay short).
    pub async fn flush(&self, cx: &Cx) {
        self.work.flush(cx).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::kinds_of;

    fn idle(cx: &Cx) -> Work {
        Work::new(cx, "work", async |_| {})
    }

    #[test]
    fn what_was_queued_after_the_function_began_is_to_run_again() {
        let found = |pending: bool| {
            kinds_of(move |cx| {
                let work = idle(cx);
                work.0.asked.set(1);
                work.0.pending.set(pending);
                work.0.check_asked(cx);
            })
        };
        assert_eq!(found(false), ["lost-work"]);
        assert!(found(true).is_empty());
    }

    #[test]
    fn what_was_cancelled_runs_no_more() {
        let found = |running: bool| {
            kinds_of(move |cx| {
                let work = idle(cx);
                work.0.running.set(running);
                work.0.check_idle(cx, "cancel_work_sync");
            })
        };
        assert_eq!(found(true), ["work-still-runs"]);
        assert!(found(false).is_empty());
    }
}
