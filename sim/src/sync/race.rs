//! Data races: accesses that happens-before does not order.

use std::cell::Cell;

use super::SyncClock;
use super::clocks::{Epoch, Vector};
use crate::context::Class;
use crate::{Cx, Draft, ObjId};

/// How a variable is accessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Whether it changes (it is freed: that, too).
    pub write: bool,
    /// Whether the access says that others may come between (`READ_ONCE`, `WRITE_ONCE`, atomics): two of these never
    /// race with one another.
    pub marked: bool,
}

impl Access {
    /// A plain load.
    pub const READ: Self = Self { write: false, marked: false };
    /// A plain store.
    pub const WRITE: Self = Self { write: true, marked: false };
    /// `READ_ONCE`.
    pub const READ_ONCE: Self = Self { write: false, marked: true };
    /// `WRITE_ONCE`, or an atomic operation.
    pub const WRITE_ONCE: Self = Self { write: true, marked: true };

    const fn word(self) -> &'static str {
        match (self.write, self.marked) {
            (false, false) => "read",
            (true, false) => "write",
            (false, true) => "marked read",
            (true, true) => "marked write",
        }
    }
}

/// One access that was made.
#[derive(Clone, Copy, Debug, Default)]
struct Made {
    epoch: Epoch,
    how: Access,
    /// CPU; [`NO_CPU`] for a device.
    cpu: u8,
    /// Whether nobody but interrupts could come between on that CPU.
    kept: Kept,
    function: &'static str,
}

/// What an access had to fear of others on its CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kept {
    /// Of a task that could be preempted.
    #[default]
    No,
    /// Of a task with preemption, softirqs or interrupts off.
    Task,
    /// Of an interrupt.
    Interrupt,
}

const NO_CPU: u8 = u8::MAX;

impl Made {
    #[inline]
    fn new(cx: &Cx, how: Access, epoch: Epoch) -> Self {
        let slot = cx.sim.slot(cx.id);
        let class = slot.class.get();
        Self {
            epoch,
            how,
            cpu: if class == Class::Device { NO_CPU } else { slot.cpu.get() },
            kept: match class {
                Class::Softirq | Class::Hardirq => Kept::Interrupt,
                Class::Task if slot.keeps_cpu() => Kept::Task,
                Class::Task | Class::Device => Kept::No,
            },
            function: cx.function(),
        }
    }

    /// Whether a CPU alone orders the two.
    fn on_one_cpu(&self, other: &Self) -> bool {
        self.cpu == other.cpu
            && self.cpu != NO_CPU
            && match (self.kept, other.kept) {
                (Kept::Interrupt, _) | (_, Kept::Interrupt) => true,
                (a, b) => a == Kept::Task && b == Kept::Task,
            }
    }
}

/// The last accesses of one variable: the last write, and the last two reads by different contexts. A race with an
/// older access can be missed; none is invented.
#[derive(Debug, Default)]
pub struct Accesses {
    write: Cell<Made>,
    reads: [Cell<Made>; 2],
}

/// An earlier access that nothing orders before the present one.
#[derive(Clone, Copy, Debug)]
pub struct Unordered(Made);

impl Accesses {
    /// Notes an access that this context makes now, and says whether it races with an earlier one. `obj` is asked only
    /// if the run is to explain itself.
    ///
    /// Happens-before comes of locks, atomics, completions, wake-ups, RCU, timers, work items, and the start of
    /// contexts.
    #[inline]
    pub fn note(&self, cx: &Cx, how: Access, obj: impl FnOnce() -> ObjId) -> Option<Unordered> {
        self.note_if(cx, how, obj, |_, _| true)
    }

    /// The same, except that a CPU orders what happens on it: an interrupt and what it interrupts, and tasks while they
    /// cannot be preempted. Tasks that can be might as well be on two CPUs.
    #[inline]
    pub fn note_across_cpus(&self, cx: &Cx, how: Access, obj: impl FnOnce() -> ObjId) -> Option<Unordered> {
        self.note_if(cx, how, obj, |earlier, made| !earlier.on_one_cpu(made))
    }

    #[inline]
    fn note_if(
        &self,
        cx: &Cx,
        how: Access,
        obj: impl FnOnce() -> ObjId,
        counts: fn(&Made, &Made) -> bool,
    ) -> Option<Unordered> {
        let clocks = cx.sim.clocks.borrow();
        let vector = clocks.vector(cx.id)?;
        let epoch = Epoch::new(cx.id, vector[cx.id.index()]);
        if cx.sim.config.details {
            cx.sim.accesses.borrow_mut().add(cx, &Made::new(cx, how, epoch), obj());
        }
        let last = if how.write { self.write.get() } else { self.reads[0].get() };
        if last.epoch == epoch && last.how == how {
            // Nothing was ordered after this context since it did the same: whoever came between has looked at that.
            return None;
        }
        self.compare(Made::new(cx, how, epoch), vector, counts)
    }

    #[inline]
    fn compare(&self, made: Made, vector: &Vector, counts: fn(&Made, &Made) -> bool) -> Option<Unordered> {
        let races = |earlier: Made| {
            // Nearly always ordered: nothing else is looked at then.
            let unordered = !earlier.epoch.ordered_before(vector);
            (unordered && !(earlier.how.marked && made.how.marked) && counts(&earlier, &made))
                .then_some(earlier)
        };
        let [first, second] = &self.reads;
        let write = self.write.get();
        let earlier = if made.how.write {
            self.write.set(made);
            races(write).or_else(|| races(first.get())).or_else(|| races(second.get()))
        } else {
            let (one, other) = (first.get().epoch, second.get().epoch);
            let stays =
                !one.same_slot(made.epoch) && (other.same_slot(made.epoch) || !one.ordered_before(vector));
            if stays { second } else { first }.set(made);
            races(write)
        };
        earlier.map(Unordered)
    }
}

impl Unordered {
    /// Reports the race of this access with the present one, to the variable `name`. What else there is to say comes
    /// behind both call chains.
    pub fn report(
        &self,
        cx: &Cx,
        access: Access,
        name: &'static str,
        obj: ObjId,
        more: impl FnOnce() -> Vec<(String, Vec<String>)>,
    ) {
        let Self(earlier) = self;
        let title = format!(
            "BUG: data race on {name} in {} ({}) / {} ({})",
            earlier.function,
            earlier.how.word(),
            cx.function(),
            access.word()
        );
        let draft = Draft::warning("data-race", title).object(name).discriminator(earlier.function);
        cx.report(draft, || {
            let mut details = Vec::new();
            let now = cx.sim.accesses.borrow().last(cx.id);
            let before = cx.sim.accesses.borrow().find(earlier, obj);
            details.extend(now.map(|lines| ("this access".to_owned(), lines)));
            details.extend(before.map(|lines| ("unordered with".to_owned(), lines)));
            details.extend(more());
            details
        });
    }
}

/// Something that orders and is no lock of the engine: what one context did before it released is seen by those who
/// acquire after that (`smp_store_release`, `rcu_assign_pointer`, an atomic operation that returns a value, a lock that
/// a model takes and gives back in one step).
#[derive(Debug, Default)]
pub struct Order(SyncClock);

impl Order {
    /// What this context did so far happens before what is done by whoever acquires later.
    #[inline]
    pub fn release(&self, cx: &Cx) {
        cx.sim.clocks.borrow_mut().release_shared(cx.id, &self.0);
    }

    /// What was done before any release so far happens before what this context does next.
    #[inline]
    pub fn acquire(&self, cx: &Cx) {
        cx.sim.clocks.borrow_mut().acquire(cx.id, &self.0);
    }

    /// Both, as an operation does that is fully ordered: stores and loads of the CPU, too.
    #[inline]
    pub fn pass(&self, cx: &Cx) {
        cx.sim.acquire(cx.id, &self.0);
        cx.sim.release_shared(cx.id, &self.0);
    }
}

/// How many accesses are kept for reports.
const KEPT: usize = 1 << 16;

/// Who accessed what and how he came there; kept only in runs that explain themselves.
#[derive(Debug, Default)]
pub(crate) struct AccessLog(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    obj: ObjId,
    id: crate::CtxId,
    epoch: Epoch,
    how: Access,
    lines: Vec<String>,
}

impl AccessLog {
    fn add(&mut self, cx: &Cx, made: &Made, obj: ObjId) {
        if self.0.len() >= KEPT {
            self.0.drain(..KEPT / 2);
        }
        let on = if made.cpu == NO_CPU { String::new() } else { format!(" on CPU {}", made.cpu) };
        let time = cx.stamp();
        let when = format!("{}.{:06} ms", time / 1_000_000, time % 1_000_000);
        let mut lines = vec![format!("{} by {}{on} at {when}", made.how.word(), cx.name())];
        let held = cx.sim.held_text(cx.id);
        lines.push(match held.as_slice() {
            [] => "  no lock held".to_owned(),
            held => format!("  holds {}", held.join(", ")),
        });
        lines.extend(cx.frames().into_iter().map(|frame| format!("  {frame}")));
        self.0.push(Entry { obj, id: cx.id, epoch: made.epoch, how: made.how, lines });
    }

    fn last(&self, id: crate::CtxId) -> Option<Vec<String>> {
        self.0.iter().rev().find(|entry| entry.id == id).map(|entry| entry.lines.clone())
    }

    fn find(&self, made: &Made, obj: ObjId) -> Option<Vec<String>> {
        let same = |entry: &&Entry| entry.obj == obj && entry.epoch == made.epoch && entry.how == made.how;
        self.0.iter().rev().find(same).map(|entry| entry.lines.clone())
    }
}
