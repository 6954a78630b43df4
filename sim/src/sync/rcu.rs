//! RCU: readers, grace periods, callbacks.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::{SyncClock, WaitQueue};
use crate::context::{Sim, Timer};
use crate::probe::{self, Op};
use crate::{CtxId, Cx, Nanos, SpawnSpec};

/// How long a grace period takes at least.
const GRACE: Nanos = 1_000_000;

type Callback = Box<dyn FnOnce(Cx) -> Pin<Box<dyn Future<Output = ()>>>>;

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

    fn ended(&self, began: u64) {
        self.over.set(self.over.get().max(began));
    }

    pub(crate) fn clear(&self) {
        self.periods.borrow_mut().clear();
    }
}

impl Sim {
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
            self.sim.clocks.borrow_mut().acquire(self.id, &self.sim.rcu.begun);
        }
    }

    /// Leaves it (`rcu_read_unlock`).
    pub fn rcu_read_unlock(&self) {
        if self.sim.stopped() {
            return;
        }
        probe::touch(probe::RCU, Op::Same(0));
        let slot = self.sim.slot(self.id);
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
        let began = self.sim.rcu.moment();
        self.sleep(GRACE).await;
        let rcu = &self.sim.rcu;
        {
            let mut clocks = self.sim.clocks.borrow_mut();
            clocks.release_shared(self.id, &rcu.begun);
            clocks.acquire(self.id, &rcu.left);
        }
        let readers = self.sim.rcu_readers(self.id);
        if readers == 0 {
            rcu.ended(began);
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
        self.sim.rcu.ended(began);
    }

    /// Runs `callback` in a softirq of this CPU after all readers that are inside now have left (`call_rcu`).
    pub fn call_rcu<F: Future<Output = ()> + 'static>(&self, callback: impl FnOnce(Self) -> F + 'static) {
        let began = self.sim.rcu.moment();
        let callback: Callback = Box::new(move |cx| Box::pin(callback(cx)));
        let callback = Rc::new(RefCell::new(Some(callback)));
        let timer = Timer::new(SpawnSpec::softirq("rcu", self.cpu()), move |cx| {
            let callback = callback.borrow_mut().take();
            cx.sim.rcu.ended(began);
            async move {
                if let Some(callback) = callback {
                    callback(cx).await;
                }
            }
        });
        let own = if self.rcu_read_lock_held() { self.id.bit() } else { 0 };
        let readers = self.sim.rcu_readers(self.id) | own;
        {
            let mut clocks = self.sim.clocks.borrow_mut();
            clocks.release_shared(self.id, &self.sim.rcu.begun);
            clocks.release_shared(self.id, timer.clock());
            clocks.forward(&self.sim.rcu.left, timer.clock());
        }
        if readers == 0 {
            timer.arm(&self.sim, self.now() + GRACE);
        } else {
            let sim = Rc::clone(&self.sim);
            let done: Rc<dyn Fn(&SyncClock)> = Rc::new(move |left| {
                sim.clocks.borrow_mut().forward(left, timer.clock());
                timer.arm(&sim, sim.now() + GRACE);
            });
            self.sim.rcu.periods.borrow_mut().push(Period { readers, left: Rc::default(), done });
        }
    }
}
