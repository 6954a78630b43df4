//! Random small programs.

use std::cell::RefCell;
use std::rc::Rc;

use sim::choices::Stream;
use sim::context::{Timer, Work};
use sim::sync::{Atomic, Completion, LockClass, Mutex, RwSem, SpinLock, Var};
use sim::{Class, Cx, RunConfig, SpawnSpec};

use crate::common::Program;

/// What a context does.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Load(usize),
    Store(usize),
    Plain(usize),
    PlainStore(usize),
    Add(usize),
    Spin(usize, Vec<Op>),
    IrqSpin(usize, Vec<Op>),
    TrySpin(usize, Vec<Op>),
    Mutex(usize, Vec<Op>),
    TryMutex(usize, Vec<Op>),
    DownRead(Vec<Op>),
    DownWrite(Vec<Op>),
    PreemptOff(Vec<Op>),
    IrqOff(Vec<Op>),
    Peek(usize),
    Forget(usize),
    Complete,
    Wait,
    Choose(u64),
    Spawn(Vec<Op>),
    Point,
    Now,
    Sleep(u64),
    Arm(u64),
    Cancel,
    Queue,
    Flush,
    CancelWork,
    Rcu(Vec<Op>),
    Grace,
    CallRcu,
    StopIf(usize),
}

/// What the generator may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Variables, atomics, locks of every kind, masking, waits, choices.
    Plain,
    /// Little but locks.
    Locks,
    /// Contexts of all classes, few CPUs.
    Interrupts,
    /// Clock, timers, workqueues, RCU, and findings that end the run.
    Time,
}

pub(crate) const FLAVOURS: [Flavour; 4] =
    [Flavour::Plain, Flavour::Locks, Flavour::Interrupts, Flavour::Time];

#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) contexts: Vec<(Class, u8, Vec<Op>)>,
    pub(crate) config: RunConfig,
}

/// A small generator: splitmix64.
pub(crate) struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn index(&mut self, n: u64) -> usize {
        usize::try_from(self.below(n)).expect("small")
    }

    fn ops(&mut self, flavour: Flavour, budget: &mut u64, depth: u32) -> Vec<Op> {
        let mut list = Vec::new();
        let wanted = 1 + self.below(if depth == 0 { 4 } else { 2 });
        for _ in 0..wanted {
            if *budget == 0 {
                break;
            }
            *budget -= 1;
            list.push(self.op(flavour, budget, depth));
        }
        list
    }

    fn op(&mut self, flavour: Flavour, budget: &mut u64, depth: u32) -> Op {
        let n = self.index(2);
        let nested = depth < 2 && *budget > 0;
        if nested && self.below(5) < 2 {
            let inner = self.ops(flavour, budget, depth + 1);
            return match (flavour, self.below(10)) {
                (Flavour::Locks, 0..=2) => Op::Spin(n, inner),
                (Flavour::Locks, 3..=5) => Op::Mutex(n, inner),
                (Flavour::Locks, 6) => Op::TryMutex(n, inner),
                (Flavour::Locks, 7) => Op::DownRead(inner),
                (Flavour::Locks, 8) => Op::DownWrite(inner),
                (Flavour::Locks, _) => Op::TrySpin(n, inner),
                (Flavour::Interrupts, 0..=2) => Op::IrqSpin(n, inner),
                (Flavour::Interrupts, 3) => Op::Spin(n, inner),
                (Flavour::Interrupts, 4..=5) => Op::IrqOff(inner),
                (Flavour::Interrupts, 6..=7) => Op::PreemptOff(inner),
                (Flavour::Interrupts, _) => Op::Spawn(inner),
                (Flavour::Time, 0..=4) => Op::Rcu(inner),
                (Flavour::Time, 5..=6) => Op::Mutex(n, inner),
                (Flavour::Time, _) => Op::Spawn(inner),
                (Flavour::Plain, 0..=2) => Op::Spin(n, inner),
                (Flavour::Plain, 3..=5) => Op::Mutex(n, inner),
                (Flavour::Plain, 6) => Op::TrySpin(n, inner),
                (Flavour::Plain, 7) => Op::PreemptOff(inner),
                (Flavour::Plain, _) => Op::Spawn(inner),
            };
        }
        if flavour == Flavour::Time && self.below(2) == 0 {
            return match self.below(11) {
                0 => Op::Now,
                1..=2 => Op::Sleep(20 * self.below(5) + 7),
                3 => Op::Arm(20 * self.below(4) + 7),
                4 => Op::Cancel,
                5..=6 => Op::Queue,
                7 => Op::Flush,
                8 => Op::CancelWork,
                9 => {
                    if self.below(2) == 0 {
                        Op::Grace
                    } else {
                        Op::CallRcu
                    }
                }
                _ => Op::StopIf(n),
            };
        }
        match self.below(if flavour == Flavour::Locks { 7 } else { 15 }) {
            0..=1 => Op::Load(n),
            2..=3 => Op::Store(n),
            4 => Op::Point,
            5 => Op::Peek(n),
            6 => Op::Forget(n),
            7..=8 => Op::Add(n),
            9 => Op::Plain(n),
            10 => Op::PlainStore(n),
            11 => Op::Choose(2),
            12 => Op::Complete,
            13 => Op::Wait,
            _ => Op::StopIf(n),
        }
    }
}

pub(crate) fn generate(flavour: Flavour, seed: u64) -> Source {
    let mut draw = Draw(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ flavour as u64);
    let cpus = match flavour {
        Flavour::Interrupts => 1 + draw.below(2),
        Flavour::Plain | Flavour::Locks | Flavour::Time => 1 + draw.below(4),
    };
    let number = 2 + draw.below(2);
    let mut contexts = Vec::new();
    for _ in 0..number {
        let class = match draw.below(8) {
            0 if flavour != Flavour::Locks => Class::Hardirq,
            1 if flavour != Flavour::Locks => Class::Softirq,
            2 => Class::Device,
            0..=4 if flavour == Flavour::Interrupts => Class::Hardirq,
            _ => Class::Task,
        };
        let mut budget = if number == 2 { 5 } else { 3 };
        let cpu = u8::try_from(draw.below(cpus)).expect("few");
        contexts.push((class, cpu, draw.ops(flavour, &mut budget, 0)));
    }
    let config = RunConfig {
        cpus: u8::try_from(cpus).expect("few"),
        max_steps: 1_000,
        races: draw.below(3) == 0,
        ..RunConfig::default()
    };
    Source { contexts, config }
}

struct World {
    vars: [Var<u64>; 2],
    atomics: [Atomic; 2],
    spins: [SpinLock; 2],
    mutexes: [Mutex; 2],
    sem: RwSem,
    done: Completion,
    timer: Timer,
    work: Work,
    seen: RefCell<Vec<(u32, Vec<u64>)>>,
}

impl World {
    fn new(cx: &Cx) -> Rc<Self> {
        const CLASSES: [LockClass; 5] = [
            LockClass::new(10, "spin0"),
            LockClass::new(11, "spin1"),
            LockClass::new(12, "mutex0"),
            LockClass::new(13, "mutex1"),
            LockClass::new(14, "sem"),
        ];
        let fired = Rc::new(Var::new(cx, "fired", 0));
        let (by_timer, by_work) = (Rc::clone(&fired), Rc::clone(&fired));
        Rc::new(Self {
            vars: ["x", "y"].map(|name| Var::new(cx, name, 0)),
            atomics: ["m", "n"].map(|name| Atomic::new(cx, name, 0)),
            spins: [0, 1].map(|n| SpinLock::new(cx, CLASSES[n])),
            mutexes: [2, 3].map(|n| Mutex::new(cx, CLASSES[n])),
            sem: RwSem::new(cx, CLASSES[4]),
            done: Completion::new(cx, "done"),
            timer: Timer::new(SpawnSpec::softirq("timer", 0), move |cx| {
                let fired = Rc::clone(&by_timer);
                async move { fired.write_once(&cx, 1).await }
            }),
            work: Work::new(cx, "work", move |cx| {
                let fired = Rc::clone(&by_work);
                async move { fired.write_once(&cx, 2).await }
            }),
            seen: RefCell::default(),
        })
    }

    fn saw(&self, cx: &Cx, who: u32, value: u64) {
        let _ = cx;
        let mut seen = self.seen.borrow_mut();
        match seen.iter_mut().find(|(other, _)| *other == who) {
            Some((_, list)) => list.push(value),
            None => seen.push((who, vec![value])),
        }
    }

    fn state(&self) -> String {
        let mut seen = self.seen.borrow().clone();
        seen.sort();
        let vars: Vec<_> = self.vars.iter().map(Var::peek).collect();
        let atomics: Vec<_> = self.atomics.iter().map(Atomic::peek).collect();
        format!("{vars:?} {atomics:?} {seen:?}")
    }
}

/// A context's place among its parent's children and so on: the same in every order.
#[derive(Clone, Copy)]
struct Me {
    path: u32,
}

async fn perform(cx: &Cx, world: &Rc<World>, me: Me, ops: &[Op]) {
    for (at, op) in ops.iter().enumerate() {
        let stamp = u64::from(me.path) * 100 + at as u64 + 1;
        let inner = |list: &Vec<Op>| {
            let list = list.clone();
            async move { Box::pin(perform(cx, world, me, &list)).await }
        };
        match op {
            Op::Load(n) => {
                let value = world.vars[*n].read_once(cx).await;
                world.saw(cx, me.path, value);
            }
            Op::Store(n) => world.vars[*n].write_once(cx, stamp).await,
            Op::Plain(n) => {
                let value = world.vars[*n].load(cx).await;
                world.saw(cx, me.path, value);
            }
            Op::PlainStore(n) => world.vars[*n].store(cx, stamp).await,
            Op::Add(n) => {
                let sum = world.atomics[*n].add_return(cx, 1).await;
                world.saw(cx, me.path, sum.unsigned_abs());
            }
            Op::Spin(n, list) => {
                world.spins[*n].lock(cx).await;
                inner(list).await;
                world.spins[*n].unlock(cx);
            }
            Op::IrqSpin(n, list) => {
                let flags = world.spins[*n].lock_irqsave(cx).await;
                inner(list).await;
                world.spins[*n].unlock_irqrestore(cx, flags);
            }
            Op::TrySpin(n, list) => {
                let taken = world.spins[*n].try_lock(cx).await;
                world.saw(cx, me.path, u64::from(taken));
                if taken {
                    inner(list).await;
                    world.spins[*n].unlock(cx);
                }
            }
            Op::Mutex(n, list) => {
                world.mutexes[*n].lock(cx).await;
                inner(list).await;
                world.mutexes[*n].unlock(cx);
            }
            Op::TryMutex(n, list) => {
                let taken = world.mutexes[*n].try_lock(cx).await;
                world.saw(cx, me.path, u64::from(taken));
                if taken {
                    inner(list).await;
                    world.mutexes[*n].unlock(cx);
                }
            }
            Op::DownRead(list) => {
                world.sem.down_read(cx).await;
                inner(list).await;
                world.sem.up_read(cx);
            }
            Op::DownWrite(list) => {
                world.sem.down_write(cx).await;
                inner(list).await;
                world.sem.up_write(cx);
            }
            Op::PreemptOff(list) => {
                cx.preempt_disable();
                inner(list).await;
                cx.preempt_enable();
            }
            Op::IrqOff(list) => {
                let flags = cx.local_irq_save();
                inner(list).await;
                cx.local_irq_restore(flags);
            }
            Op::Peek(n) => {
                let held = world.spins[*n].is_locked();
                world.saw(cx, me.path, u64::from(held));
            }
            Op::Forget(n) => world.mutexes[*n].lock(cx).await,
            Op::Complete => world.done.complete(cx).await,
            Op::Wait => world.done.wait(cx).await,
            Op::Choose(of) => {
                let value = cx.choose(Stream::Workload, "value", *of);
                world.saw(cx, me.path, value);
                world.vars[0].write_once(cx, stamp * 10 + value).await;
            }
            Op::Spawn(list) => {
                let (world, list, me) =
                    (Rc::clone(world), list.clone(), Me { path: me.path * 10 + 1 + at as u32 });
                cx.spawn(SpawnSpec::task("child", 1), move |cx| async move {
                    perform(&cx, &world, me, &list).await;
                });
            }
            Op::Point => cx.point().await,
            Op::Now => world.saw(cx, me.path, cx.now()),
            Op::Sleep(time) => cx.sleep(*time).await,
            Op::Arm(time) => _ = world.timer.modify(cx, cx.now() + time),
            Op::Cancel => {
                let was = world.timer.cancel();
                world.saw(cx, me.path, u64::from(was));
            }
            Op::Queue => {
                let queued = world.work.queue(cx, 0).await;
                world.saw(cx, me.path, u64::from(queued));
            }
            Op::Flush => world.work.flush(cx).await,
            Op::CancelWork => {
                let was = world.work.cancel_sync(cx).await;
                world.saw(cx, me.path, u64::from(was));
            }
            Op::Rcu(list) => {
                cx.rcu_read_lock();
                inner(list).await;
                cx.rcu_read_unlock();
            }
            Op::Grace => cx.synchronize_rcu().await,
            Op::CallRcu => {
                let world = Rc::clone(world);
                cx.call_rcu(move |cx| async move { world.vars[1].write_once(&cx, 7).await });
            }
            Op::StopIf(n) => {
                if world.vars[*n].read_once(cx).await == 0 {
                    let draft = sim::Draft::fatal("stopped", "it was 0".to_owned());
                    cx.report(draft, Vec::new);
                }
            }
        }
    }
}

pub(crate) fn build(source: &Source) -> Program {
    let contexts = source.contexts.clone();
    Rc::new(move |cx| {
        let world = World::new(cx);
        for (n, (class, cpu, ops)) in (1..).zip(contexts.clone()) {
            let world = Rc::clone(&world);
            let spec = SpawnSpec { name: "t", class, cpu, daemon: false };
            cx.spawn(spec, move |cx| async move { perform(&cx, &world, Me { path: n }, &ops).await });
        }
        Box::new(move || world.state())
    })
}
