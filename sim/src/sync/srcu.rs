//! Sleepable RCU: readers who may sleep, and who are counted for each structure by itself.

use std::cell::{Cell, RefCell};

use super::{SyncClock, WaitQueue};
use crate::probe::{self, Op};
use crate::{Cx, Draft, Kind, ObjId};

/// A domain of sleepable RCU (`struct srcu_struct`). Not tied to a CPU or a context: who entered may be another one than
/// who leaves.
#[derive(Debug)]
pub struct Srcu {
    name: &'static str,
    obj: ObjId,
    /// Those who are inside, by the number that they got.
    readers: RefCell<Vec<u64>>,
    next: Cell<u64>,
    left: WaitQueue,
    /// What readers did before they left.
    clock: SyncClock,
}

/// A reader's number, to leave with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "who enters has to leave"]
pub struct SrcuReader(u64);

impl Srcu {
    /// A domain without readers.
    #[must_use]
    pub fn new(cx: &Cx, name: &'static str) -> Self {
        Self {
            name,
            obj: cx.sim.object(name),
            readers: RefCell::default(),
            next: Cell::new(0),
            left: WaitQueue::new(cx, name),
            clock: SyncClock::default(),
        }
    }

    /// Enters a read-side critical section (`srcu_read_lock`). Never waits.
    pub fn read_lock(&self, _cx: &Cx) -> SrcuReader {
        probe::touch(self.obj, Op::Write);
        let number = self.next.get();
        self.next.set(number + 1);
        self.readers.borrow_mut().push(number);
        SrcuReader(number)
    }

    /// Leaves it (`srcu_read_unlock`). Who is not inside is a finding.
    pub fn read_unlock(&self, cx: &Cx, reader: SrcuReader) {
        if cx.sim.stopped() {
            return;
        }
        probe::touch(self.obj, Op::Write);
        let at = self.readers.borrow().iter().position(|number| *number == reader.0);
        let Some(at) = at else {
            let title = format!(
                "WARNING: bad unlock balance: {} leaves a section of {} that nobody is in",
                cx.name(),
                self.name
            );
            cx.report(Draft::warning("unlock-not-held", title).discriminator("srcu_read_lock"), Vec::new);
            return;
        };
        self.readers.borrow_mut().swap_remove(at);
        cx.sim.clocks.borrow_mut().release_shared(cx.id, &self.clock);
        self.left.wake_all(cx);
    }

    /// Whether anybody is inside.
    #[must_use]
    pub fn is_read_locked(&self) -> bool {
        probe::touch(self.obj, Op::Read);
        !self.readers.borrow().is_empty()
    }

    /// Waits until all who are inside now have left (`synchronize_srcu`). Who enters meanwhile is not waited for.
    pub async fn synchronize(&self, cx: &Cx) {
        cx.might_sleep();
        cx.step(Kind::Wait, self.obj).await;
        let before = self.next.get();
        while self.readers.borrow().iter().any(|number| *number < before) {
            self.left.wait(cx).await;
            probe::touch(self.obj, Op::Write);
        }
        cx.sim.clocks.borrow_mut().acquire(cx.id, &self.clock);
    }
}
