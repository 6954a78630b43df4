//! The virtual clock's queue, and the kernel's timers on top of it.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::Cx;
use super::Sim;
use super::state::{SpawnSpec, Wait};
use crate::probe::{self, Op};
use crate::sync::SyncClock;
use crate::{CtxId, Draft, Nanos};

pub(crate) type Callback = Rc<dyn Fn(Cx) -> Pin<Box<dyn Future<Output = ()>>>>;

pub(super) enum Due {
    /// Wake this context if it still is the one with this serial number and still waits for the clock.
    Wake { id: CtxId, serial: u32 },
    /// Run this timer if it was not changed since.
    Timer { timer: Rc<TimerInner>, generation: u32 },
    /// Call this handler.
    Call { handler: Handler, argument: u64 },
}

/// A function for plain events; see [`Sim::handler`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handler(u32);

pub(super) type Function = Rc<dyn Fn(&Sim, u64)>;

/// Pending deadlines. Those of one instant all fire before the scheduler is asked who goes on, so that their order
/// is its choice and not that of their insertion.
#[derive(Default)]
pub(super) struct Clock {
    heap: BinaryHeap<Reverse<(Nanos, u32)>>,
    due: Vec<Option<Due>>,
    free: Vec<u32>,
}

impl Clock {
    pub(super) fn add(&mut self, at: Nanos, due: Due) {
        let index = if let Some(index) = self.free.pop() {
            self.due[index as usize] = Some(due);
            index
        } else {
            self.due.push(Some(due));
            u32::try_from(self.due.len() - 1).unwrap_or(u32::MAX)
        };
        self.heap.push(Reverse((at, index)));
    }

    pub(super) fn next(&self) -> Nanos {
        self.heap.peek().map_or(Nanos::MAX, |Reverse((at, _))| *at)
    }

    pub(super) fn pop_due(&mut self, now: Nanos) -> Option<Due> {
        let Reverse((at, index)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        self.free.push(index);
        self.due[index as usize].take()
    }

    /// Whether a timer is armed that is not a daemon's: the run goes on until it fired.
    pub(super) fn keeps_alive(&self) -> bool {
        self.due.iter().flatten().any(|due| match due {
            Due::Wake { .. } => false,
            Due::Timer { timer, generation } => !timer.spec.daemon && timer.armed(*generation),
            Due::Call { .. } => true,
        })
    }

    pub(super) fn clear(&mut self) {
        self.heap.clear();
        self.due.clear();
        self.free.clear();
    }
}

pub(super) struct TimerInner {
    spec: SpawnSpec,
    callback: Callback,
    generation: Cell<u32>,
    expires: Cell<Option<Nanos>>,
    /// What happened before it was armed.
    clock: SyncClock,
}

impl TimerInner {
    fn armed(&self, generation: u32) -> bool {
        self.generation.get() == generation && self.expires.get().is_some()
    }
}

/// A kernel timer (`struct timer_list`): its function runs in a softirq of the CPU on which it was created.
#[derive(Clone)]
pub struct Timer(Rc<TimerInner>);

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("name", &self.0.spec.name).field("expires", &self.0.expires).finish()
    }
}

impl Timer {
    /// A timer that runs `callback` in a context started by `spec` (usually [`SpawnSpec::softirq`]).
    pub fn new<F: Future<Output = ()> + 'static>(
        spec: SpawnSpec,
        callback: impl Fn(Cx) -> F + 'static,
    ) -> Self {
        Self(Rc::new(TimerInner {
            spec,
            callback: Rc::new(move |cx| Box::pin(callback(cx))),
            generation: Cell::new(0),
            expires: Cell::new(None),
            clock: SyncClock::default(),
        }))
    }

    /// Arms the timer, or moves it if it is armed (`mod_timer`). Returns whether it was armed.
    pub fn modify(&self, cx: &Cx, expires: Nanos) -> bool {
        cx.sim.release_shared(cx.id, &self.0.clock);
        self.arm(&cx.sim, expires)
    }

    /// Arms it in nobody's name: what happened before is in its clock already.
    pub(crate) fn arm(&self, sim: &Sim, expires: Nanos) -> bool {
        let was = self.cancel();
        self.0.expires.set(Some(expires));
        let due = Due::Timer { timer: Rc::clone(&self.0), generation: self.0.generation.get() };
        sim.add_deadline(expires, due);
        was
    }

    /// Disarms it (`del_timer`). Returns whether it was armed. Its function may still be running.
    pub fn cancel(&self) -> bool {
        probe::touch(probe::TIMERS, Op::Write);
        self.0.generation.set(self.0.generation.get() + 1);
        self.0.expires.take().is_some()
    }

    /// Whether it is armed (`timer_pending`).
    #[must_use]
    pub fn pending(&self) -> bool {
        probe::touch(probe::TIMERS, Op::Read);
        self.0.expires.get().is_some()
    }
}

impl Sim {
    /// A timer's function runs when the timer is armed and its time has come, and never before.
    fn check_expired(&self, timer: &TimerInner) {
        if timer.expires.get().is_some_and(|at| at <= self.now.get()) {
            return;
        }
        let who = super::state::ctx(self.current.get()).unwrap_or(CtxId(0));
        let title = format!("the timer {} fires, and it is not its time", timer.spec.name);
        self.report(who, Draft::warning("timer-at-wrong-time", title).object(timer.spec.name), Vec::new);
    }

    /// Registers a function for plain events: the clock calls it in no context. It waits for nothing, nobody comes
    /// between what it does, and it is told by its argument which event it is. A search takes it to touch everything.
    pub fn handler(&self, function: impl Fn(&Self, u64) + 'static) -> Handler {
        let mut handlers = self.handlers.borrow_mut();
        handlers.push(Rc::new(function));
        Handler(u32::try_from(handlers.len() - 1).unwrap_or(u32::MAX))
    }

    /// Has `handler` called with `argument` at `time`; at once if that is past and the clock moves on. Plain events of
    /// one instant are called in an order that is the same in every run and is no choice: what may come in any order
    /// is a [`Timer`] or a context.
    pub fn call_at(&self, time: Nanos, handler: Handler, argument: u64) {
        probe::touch(probe::TIMERS, Op::Write);
        self.add_deadline(time, Due::Call { handler, argument });
    }

    /// A plain event counts as a step: a handler that plans itself for ever uses up the budget of the run.
    fn call(&self, handler: Handler, argument: u64) {
        if self.stopped.get() {
            return;
        }
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        if steps >= self.config.max_steps {
            self.out_of_steps();
            return;
        }
        let function = self.handlers.borrow().get(handler.0 as usize).map(Rc::clone);
        self.mix(u64::from(handler.0) << 48 ^ argument);
        probe::touch(probe::WORLD, Op::Write);
        if let Some(function) = function {
            function(self, argument);
        }
    }

    pub(super) fn add_deadline(&self, at: Nanos, due: Due) {
        let mut clock = self.clock.borrow_mut();
        clock.add(at, due);
        self.next_deadline.set(clock.next());
    }

    /// Fires everything that is due. Out of line: most steps fire nothing.
    #[cold]
    pub(super) fn fire_due(&self) {
        let now = self.now.get();
        probe::read_clock();
        loop {
            let due = {
                let mut clock = self.clock.borrow_mut();
                let due = clock.pop_due(now);
                self.next_deadline.set(clock.next());
                due
            };
            match due {
                None => return,
                Some(Due::Wake { id, serial }) => {
                    let slot = self.slot(id);
                    // A deadline of an earlier wait, which ended before its time, wakes nobody.
                    let due = matches!(slot.wait.get(), Wait::Clock(until) if until <= now);
                    if slot.serial.get() == serial && due {
                        self.wake(id);
                    }
                }
                Some(Due::Call { handler, argument }) => self.call(handler, argument),
                Some(Due::Timer { timer, generation }) => {
                    if timer.armed(generation) {
                        self.check_expired(&timer);
                        timer.expires.set(None);
                        let callback = Rc::clone(&timer.callback);
                        self.spawn_boxed(timer.spec, &timer.clock, |cx| callback(cx));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::kinds_of;

    #[test]
    fn a_timer_fires_when_its_time_has_come_and_not_before() {
        let fires = |expires: Option<Nanos>| {
            kinds_of(move |cx| {
                let timer = Timer::new(SpawnSpec::softirq("timer", 0), async |_| {});
                timer.0.expires.set(expires);
                cx.sim.check_expired(&timer.0);
            })
        };
        assert_eq!(fires(Some(1_000_000)), ["timer-at-wrong-time"]);
        assert_eq!(fires(None), ["timer-at-wrong-time"]);
        assert!(fires(Some(0)).is_empty());
    }
}
