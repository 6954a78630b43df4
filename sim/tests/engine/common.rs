//! Building a run, and looking at all of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use sim::choices::{ChoiceList, Choices, Enumeration, Mode};
use sim::inject::Delays;
use sim::schedule::{Estimate, Guide, Strategy};
use sim::sync::LockClass;
use sim::{CtxId, Cx, RunConfig, RunEnd, Sim, SpawnSpec};

pub(crate) const A: LockClass = LockClass::new(0, "lock_a");
pub(crate) const B: LockClass = LockClass::new(1, "lock_b");

/// What the first context of a run does: it builds the world and spawns the others.
pub(crate) type Program = Rc<dyn Fn(&Cx)>;

pub(crate) fn program(body: impl Fn(&Cx) + 'static) -> Program {
    Rc::new(body)
}

/// How programs are run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) config: RunConfig,
    pub(crate) strategy: Strategy,
    pub(crate) delays: Delays,
    pub(crate) steps: u64,
}

impl Setup {
    pub(crate) fn cpus(cpus: u8) -> Self {
        Self {
            config: RunConfig { cpus, max_steps: 20_000, ..RunConfig::default() },
            strategy: Strategy::Random,
            delays: Delays::NONE,
            steps: 50,
        }
    }

    pub(crate) fn strategy(self, strategy: Strategy) -> Self {
        Self { strategy, ..self }
    }

    /// A run of `seed` with what is known of the program, and a guide for those strategies that follow one.
    pub(crate) fn informed(
        &self,
        program: &Program,
        estimate: &Estimate,
        guide: Option<&Guide>,
        seed: u64,
    ) -> RunEnd {
        let config = RunConfig { coverage: true, ..self.config };
        let strategy = self.strategy.build_guided(estimate, guide, |_| 0);
        let sim = Sim::new(config, Choices::new(Mode::Seed(seed), false), strategy);
        sim.set_delays(self.delays);
        let program = Rc::clone(program);
        sim.spawn(SpawnSpec::task("root", 0), |cx| async move { program(&cx) });
        sim.run()
    }

    /// What a trial run shows.
    pub(crate) fn estimate(&self, program: &Program) -> Estimate {
        Estimate::of(&self.strategy(Strategy::RoundRobin).informed(program, &1.into(), None, 0))
    }

    fn run(&self, program: &Program, mode: Mode, record: bool) -> RunEnd {
        let config = RunConfig { record, record_choices: record, ..self.config };
        let strategy = self.strategy.build(self.steps, |_| 0);
        let sim = Sim::new(config, Choices::new(mode, record), strategy);
        sim.set_delays(self.delays);
        let program = Rc::clone(program);
        sim.spawn(SpawnSpec::task("root", 0), |cx| async move { program(&cx) });
        sim.run()
    }

    pub(crate) fn seed(&self, program: &Program, seed: u64) -> RunEnd {
        self.run(program, Mode::Seed(seed), false)
    }

    pub(crate) fn recorded(&self, program: &Program, seed: u64) -> RunEnd {
        self.run(program, Mode::Seed(seed), true)
    }

    pub(crate) fn replay(&self, program: &Program, choices: &ChoiceList) -> RunEnd {
        self.run(program, Mode::Replay(choices.clone()), true)
    }

    /// Every run once; how many there were.
    pub(crate) fn enumerate(&self, program: &Program, mut each: impl FnMut(&RunEnd)) -> u64 {
        let mut walk = Enumeration::new();
        let mut runs = 0;
        loop {
            let end = self.run(program, Mode::Enumerate(walk), false);
            runs += 1;
            each(&end);
            assert!(runs < 2_000_000, "the program is too large to be enumerated");
            walk = end.choices.into_enumeration().expect("the run was enumerated");
            if !walk.advance() {
                return runs;
            }
        }
    }
}

/// What the contexts of one run did, in words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, text: impl Into<String>) {
        self.0.borrow_mut().push(text.into());
    }

    pub(crate) fn take(&self) -> String {
        self.0.take().join(" ")
    }
}

/// What all runs of a program showed.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) runs: u64,
    pub(crate) orders: BTreeSet<String>,
    /// How many runs had a finding of this kind.
    pub(crate) kinds: BTreeMap<&'static str, u64>,
    pub(crate) titles: BTreeSet<String>,
}

impl Seen {
    fn note(&mut self, end: &RunEnd, log: &Log) {
        self.orders.insert(log.take());
        let kinds: BTreeSet<_> = end.findings.iter().map(|finding| finding.kind).collect();
        for kind in kinds {
            *self.kinds.entry(kind).or_default() += 1;
        }
        self.titles.extend(end.findings.iter().map(|finding| finding.title.clone()));
    }

    pub(crate) fn clean(&self) -> &Self {
        assert!(self.titles.is_empty(), "{:?}", self.titles);
        self
    }

    pub(crate) fn is(&self, orders: &[&str]) {
        let seen: Vec<_> = self.orders.iter().map(String::as_str).collect();
        assert_eq!(seen, orders);
    }
}

/// Runs every interleaving of a program on `cpus` CPUs.
pub(crate) fn all_orders(cpus: u8, body: impl Fn(&Cx, &Log) + 'static) -> Seen {
    let log = Log::default();
    let inner = log.clone();
    let program = program(move |cx| body(cx, &inner));
    let mut seen = Seen::default();
    seen.runs = Setup::cpus(cpus).enumerate(&program, |end| seen.note(end, &log));
    seen
}

/// Runs a program under many seeds.
pub(crate) fn many_seeds(cpus: u8, seeds: u64, body: impl Fn(&Cx, &Log) + 'static) -> Seen {
    let log = Log::default();
    let inner = log.clone();
    let program = program(move |cx| body(cx, &inner));
    let mut seen = Seen { runs: seeds, ..Seen::default() };
    for seed in 0..seeds {
        seen.note(&Setup::cpus(cpus).seed(&program, seed), &log);
    }
    seen
}

/// One run with a fixed seed.
pub(crate) fn one(cpus: u8, body: impl Fn(&Cx, &Log) + 'static) -> (RunEnd, String) {
    let log = Log::default();
    let inner = log.clone();
    let end = Setup::cpus(cpus).seed(&program(move |cx| body(cx, &inner)), 1);
    (end, log.take())
}

pub(crate) fn start(cx: &Cx, spec: SpawnSpec, body: impl AsyncFnOnce(&Cx) + 'static) -> Option<CtxId> {
    cx.spawn(spec, move |cx| async move { body(&cx).await })
}

pub(crate) fn task(cx: &Cx, name: &'static str, cpu: u8, body: impl AsyncFnOnce(&Cx) + 'static) {
    start(cx, SpawnSpec::task(name, cpu), body);
}

pub(crate) fn hardirq(cx: &Cx, name: &'static str, cpu: u8, body: impl AsyncFnOnce(&Cx) + 'static) {
    start(cx, SpawnSpec::hardirq(name, cpu), body);
}

pub(crate) fn softirq(cx: &Cx, name: &'static str, cpu: u8, body: impl AsyncFnOnce(&Cx) + 'static) {
    start(cx, SpawnSpec::softirq(name, cpu), body);
}

pub(crate) fn kinds(end: &RunEnd) -> Vec<&'static str> {
    end.findings.iter().map(|finding| finding.kind).collect()
}
