//! Which transitions of the current run could have come in another order, and where to try that.

use super::bounded::Step;
use super::clock::Clock;
use super::node::Waiting;
use super::search::Search;
use crate::probe::{Access, Op};

impl Search {
    /// Looks for the transitions with which the one that just ended races, and sees to it that the other order is
    /// tried. Returns what happened before it.
    pub(super) fn look_for_races(
        &mut self,
        ctx: u8,
        cpu: Option<u8>,
        barrier: bool,
        mask: bool,
        accesses: &[Access],
    ) -> Clock {
        let pre = self.trace.before_next_of(ctx);
        // All that happened before, and that without what could come later.
        let (mut all, mut data) = (pre, pre);
        let mut races: Vec<usize> = Vec::new();
        if let Some(cpu) = cpu {
            self.races_on_cpu(ctx, cpu, mask, &pre, &mut all, &mut data, &mut races);
        }
        for access in accesses.iter().filter(|access| access.op == Op::Acquire) {
            // What the release enabled cannot come before it; what the owner did meanwhile, neither.
            for entry in self.trace.list(access.obj.0).clone().iter().rev() {
                match entry.op {
                    Op::Release => data.join(&self.trace.events[entry.event].clock),
                    Op::Acquire | Op::Try => break,
                    Op::Read | Op::Write | Op::ReleaseShared | Op::Same(_) => {}
                }
            }
        }
        let late = self.limits.planted.late_acquire;
        for access in accesses.iter().filter(|access| access.op == Op::Acquire) {
            races.extend(self.race_of_acquire(access.obj.0, if late { &data } else { &pre }));
        }
        let mut candidates = self.candidates(ctx, barrier, accesses);
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        candidates.dedup();
        for event in candidates {
            let other = &self.trace.events[event];
            all.join(&other.clock);
            if !data.knows(other.ctx, event) {
                data.join(&other.clock);
                races.push(event);
            }
        }
        all.add(ctx, self.trace.events.len());
        if self.limits.preemptions.is_some() {
            self.try_before(ctx, &Step { cpu, barrier, mask, accesses });
            return all;
        }
        races.sort_unstable();
        races.dedup();
        for event in races {
            self.reverse(event, ctx, &all);
        }
        all
    }

    /// The last acquisition of a lock, if it need not have come first.
    fn race_of_acquire(&mut self, obj: u32, before: &Clock) -> Option<usize> {
        let event =
            self.trace.list(obj).iter().rev().find(|entry| matches!(entry.op, Op::Acquire | Op::Try))?.event;
        (!before.knows(self.trace.events[event].ctx, event)).then_some(event)
    }

    #[expect(clippy::too_many_arguments, reason = "two clocks and a list are filled at once")]
    fn races_on_cpu(
        &self,
        ctx: u8,
        cpu: u8,
        mask: bool,
        pre: &Clock,
        all: &mut Clock,
        data: &mut Clock,
        races: &mut Vec<usize>,
    ) {
        let Some(entries) = self.trace.cpus.get(usize::from(cpu)) else { return };
        let mut mine = *pre;
        let since = self.trace.enablers[usize::from(ctx)].last().copied().unwrap_or(0);
        for &(number, changed) in entries.iter().rev() {
            let event = &self.trace.events[number];
            if event.ctx == ctx {
                // What changed the state before that was before that. Who merely ran is ordered by changes alone.
                if changed || !mask {
                    break;
                }
                continue;
            }
            if !(changed || mask) {
                continue;
            }
            all.join(&event.clock);
            if self.nodes[event.node].barred & 1 << ctx != 0 {
                // It could not run at that point: it runs now that those are done who kept it from that.
                data.join(&event.clock);
            } else if !mine.knows(event.ctx, number) {
                // Before it was started nobody knows whether it could have run.
                if number >= since {
                    mine.join(&event.clock);
                }
                races.push(number);
            }
        }
    }

    /// The transitions whose order with one that touches `accesses` matters, the latest of each kind.
    fn candidates(&mut self, ctx: u8, barrier: bool, accesses: &[Access]) -> Vec<usize> {
        let mut found = Vec::new();
        for access in accesses {
            for entry in self.trace.list(access.obj.0).iter().rev() {
                if !entry.op.conflicts(access.op) {
                    continue;
                }
                found.push(entry.event);
                if matches!(entry.op, Op::Write | Op::Acquire | Op::Try) {
                    break;
                }
            }
        }
        if barrier {
            for (other, events) in (0_u8..).zip(&self.trace.of_ctx) {
                if other != ctx {
                    found.extend(events.last());
                }
            }
        } else {
            found.extend(self.trace.barriers.last());
        }
        // The race with an acquisition is looked for with another clock; here it only orders.
        found.retain(|event| self.trace.events[*event].ctx != ctx);
        found
    }

    /// Contexts that wait for a lock or their CPU could have been first.
    pub(super) fn look_at_waiting(&mut self, waiting: &[Waiting]) {
        for one in waiting {
            if self.limits.preemptions.is_some() {
                let lock = one.lock.map(|obj| Access { obj, op: Op::Acquire });
                let step = Step { cpu: one.cpu, barrier: false, mask: false, accesses: lock.as_slice() };
                self.try_before(one.id.0, &step);
                continue;
            }
            let pre = self.trace.before_next_of(one.id.0);
            let mut races = Vec::new();
            if let Some(lock) = one.lock {
                races.extend(self.race_of_acquire(lock.0, &pre));
            }
            if let Some(cpu) = one.cpu {
                self.races_on_cpu(
                    one.id.0,
                    cpu,
                    false,
                    &pre,
                    &mut Clock::NONE.clone(),
                    &mut Clock::NONE.clone(),
                    &mut races,
                );
            }
            if let Some(&last) = self.trace.barriers.last()
                && !pre.knows(self.trace.events[last].ctx, last)
            {
                races.push(last);
            }
            let mut clock = pre;
            clock.add(one.id.0, self.trace.events.len());
            for event in races {
                self.reverse(event, one.id.0, &clock);
            }
        }
    }

    /// Sees to it that the next transition of `ctx`, before which `clock` happened, is tried before `event`.
    fn reverse(&mut self, event: usize, ctx: u8, clock: &Clock) {
        let number = self.trace.events.len();
        let raced = &self.trace.events[event];
        if raced.node < self.prefix.len() {
            return;
        }
        // The first transition of each context that did not need `event`, and this one.
        let mut first = [usize::MAX; crate::MAX_CONTEXTS];
        let mut set: u64 = 0;
        for (at, other) in self.trace.events.iter().enumerate().skip(event + 1) {
            if set & 1 << other.ctx == 0 && !other.clock.knows(raced.ctx, event) {
                first[usize::from(other.ctx)] = at;
                set |= 1 << other.ctx;
            }
        }
        if set & 1 << ctx == 0 {
            first[usize::from(ctx)] = number;
            set |= 1 << ctx;
        }
        let mut initials = 0;
        for one in bits(set) {
            let at = first[usize::from(one)];
            let before = if at == number { clock } else { &self.trace.events[at].clock };
            let later = |other: u8| other == one || !before.knows(other, first[usize::from(other)]);
            if bits(set).all(later) {
                initials |= 1 << one;
            }
        }
        let node = &mut self.nodes[raced.node];
        if initials & (node.backtrack | node.done | node.asleep()) != 0 {
            return;
        }
        let can = initials & node.eligible;
        node.backtrack |= match can {
            // None of them could: whoever could may make it possible.
            0 => node.eligible,
            _ if can & 1 << ctx != 0 => 1 << ctx,
            _ => can & can.wrapping_neg(),
        };
    }
}

fn bits(set: u64) -> impl Iterator<Item = u8> {
    let mut rest = set;
    std::iter::from_fn(move || {
        let one = u8::try_from(rest.trailing_zeros()).ok().filter(|one| *one < 64)?;
        rest &= rest - 1;
        Some(one)
    })
}
