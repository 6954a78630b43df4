//! What orders one CPU's stores before another one's loads, on a machine that promises little: each way by which the kernel
//! hands something over, and none.

use std::cell::Cell;
use std::rc::Rc;

use models::kernel::{Kx, Shared};
use sim::context::Work;
use sim::sync::{Atomic, Completion, LockClass, Mutex, RwSem, SpinLock, WaitQueue};
use sim::{Cx, ObjId, SpawnSpec, Timer};

use crate::support::{WORLD, World, on_booted};

const SPIN: LockClass = LockClass::new(61, "handed-over");
const MUTEX: LockClass = LockClass::new(62, "handed-over mutex");
const SEM: LockClass = LockClass::new(63, "handed-over semaphore");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Nothing,
    SpinLock,
    Mutex,
    RwSem,
    Completion,
    WakeUp,
    Work,
    Thread,
    Interrupt,
    Timer,
    Atomic,
    Schedule,
    GracePeriod,
    Callback,
}

const WAYS: [Way; 13] = [
    Way::SpinLock,
    Way::Mutex,
    Way::RwSem,
    Way::Completion,
    Way::WakeUp,
    Way::Work,
    Way::Thread,
    Way::Interrupt,
    Way::Timer,
    Way::Atomic,
    Way::Schedule,
    Way::GracePeriod,
    Way::Callback,
];

/// One value that is handed from CPU 1 to CPU 2.
struct Handed {
    way: Way,
    value: Shared<u32>,
    /// The engine's own, which no CPU sees late.
    told: Cell<bool>,
    spin: SpinLock,
    mutex: Mutex,
    sem: RwSem,
    completion: Completion,
    queue: WaitQueue,
    atomic: Atomic,
    /// What the other CPU found.
    found: Cell<Option<u32>>,
}

const LABEL: ObjId = ObjId(7);
const READER: u8 = 2;

impl Handed {
    fn new(cx: &Cx, way: Way) -> Rc<Self> {
        Rc::new(Self {
            way,
            value: Shared::default(),
            told: Cell::new(false),
            spin: SpinLock::new(cx, SPIN),
            mutex: Mutex::new(cx, MUTEX),
            sem: RwSem::new(cx, SEM),
            completion: Completion::new(cx, "handed over"),
            queue: WaitQueue::new(cx, "handed over"),
            atomic: Atomic::new(cx, "handed over", 0),
            found: Cell::new(None),
        })
    }

    async fn look(&self, kx: &Kx) {
        self.found.set(Some(self.value.read_once(kx, LABEL).await));
    }

    fn look_later(self: &Rc<Self>, kx: &Kx, spec: SpawnSpec) {
        let (own, k) = (Rc::clone(self), Rc::clone(&kx.k));
        kx.spawn(spec, move |cx| async move { own.look(&Kx::new(cx, k)).await });
    }

    async fn write(self: Rc<Self>, kx: Kx) {
        let cx = kx.cx();
        cx.delay(500).await;
        if self.way == Way::GracePeriod || self.way == Way::Callback {
            cx.delay(400).await;
        }
        self.value.write_once(&kx, LABEL, 1).await;
        let (own, k) = (Rc::clone(&self), Rc::clone(&kx.k));
        let callback = move |cx: Cx| {
            let (own, k) = (Rc::clone(&own), Rc::clone(&k));
            async move { own.look(&Kx::new(cx, k)).await }
        };
        match self.way {
            Way::Nothing => self.told.set(true),
            Way::SpinLock => {
                self.spin.lock(cx).await;
                self.told.set(true);
                self.spin.unlock(cx);
            }
            Way::Mutex => {
                self.mutex.lock(cx).await;
                self.told.set(true);
                self.mutex.unlock(cx);
            }
            Way::RwSem => {
                self.sem.down_write(cx).await;
                self.told.set(true);
                self.sem.up_write(cx);
            }
            Way::Completion => self.completion.complete(cx).await,
            Way::WakeUp => {
                self.told.set(true);
                self.queue.wake_all(cx);
            }
            Way::Atomic => {
                self.atomic.add_return(cx, 1).await;
            }
            Way::Schedule => {
                cx.sleep(1).await;
                self.told.set(true);
            }
            Way::Work => {
                Work::new(cx, "kworker: handed over", callback).queue(cx, READER).await;
            }
            Way::Thread => self.look_later(&kx, SpawnSpec::task("thread", READER)),
            Way::Interrupt => self.look_later(&kx, SpawnSpec::hardirq("ipi", READER)),
            Way::Timer => {
                Timer::new(SpawnSpec::softirq("timer", READER), callback).modify(cx, cx.now() + 1);
            }
            Way::GracePeriod => {
                cx.synchronize_rcu().await;
                self.look_later(&kx, SpawnSpec::task("thread", READER));
            }
            Way::Callback => cx.call_rcu(callback),
        }
    }

    async fn read(self: Rc<Self>, kx: Kx) {
        let cx = kx.cx();
        match self.way {
            Way::Nothing => {
                while !self.told.get() {
                    cx.delay(60).await;
                }
            }
            Way::Schedule => {
                while !self.told.get() {
                    cx.sleep(60).await;
                }
            }
            Way::SpinLock | Way::Mutex | Way::RwSem => {
                let mut told = false;
                while !told {
                    cx.delay(60).await;
                    match self.way {
                        Way::SpinLock => {
                            self.spin.lock(cx).await;
                            told = self.told.get();
                            self.spin.unlock(cx);
                        }
                        Way::Mutex => {
                            self.mutex.lock(cx).await;
                            told = self.told.get();
                            self.mutex.unlock(cx);
                        }
                        _ => {
                            self.sem.down_read(cx).await;
                            told = self.told.get();
                            self.sem.up_read(cx);
                        }
                    }
                }
            }
            Way::Completion => self.completion.wait(cx).await,
            Way::WakeUp => {
                while !self.told.get() {
                    self.queue.wait(cx).await;
                }
            }
            Way::Atomic => {
                while self.atomic.add_return(cx, 0).await == 0 {
                    cx.delay(60).await;
                }
            }
            // Started by the other one.
            _ => return,
        }
        self.look(&kx).await;
    }
}

/// How often the value did not arrive.
fn missed(way: Way, order: &'static str) -> u32 {
    const ROUNDS: u32 = 150;
    let world = World { version: "6.12", machine: order, ..WORLD };
    let outcome = on_booted(&world, move |kx| async move {
        let mut missed = 0;
        for _ in 0..ROUNDS {
            let handed = Handed::new(kx.cx(), way);
            let (own, k) = (Rc::clone(&handed), Rc::clone(&kx.k));
            kx.spawn(SpawnSpec::task("reader", READER), move |cx| own.read(Kx::new(cx, k)));
            let (own, k) = (Rc::clone(&handed), Rc::clone(&kx.k));
            kx.spawn(SpawnSpec::task("writer", 1), move |cx| own.write(Kx::new(cx, k)));
            while handed.found.get().is_none() {
                kx.sleep(10_000).await;
            }
            missed += u32::from(handed.found.get() != Some(1));
        }
        missed
    });
    assert!(outcome.findings.is_empty(), "{way:?}: {:?}", outcome.kinds());
    outcome.result.expect("it ends")
}

#[test]
fn what_synchronises_orders_stores_before_loads() {
    let missed: Vec<_> = WAYS
        .into_iter()
        .map(|way| (way, missed(way, "memory_order: Weak,")))
        .filter(|(_, n)| *n > 0)
        .collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn nothing_orders_what_nothing_synchronises() {
    let often = missed(Way::Nothing, "memory_order: Weak,");
    assert!(often > 10, "{often}");
    assert_eq!(missed(Way::Nothing, ""), 0);
}
