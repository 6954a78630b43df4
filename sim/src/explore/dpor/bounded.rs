//! Where to try another order when preemptions are bounded.
//!
//! Bounded partial-order reduction: K. Coons, M. Musuvathi, K. McKinley, "Bounded Partial-Order Reduction", OOPSLA 2013. A
//! reduced order may need fewer preemptions than the one that stands for it. So nothing is left out because it follows
//! from another reversal, nobody sleeps, and a context that is to come before a transition is tried before the whole run
//! of transitions of which that one is a part, too: there it may begin without a preemption.

use super::node::Node;
use super::options::Limits;
use super::search::Search;
use super::trace::Event;
use crate::probe::Access;

/// A transition whose order with others is looked at.
pub(super) struct Step<'a> {
    pub(super) cpu: Option<u8>,
    pub(super) barrier: bool,
    pub(super) mask: bool,
    pub(super) accesses: &'a [Access],
}

impl Step<'_> {
    /// Whether its order with `event`, which another context took, matters.
    pub(super) fn depends_on(&self, event: &Event) -> bool {
        self.barrier
            || event.barrier
            || (self.cpu.is_some() && self.cpu == event.cpu && (self.mask || event.mask))
            || event
                .accesses
                .iter()
                .any(|a| self.accesses.iter().any(|b| a.obj == b.obj && a.op.conflicts(b.op)))
    }
}

impl Node {
    /// Who may be chosen within the bound.
    pub(super) fn allowed(&self, limits: &Limits) -> u64 {
        let spent = limits.preemptions.is_some_and(|most| self.preemptions >= most);
        match self.staying {
            Some(staying) if spent => 1 << staying,
            _ => self.eligible,
        }
    }
}

impl Search {
    /// Sees to it that `ctx`, which takes this step now or waits to take it, is tried before those transitions of others
    /// whose order with it matters: all since its own last one, during which it could have taken this step, and of each
    /// context that has none among these the last one before.
    pub(super) fn try_before(&mut self, ctx: u8, step: &Step<'_>) {
        let mut seen: u64 = 0;
        let mut since = true;
        // What came before the clock went on by itself came before everything after.
        for at in (self.trace.last_tick()..self.trace.events.len()).rev() {
            let event = &self.trace.events[at];
            since &= event.ctx != ctx;
            let known = !since && seen & 1 << event.ctx != 0;
            if known || event.ctx == ctx || !step.depends_on(event) {
                continue;
            }
            // Where it could not go on, an earlier one is what kept it from that: the acquisition of a lock, say.
            if self.nodes[event.node].eligible & 1 << ctx != 0 {
                seen |= 1 << event.ctx;
            }
            self.try_at(at, ctx);
            if !self.limits.planted.no_block_start {
                let other = self.trace.events[at].ctx;
                let start = (0..at).rev().take_while(|at| self.trace.events[*at].ctx == other).last();
                self.try_at(start.unwrap_or(at), ctx);
            }
        }
    }

    /// `ctx` is tried instead of this event; if it cannot go on there, whoever can.
    fn try_at(&mut self, event: usize, ctx: u8) {
        let number = self.trace.events[event].node;
        if number < self.prefix.len() {
            return;
        }
        let node = &mut self.nodes[number];
        let wanted = if node.eligible & 1 << ctx != 0 { 1 << ctx } else { node.eligible };
        node.backtrack |= wanted & node.allowed(&self.limits);
    }
}
