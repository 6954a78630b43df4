//! Plain discrete events: so many are pending, and each that happens plans the next of its kind.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nexosim::model::{Context, Model, schedulable};
use nexosim::ports::EventSource;
use nexosim::simulation::{Mailbox, SimInit};
use nexosim::time::MonotonicTime;
use serde::{Deserialize, Serialize};
use sim::choices::{Choices, Mode};
use sim::context::Timer;
use sim::schedule::Random;
use sim::{RunConfig, Sim, SpawnSpec};

/// How many events are pending, and until when new ones are planned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) pending: u32,
    end: u64,
}

/// Mean time between two events, in nanoseconds: collisions are rare.
const APART: u64 = 1_000;

impl Load {
    /// About `events` of them.
    pub(crate) const fn new(pending: u32, events: u64) -> Self {
        Self { pending, end: events * APART }
    }

    /// When event `id`, which happens now, comes again. A function of both, so that everybody does the same work
    /// whatever the order of events of one instant.
    fn next(self, now: u64, id: u32) -> Option<u64> {
        let next = now + 1 + mix(now ^ u64::from(id) << 40) % (2 * APART * u64::from(self.pending));
        (next < self.end).then_some(next)
    }
}

/// What happened: how many events, and a sum over them that does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Happened {
    pub(crate) events: u64,
    sum: u64,
}

impl Happened {
    fn note(&mut self, now: u64, id: u32) {
        self.events += 1;
        self.sum = self.sum.wrapping_add(mix(now.wrapping_mul(31) ^ u64::from(id)));
    }
}

/// splitmix64.
const fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A loop around a binary heap, as one writes it by hand.
pub(crate) fn by_hand(load: Load) -> Happened {
    let mut heap: BinaryHeap<_> =
        (0..load.pending).filter_map(|id| Some(Reverse((load.next(0, id)?, id)))).collect();
    let mut happened = Happened::default();
    while let Some(Reverse((now, id))) = heap.pop() {
        happened.note(now, id);
        if let Some(next) = load.next(now, id) {
            heap.push(Reverse((next, id)));
        }
    }
    happened
}

fn empty() -> Rc<Sim> {
    let config = RunConfig { cpus: 1, step_ns: 0, max_steps: u64::MAX, ..RunConfig::default() };
    Sim::new(config, Choices::new(Mode::Seed(1), false), Box::new(Random))
}

/// On the engine, as kernel timers: each function runs in a softirq context of its own.
pub(crate) fn timers(load: Load) -> Happened {
    let sim = empty();
    let happened = Rc::new(Cell::new(Happened::default()));
    let all: Rc<RefCell<Vec<Timer>>> = Rc::default();
    let (noted, timers) = (Rc::clone(&happened), Rc::clone(&all));
    sim.spawn(SpawnSpec::task("root", 0), move |cx| async move {
        for id in 0..load.pending {
            let (noted, list) = (Rc::clone(&noted), Rc::clone(&timers));
            let timer = Timer::new(SpawnSpec::softirq("event", 0), move |cx| {
                let (noted, list) = (Rc::clone(&noted), Rc::clone(&list));
                async move {
                    let now = cx.now();
                    let mut happened = noted.get();
                    happened.note(now, id);
                    noted.set(happened);
                    if let Some(next) = load.next(now, id) {
                        list.borrow()[id as usize].modify(&cx, next);
                    }
                }
            });
            timers.borrow_mut().push(timer);
        }
        for (id, timer) in (0..).zip(&*timers.borrow()) {
            if let Some(first) = load.next(0, id) {
                timer.modify(&cx, first);
            }
        }
    });
    let end = sim.run();
    assert!(end.findings.is_empty(), "{:?}", end.findings[0].title);
    all.borrow_mut().clear();
    happened.get()
}

/// On the engine, as plain events.
pub(crate) fn plain(load: Load) -> Happened {
    let sim = empty();
    let happened = Rc::new(Cell::new(Happened::default()));
    let noted = Rc::clone(&happened);
    let own = Rc::new(Cell::new(None));
    let again = Rc::clone(&own);
    let handler = sim.handler(move |sim, id| {
        let (now, id) = (sim.now(), u32::try_from(id).unwrap_or(u32::MAX));
        let mut happened = noted.get();
        happened.note(now, id);
        noted.set(happened);
        if let (Some(next), Some(handler)) = (load.next(now, id), again.get()) {
            sim.call_at(next, handler, u64::from(id));
        }
    });
    own.set(Some(handler));
    for id in 0..load.pending {
        if let Some(first) = load.next(0, id) {
            sim.call_at(first, handler, u64::from(id));
        }
    }
    let end = sim.run();
    assert!(end.findings.is_empty(), "{:?}", end.findings[0].title);
    happened.get()
}

/// The model for nexosim: one, which schedules its own events.
#[derive(Serialize, Deserialize)]
struct Ticker {
    pending: u32,
    end: u64,
    #[serde(skip)]
    events: Arc<AtomicU64>,
    #[serde(skip)]
    sum: Arc<AtomicU64>,
}

#[Model]
impl Ticker {
    async fn start(&mut self, _: (), cx: &Context<Self>) {
        let load = Load { pending: self.pending, end: self.end };
        for id in 0..self.pending {
            if let Some(first) = load.next(0, id) {
                let delay = Duration::from_nanos(first);
                cx.schedule_event(delay, schedulable!(Self::tick), (id, first)).expect("in the future");
            }
        }
    }

    #[nexosim(schedulable)]
    async fn tick(&mut self, event: (u32, u64), cx: &Context<Self>) {
        let (id, now) = event;
        let mut happened = Happened::default();
        happened.note(now, id);
        // Nobody else counts: plain loads and stores.
        self.events.store(self.events.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let sum = self.sum.load(Ordering::Relaxed).wrapping_add(happened.sum);
        self.sum.store(sum, Ordering::Relaxed);
        let load = Load { pending: self.pending, end: self.end };
        if let Some(next) = load.next(now, id) {
            let delay = Duration::from_nanos(next - now);
            cx.schedule_event(delay, schedulable!(Self::tick), (id, next)).expect("in the future");
        }
    }
}

/// On nexosim, on one thread.
pub(crate) fn nexosim(load: Load) -> Happened {
    let (events, sum) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let ticker =
        Ticker { pending: load.pending, end: load.end, events: Arc::clone(&events), sum: Arc::clone(&sum) };
    let mailbox = Mailbox::new();
    let mut bench = SimInit::with_num_threads(1);
    let start = EventSource::new().connect(Ticker::start, &mailbox).register(&mut bench);
    let mut simulation =
        bench.add_model(ticker, mailbox, "ticker").init(MonotonicTime::EPOCH).expect("a simulation");
    simulation.process_event(&start, ()).expect("started");
    simulation.step_until(Duration::from_nanos(load.end)).expect("run");
    Happened { events: events.load(Ordering::Relaxed), sum: sum.load(Ordering::Relaxed) }
}
