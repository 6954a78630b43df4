//! What a transition of a context touches, beside what it announced: for partial-order reduction.
//!
//! Reduction is sound only if everything that a transition reads or changes, and that another context could change or
//! read, is told here. It is off, and costs one look at a flag, unless a search listens on this thread.

mod cells;

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::{CtxId, ObjId};

/// Cells that tell a search who looks into them and who changes them.
///
/// In safe code contexts share what can change through cells alone. A model whose cells are all of this kind, beside
/// what the engine offers, can thus forget nothing. While nobody listens they cost one look at a flag.
pub mod cell {
    pub use super::cells::{Cell, OnceCell, RefCell};
}

pub(crate) use cells::FIRST_CELL;

/// How a transition touches an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Looks at it: commutes with other looks.
    Read,
    /// Changes it.
    Write,
    /// Takes a lock: possible only while it is free.
    Acquire,
    /// Takes a lock that happened to be free.
    Try,
    /// Gives a lock back that nobody else could have taken before.
    Release,
    /// Gives a lock back that others may share.
    ReleaseShared,
    /// Does something that commutes with doing the same again, and with nothing else.
    Same(u32),
}

impl Op {
    /// Whether a lock is taken or given back.
    #[must_use]
    pub(crate) const fn of_a_lock(self) -> bool {
        matches!(self, Self::Acquire | Self::Try | Self::Release | Self::ReleaseShared)
    }

    /// Whether the order of the two matters.
    #[must_use]
    pub const fn conflicts(self, other: Self) -> bool {
        match (self, other) {
            (Self::Read, Self::Read) | (Self::ReleaseShared, Self::ReleaseShared) => false,
            (Self::Same(a), Self::Same(b)) => a != b,
            _ => true,
        }
    }
}

/// One object and how it was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The object.
    pub obj: ObjId,
    /// How.
    pub op: Op,
}

/// Ids from here on stand for parts of the engine.
pub(crate) const FIRST_OF_ENGINE: u32 = u32::MAX - 1023;
/// Slots, serial numbers and names of contexts.
pub(crate) const SPAWNS: ObjId = ObjId(FIRST_OF_ENGINE);
/// The order of classes of locks.
pub(crate) const LOCK_ORDER: ObjId = ObjId(FIRST_OF_ENGINE + 1);
/// Readers and grace periods.
pub(crate) const RCU: ObjId = ObjId(FIRST_OF_ENGINE + 2);
/// Ids and names of objects.
pub(crate) const OBJECTS: ObjId = ObjId(FIRST_OF_ENGINE + 3);
/// All timers.
pub(crate) const TIMERS: ObjId = ObjId(FIRST_OF_ENGINE + 4);
/// Everything that a model shares and does not tell apart.
pub const WORLD: ObjId = ObjId(FIRST_OF_ENGINE + 5);

/// Variables of a model that are no cells begin here.
pub(crate) const FIRST_OF_MODEL: u32 = 1 << 31;

/// A variable of a model that is no cell, by a number of the model's own below 2^30.
#[must_use]
pub const fn of_model(nth: u32) -> ObjId {
    assert!(nth < 1 << 30, "too large a number for a variable");
    ObjId(FIRST_OF_MODEL + nth)
}

/// In which states of the CPU locks of a class are taken.
pub(crate) const fn lock_usage(class: u8) -> ObjId {
    ObjId(FIRST_OF_ENGINE + 128 + class as u32)
}

/// For what a context waits.
pub(crate) const fn wait_of(id: CtxId) -> ObjId {
    ObjId(FIRST_OF_ENGINE + 256 + id.0 as u32)
}

/// Who may run on a CPU.
pub(crate) const fn cpu(cpu: u8) -> ObjId {
    ObjId(FIRST_OF_ENGINE + 512 + cpu as u32)
}

/// What one transition did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) accesses: Vec<Access>,
    /// It read the clock, or a deadline came due in it: its order among all others matters.
    pub(crate) clock: bool,
    /// Contexts that cannot go on before it: woken or started by it.
    pub(crate) enabled: u64,
}

/// On how many threads somebody listens. It only saves the look at the thread's own flag while that is none: whether
/// a transition is noted depends on the flag alone.
static LISTENERS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static SEEN: RefCell<Seen> =
        const { RefCell::new(Seen { accesses: Vec::new(), clock: false, enabled: 0 }) };
}

/// Whether somebody listens on this thread.
#[inline]
fn on() -> bool {
    LISTENERS.load(Relaxed) != 0 && ON.get()
}

/// Begins or ends listening on this thread.
pub(crate) fn listen(on: bool) {
    match (ON.replace(on), on) {
        (false, true) => _ = LISTENERS.fetch_add(1, Relaxed),
        (true, false) => _ = LISTENERS.fetch_sub(1, Relaxed),
        _ => {}
    }
    if on {
        cells::begin_run();
        forget();
    }
}

pub(crate) fn forget() {
    SEEN.with_borrow_mut(|seen| {
        seen.accesses.clear();
        seen.clock = false;
        seen.enabled = 0;
    });
}

/// What was touched since the last call. `into` is overwritten.
pub(crate) fn take(into: &mut Seen) {
    SEEN.with_borrow_mut(|seen| {
        std::mem::swap(seen, into);
        seen.accesses.clear();
        seen.clock = false;
        seen.enabled = 0;
    });
}

/// The running transition touches `obj`.
#[inline]
pub fn touch(obj: ObjId, op: Op) {
    if on() && obj != ObjId::NONE {
        note(Access { obj, op });
    }
}

#[cold]
fn note(access: Access) {
    SEEN.with_borrow_mut(|seen| {
        if !seen.accesses.contains(&access) {
            seen.accesses.push(access);
        }
    });
}

/// The running transition depends on how many steps were taken before it.
#[inline]
pub(crate) fn read_clock() {
    if on() {
        SEEN.with_borrow_mut(|seen| seen.clock = true);
    }
}

/// `id` can go on because of the running transition, and could not without it.
#[inline]
pub(crate) fn enable(id: CtxId) {
    if on() {
        SEEN.with_borrow_mut(|seen| seen.enabled |= id.bit());
    }
}
