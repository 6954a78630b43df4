//! Liveness: when everybody has done his work, the machine must come to rest.
//!
//! Contexts that the clock or a work item starts, and those that such contexts start, are the background. All others are
//! the workload. When the last of these has ended, and nothing is injected any more, what is left in the background may
//! finish; it may not go on for ever. A busy loop is found by its steps; this is about timers that arm themselves and
//! work that queues itself.

use std::cell::Cell;

use super::{Draft, Sim};
use crate::{CtxId, Name, Nanos};

/// So long may the background go on.
const SETTLE: Nanos = 600_000_000_000;
/// And so many steps.
const SETTLE_STEPS: u64 = 100_000;
/// Who comes less often than this is late, and not for ever.
const AGAIN: usize = 64;

/// Since when there is nothing but the background.
#[derive(Clone, Copy, Debug)]
struct Quiet {
    since: Nanos,
    steps: u64,
    /// Serial number of the next context.
    serial: u32,
}

/// Who belongs to the background, and since when it is alone.
#[derive(Debug, Default)]
pub(super) struct Background {
    slots: Cell<u64>,
    quiet: Cell<Option<Quiet>>,
}

impl Sim {
    /// `id` was started, by `parent`.
    pub(super) fn background_inherits(&self, id: CtxId, parent: Option<CtxId>) {
        let slots = self.background.slots.get();
        let inherits = parent.is_some_and(|parent| slots & parent.bit() != 0);
        self.background.slots.set(if inherits { slots | id.bit() } else { slots & !id.bit() });
    }

    /// `id` was started by the clock or is to run a work item.
    pub(crate) fn is_background(&self, id: CtxId) {
        self.background.slots.set(self.background.slots.get() | id.bit());
    }

    /// A context has ended: it may have been the last of the workload.
    #[inline]
    pub(super) fn workload_may_be_over(&self) {
        let left = self.alive.get() & !self.daemons.get() & !self.background.slots.get();
        if left != 0 {
            self.background.quiet.set(None);
        } else if self.background.quiet.get().is_none() {
            let (since, steps, serial) = (self.now.get(), self.steps.get(), self.serials.get());
            self.background.quiet.set(Some(Quiet { since, steps, serial }));
        }
    }

    /// Whether the background may go on. It may not, and a finding says so, when it has been alone for too long.
    #[cold]
    pub(super) fn may_settle(&self) -> bool {
        let Some(quiet) = self.background.quiet.get() else { return true };
        let (now, steps) = (self.now.get(), self.steps.get());
        if self.injecting() {
            // What is injected may have to be undone: from here on it counts.
            let injected_until = Quiet { since: now, steps, serial: self.serials.get() };
            self.background.quiet.set(Some(injected_until));
            return true;
        }
        let (time, taken) = (now - quiet.since, steps - quiet.steps);
        if time < SETTLE && taken < SETTLE_STEPS {
            return true;
        }
        let contexts = self.contexts.borrow();
        let begun = contexts.get(quiet.serial as usize..).unwrap_or_default();
        let mut often: Vec<(usize, &'static str)> = Vec::new();
        for Name { text, .. } in begun.iter().map(|context| context.name) {
            match often.iter_mut().find(|(_, other)| *other == text) {
                Some((count, _)) => *count += 1,
                None => often.push((1, text)),
            }
        }
        // Of several the one that began to come first.
        let most = often.into_iter().rev().max_by_key(|(count, _)| *count);
        let Some((count, who)) = most.filter(|(count, _)| *count >= AGAIN) else { return true };
        drop(contexts);
        let title = format!(
            "{who} comes again and again: {count} times in {} ms and {taken} steps since the last of the workload ended",
            time / 1_000_000
        );
        let draft = Draft::fatal("does-not-settle", title).object(who).ending("never at rest");
        let at = super::state::ctx(self.current.get()).unwrap_or(CtxId(0));
        self.report(at, draft, Vec::new);
        false
    }
}
