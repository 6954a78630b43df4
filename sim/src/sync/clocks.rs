//! Happens-before: vector clocks of contexts and of what they synchronise through, and epochs of accesses.

use std::cell::Cell;
use std::fmt;

use crate::{CtxId, MAX_CONTEXTS, Nanos};

pub(crate) type Vector = [u32; MAX_CONTEXTS];

/// The clock of a lock, wait queue or atomic; made when it is first released.
#[derive(Default)]
pub(crate) struct SyncClock {
    /// Its place among the clocks, from 1.
    index: Cell<u32>,
    /// When it was last released, where somebody wants to know.
    at: Cell<Nanos>,
}

impl fmt::Debug for SyncClock {
    /// Without numbers, which depend on who came first and mean nothing: a search compares what runs leave behind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SyncClock")
    }
}

impl SyncClock {
    /// When it was last released, where somebody wants to know.
    pub(crate) const fn released_at(&self) -> Nanos {
        self.at.get()
    }

    pub(crate) fn set_released_at(&self, now: Nanos) {
        self.at.set(now);
    }
}

/// A context's clock at some moment; 0 is "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epoch(u32);

const CTX_BITS: u32 = MAX_CONTEXTS.trailing_zeros();
const CTX_MASK: u32 = (1 << CTX_BITS) - 1;

impl Epoch {
    #[inline]
    pub(crate) fn new(id: CtxId, clock: u32) -> Self {
        Self(clock << CTX_BITS | u32::from(id.0))
    }

    #[inline]
    pub(crate) fn ordered_before(self, vector: &Vector) -> bool {
        let ctx = (self.0 & CTX_MASK) as usize;
        self.0 >> CTX_BITS <= vector[ctx]
    }

    /// Whether both are of contexts of one slot.
    #[inline]
    pub(crate) const fn same_slot(self, other: Self) -> bool {
        (self.0 ^ other.0) & CTX_MASK == 0
    }
}

/// All clocks of a run.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    on: bool,
    contexts: Vec<Vector>,
    objects: Vec<Vector>,
}

impl Clocks {
    /// Whether they are kept.
    pub(crate) const fn switch(&mut self, on: bool) {
        self.on = on;
    }

    /// As new, but for the memory.
    pub(crate) fn clear(&mut self) {
        self.contexts.clear();
        self.objects.clear();
    }

    /// `child` starts; what `parent` did so far happened before. A reused slot goes on counting, so that epochs of
    /// its former context stay in the past.
    pub(crate) fn fork(&mut self, parent: Option<CtxId>, child: CtxId) {
        if !self.on {
            return;
        }
        while self.contexts.len() <= child.index() {
            self.contexts.push([0; MAX_CONTEXTS]);
        }
        let own = self.contexts[child.index()][child.index()];
        self.contexts[child.index()] = match parent.and_then(|parent| self.contexts.get(parent.index())) {
            Some(vector) => *vector,
            None => [0; MAX_CONTEXTS],
        };
        self.contexts[child.index()][child.index()] = own + 1;
        if let Some(parent) = parent {
            self.tick(parent);
        }
    }

    fn tick(&mut self, id: CtxId) {
        if let Some(vector) = self.contexts.get_mut(id.index()) {
            vector[id.index()] += 1;
        }
    }

    #[inline]
    pub(crate) fn acquire(&mut self, id: CtxId, clock: &SyncClock) {
        let index = clock.index.get() as usize;
        if index == 0 || !self.on {
            return;
        }
        let used = self.contexts.len();
        join(&mut self.contexts[id.index()], &self.objects[index - 1], used);
    }

    #[inline]
    pub(crate) fn release(&mut self, id: CtxId, clock: &SyncClock) {
        if !self.on {
            return;
        }
        let index = self.object(clock);
        self.objects[index] = self.contexts[id.index()];
        self.tick(id);
    }

    /// A release that keeps what others have released before.
    pub(crate) fn release_shared(&mut self, id: CtxId, clock: &SyncClock) {
        if !self.on {
            return;
        }
        let index = self.object(clock);
        join(&mut self.objects[index], &self.contexts[id.index()], self.contexts.len());
        self.tick(id);
    }

    /// What was released into `from` counts as released into `into`.
    pub(crate) fn forward(&mut self, from: &SyncClock, into: &SyncClock) {
        let from = from.index.get() as usize;
        if from == 0 || !self.on {
            return;
        }
        let index = self.object(into);
        let released = self.objects[from - 1];
        join(&mut self.objects[index], &released, self.contexts.len());
    }

    fn object(&mut self, clock: &SyncClock) -> usize {
        if clock.index.get() == 0 {
            self.objects.push([0; MAX_CONTEXTS]);
            clock.index.set(u32::try_from(self.objects.len()).unwrap_or(u32::MAX));
        }
        clock.index.get() as usize - 1
    }

    /// What a context knows of the others, and of itself; `None` if the clocks are not kept.
    #[inline]
    pub(crate) fn vector(&self, id: CtxId) -> Option<&Vector> {
        if self.on { self.contexts.get(id.index()) } else { None }
    }
}

/// Slots from `used` on have never been given out: nobody knows anything of them.
fn join(into: &mut Vector, from: &Vector, used: usize) {
    for (into, from) in into.iter_mut().zip(from).take(used) {
        *into = (*into).max(*from);
    }
}
