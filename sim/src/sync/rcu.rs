//! RCU: readers, grace periods, callbacks.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::{SyncClock, WaitQueue};
use crate::context::{Sim, Timer};
use crate::probe::{self, Op};
use crate::{CtxId, Cx, Draft, Nanos, SpawnSpec};

/// How long a grace period takes at least.
const GRACE: Nanos = 1_000_000;

type Function = Box<dyn FnOnce(Cx) -> Pin<Box<dyn Future<Output = ()>>>>;

/// What was handed to `call_rcu`, and its grace period.
struct Callback {
    number: u64,
    function: Function,
    /// What it is ordered after.
    clock: SyncClock,
}

/// The callbacks of a CPU whose readers are gone, each with the time at which it may run, in that order.
///
/// Source: `kernel/rcu/tree.c: rcu_do_batch()`, v6.12: one softirq works them off one after another.
struct Batch {
    cpu: u8,
    timer: Timer,
    ready: RefCell<VecDeque<(Nanos, Callback)>>,
    running: Cell<bool>,
}

struct Period {
    /// Readers that were inside when it began and still are.
    readers: u64,
    /// What those that left did before.
    left: Rc<SyncClock>,
    done: Rc<dyn Fn(&SyncClock)>,
}

/// Grace periods in progress.
pub(crate) struct Rcu {
    periods: RefCell<Vec<Period>>,
    /// Of each CPU that had a callback.
    batches: RefCell<Vec<Rc<Batch>>>,
    /// What readers did before they left. Orders ends of grace periods after them, never one reader after another.
    left: SyncClock,
    /// What was done before grace periods began: readers that come later see it.
    begun: SyncClock,
    /// Numbers moments: beginnings of grace periods, and those that somebody asks about later.
    moments: Cell<u64>,
    /// The latest moment at which a grace period began that is over.
    over: Cell<u64>,
}

impl fmt::Debug for Rcu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rcu").field("periods", &self.periods.borrow().len()).finish()
    }
}

impl Rcu {
    pub(crate) fn new() -> Self {
        Self {
            periods: RefCell::new(Vec::new()),
            batches: RefCell::new(Vec::new()),
            left: SyncClock::default(),
            begun: SyncClock::default(),
            moments: Cell::new(0),
            over: Cell::new(0),
        }
    }

    fn moment(&self) -> u64 {
        self.moments.set(self.moments.get() + 1);
        self.moments.get()
    }

    pub(crate) fn clear(&self) {
        self.periods.borrow_mut().clear();
        self.batches.borrow_mut().clear();
    }
}

impl Batch {
    fn new(cpu: u8) -> Self {
        let timer = Timer::new(SpawnSpec::softirq("rcu", cpu), move |cx| {
            let batch = cx.sim.rcu_batch(cpu);
            async move { batch.work_off(&cx).await }
        });
        Self { cpu, timer, ready: RefCell::new(VecDeque::new()), running: Cell::new(false) }
    }

    /// The readers of a callback are gone.
    fn add(&self, sim: &Sim, callback: Callback) {
        probe::touch(probe::RCU, Op::Write);
        // None that is there is due later.
        self.ready.borrow_mut().push_back((sim.now() + GRACE, callback));
        self.wait(sim);
    }

    /// Has the softirq start when the first callback is due, if it does not run or wait for that already.
    fn wait(&self, sim: &Sim) {
        let due = self.ready.borrow().front().map(|(due, _)| *due);
        if let Some(due) = due.filter(|_| !self.running.get() && !self.timer.pending()) {
            self.timer.arm(sim, due);
        }
    }

    /// Runs what is due, and what comes to be due meanwhile.
    async fn work_off(&self, cx: &Cx) {
        self.running.set(true);
        while let Some(callback) = self.next(cx) {
            cx.sim.clocks.borrow_mut().acquire(cx.id, &callback.clock);
            cx.sim.rcu_period_ends(cx.id, callback.number);
            (callback.function)(cx.clone()).await;
        }
        self.running.set(false);
        self.wait(&cx.sim);
    }

    fn next(&self, cx: &Cx) -> Option<Callback> {
        probe::touch(probe::RCU, Op::Write);
        let mut ready = self.ready.borrow_mut();
        let due = ready.front().is_some_and(|(due, _)| *due <= cx.now());
        due.then(|| ready.pop_front()).flatten().map(|(_, callback)| callback)
    }
}

impl Sim {
    fn rcu_batch(&self, cpu: u8) -> Rc<Batch> {
        let mut batches = self.rcu.batches.borrow_mut();
        if let Some(batch) = batches.iter().find(|batch| batch.cpu == cpu) {
            return Rc::clone(batch);
        }
        let batch = Rc::new(Batch::new(cpu));
        batches.push(Rc::clone(&batch));
        batch
    }

    /// A reader left, or ended: grace periods that waited for it only are over.
    pub(crate) fn rcu_reader_gone(&self, id: CtxId) {
        if self.rcu.periods.borrow().is_empty() {
            return;
        }
        if self.rcu.periods.borrow().iter().any(|period| period.readers & id.bit() != 0) {
            probe::touch(probe::RCU, Op::Write);
        }
        let mut over = Vec::new();
        self.rcu.periods.borrow_mut().retain_mut(|period| {
            if period.readers & id.bit() != 0 {
                period.readers &= !id.bit();
                self.clocks.borrow_mut().release_shared(id, &period.left);
            }
            if period.readers == 0 {
                over.push((Rc::clone(&period.left), Rc::clone(&period.done)));
            }
            period.readers != 0
        });
        for (left, done) in over {
            done(&left);
        }
    }

    /// A grace period begins; its number.
    fn rcu_period_begins(&self) -> u64 {
        self.rcu.moment()
    }

    /// A grace period is over for `id`, who asked for it: nobody may be inside who was when it began.
    fn rcu_period_ends(&self, id: CtxId, number: u64) {
        self.rcu.over.set(self.rcu.over.get().max(number));
        let inside = |other: &CtxId| {
            let slot = self.slot(*other);
            *other != id && slot.rcu_nesting.get() > 0 && slot.rcu_since.get() < number
        };
        if let Some(reader) = self.alive().iter().find(inside) {
            let title = format!(
                "an RCU grace period is over for {}, and {} is inside a section that it entered before",
                self.name_of(id),
                self.name_of(reader)
            );
            self.report(id, Draft::warning("grace-period-too-short", title), Vec::new);
        }
    }

    fn rcu_readers(&self, except: CtxId) -> u64 {
        probe::touch(probe::RCU, Op::Write);
        self.alive()
            .iter()
            .filter(|id| *id != except && self.slot(*id).rcu_nesting.get() > 0)
            .fold(0, |set, id| set | id.bit())
    }
}

impl Cx {
    /// Enters a read-side critical section (`rcu_read_lock`).
    pub fn rcu_read_lock(&self) {
        let slot = self.sim.slot(self.id);
        let nesting = slot.rcu_nesting.get();
        probe::touch(probe::RCU, Op::Same(0));
        slot.rcu_nesting.set(nesting + 1);
        if nesting == 0 {
            slot.rcu_since.set(self.sim.rcu.moments.get());
            self.sim.acquire(self.id, &self.sim.rcu.begun);
        }
    }

    /// Leaves it (`rcu_read_unlock`).
    pub fn rcu_read_unlock(&self) {
        if self.sim.stopped() {
            return;
        }
        probe::touch(probe::RCU, Op::Same(0));
        let slot = self.sim.slot(self.id);
        if slot.rcu_nesting.get() == 0 {
            let title = format!(
                "WARNING: bad unlock balance: {} leaves an RCU section that it is not in",
                self.name()
            );
            self.report(Draft::warning("unlock-not-held", title).discriminator("rcu_read_lock"), Vec::new);
            return;
        }
        let nesting = slot.rcu_nesting.get().saturating_sub(1);
        slot.rcu_nesting.set(nesting);
        if nesting == 0 {
            self.sim.clocks.borrow_mut().release_shared(self.id, &self.sim.rcu.left);
            self.sim.rcu_reader_gone(self.id);
        }
    }

    /// Whether this context is inside a read-side critical section (`rcu_read_lock_held`).
    #[must_use]
    pub fn rcu_read_lock_held(&self) -> bool {
        self.sim.slot(self.id).rcu_nesting.get() > 0
    }

    /// This moment, to ask later whether a grace period has passed since (`get_state_synchronize_rcu`).
    #[must_use]
    pub fn get_state_synchronize_rcu(&self) -> u64 {
        self.sim.rcu.moment()
    }

    /// Whether a grace period that began after that moment is over (`poll_state_synchronize_rcu`).
    #[must_use]
    pub fn poll_state_synchronize_rcu(&self, since: u64) -> bool {
        self.sim.rcu.over.get() > since
    }

    /// Waits until all readers that are inside now have left (`synchronize_rcu`).
    pub async fn synchronize_rcu(&self) {
        self.might_sleep();
        let rcu = &self.sim.rcu;
        let number = self.sim.rcu_period_begins();
        self.sleep(GRACE).await;
        self.sim.release_shared(self.id, &rcu.begun);
        self.sim.acquire(self.id, &rcu.left);
        let readers = self.sim.rcu_readers(self.id);
        if readers == 0 {
            self.sim.rcu_period_ends(self.id, number);
            return;
        }
        let queue = Rc::new(WaitQueue::new(self, "rcu grace period"));
        let over = Rc::new(Cell::new(false));
        let left = Rc::new(SyncClock::default());
        let done: Rc<dyn Fn(&SyncClock)> = {
            let (queue, over, cx) = (Rc::clone(&queue), Rc::clone(&over), self.clone());
            Rc::new(move |_| {
                over.set(true);
                queue.wake_all(&cx);
            })
        };
        rcu.periods.borrow_mut().push(Period { readers, left: Rc::clone(&left), done });
        while !over.get() {
            queue.wait(self).await;
            probe::touch(probe::RCU, Op::Write);
        }
        self.sim.clocks.borrow_mut().acquire(self.id, &left);
        self.sim.rcu_period_ends(self.id, number);
    }

    /// Runs `callback` in a softirq of this CPU after all readers that are inside now have left (`call_rcu`). Callbacks of a
    /// CPU run one after another, in the order in which they came.
    pub fn call_rcu<F: Future<Output = ()> + 'static>(&self, callback: impl FnOnce(Self) -> F + 'static) {
        let function: Function = Box::new(move |cx| Box::pin(callback(cx)));
        let number = self.sim.rcu_period_begins();
        let callback = Callback { number, function, clock: SyncClock::default() };
        let batch = self.sim.rcu_batch(self.cpu());
        let own = if self.rcu_read_lock_held() { self.id.bit() } else { 0 };
        let readers = self.sim.rcu_readers(self.id) | own;
        {
            let mut clocks = self.sim.clocks.borrow_mut();
            clocks.release_shared(self.id, &self.sim.rcu.begun);
            clocks.release_shared(self.id, &callback.clock);
            clocks.forward(&self.sim.rcu.left, &callback.clock);
        }
        if readers == 0 {
            batch.add(&self.sim, callback);
        } else {
            let sim = Rc::clone(&self.sim);
            let callback = Cell::new(Some(callback));
            let done: Rc<dyn Fn(&SyncClock)> = Rc::new(move |left| {
                if let Some(callback) = callback.take() {
                    sim.clocks.borrow_mut().forward(left, &callback.clock);
                    batch.add(&sim, callback);
                }
            });
            self.sim.rcu.periods.borrow_mut().push(Period { readers, left: Rc::default(), done });
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::SpawnSpec;
    use crate::context::kinds_of;

    /// What is found when somebody takes a grace period for over that began before a reader came, or after.
    fn over(begins_first: bool) -> Vec<&'static str> {
        kinds_of(move |cx| {
            let first = begins_first.then(|| cx.sim.rcu_period_begins());
            cx.spawn(SpawnSpec::task("reader", 0), move |cx| async move {
                cx.rcu_read_lock();
                let number = first.unwrap_or_else(|| cx.sim.rcu_period_begins());
                let writer = async move |cx: crate::Cx| cx.sim.rcu_period_ends(cx.id, number);
                cx.spawn(SpawnSpec::softirq("writer", 0), writer);
                cx.delay(100).await;
                cx.rcu_read_unlock();
            });
        })
    }

    #[test]
    fn a_reader_that_was_inside_when_the_grace_period_began() {
        assert_eq!(over(false), ["grace-period-too-short"]);
        assert!(over(true).is_empty());
    }

    #[test]
    fn a_section_that_is_left_twice() {
        let left = |times: usize| {
            kinds_of(move |cx| {
                cx.rcu_read_lock();
                (0..times).for_each(|_| cx.rcu_read_unlock());
            })
        };
        assert_eq!(left(2), ["unlock-not-held"]);
        assert!(left(1).is_empty());
    }
}
