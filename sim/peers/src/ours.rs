//! The programs on the engine.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use sim::choices::{Choices, Enumeration, Mode};
use sim::explore::dpor::{Counts, Limits};
use sim::explore::{Campaign, Outcome, Search};
use sim::schedule::{Estimate, RoundRobin, Schedule, Strategy};
use sim::sync::{LockClass, Mutex, Var, WaitQueue};
use sim::{Cx, RunConfig, RunEnd, Sim, SpawnSpec};

use crate::exhaustive::Finals;
use crate::program::{Data, Program};

const FIRST: LockClass = LockClass::new(0, "first");
const SECOND: LockClass = LockClass::new(1, "second");

struct World {
    data: Rc<Cell<Data>>,
    first: Mutex,
    second: Mutex,
    changed: WaitQueue,
    /// If loads and stores of what the lock protects are steps of their own.
    map: Option<Var<u8>>,
}

impl World {
    /// A critical section.
    async fn locked<T>(&self, cx: &Cx, work: impl FnOnce(&mut Data) -> T) -> T {
        self.first.lock(cx).await;
        if let Some(map) = &self.map {
            let value = map.load(cx).await;
            map.store(cx, value).await;
        }
        let mut data = self.data.get();
        let result = work(&mut data);
        self.data.set(data);
        self.first.unlock(cx);
        result
    }

    async fn context(&self, program: Program, who: u8, cx: &Cx) {
        match program {
            Program::Bitmap { .. } | Program::CheckThenAct => {
                for pair in 0..program.pairs() {
                    let bit = if program.looks_first(who, pair) {
                        let bit = self.locked(cx, |data| data.look(who)).await;
                        self.locked(cx, |data| data.occupy(who, bit)).await;
                        bit
                    } else {
                        self.locked(cx, |data| data.take(who)).await
                    };
                    self.locked(cx, |data| data.give(who, bit)).await;
                }
            }
            Program::Buffer { producers, items } => {
                let consumes = who == producers;
                for _ in 0..if consumes { producers * items } else { items } {
                    self.first.lock(cx).await;
                    while self.data.get().full() != consumes {
                        // Nobody runs between the two: together they are what a condition variable does.
                        self.first.unlock(cx);
                        self.changed.wait(cx).await;
                        self.first.lock(cx).await;
                    }
                    let mut data = self.data.get();
                    if consumes {
                        data.eat(who);
                    } else {
                        data.put(who);
                    }
                    self.data.set(data);
                    self.changed.wake_all(cx);
                    self.first.unlock(cx);
                }
            }
            Program::Deadlock => {
                let (one, two) =
                    if who == 0 { (&self.first, &self.second) } else { (&self.second, &self.first) };
                one.lock(cx).await;
                two.lock(cx).await;
                two.unlock(cx);
                one.unlock(cx);
            }
        }
    }
}

/// What is varied about the engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Whether data races are looked for.
    pub(crate) races: bool,
    /// Whether loads and stores inside the critical sections are steps.
    pub(crate) accesses: bool,
}

pub(crate) const PLAIN: Settings = Settings { races: true, accesses: false };

fn run(program: Program, settings: Settings, mode: Mode, strategy: Box<dyn Schedule>) -> (RunEnd, Data) {
    let config = RunConfig { cpus: 4, max_steps: 10_000, races: settings.races, ..RunConfig::default() };
    let sim = Sim::new(config, Choices::new(mode, false), strategy);
    let data = Rc::new(Cell::new(Data::default()));
    let inner = Rc::clone(&data);
    sim.spawn(SpawnSpec::task("root", 3), move |cx| async move {
        let world = Rc::new(World {
            data: inner,
            first: Mutex::new(&cx, FIRST),
            second: Mutex::new(&cx, SECOND),
            changed: WaitQueue::new(&cx, "changed"),
            map: settings.accesses.then(|| Var::new(&cx, "map", 0)),
        });
        for who in 0..program.contexts() {
            let world = Rc::clone(&world);
            cx.spawn(SpawnSpec::task("context", who), move |cx| async move {
                world.context(program, who, &cx).await;
            });
        }
    });
    let end = sim.run();
    (end, data.get())
}

/// One run of `seed`.
pub(crate) fn seed(program: Program, settings: Settings, strategy: Strategy, seed: u64) -> (RunEnd, Data) {
    let estimate = estimate(program, settings);
    run(program, settings, Mode::Seed(seed), strategy.build(&estimate, |_| 0))
}

/// What a trial run tells of a program: made once, as a campaign makes it.
fn estimate(program: Program, settings: Settings) -> Estimate {
    thread_local! {
        static LAST: RefCell<Option<(Program, bool, Estimate)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((of, accesses, estimate)) if *of == program && *accesses == settings.accesses => estimate.clone(),
        _ => {
            let (end, _) = run(program, settings, Mode::Seed(0), Box::new(RoundRobin::new()));
            let estimate = Estimate::of(&end);
            *last = Some((program, settings.accesses, estimate.clone()));
            estimate
        }
    })
}

/// Whether the run shows the bug of the program.
fn shows_bug(end: &RunEnd, data: &Data) -> bool {
    data.twice || end.findings.iter().any(|finding| finding.kind == "deadlock")
}

/// How many runs it takes until the bug shows, `most` at most.
pub(crate) fn until_found(program: Program, strategy: Strategy, first: u64, most: u64) -> Option<u64> {
    (1..=most).find(|nth| {
        let (end, data) = seed(program, PLAIN, strategy, first + nth);
        shows_bug(&end, &data)
    })
}

/// A campaign of so many seeds on so many workers: the digest over all runs.
pub(crate) fn campaign(program: Program, count: u64, jobs: usize) -> u128 {
    let campaign = Campaign { seeds: 0..count, jobs, recheck_every: 0 };
    let one = |nth: u64| {
        let (end, _) = seed(program, PLAIN, Strategy::Random, nth);
        Outcome { digest: end.digest, steps: end.steps, findings: end.findings }
    };
    campaign.run(|| one, &(), &AtomicBool::new(false)).digest
}

/// Every interleaving, one after the other, `most` at most; how many there were.
pub(crate) fn enumerate(program: Program, most: u64, finals: &mut Finals) -> u64 {
    let mut walk = Enumeration::new();
    for runs in 1..=most {
        let (end, data) = run(program, PLAIN, Mode::Enumerate(walk), Box::new(RoundRobin::new()));
        finals.add(&data);
        walk = end.choices.into_enumeration().expect("the run was enumerated");
        if !walk.advance() {
            return runs;
        }
    }
    most
}

/// Every interleaving that matters. `finals` is told of runs that went to their end.
pub(crate) fn search(program: Program, most: u64, mut finals: Option<&mut Finals>) -> Counts {
    let mut search = Box::new(Search::new(Limits::default()));
    loop {
        let (end, data) = run(program, PLAIN, Mode::Search(search), Box::new(RoundRobin::new()));
        if let Some(finals) = &mut finals
            && !end.abandoned
        {
            finals.add(&data);
        }
        search = end.choices.into_search().expect("a search chose");
        if !search.advance(end.abandoned) || search.counts().runs() >= most {
            return search.counts();
        }
    }
}

/// How many runs of a search it takes until the bug shows.
pub(crate) fn search_until_found(program: Program) -> u64 {
    let mut search = Box::new(Search::new(Limits::default()));
    loop {
        let (end, data) = run(program, PLAIN, Mode::Search(search), Box::new(RoundRobin::new()));
        let found = shows_bug(&end, &data);
        search = end.choices.into_search().expect("a search chose");
        if !search.advance(end.abandoned) || found {
            return search.counts().runs();
        }
    }
}
