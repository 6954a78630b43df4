//! The search itself: a stack of decisions, of which the next run repeats a prefix.

use std::fmt;

use super::node::{Counts, Moment, Node, Offer, Sleeper, Waiting};
use super::options::Limits;
use super::trace::{Event, Trace};
use crate::probe::{self, Access, Op, Seen};
use crate::{CtxId, CtxSet, Name};

#[derive(Clone, Copy, Debug)]
struct Running {
    ctx: u8,
    cpu: Option<u8>,
    cpu_state: u64,
    node: usize,
    /// Others, which are not varied, ran after it within one transition.
    joined: bool,
}

/// A walk over the interleavings of one program. Run it with [`crate::choices::Mode::Search`], take it back from the
/// finished run, and [`Search::advance`] until nothing is left.
#[derive(Clone)]
pub struct Search {
    pub(super) limits: Limits,
    pub(super) nodes: Vec<Node>,
    /// Choices of a prefix that is not varied here: other searches have the other branches.
    pub(super) prefix: Vec<u32>,
    pub(super) prefix_sleepers: Vec<Sleeper>,
    /// Breaks off at so many branching decisions, to split the search.
    pub(super) depth: Option<u32>,
    pub(super) trace: Trace,
    pub(super) counts: Counts,
    pub(super) finished: bool,
    /// Another choice was on offer than when this path was walked before.
    astray: bool,
    // Of the current run.
    at: usize,
    done: usize,
    active: bool,
    running: Option<Running>,
    seen: Seen,
    pub(super) leaf: bool,
    /// A context was chosen that begins a transition of its own.
    fresh: bool,
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Search {:?}", self.counts)?;
        for event in &self.trace.events {
            let node = &self.nodes[event.node];
            writeln!(
                f,
                "  {} of {:b}, barred {:b}, backtrack {:b}, asleep {:b}{}{}: {:?}",
                event.ctx,
                node.eligible,
                node.barred,
                node.backtrack,
                node.asleep(),
                if event.barrier { ", barrier" } else { "" },
                if event.mask { ", mask" } else { "" },
                event.accesses,
            )?;
        }
        Ok(())
    }
}

impl Search {
    /// A search at its first run.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let active = limits.focus.from_the_beginning();
        Self {
            limits,
            nodes: Vec::new(),
            prefix: Vec::new(),
            prefix_sleepers: Vec::new(),
            depth: None,
            trace: Trace::new(),
            counts: Counts::default(),
            finished: false,
            astray: false,
            at: 0,
            done: 0,
            active,
            running: None,
            seen: Seen::default(),
            leaf: false,
            fresh: false,
        }
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn finished(&self) -> bool {
        self.finished
    }

    /// Whether a path that was walked before led elsewhere this time: the program depends on something that is no
    /// choice.
    #[must_use]
    pub const fn astray(&self) -> bool {
        self.astray
    }

    /// The choices of the current path, from which [`Search::repeat`] makes the same run again.
    #[must_use]
    pub fn path(&self) -> Vec<u32> {
        self.nodes.iter().take(self.at.max(self.prefix.len())).map(|node| node.choice).collect()
    }

    /// A search of one run: that of this path.
    #[must_use]
    pub fn repeat(limits: Limits, path: &[u32]) -> Self {
        Self { prefix: path.to_vec(), ..Self::new(limits) }
    }

    pub(crate) fn concerns(&self, name: Name) -> bool {
        self.limits.focus.concerns(name)
    }

    pub(crate) fn entered(&mut self, function: &str) {
        if !self.active && self.limits.focus.from_function.as_deref() == Some(function) {
            self.active = true;
        }
    }

    /// Whether what is varied has begun in the last run.
    #[must_use]
    pub const fn began(&self) -> bool {
        self.active
    }

    /// A transition ended: who begins the next one? `None` to break the run off.
    pub(crate) fn decide(&mut self, moment: &Moment, offer: &Offer) -> Option<CtxId> {
        let set = CtxSet(offer.eligible);
        if !self.active && self.limits.focus.from.is_some_and(|from| moment.now >= from) {
            self.active = true;
        }
        if !self.active {
            self.running = None;
            probe::forget();
            return offer.staying.or_else(|| set.first());
        }
        let others = offer.eligible & !offer.focused;
        if others != 0 {
            if let Some(running) = &mut self.running {
                running.joined = true;
            }
            return offer.staying.filter(|id| others & id.bit() != 0).or_else(|| CtxSet(others).first());
        }
        self.close(moment);
        if offer.eligible == 0 {
            return None;
        }
        let at = self.at;
        if at == self.nodes.len() {
            let node = self.new_node(offer)?;
            self.nodes.push(node);
        }
        self.at += 1;
        let node = &mut self.nodes[at];
        if node.of != 0 || !set.contains(CtxId(u8::try_from(node.choice).unwrap_or(63) & 63)) {
            self.astray = true;
            return None;
        }
        // A search that was taken up again knows its decisions, and not yet what was on offer.
        node.eligible = offer.eligible;
        node.barred = offer.barred;
        self.fresh = true;
        u8::try_from(node.choice).ok().map(CtxId)
    }

    /// `id` begins a transition.
    pub(crate) fn begins(&mut self, id: CtxId, cpu: Option<u8>, cpu_state: u64) {
        if std::mem::take(&mut self.fresh) {
            self.running = Some(Running { ctx: id.0, cpu, cpu_state, node: self.at - 1, joined: false });
            probe::forget();
        }
    }

    /// Answers a choice other than the schedule.
    pub(crate) fn value(&mut self, of: u64, classes: &[u64]) -> u64 {
        let there = if classes.is_empty() { of } else { classes.len() as u64 };
        let answer = |nth: u32| classes.get(nth as usize).copied().unwrap_or(u64::from(nth));
        if !self.active {
            self.counts.fixed += 1;
            return answer(0);
        }
        let tried = there.min(if self.limits.planted.one_answer { 1 } else { self.limits.answers }).max(1);
        self.counts.cut += u64::from(tried < there);
        if tried == 1 {
            return answer(0);
        }
        let at = self.at;
        if at == self.nodes.len() {
            let choice = self.prefix.get(at).copied().unwrap_or(0);
            let last = self.nodes.last();
            let node = Node {
                event: self.trace.events.len(),
                choice,
                of: u32::try_from(tried).unwrap_or(u32::MAX),
                eligible: 0,
                barred: 0,
                backtrack: 0,
                done: 0,
                sleepers: Vec::new(),
                partial: Vec::new(),
                partial_flags: (false, false),
                preemptions: last.map_or(0, |node| node.preemptions),
                staying: None,
            };
            self.nodes.push(node);
        }
        self.at += 1;
        let node = &self.nodes[at];
        if node.of == 0 {
            self.astray = true;
        }
        answer(node.choice)
    }

    /// The transition that runs has ended.
    pub(crate) fn close(&mut self, moment: &Moment) {
        let Some(running) = self.running.take() else {
            probe::forget();
            return;
        };
        let number = self.done;
        self.done += 1;
        if number < self.trace.events.len() || self.enumerates() {
            // Known already; or every order is tried that the bound allows, whatever commutes.
            probe::forget();
            return;
        }
        let mut seen = std::mem::take(&mut self.seen);
        seen.accesses = self.trace.spare();
        probe::take(&mut seen);
        let planted = self.limits.planted;
        let mut accesses = std::mem::take(&mut seen.accesses);
        let mask = (running.cpu_state != moment.cpu_state || running.joined) && !planted.masks_commute;
        if mask && let Some(cpu) = running.cpu {
            accesses.push(Access { obj: probe::cpu(cpu), op: Op::Write });
        }
        if self.limits.opaque {
            accesses.push(Access { obj: probe::WORLD, op: Op::Write });
        }
        if planted.deaf {
            accesses.retain(|access| access.op.of_a_lock());
        }
        if planted.reads_commute {
            accesses.retain(|access| access.op != Op::Read);
        }
        let barrier = (seen.clock || moment.near || running.joined) && !planted.clock_commutes;
        let clock = self.look_for_races(running.ctx, running.cpu, barrier, mask, &accesses);
        let event = Event {
            ctx: running.ctx,
            cpu: running.cpu,
            node: running.node,
            barrier,
            mask,
            enabled: seen.enabled,
            accesses,
            clock,
        };
        self.trace.push(event);
        self.seen = seen;
    }

    /// Nobody can run and the clock goes on.
    pub(crate) fn waits(&mut self, waiting: &[Waiting]) {
        if !self.active || self.done < self.trace.events.len() {
            return;
        }
        if !self.limits.planted.no_pending_at_tick {
            self.look_at_waiting(waiting);
        }
        self.trace.tick();
    }

    /// The run is over. Those who are left could have come earlier, also before a finding that ended it.
    pub(crate) fn ends(&mut self, waiting: &[Waiting]) {
        if self.done < self.trace.events.len() {
            return;
        }
        if !self.limits.planted.no_pending_at_end {
            self.look_at_waiting(waiting);
        }
    }

    /// Notes how the run ended and goes to the next one. `false` if nothing is left.
    pub fn advance(&mut self, abandoned: bool) -> bool {
        if abandoned {
            self.counts.blocked += u64::from(!self.leaf);
        } else {
            self.counts.complete += 1;
        }
        // What a shorter run did not come to is gone.
        self.nodes.truncate(self.at.max(self.prefix.len()));
        self.begin_run();
        while self.nodes.len() > self.prefix.len() {
            let at = self.nodes.len() - 1;
            let number = self.nodes[at].event;
            let node = &mut self.nodes[at];
            if node.of > 0 {
                if node.choice + 1 < node.of {
                    node.choice += 1;
                    if let Some(event) = self.trace.events.get(number)
                        && event.node < at
                    {
                        let owner = &mut self.nodes[event.node];
                        owner.partial.extend_from_slice(&event.accesses);
                        owner.partial_flags.0 |= event.barrier;
                        owner.partial_flags.1 |= event.mask;
                    }
                    self.trace.truncate(number);
                    return true;
                }
            } else {
                let chosen = node.choice & 63;
                node.done |= 1 << chosen;
                if self.limits.preemptions.is_none()
                    && let Some(event) = self.trace.events.get(number)
                {
                    let mut accesses = std::mem::take(&mut node.partial);
                    accesses.extend_from_slice(&event.accesses);
                    node.sleepers.push(Sleeper {
                        ctx: event.ctx,
                        cpu: event.cpu,
                        barrier: event.barrier | node.partial_flags.0,
                        mask: event.mask | node.partial_flags.1,
                        accesses: accesses.into(),
                    });
                    node.partial_flags = (false, false);
                }
                let left = CtxSet(node.backtrack & !node.done & !node.asleep());
                if let Some(next) = left.first() {
                    node.choice = u32::from(next.0);
                    self.trace.truncate(number);
                    return true;
                }
            }
            self.nodes.pop();
        }
        self.finished = true;
        false
    }

    fn begin_run(&mut self) {
        self.at = 0;
        self.done = 0;
        self.active = self.limits.focus.from_the_beginning();
        self.running = None;
        self.leaf = false;
        self.fresh = false;
    }
}
