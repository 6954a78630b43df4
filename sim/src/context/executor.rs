//! The executor: slots of contexts, the loop that polls the chosen one, and what a step costs and means.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use super::Cx;
use super::cpu::Cpu;
use super::state::{NOBODY, START, Slot, SpawnSpec, Task, Wait, ctx};
use super::timer::{Clock, Due};
use crate::choices::{ChoiceList, Choices, Decision, Divergence, Mode, Stream};
use crate::inject::Delays;
use crate::schedule::{Schedule, View};
use crate::sync::{Clocks, LockDep, Rcu, SyncClock};
use crate::trace::{CtxRecord, Digest, Event, EventKind, Trace};
use crate::{CtxId, CtxSet, Finding, Kind, Label, MAX_CONTEXTS, Name, Nanos, ObjId};

/// Settings of one run.
#[derive(Clone, Copy, Debug)]
pub struct RunConfig {
    /// Number of modelled CPUs.
    pub cpus: u8,
    /// A run that takes more steps than this has stopped making progress.
    pub max_steps: u64,
    /// Virtual time of a step.
    pub step_ns: Nanos,
    /// Whether events are recorded.
    pub record: bool,
    /// Whether choices are recorded, for a token.
    pub record_choices: bool,
    /// Whether findings carry details for a report.
    pub details: bool,
    /// Whether the first finding, of whatever severity, ends the run.
    pub stop_on_finding: bool,
    /// Whether data races are looked for.
    pub races: bool,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            cpus: 1,
            max_steps: 400_000,
            step_ns: 20,
            record: false,
            record_choices: false,
            details: false,
            stop_on_finding: false,
            races: true,
        }
    }
}

/// At most this many events are recorded.
const MAX_EVENTS: usize = 2_000_000;

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything was done.
    Done,
    /// The machine could not go on, or a finding was to stop it.
    Stopped,
    /// It took more steps than allowed.
    StepLimit,
    /// Contexts are left that wait for something which will not happen.
    Stuck,
}

/// A finished run.
#[derive(Debug)]
pub struct RunEnd {
    /// Why it ended.
    pub ended: Ended,
    /// Steps executed.
    pub steps: u64,
    /// Virtual time at the end.
    pub time: Nanos,
    /// Digest of everything that happened.
    pub digest: u128,
    /// What oracles found, in order.
    pub findings: Vec<Finding>,
    /// Recorded events; empty unless asked for.
    pub trace: Trace,
    /// Recorded choices, and the walk if they were enumerated.
    pub choices: Choices,
    /// The first recorded choice that did not fit, when replaying.
    pub divergence: Option<Divergence>,
}

/// One run of the engine: contexts, CPUs, clock, choices.
pub struct Sim {
    pub(crate) config: RunConfig,
    pub(super) ready: Cell<u64>,
    pub(super) barred: Cell<u64>,
    alive: Cell<u64>,
    daemons: Cell<u64>,
    pub(super) current: Cell<u8>,
    chosen: Cell<u8>,
    pub(super) now: Cell<Nanos>,
    pub(super) next_deadline: Cell<Nanos>,
    pub(super) steps: Cell<u64>,
    pub(super) stopped: Cell<bool>,
    ended: Cell<Ended>,
    digest: Cell<Digest>,
    pub(super) pending: [Cell<Label>; MAX_CONTEXTS],
    slots: Vec<Slot>,
    pub(super) cpus: Vec<Cpu>,
    pub(super) clock: RefCell<Clock>,
    pub(crate) choices: RefCell<Choices>,
    scheduler: RefCell<Box<dyn Schedule>>,
    delays: Cell<Delays>,
    objects: RefCell<Objects>,
    names: RefCell<Vec<(&'static str, u32)>>,
    serials: Cell<u32>,
    all_names: RefCell<Vec<Name>>,
    pub(crate) lockdep: RefCell<LockDep>,
    pub(crate) clocks: RefCell<Clocks>,
    pub(crate) rcu: Rcu,
    pub(super) findings: RefCell<Vec<Finding>>,
    trace: RefCell<Trace>,
    this: Weak<Self>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("steps", &self.steps).field("now", &self.now).finish_non_exhaustive()
    }
}

/// Names of objects, looked up only when a run is recorded or replayed.
#[derive(Default)]
struct Objects {
    /// First id, name and distinguishing key of each block of ids, rising.
    blocks: Vec<(u32, &'static str, u32)>,
    next: u32,
}

impl Sim {
    /// An engine with nothing in it yet.
    #[must_use]
    pub fn new(config: RunConfig, choices: Choices, scheduler: Box<dyn Schedule>) -> Rc<Self> {
        let cpus = config.cpus.max(1);
        let sim = Rc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            config,
            ready: Cell::new(0),
            barred: Cell::new(0),
            alive: Cell::new(0),
            daemons: Cell::new(0),
            current: Cell::new(NOBODY),
            chosen: Cell::new(NOBODY),
            now: Cell::new(0),
            next_deadline: Cell::new(Nanos::MAX),
            steps: Cell::new(0),
            stopped: Cell::new(false),
            ended: Cell::new(Ended::Done),
            digest: Cell::new(Digest::new()),
            pending: [const { Cell::new(START) }; MAX_CONTEXTS],
            slots: (0..MAX_CONTEXTS).map(|_| Slot::default()).collect(),
            cpus: (0..cpus).map(|_| Cpu::new()).collect(),
            clock: RefCell::new(Clock::default()),
            choices: RefCell::new(choices),
            scheduler: RefCell::new(scheduler),
            delays: Cell::new(Delays::NONE),
            objects: RefCell::new(Objects { blocks: Vec::new(), next: 1 }),
            names: RefCell::new(Vec::new()),
            serials: Cell::new(0),
            all_names: RefCell::new(Vec::new()),
            lockdep: RefCell::new(LockDep::new()),
            clocks: RefCell::new(Clocks::new(config.races)),
            rcu: Rcu::new(),
            findings: RefCell::new(Vec::new()),
            trace: RefCell::new(Trace::default()),
        });
        sim.scheduler.borrow_mut().begin(sim.choices.borrow_mut().schedule_rng());
        sim
    }

    #[inline]
    pub(crate) fn slot(&self, id: CtxId) -> &Slot {
        &self.slots[id.index()]
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.now.get()
    }

    /// Steps executed so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
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
        let mut objects = self.objects.borrow_mut();
        let first = objects.next;
        objects.blocks.push((first, name, 0));
        objects.next = first.saturating_add(count.max(1));
        ObjId(first)
    }

    /// Name of an object: its text, and a number made of its place among those of that text and its part.
    #[must_use]
    pub fn object_name(&self, obj: ObjId) -> Name {
        if obj == ObjId::NONE {
            return Name::new("");
        }
        let mut objects = self.objects.borrow_mut();
        let at = objects.blocks.partition_point(|block| block.0 <= obj.0) - 1;
        let (first, text, mut key) = objects.blocks[at];
        if key == 0 {
            // Numbered on first demand: only recorded and replayed runs need it.
            key = 1 + u32::try_from(objects.blocks[..at].iter().filter(|block| block.1 == text).count())
                .unwrap_or(u32::MAX - 1);
            objects.blocks[at].2 = key;
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
            self.clocks.borrow_mut().acquire(id, clock);
            self.place(id, body(Cx { sim, id }));
        }
        self.current.set(current);
    }

    fn reserve(&self, spec: &SpawnSpec) -> Option<CtxId> {
        let Some(id) = CtxSet(!self.alive.get()).first() else {
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
        self.serials.set(serial + 1);
        self.all_names.borrow_mut().push(name);
        self.slot(id).begin(&spec, name, serial);
        self.alive.set(self.alive.get() | id.bit());
        if spec.daemon {
            self.daemons.set(self.daemons.get() | id.bit());
        }
        self.ready.set(self.ready.get() | id.bit());
        self.pending[id.index()].set(START);
        self.cpu_add(id);
        self.clocks.borrow_mut().fork(ctx(self.current.get()), id);
        self.scheduler.borrow_mut().spawned(id, self.choices.borrow_mut().schedule_rng());
        self.mix(u64::from(serial) << 8 | u64::from(id.0));
        if self.config.record {
            let cpu = (spec.class != super::Class::Device).then_some(spec.cpu);
            self.trace.borrow_mut().contexts.push(CtxRecord { name, slot: id, cpu });
            self.event_of(id, EventKind::Spawned);
        }
        Some(id)
    }

    fn place(&self, id: CtxId, task: Task) {
        *self.slot(id).future.borrow_mut() = Some(task);
    }

    fn finish(&self, id: CtxId) {
        if self.config.record {
            self.event_of(id, EventKind::Ended);
        }
        self.check_ended_clean(id);
        self.cpu_remove(id);
        let gone = !id.bit();
        self.alive.set(self.alive.get() & gone);
        self.daemons.set(self.daemons.get() & gone);
        self.ready.set(self.ready.get() & gone);
        self.rcu_reader_gone(id);
        *self.slot(id).future.borrow_mut() = None;
    }

    /// Name of the context with this serial number, also of one that has ended.
    #[must_use]
    pub fn context_name(&self, serial: u32) -> Name {
        self.all_names.borrow().get(serial as usize).copied().unwrap_or_default()
    }

    pub(super) fn name_of(&self, id: CtxId) -> Name {
        self.slot(id).name.get()
    }

    /// Lets the scheduler decide at a step of `id`. `true` if `id` itself goes on.
    #[inline]
    pub(super) fn announce(&self, id: CtxId, label: Label) -> bool {
        let eligible = self.ready.get() & !self.barred.get();
        if eligible == id.bit() && !self.config.record_choices && self.choices.borrow().unnamed_seed() {
            return !self.stopped.get();
        }
        self.decide(Some(id), eligible, label.kind.word(), label.obj) == Some(id)
    }

    /// Chooses who goes on among `eligible` and notes it.
    fn decide(&self, current: Option<CtxId>, eligible: u64, what: &'static str, obj: ObjId) -> Option<CtxId> {
        if self.stopped.get() {
            self.chosen.set(NOBODY);
            return None;
        }
        let set = CtxSet(eligible);
        let staying = current.filter(|id| set.contains(*id));
        let next = if self.choices.borrow().unnamed_seed() {
            match set.len() {
                0 => None,
                1 => set.first(),
                _ => Some(self.ask_strategy(set, staying)),
            }
        } else {
            self.decide_named(current, set, staying, what, obj)
        };
        self.chosen.set(next.map_or(NOBODY, |id| id.0));
        if self.config.record
            && let (Some(staying), Some(next)) = (staying, next)
            && staying != next
        {
            self.event_of(staying, EventKind::Preempted { by: self.slot(next).serial.get() });
        }
        next
    }

    fn ask_strategy(&self, eligible: CtxSet, current: Option<CtxId>) -> CtxId {
        let view = View { eligible, current, pending: &self.pending, step: self.steps.get() };
        let mut choices = self.choices.borrow_mut();
        let picked = self.scheduler.borrow_mut().pick(&view, choices.schedule_rng());
        debug_assert!(eligible.contains(picked), "a strategy picks among the eligible");
        picked
    }

    fn decide_named(
        &self,
        current: Option<CtxId>,
        set: CtxSet,
        staying: Option<CtxId>,
        what: &'static str,
        obj: ObjId,
    ) -> Option<CtxId> {
        let default = staying.or_else(|| set.first());
        let who = current.map_or(Name::new("idle"), |id| self.name_of(id));
        let named = self.choices.borrow().named();
        let object = if named { self.object_name(obj) } else { Name::new("") };
        if !named {
            let nth = self.choices.borrow_mut().nth_unnamed(u64::from(set.len()));
            return self.alternative(set, default, nth);
        }
        let (decision, site) = self.choices.borrow_mut().switch(who, what, object, u64::from(set.len()));
        let default = default?;
        let next = match decision {
            Decision::Strategy if set.len() > 1 => self.ask_strategy(set, staying),
            Decision::Strategy | Decision::Default => default,
            Decision::Nth(nth) => self.alternative(set, Some(default), nth)?,
            Decision::Switch(to) => {
                if let Some(id) = set.iter().find(|id| self.name_of(*id) == to) {
                    id
                } else {
                    let offer: Vec<_> = set.iter().map(|id| self.name_of(id).to_string()).collect();
                    let mut choices = self.choices.borrow_mut();
                    choices.diverge(&site, format!("a switch to {to}"), format!("only {}", offer.join(", ")));
                    default
                }
            }
        };
        if next != default {
            self.choices.borrow_mut().record_switch(site, self.name_of(next));
        }
        Some(next)
    }

    /// The n-th way to go on: 0 is the default, the others follow in slot order.
    fn alternative(&self, set: CtxSet, default: Option<CtxId>, nth: u64) -> Option<CtxId> {
        let default = default?;
        if nth == 0 {
            return Some(default);
        }
        set.iter().filter(|id| *id != default).nth(usize::try_from(nth - 1).ok()?).or(Some(default))
    }

    /// `id` was chosen and does what it announced. `false` if it must not go on yet.
    #[inline]
    pub(super) fn execute(&self, id: CtxId, label: Label) -> bool {
        if self.stopped.get() {
            return false;
        }
        self.current.set(id.0);
        let slot = self.slot(id);
        slot.last.set(label);
        slot.steps.set(slot.steps.get() + 1);
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        let now = self.now.get() + self.config.step_ns;
        self.now.set(now);
        self.mix(u64::from(label.obj.0) << 16 | u64::from(id.0) << 8 | label.kind as u64);
        if self.config.record {
            let frame = slot.frames.borrow().last().copied().unwrap_or("");
            let object = self.object_name(label.obj);
            self.event_of(id, EventKind::Step { label, object, frame });
        }
        if steps >= self.config.max_steps {
            self.out_of_steps();
            return false;
        }
        if now >= self.next_deadline.get() {
            self.fire_due();
        }
        true
    }

    /// Whether a delay is injected before the step that `id` is about to announce. It then sleeps.
    #[inline]
    pub(super) fn delayed(&self, id: CtxId, label: Label) -> bool {
        let delays = self.delays.get();
        let possible =
            delays.possible_at(self.steps.get()) || (delays.enabled() && self.choices.borrow().named());
        possible && self.delay_injected(id, label, delays)
    }

    /// Out of line: a delay may be injected here. Returns whether one was; the context then sleeps.
    #[cold]
    fn delay_injected(&self, id: CtxId, label: Label, mut delays: Delays) -> bool {
        let drawn = {
            let mut choices = self.choices.borrow_mut();
            let site = |sim: &Self| (sim.name_of(id), sim.object_name(label.obj));
            delays.draw(self.steps.get(), &mut choices, delay_word(label.kind), || site(self))
        };
        self.delays.set(delays);
        if drawn == 0 {
            return false;
        }
        self.mix(drawn);
        if self.config.record {
            self.event_of(id, EventKind::Injected(format!("delay of {drawn} ns")));
        }
        self.sleep_until(id, self.now.get() + drawn);
        true
    }

    /// Allows delays of contexts, as drawn by the scenario.
    pub fn set_delays(&self, delays: Delays) {
        self.delays.set(delays);
    }

    /// Injection stops: from here on everything must settle by itself.
    pub fn stop_injection(&self) {
        self.delays.set(Delays::NONE);
    }

    fn sleep_until(&self, id: CtxId, until: Nanos) {
        let serial = self.slot(id).serial.get();
        self.add_deadline(until, Due::Wake { id, serial });
        self.block(id, Wait::Clock(until));
    }

    pub(super) fn wake_at(&self, id: CtxId, until: Nanos) {
        let serial = self.slot(id).serial.get();
        self.add_deadline(until, Due::Wake { id, serial });
    }

    /// `id` cannot go on; someone else is chosen.
    pub(super) fn block(&self, id: CtxId, wait: Wait) {
        let slot = self.slot(id);
        slot.wait.set(wait);
        self.ready.set(self.ready.get() & !id.bit());
        let (what, obj) = match wait {
            Wait::Object { obj, .. } => ("block", obj),
            Wait::Clock(_) => ("sleep", ObjId::NONE),
            Wait::Forever { .. } => ("spin", ObjId::NONE),
            Wait::None => ("yield", ObjId::NONE),
        };
        if self.config.record {
            self.event_of(id, EventKind::Blocked { on: self.object_name(obj) });
        }
        let eligible = self.ready.get() & !self.barred.get();
        self.decide(Some(id), eligible, what, obj);
    }

    /// `id` can go on.
    pub(crate) fn wake(&self, id: CtxId) {
        let slot = self.slot(id);
        if !slot.deadlocked.get() {
            slot.wait.set(Wait::None);
            self.ready.set(self.ready.get() | id.bit());
        }
    }

    pub(crate) fn unready(&self, set: u64) {
        self.ready.set(self.ready.get() & !set);
    }

    pub(super) fn stop(&self, why: Ended) {
        if !self.stopped.replace(true) {
            self.ended.set(why);
        }
    }

    /// Runs until nothing is left to do, nothing can be done, or a limit is reached.
    #[must_use]
    pub fn run(self: Rc<Self>) -> RunEnd {
        let mut waker = Context::from_waker(Waker::noop());
        while !self.stopped.get() {
            let Some(id) = ctx(self.chosen.get()) else {
                if !self.idle() {
                    break;
                }
                continue;
            };
            let slot = self.slot(id);
            if !slot.started.replace(true) {
                self.cpu_start(id);
                if !self.execute(id, START) {
                    break;
                }
            }
            self.current.set(id.0);
            let polled = match slot.future.borrow_mut().as_mut() {
                Some(task) => task.as_mut().poll(&mut waker),
                None => Poll::Ready(()),
            };
            if polled.is_ready() {
                self.finish(id);
                if self.stopped.get() {
                    break;
                }
                let eligible = self.ready.get() & !self.barred.get();
                self.decide(Some(id), eligible, "end", ObjId::NONE);
            }
        }
        self.tear_down()
    }

    /// Nobody can run: lets the clock go on. `false` if the run is over.
    fn idle(&self) -> bool {
        let eligible = self.ready.get() & !self.barred.get();
        if eligible != 0 {
            self.decide(None, eligible, "wake", ObjId::NONE);
            return true;
        }
        let next = self.next_deadline.get();
        let live = self.alive.get() & !self.daemons.get();
        if next == Nanos::MAX {
            self.nothing_can_run(CtxSet(live));
            return false;
        }
        self.now.set(self.now.get().max(next));
        self.current.set(NOBODY);
        self.fire_due();
        true
    }

    fn tear_down(self: Rc<Self>) -> RunEnd {
        self.stopped.set(true);
        // Dropping a future may run guards, and guards do nothing once the run is stopped.
        for slot in &self.slots {
            let task = slot.future.borrow_mut().take();
            drop(task);
        }
        self.clock.borrow_mut().clear();
        self.rcu.clear();
        let findings = self.findings.take();
        let mut digest = self.digest.get();
        digest.mix(self.steps.get());
        digest.mix(self.now.get());
        for finding in &findings {
            digest.mix(finding.signature_hash());
            digest.mix(finding.step);
        }
        let mut choices = Choices::new(Mode::Replay(ChoiceList::default()), false);
        std::mem::swap(&mut choices, &mut self.choices.borrow_mut());
        RunEnd {
            ended: self.ended.get(),
            steps: self.steps.get(),
            time: self.now.get(),
            digest: digest.value(),
            findings,
            trace: self.trace.take(),
            divergence: choices.divergence(),
            choices,
        }
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
        let taken = self.choices.borrow_mut().value(stream, what, of, || {
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
        if trace.events.len() >= MAX_EVENTS {
            trace.truncated = true;
            return;
        }
        let ctx = self.slot(id).serial.get();
        trace.events.push(Event { step: self.steps.get(), time: self.now.get(), ctx, kind });
    }
}

/// The word under which a delay before a step of this kind is recorded.
const fn delay_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Start => "delay at start",
        Kind::Read => "delay before read",
        Kind::Write => "delay before write",
        Kind::Atomic => "delay before atomic",
        Kind::Acquire => "delay before acquire",
        Kind::Release => "delay before release",
        Kind::Wait => "delay before wait",
        Kind::Signal => "delay before signal",
        Kind::Alloc => "delay before alloc",
        Kind::Free => "delay before free",
        Kind::Io => "delay before io",
        Kind::Sleep => "delay before sleep",
        Kind::Point => "delay before point",
    }
}
