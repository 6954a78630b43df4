//! The engine of one run: slots of contexts, objects and their names, starting and ending.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::rc::{Rc, Weak};

use super::cpu::Cpu;
use super::look::Look;
use super::settle::Background;
use super::state::{self, Announced, NOBODY, START, Slot, Slots, Spare, SpawnSpec, Task, ctx};
use super::timer::{Clock, Function};
use super::{Class, Cx, Ended, RunConfig};
use crate::choices::{Choices, Stream};
use crate::coverage::{AccessName, RunCoverage, text_hash};
use crate::inject::Delays;
use crate::probe::{self, Op};
use crate::schedule::{Born, ContextWork, Schedule};
use crate::sync::{AccessLog, Clocks, Listener, LockDep, LockUsage, Rcu, SyncClock};
use crate::trace::{CtxRecord, Digest, Event, EventKind, Trace};
use crate::{CtxId, CtxSet, Finding, Label, MAX_CONTEXTS, Name, Nanos, ObjId};

/// At most this many events are recorded.
const MAX_EVENTS: usize = 2_000_000;

/// One run of the engine: contexts, CPUs, clock, choices.
pub struct Sim {
    pub(crate) config: RunConfig,
    pub(super) ready: Cell<u64>,
    pub(super) barred: Cell<u64>,
    /// Contexts whose wait is for an object. The bit outlives the moment at which they may go on, until they do.
    pub(super) parked: Cell<u64>,
    /// Contexts that let time pass.
    pub(super) sleeping: Cell<u64>,
    /// Contexts in a wait-for cycle.
    pub(crate) deadlocked: Cell<u64>,
    pub(super) alive: Cell<u64>,
    pub(super) daemons: Cell<u64>,
    pub(super) current: Cell<u8>,
    pub(super) chosen: Cell<u8>,
    /// The slot in which the search for a free one begins.
    next_slot: Cell<u8>,
    /// Whether a search decides, and listens to what transitions touch.
    pub(super) searching: bool,
    /// Whether the search needs no more of this run.
    pub(super) abandoned: Cell<bool>,
    /// Contexts whose order a search varies.
    pub(super) focused: Cell<u64>,
    /// Whether the strategy answers every schedule decision: nothing is recorded, replayed or enumerated.
    pub(super) by_strategy: bool,
    pub(super) now: Cell<Nanos>,
    pub(super) next_deadline: Cell<Nanos>,
    pub(super) steps: Cell<u64>,
    /// At how many steps somebody looks whether the run gets anywhere.
    pub(super) next_look: Cell<u64>,
    pub(super) stopped: Cell<bool>,
    pub(super) ended: Cell<Ended>,
    pub(super) digest: Cell<Digest>,
    pub(super) pending: Rc<Announced>,
    pub(super) slots: Rc<Slots>,
    /// Slots in which a context was.
    pub(super) used: Cell<u64>,
    pub(super) cpus: Vec<Cpu>,
    pub(super) clock: RefCell<Clock>,
    /// Functions of plain events.
    pub(super) handlers: RefCell<Vec<Function>>,
    pub(crate) choices: RefCell<Choices>,
    pub(super) scheduler: RefCell<Box<dyn Schedule>>,
    pub(super) delays: Cell<Delays>,
    /// The step from which on a delay may be injected.
    pub(super) delay_due: Cell<u64>,
    pub(super) injection_ends: Cell<Nanos>,
    objects: RefCell<Objects>,
    names: RefCell<Vec<(&'static str, u32)>>,
    pub(super) serials: Cell<u32>,
    pub(super) background: Background,
    /// Every context that ever lived, by serial number. Steps are filled in when it ends.
    pub(super) contexts: RefCell<Vec<ContextWork>>,
    pub(super) decisions: Cell<u64>,
    /// Whether somebody is told of each step: the trace, the strategy, or the coverage.
    pub(super) observed: bool,
    /// Whether the strategy is.
    pub(super) watched: bool,
    /// Whether anybody is told of each step, a search included.
    pub(super) attended: bool,
    pub(crate) coverage: RefCell<Option<Box<RunCoverage>>>,
    pub(crate) lockdep: RefCell<Option<Box<LockDep>>>,
    pub(crate) lock_usage: LockUsage,
    pub(crate) clocks: RefCell<Clocks>,
    pub(crate) ordering: Listener,
    /// For reports of data races.
    pub(crate) accesses: RefCell<AccessLog>,
    pub(crate) rcu: Rcu,
    pub(super) findings: RefCell<Vec<Finding>>,
    /// What is recorded; nothing in most runs. In a box, as is the order of locks: an engine of more than a kilobyte costs
    /// the allocator several times as much.
    pub(super) trace: RefCell<Option<Box<Trace>>>,
    at_end: RefCell<Option<EndHook>>,
    /// At how many steps somebody wants to look, and ends the run.
    pub(super) look_step: Cell<u64>,
    pub(super) look: RefCell<Option<Look>>,
    pub(super) this: Weak<Self>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("steps", &self.steps).field("now", &self.now).finish_non_exhaustive()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let spare = Spare {
            slots: Some(Rc::clone(&self.slots)),
            pending: Some(Rc::clone(&self.pending)),
            clocks: std::mem::take(self.clocks.get_mut()),
            objects: std::mem::take(self.objects.get_mut()),
            names: std::mem::take(self.names.get_mut()),
            cpus: std::mem::take(&mut self.cpus),
        };
        spare.give_back(CtxSet(self.used.get()));
    }
}

/// The ids of one object and its parts.
#[derive(Clone, Copy)]
struct Block {
    first: u32,
    text: &'static str,
    /// Its place among the objects of this text, from 1; 0 while nobody has asked.
    key: u32,
    parts: &'static [&'static str],
}

/// Names of objects, looked up only when a run is recorded or replayed.
pub(super) struct Objects {
    /// By first id, rising.
    blocks: Vec<Block>,
    next: u32,
}

impl Default for Objects {
    fn default() -> Self {
        Self { blocks: Vec::new(), next: 1 }
    }
}

impl Objects {
    /// As new, but for the memory.
    pub(super) fn clear(&mut self) {
        self.blocks.clear();
        self.next = 1;
    }
}

type EndHook = Box<dyn FnOnce(Cx)>;

impl Sim {
    /// An engine with nothing in it yet.
    #[must_use]
    pub fn new(config: RunConfig, choices: Choices, scheduler: Box<dyn Schedule>) -> Rc<Self> {
        let cpus = config.cpus.max(1);
        // Replays and enumerations do not ask the strategy.
        let watched = choices.by_seed() && scheduler.watches();
        let observed = config.record || config.coverage || watched;
        let Spare { slots, pending, mut clocks, objects, names, cpus: mut spare_cpus } = Spare::take();
        clocks.switch(config.races);
        spare_cpus.extend((0..cpus).map(|_| Cpu::new()));
        let sim = Rc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            config,
            ready: Cell::new(0),
            barred: Cell::new(0),
            parked: Cell::new(0),
            sleeping: Cell::new(0),
            deadlocked: Cell::new(0),
            alive: Cell::new(0),
            daemons: Cell::new(0),
            current: Cell::new(NOBODY),
            chosen: Cell::new(NOBODY),
            next_slot: Cell::new(0),
            by_strategy: choices.unnamed_seed(),
            searching: choices.searching(),
            attended: observed || choices.searching(),
            abandoned: Cell::new(false),
            focused: Cell::new(0),
            now: Cell::new(0),
            next_deadline: Cell::new(Nanos::MAX),
            steps: Cell::new(0),
            next_look: Cell::new(config.max_steps.min(super::oracle::LOOK_EVERY)),
            stopped: Cell::new(false),
            ended: Cell::new(Ended::Done),
            digest: Cell::new(Digest::new()),
            pending: pending.unwrap_or_else(state::nothing_announced),
            slots: slots.unwrap_or_else(state::new_slots),
            used: Cell::new(0),
            cpus: spare_cpus,
            clock: RefCell::new(Clock::default()),
            handlers: RefCell::new(Vec::new()),
            choices: RefCell::new(choices),
            scheduler: RefCell::new(scheduler),
            delays: Cell::new(Delays::NONE),
            delay_due: Cell::new(u64::MAX),
            injection_ends: Cell::new(Nanos::MAX),
            objects: RefCell::new(objects),
            names: RefCell::new(names),
            serials: Cell::new(0),
            background: Background::default(),
            contexts: RefCell::new(Vec::with_capacity(8)),
            decisions: Cell::new(0),
            observed,
            watched,
            coverage: RefCell::new(config.coverage.then(Box::default)),
            lockdep: RefCell::new(None),
            lock_usage: LockUsage::default(),
            clocks: RefCell::new(clocks),
            ordering: Listener::default(),
            accesses: RefCell::default(),
            rcu: Rcu::new(),
            findings: RefCell::new(Vec::new()),
            trace: RefCell::new(config.record.then(Box::default)),
            at_end: RefCell::new(None),
            look_step: Cell::new(u64::MAX),
            look: RefCell::new(None),
        });
        probe::listen(sim.searching);
        sim.scheduler.borrow_mut().begin(sim.choices.borrow_mut().schedule_rng());
        sim
    }

    #[inline]
    pub(crate) fn slot(&self, id: CtxId) -> &Slot {
        &self.slots[id.index()]
    }

    /// The contexts that began and have not ended.
    pub(crate) fn alive(&self) -> CtxSet {
        CtxSet(self.alive.get())
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        probe::read_clock();
        self.now.get()
    }

    /// Steps executed so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        probe::read_clock();
        self.steps.get()
    }

    /// The same for the record; see [`Cx::stamp`].
    #[must_use]
    pub fn stamped_steps(&self) -> u64 {
        self.steps.get()
    }

    /// Whether events are recorded.
    #[must_use]
    pub fn recording(&self) -> bool {
        self.config.record
    }

    /// Whether the run is over: what is left of it is only being dropped.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stopped.get()
    }

    /// An id for a shared object called `name`; a second object of the same name is told apart by a number.
    pub fn object(&self, name: &'static str) -> ObjId {
        self.objects_of(name, 1)
    }

    /// Ids for `count` parts of one object, consecutive from the one returned.
    pub fn objects_of(&self, name: &'static str, count: u32) -> ObjId {
        probe::touch(probe::OBJECTS, Op::Write);
        let mut objects = self.objects.borrow_mut();
        let first = objects.next;
        objects.blocks.push(Block { first, text: name, key: 0, parts: &[] });
        objects.next = first.saturating_add(count.max(1));
        ObjId(first)
    }

    /// The same, for parts with names of their own; those beyond `parts` are numbered.
    pub fn objects_with_parts(
        &self,
        name: &'static str,
        parts: &'static [&'static str],
        count: u32,
    ) -> ObjId {
        let id = self.objects_of(name, count);
        if let Some(block) = self.objects.borrow_mut().blocks.last_mut() {
            block.parts = parts;
        }
        id
    }

    /// Name of an object: its text, and a number made of its place among those of that text and, if it has no name of
    /// its own, its part.
    #[must_use]
    pub fn object_name(&self, obj: ObjId) -> Name {
        if obj == ObjId::NONE {
            return Name::new("");
        }
        let mut objects = self.objects.borrow_mut();
        let Some(at) = objects.blocks.partition_point(|block| block.first <= obj.0).checked_sub(1) else {
            return Name { text: "object", nth: obj.0 };
        };
        let Block { first, text, mut key, parts } = objects.blocks[at];
        if key == 0 {
            // Numbered on first demand: only recorded and replayed runs need it.
            key = 1 + u32::try_from(objects.blocks[..at].iter().filter(|block| block.text == text).count())
                .unwrap_or(u32::MAX - 1);
            objects.blocks[at].key = key;
        }
        if let Some(part) = parts.get((obj.0 - first) as usize) {
            return Name { text: part, nth: key - 1 };
        }
        Name { text, nth: (key - 1) << 5 | (obj.0 - first) & 31 }
    }

    /// Adds a word to the digest of the run: what models decide and observe belongs to what happened.
    #[inline]
    pub fn mix(&self, word: u64) {
        let mut digest = self.digest.get();
        digest.mix(word);
        self.digest.set(digest);
    }

    /// Starts a context. Until it is first chosen it has done nothing.
    pub fn spawn<F: Future<Output = ()> + 'static>(
        self: &Rc<Self>,
        spec: SpawnSpec,
        body: impl FnOnce(Cx) -> F,
    ) -> Option<CtxId> {
        let id = self.reserve(&spec)?;
        let cx = Cx { sim: Rc::clone(self), id };
        self.place(id, Box::pin(body(cx)));
        Some(id)
    }

    /// Starts a context from the clock; what was released into `clock` happened before it.
    pub(super) fn spawn_boxed(&self, spec: SpawnSpec, clock: &SyncClock, body: impl FnOnce(Cx) -> Task) {
        // The context that happens to be running when the clock strikes has nothing to do with it.
        let current = self.current.replace(NOBODY);
        if let Some(id) = self.reserve(&spec)
            && let Some(sim) = self.this.upgrade()
        {
            self.is_background(id);
            self.acquire(id, clock);
            self.place(id, body(Cx { sim, id }));
        }
        self.current.set(current);
    }

    /// Name of the context with this serial number, also of one that has ended.
    #[must_use]
    pub fn context_name(&self, serial: u32) -> Name {
        self.contexts.borrow().get(serial as usize).map(|context| context.name).unwrap_or_default()
    }

    /// Has `hook` called when the run is over, however it ended. It may look at everything and report findings, but
    /// not await.
    pub fn at_end(&self, hook: impl FnOnce(Cx) + 'static) {
        *self.at_end.borrow_mut() = Some(Box::new(hook));
    }

    pub(super) fn call_end_hook(self: &Rc<Self>) {
        let Some(hook) = self.at_end.borrow_mut().take() else { return };
        if self.abandoned.get() {
            return;
        }
        let spec = SpawnSpec::device("end of run");
        let id = CtxSet(!self.alive.get()).first().unwrap_or(CtxId(0));
        self.used.set(self.used.get() | id.bit());
        self.slot(id).begin(&spec, Name::new(spec.name), self.serials.get());
        hook(Cx { sim: Rc::clone(self), id });
    }

    fn reserve(&self, spec: &SpawnSpec) -> Option<CtxId> {
        let Some(id) = self.free_slot() else {
            self.too_many_contexts(spec.name);
            return None;
        };
        let spec = SpawnSpec { cpu: spec.cpu % self.config.cpus.max(1), ..*spec };
        let nth = {
            let mut names = self.names.borrow_mut();
            if let Some((_, count)) = names.iter_mut().find(|(text, _)| *text == spec.name) {
                *count += 1;
                *count
            } else {
                names.push((spec.name, 0));
                0
            }
        };
        let name = Name { text: spec.name, nth };
        let serial = self.serials.get();
        probe::touch(probe::SPAWNS, Op::Write);
        probe::enable(id);
        self.serials.set(serial + 1);
        let parent = ctx(self.current.get());
        let by = parent.map(|parent| self.slot(parent).serial.get());
        self.contexts.borrow_mut().push(ContextWork { name, parent: by, steps: 0 });
        if let Some(coverage) = &mut *self.coverage.borrow_mut() {
            coverage.born(name);
        }
        self.used.set(self.used.get() | id.bit());
        self.background_inherits(id, parent);
        self.slot(id).begin(&spec, name, serial);
        self.alive.set(self.alive.get() | id.bit());
        if spec.daemon {
            self.daemons.set(self.daemons.get() | id.bit());
        }
        self.ready.set(self.ready.get() | id.bit());
        if self.searching {
            self.search_meets(id, name);
        }
        self.pending[id.index()].set(START);
        self.cpu_add(id);
        self.fork(parent, id);
        let born = Born { id, name, parent };
        self.scheduler.borrow_mut().spawned(&born, self.choices.borrow_mut().schedule_rng());
        self.mix(u64::from(serial) << 8 | u64::from(id.0));
        if self.config.record {
            let cpu = (spec.class != Class::Device).then_some(spec.cpu);
            if let Some(trace) = &mut *self.trace.borrow_mut() {
                trace.contexts.push(CtxRecord { name, slot: id, cpu });
            }
            self.event_of(id, EventKind::Spawned);
        }
        Some(id)
    }

    /// The first free slot after the one given out last. A slot's vector clock outlives its context, so that the
    /// longer it lies idle, the fewer races between short-lived contexts are missed.
    fn free_slot(&self) -> Option<CtxId> {
        let free = !self.alive.get();
        let after = free & u64::MAX << self.next_slot.get();
        let id = CtxSet(after).first().or_else(|| CtxSet(free).first())?;
        self.next_slot.set((id.0 + 1) % 64);
        Some(id)
    }

    fn place(&self, id: CtxId, task: Task) {
        *self.slot(id).future.borrow_mut() = Some(task);
    }

    pub(super) fn finish(&self, id: CtxId) {
        if self.config.record {
            self.event_of(id, EventKind::Ended);
        }
        self.check_ended_clean(id);
        self.note_steps(id);
        if self.serials.get() as usize >= MAX_CONTEXTS {
            // Its slot is given out again: to whom depends on the order.
            probe::touch(probe::SPAWNS, Op::Write);
        }
        // What it left behind does not haunt the next context in this slot.
        let slot = self.slot(id);
        slot.held.borrow_mut().clear();
        if slot.rcu_nesting.replace(0) > 0 {
            probe::touch(probe::RCU, Op::Same(0));
        }
        self.cpu_remove(id);
        let gone = !id.bit();
        self.alive.set(self.alive.get() & gone);
        self.daemons.set(self.daemons.get() & gone);
        self.ready.set(self.ready.get() & gone);
        self.workload_may_be_over();
        self.rcu_reader_gone(id);
        let task = slot.future.borrow_mut().take();
        drop(task);
    }

    /// Fills in how many steps `id` took.
    pub(super) fn note_steps(&self, id: CtxId) {
        let slot = self.slot(id);
        if let Some(context) = self.contexts.borrow_mut().get_mut(slot.serial.get() as usize) {
            context.steps = slot.steps.get();
        }
    }

    /// Text of an object's name.
    pub(crate) fn object_text(&self, obj: ObjId) -> &'static str {
        let objects = self.objects.borrow();
        let at = objects.blocks.partition_point(|block| block.first <= obj.0);
        match at.checked_sub(1).map(|at| objects.blocks[at]) {
            Some(block) if obj != ObjId::NONE => {
                block.parts.get((obj.0 - block.first) as usize).copied().unwrap_or(block.text)
            }
            _ => "",
        }
    }

    /// A hash of the text of an object's name.
    pub(crate) fn text_hash(&self, obj: ObjId) -> u64 {
        text_hash(self.object_text(obj))
    }

    /// A hash of what `id` does or is about to do: the function, what it does, and the object's text.
    pub(crate) fn access(&self, id: CtxId, label: Label) -> u64 {
        let function = self.slot(id).frames.borrow().last().copied().unwrap_or("");
        AccessName { function, kind: label.kind, object: self.object_text(label.obj) }.hash()
    }

    pub(crate) fn name_of(&self, id: CtxId) -> Name {
        self.slot(id).name.get()
    }

    /// Answers a choice asked by the context `id`, or by the run itself.
    pub(crate) fn value(
        &self,
        who: Option<CtxId>,
        stream: Stream,
        what: &'static str,
        of: u64,
        obj: ObjId,
    ) -> u64 {
        self.value_of(who, stream, what, of, obj, &[])
    }

    /// The same, for a choice whose answers fall into few classes: a search tries `classes` alone, if there are any.
    pub(crate) fn value_of(
        &self,
        who: Option<CtxId>,
        stream: Stream,
        what: &'static str,
        of: u64,
        obj: ObjId,
        classes: &[u64],
    ) -> u64 {
        let taken = self.choices.borrow_mut().value_of(stream, what, of, classes, || {
            (who.map_or(Name::new("run"), |id| self.name_of(id)), self.object_name(obj))
        });
        self.mix(taken);
        if self.config.record
            && let Some(id) = who
        {
            self.event_of(id, EventKind::Choice { what, taken, of });
        }
        taken
    }

    /// A choice made for the run as a whole, before or outside any context.
    pub fn choose(&self, stream: Stream, what: &'static str, of: u64) -> u64 {
        self.value(None, stream, what, of, ObjId::NONE)
    }

    pub(crate) fn event_of(&self, id: CtxId, kind: EventKind) {
        let mut trace = self.trace.borrow_mut();
        let Some(trace) = &mut *trace else { return };
        if trace.events.len() >= MAX_EVENTS {
            trace.truncated = true;
            return;
        }
        let ctx = self.slot(id).serial.get();
        trace.events.push(Event { step: self.steps.get(), time: self.now.get(), ctx, kind });
    }
}
