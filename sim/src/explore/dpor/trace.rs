//! The transitions of the current run, in order, with what they touched and what happened before them.

use super::clock::Clock;
use crate::MAX_CONTEXTS;
use crate::probe::{Access, FIRST_CELL, FIRST_OF_ENGINE, FIRST_OF_MODEL, Op};

/// One transition.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) ctx: u8,
    /// The CPU on which it ran.
    pub(super) cpu: Option<u8>,
    /// The node at which it was chosen.
    pub(super) node: usize,
    /// Its order among all others matters.
    pub(super) barrier: bool,
    /// It changed who may run on its CPU.
    pub(super) mask: bool,
    /// Contexts that could not go on before it.
    pub(super) enabled: u64,
    pub(super) accesses: Vec<Access>,
    pub(super) clock: Clock,
}

/// One access of one event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) event: usize,
    pub(super) op: Op,
}

/// The transitions so far and, for each object, who touched it. A prefix that the next run shares is kept.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    pub(super) events: Vec<Event>,
    /// Objects, cells, and variables of the model.
    objects: [Vec<Vec<Entry>>; 3],
    of_engine: Vec<Vec<Entry>>,
    /// By CPU: who ran there, and whether that changed who may.
    pub(super) cpus: Vec<Vec<(usize, bool)>>,
    pub(super) barriers: Vec<usize>,
    /// By slot: its events.
    pub(super) of_ctx: Vec<Vec<usize>>,
    /// By slot: events without which it could not have gone on.
    pub(super) enablers: Vec<Vec<usize>>,
    /// After so many events the clock went on by itself; all of them happened before what follows.
    ticks: Vec<(usize, Clock)>,
    spare: Vec<Vec<Access>>,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self {
            events: Vec::new(),
            objects: [const { Vec::new() }; 3],
            of_engine: vec![Vec::new(); 1024],
            cpus: Vec::new(),
            barriers: Vec::new(),
            of_ctx: vec![Vec::new(); MAX_CONTEXTS],
            enablers: vec![Vec::new(); MAX_CONTEXTS],
            ticks: Vec::new(),
            spare: Vec::new(),
        }
    }

    pub(super) fn list(&mut self, obj: u32) -> &mut Vec<Entry> {
        if obj >= FIRST_OF_ENGINE {
            return &mut self.of_engine[(obj - FIRST_OF_ENGINE) as usize];
        }
        let (space, first) = match obj {
            FIRST_OF_MODEL.. => (2, FIRST_OF_MODEL),
            FIRST_CELL.. => (1, FIRST_CELL),
            _ => (0, 0),
        };
        let (objects, at) = (&mut self.objects[space], (obj - first) as usize);
        if objects.len() <= at {
            objects.resize_with(at + 1, Vec::new);
        }
        &mut objects[at]
    }

    pub(super) fn last_of(&self, ctx: u8) -> Option<usize> {
        self.of_ctx[ctx as usize].last().copied()
    }

    /// What certainly happens before the next transition of `ctx`, whatever it touches.
    pub(super) fn before_next_of(&self, ctx: u8) -> Clock {
        let mut clock = Clock::NONE;
        let last = self.last_of(ctx);
        if let Some(last) = last {
            clock.join(&self.events[last].clock);
        }
        if let Some(&enabler) = self.enablers[ctx as usize].last()
            && last.is_none_or(|last| last < enabler)
        {
            clock.join(&self.events[enabler].clock);
        }
        if let Some((_, base)) = self.ticks.last() {
            clock.join(base);
        }
        clock
    }

    /// How many events there were when the clock last went on by itself.
    pub(super) fn last_tick(&self) -> usize {
        self.ticks.last().map_or(0, |(at, _)| *at)
    }

    /// Notes that the clock goes on since nobody can run.
    pub(super) fn tick(&mut self) {
        let at = self.events.len();
        if self.ticks.last().is_some_and(|(before, _)| *before == at) {
            return;
        }
        let mut clock = Clock::NONE;
        for (ctx, events) in (0..).zip(&self.of_ctx) {
            if let Some(&last) = events.last() {
                clock.add(ctx, last);
            }
        }
        self.ticks.push((at, clock));
    }

    pub(super) fn push(&mut self, event: Event) {
        let number = self.events.len();
        for access in &event.accesses {
            self.list(access.obj.0).push(Entry { event: number, op: access.op });
        }
        if let Some(cpu) = event.cpu {
            let cpu = usize::from(cpu);
            if self.cpus.len() <= cpu {
                self.cpus.resize_with(cpu + 1, Vec::new);
            }
            self.cpus[cpu].push((number, event.mask));
        }
        if event.barrier {
            self.barriers.push(number);
        }
        self.of_ctx[event.ctx as usize].push(number);
        let mut enabled = event.enabled;
        while enabled != 0 {
            self.enablers[enabled.trailing_zeros() as usize].push(number);
            enabled &= enabled - 1;
        }
        self.events.push(event);
    }

    /// Forgets all but the first `keep` events, and what the clock did after them.
    pub(super) fn truncate(&mut self, keep: usize) {
        while self.events.len() > keep {
            let Some(event) = self.events.pop() else { break };
            for access in &event.accesses {
                self.list(access.obj.0).pop();
            }
            if let Some(cpu) = event.cpu {
                self.cpus[usize::from(cpu)].pop();
            }
            if event.barrier {
                self.barriers.pop();
            }
            self.of_ctx[event.ctx as usize].pop();
            let mut enabled = event.enabled;
            while enabled != 0 {
                self.enablers[enabled.trailing_zeros() as usize].pop();
                enabled &= enabled - 1;
            }
            let mut accesses = event.accesses;
            accesses.clear();
            self.spare.push(accesses);
        }
        // A tick right before the event that is taken anew comes again.
        while self.ticks.last().is_some_and(|(at, _)| *at > keep) {
            self.ticks.pop();
        }
    }

    pub(super) fn spare(&mut self) -> Vec<Access> {
        self.spare.pop().unwrap_or_default()
    }
}
